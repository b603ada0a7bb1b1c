/* random: a seeded sequence (splitmix64) and a hash of bytes with the same mixer, so that a run can be repeated. */
#ifndef MOCKAI_RANDOM_H
#define MOCKAI_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random {
	uint64_t state;
};

static inline uint64_t random_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static inline uint64_t random_next(struct random *r) { return random_mix(r->state += 0x9e3779b97f4a7c15u); }

/* In [0, 1). */
static inline double random_unit(struct random *r) { return (double)(random_next(r) >> 11) * 0x1p-53; }

#define RANDOM_HASH_START 0xcbf29ce484222325u

/* FNV-1a: may be called again with its own result to hash in pieces; random_mix it before taking bits. */
static inline uint64_t random_hash(uint64_t hash, const void *data, size_t length)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3u;
	return hash;
}

#endif
