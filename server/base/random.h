/* random: bytes nobody can guess (getrandom), and a small seeded generator for jitter and sampling. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *p, size_t n); /* aborts if the kernel gives none: nothing secret may be built on less */

struct random_state {
	uint64_t s[2];
};
void random_seed(struct random_state *r, uint64_t seed);
uint64_t random_next(struct random_state *r);
uint64_t random_below(struct random_state *r, uint64_t bound); /* bound > 0 */

#endif
