#include "server/base/random.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

__extension__ typedef unsigned __int128 random_wide;

void random_bytes(void *p, size_t n)
{
	uint8_t *to = p;

	while (n > 0) {
		ssize_t got = getrandom(to, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			abort();
		to += got;
		n -= (size_t)got;
	}
}

/* splitmix64 (Steele, Lea, Flood): spreads one word over the state, which must not be all zero. */
static uint64_t random_spread(uint64_t *x)
{
	uint64_t z = *x += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void random_seed(struct random_state *r, uint64_t seed)
{
	r->s[0] = random_spread(&seed);
	r->s[1] = random_spread(&seed);
	assert((r->s[0] | r->s[1]) != 0);
}

static uint64_t random_rotate(uint64_t x, unsigned by) { return x << by | x >> (64 - by); }

/* xoroshiro128+ (Blackman, Vigna): two words of state, good enough to jitter and to sample, and no secret. */
uint64_t random_next(struct random_state *r)
{
	uint64_t a = r->s[0], b = r->s[1], result = a + b;

	b ^= a;
	r->s[0] = random_rotate(a, 24) ^ b ^ b << 16;
	r->s[1] = random_rotate(b, 37);
	return result;
}

/* Lemire's multiplication: the high word is uniform once the low words that would count twice are rejected. */
uint64_t random_below(struct random_state *r, uint64_t bound)
{
	random_wide product;
	uint64_t rejected;

	assert(bound > 0);
	rejected = -bound % bound;
	do
		product = (random_wide)random_next(r) * bound;
	while ((uint64_t)product < rejected);
	return (uint64_t)(product >> 64);
}
