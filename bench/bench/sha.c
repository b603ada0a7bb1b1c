#include "bench/bench/sha.h"

#include <openssl/evp.h>
#include <time.h>

#include "bench/bench/memory.h"

#define BATCHES	    9
#define BATCH_BYTES (1u << 20) /* hashed in a batch: about half a millisecond */

struct sha {
	EVP_MD *algorithm;
	EVP_MD_CTX *context;
};

/* Nothing but a broken installation lets one of these fail. */
static void sha_assert(int ok)
{
	if (ok != 1) {
		(void)fputs("promptcache-bench: OpenSSL has no SHA-256\n", stderr);
		exit(1);
	}
}

struct sha *sha_new(void)
{
	struct sha *s = memory_need(1, sizeof(*s));

	s->algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
	s->context = EVP_MD_CTX_new();
	sha_assert(s->algorithm != NULL && s->context != NULL);
	sha_assert(EVP_DigestInit_ex2(s->context, s->algorithm, NULL));
	return s;
}

void sha_free(struct sha *s)
{
	if (s == NULL)
		return;
	EVP_MD_CTX_free(s->context);
	EVP_MD_free(s->algorithm);
	free(s);
}

void sha_begin(struct sha *s) { sha_assert(EVP_DigestInit_ex2(s->context, NULL, NULL)); }

void sha_update(struct sha *s, const void *data, size_t length)
{
	sha_assert(EVP_DigestUpdate(s->context, data, length));
}

void sha_end(struct sha *s)
{
	unsigned char digest[EVP_MAX_MD_SIZE];

	sha_assert(EVP_DigestFinal_ex(s->context, digest, NULL));
}

static double thread_cpu_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int double_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double sha_cost_us(const void *data, size_t length)
{
	size_t times = BATCH_BYTES / (length + 64) + 1;
	double cost_us[BATCHES];
	struct sha *s = sha_new();

	for (int i = 0; i < BATCHES; i++) {
		double from_us = thread_cpu_us();

		for (size_t n = 0; n < times; n++) {
			sha_begin(s);
			sha_update(s, data, length);
			sha_end(s);
		}
		cost_us[i] = (thread_cpu_us() - from_us) / (double)times;
	}
	sha_free(s);
	qsort(cost_us, BATCHES, sizeof(cost_us[0]), double_compare);
	return cost_us[BATCHES / 2];
}
