/* metrics: the registry, and the histogram's arithmetic. */
#include "server/base/metrics.h"

#include <assert.h>
#include <string.h>

static bool has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && strcmp(s + n - m, suffix) == 0;
}

static bool is_known(const struct metrics *m, const char *name)
{
	for (size_t i = 0; i < m->count; i++) {
		for (size_t j = 0; j < m->modules[i].count; j++) {
			if (strcmp(m->modules[i].table[j].name, name) == 0)
				return true;
		}
	}
	return false;
}

void metrics_add(struct metrics *m, const struct metrics_module *module)
{
	assert(m->count < METRICS_MODULES_MAX);
	for (size_t i = 0; i < module->count; i++) {
		const struct metric *metric = &module->table[i];

		assert(!is_known(m, metric->name));
		assert((metric->kind == METRIC_COUNTER) == has_suffix(metric->name, "_total"));
	}
	m->modules[m->count++] = *module;
}

void metrics_walk(const struct metrics *m, void (*each)(void *owner, const struct metric *metric, uint64_t value),
		  void *owner)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct metrics_module *module = &m->modules[i];

		if (module->refresh != NULL && module->values != NULL)
			module->refresh(module->owner, (void *)module->values);
		for (size_t j = 0; j < module->count; j++) {
			const struct metric *metric = &module->table[j];
			uint64_t value = 0;

			if (module->values != NULL)
				memcpy(&value, (const char *)module->values + metric->offset, sizeof(value));
			each(owner, metric, value);
		}
	}
}

/* ---- histogram: values below 16 have a bucket each; above, an octave [2^e, 2^(e+1)) has 16 steps of 2^(e-4). The last
 * bucket also takes what is beyond it (2^43 us are a hundred days). */

#define STEPS	  16
#define STEP_BITS 4

static size_t bucket_of(uint64_t value)
{
	unsigned e;
	size_t i;

	if (value < STEPS)
		return (size_t)value;
	e = 63 - (unsigned)__builtin_clzll(value);
	i = (size_t)(e - STEP_BITS) * STEPS + (size_t)(value >> (e - STEP_BITS)); /* the shifted value is 16 to 31 */
	return i < HISTOGRAM_BUCKETS ? i : HISTOGRAM_BUCKETS - 1;
}

static uint64_t bucket_upper(size_t i)
{
	unsigned shift;

	if (i < STEPS)
		return i;
	shift = (unsigned)(i / STEPS) - 1;
	return ((uint64_t)(STEPS + i % STEPS + 1) << shift) - 1;
}

void histogram_record(struct histogram *h, uint64_t value)
{
	h->count++;
	h->sum += value;
	if (value > h->max)
		h->max = value;
	h->bucket[bucket_of(value)]++;
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
	uint64_t rank, below = 0;

	assert(q >= 0 && q <= 1);
	if (h->count == 0)
		return 0;
	rank = (uint64_t)(q * (double)h->count);
	rank += (double)rank < q * (double)h->count; /* ceil, without the mathematics library */
	for (size_t i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		below += h->bucket[i];
		if (below >= rank && below > 0)
			return bucket_upper(i) < h->max ? bucket_upper(i) : h->max;
	}
	return h->max;
}
