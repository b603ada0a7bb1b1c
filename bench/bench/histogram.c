#include "bench/bench/histogram.h"

#include <math.h>

#define STEPS (UINT64_C(1) << HISTOGRAM_STEP_BITS)

/* Values below STEPS have a bucket each; from there on an octave has STEPS of them. */
static unsigned bucket_of(uint64_t ns)
{
	unsigned octave, bucket;

	if (ns < STEPS)
		return (unsigned)ns;
	octave = 63 - (unsigned)__builtin_clzll(ns) - HISTOGRAM_STEP_BITS;
	bucket = (unsigned)((octave + 1) * STEPS + ((ns >> octave) - STEPS));
	return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t bucket_edge_ns(unsigned bucket)
{
	unsigned octave;

	if (bucket < STEPS)
		return bucket;
	octave = bucket / STEPS - 1;
	return ((STEPS + bucket % STEPS + 1) << octave) - 1;
}

void histogram_record(struct histogram *h, uint64_t ns)
{
	h->count++;
	h->bucket[bucket_of(ns)]++;
	if (ns > h->max_ns)
		h->max_ns = ns;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
	to->count += from->count;
	if (from->max_ns > to->max_ns)
		to->max_ns = from->max_ns;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		to->bucket[i] += from->bucket[i];
}

uint64_t histogram_quantile_ns(const struct histogram *h, double q)
{
	uint64_t rank = (uint64_t)ceil(q * (double)h->count), seen = 0;

	if (rank == 0)
		rank = 1;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		seen += h->bucket[i];
		if (seen >= rank)
			return bucket_edge_ns(i) < h->max_ns ? bucket_edge_ns(i) : h->max_ns;
	}
	return h->max_ns;
}
