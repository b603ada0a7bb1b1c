/* sha: SHA-256 as cheap as OpenSSL has it: the algorithm is fetched once (each implicit fetch costs 0.2 us). */
#ifndef BENCH_SHA_H
#define BENCH_SHA_H

#include <stddef.h>

struct sha; /* one digest under way */

struct sha *sha_new(void); /* ends the process when OpenSSL has none */
void sha_free(struct sha *s);

void sha_begin(struct sha *s);
void sha_update(struct sha *s, const void *data, size_t length);
void sha_end(struct sha *s);

/* CPU time of one digest of these bytes, in us: the median of several batches. */
double sha_cost_us(const void *data, size_t length);

#endif
