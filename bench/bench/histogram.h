/* histogram: nanoseconds in log-linear buckets, 64 steps an octave: a quantile is at most 1.6 % above the true value.
 *
 * The server has one of its own with 16 steps and in microseconds; a generator that judges it should see finer, and
 * stands on no part of it. Zeroed memory is an empty one. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEP_BITS 6
#define HISTOGRAM_OCTAVES   38 /* up to 2^43 ns, more than two hours; what is above shares the last bucket */
#define HISTOGRAM_BUCKETS   ((HISTOGRAM_OCTAVES + 1) << HISTOGRAM_STEP_BITS)

struct histogram {
	uint64_t count;
	uint64_t max_ns;
	uint64_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_record(struct histogram *h, uint64_t ns);
void histogram_merge(struct histogram *to, const struct histogram *from);

/* Upper edge of the bucket that holds the quantile (0 <= q <= 1), never more than the maximum; 0 when empty. */
uint64_t histogram_quantile_ns(const struct histogram *h, double q);

#endif
