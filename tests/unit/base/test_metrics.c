/* metrics: tables, the registry, the histogram against exact quantiles. Fixture, helpers, cases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/metrics.h"

/* clang-format off */
#define DOOR_METRICS(X)                                                                                                \
	X(door_opened_total, COUNTER, "times it was opened")                                                           \
	X(door_open, GAUGE, "1 while it is open")
#define LAMP_METRICS(X)                                                                                                \
	X(lamp_lit_total, COUNTER, "times it was lit")
/* clang-format on */

struct door {
	METRICS_FIELDS(DOOR_METRICS)
};

/* Metrics need not stand first in their struct. */
struct lamp {
	const char *colour;
	METRICS_FIELDS(LAMP_METRICS)
};

static const struct metric door_table[] = {METRICS_TABLE(DOOR_METRICS, struct door)};
static const struct metric lamp_table[] = {METRICS_TABLE(LAMP_METRICS, struct lamp)};

static struct fixture {
	struct metrics metrics;
	struct door door;
	struct lamp lamp;
	int refreshed;
	char seen[256];
	struct histogram h;
} f;

static int setup(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	return 0;
}

static void on_refresh(void *owner, void *values)
{
	struct door *door = values;

	assert_ptr_equal(owner, &f);
	f.refreshed++;
	door->door_open = 1;
}

static void on_metric(void *owner, const struct metric *metric, uint64_t value)
{
	size_t n = strlen(f.seen);

	assert_ptr_equal(owner, &f);
	snprintf(f.seen + n, sizeof(f.seen) - n, "%s=%llu ", metric->name, (unsigned long long)value);
}

static void a_table_describes_the_fields_of_its_struct(void **state)
{
	(void)state;
	assert_int_equal(sizeof(door_table) / sizeof(door_table[0]), 2);
	assert_string_equal(door_table[0].name, "door_opened_total");
	assert_int_equal(door_table[0].kind, METRIC_COUNTER);
	assert_string_equal(door_table[0].text, "times it was opened");
	assert_int_equal(door_table[0].offset, offsetof(struct door, door_opened_total));
	assert_int_equal(door_table[1].kind, METRIC_GAUGE);
	assert_int_equal(door_table[1].offset, offsetof(struct door, door_open));
	assert_int_equal(lamp_table[0].offset, offsetof(struct lamp, lamp_lit_total));
}

static void a_walk_shows_all_modules_in_order_with_fresh_gauges(void **state)
{
	const struct metrics_module lamp = {lamp_table, 1, &f.lamp, NULL, NULL};
	const struct metrics_module door = {door_table, 2, &f.door, on_refresh, &f};

	(void)state;
	metrics_add(&f.metrics, &lamp);
	metrics_add(&f.metrics, &door);
	f.lamp.lamp_lit_total++;
	f.door.door_opened_total = UINT64_MAX;
	metrics_walk(&f.metrics, on_metric, &f);
	assert_string_equal(f.seen, "lamp_lit_total=1 door_opened_total=18446744073709551615 door_open=1 ");
	assert_int_equal(f.refreshed, 1);
}

static void a_module_without_values_is_described_as_zero(void **state)
{
	const struct metrics_module door = {door_table, 2, NULL, on_refresh, &f};

	(void)state;
	metrics_add(&f.metrics, &door);
	metrics_walk(&f.metrics, on_metric, &f);
	assert_string_equal(f.seen, "door_opened_total=0 door_open=0 ");
	assert_int_equal(f.refreshed, 0);
}

static void the_registry_takes_its_limit(void **state)
{
	const struct metrics_module empty = {NULL, 0, NULL, NULL, NULL};

	(void)state;
	for (int i = 0; i < METRICS_MODULES_MAX; i++)
		metrics_add(&f.metrics, &empty);
	assert_int_equal(f.metrics.count, METRICS_MODULES_MAX);
}

/* ---- histogram */

static void an_empty_histogram_answers_zero(void **state)
{
	(void)state;
	assert_int_equal(histogram_quantile(&f.h, 0), 0);
	assert_int_equal(histogram_quantile(&f.h, 0.5), 0);
	assert_int_equal(histogram_quantile(&f.h, 1), 0);
}

static void small_values_are_exact(void **state)
{
	(void)state;
	for (uint64_t v = 0; v < 32; v++)
		histogram_record(&f.h, v);
	for (uint64_t v = 0; v < 32; v++)
		assert_int_equal(histogram_quantile(&f.h, (double)(v + 1) / 32), v);
	assert_int_equal(histogram_quantile(&f.h, 0), 0);
	assert_int_equal(f.h.count, 32);
	assert_int_equal(f.h.sum, 31 * 32 / 2);
	assert_int_equal(f.h.max, 31);
}

/* A value of its own bucket and a far larger one: the median is the bucket's upper edge. */
static void no_bucket_edge_is_more_than_a_sixteenth_above_its_values(void **state)
{
	(void)state;
	for (unsigned e = 0; e < 42; e++) {
		for (uint64_t step = 0; step < 64; step++) {
			uint64_t v = (UINT64_C(1) << e) + ((step << e) >> 6), edge;

			memset(&f.h, 0, sizeof(f.h));
			histogram_record(&f.h, v);
			histogram_record(&f.h, UINT64_MAX);
			edge = histogram_quantile(&f.h, 0.5);
			assert_true(edge >= v);
			assert_true(edge - v <= v / 16);
		}
	}
}

static void values_beyond_the_last_bucket_are_told_as_the_maximum(void **state)
{
	(void)state;
	histogram_record(&f.h, 5);
	histogram_record(&f.h, UINT64_C(1) << 50);
	histogram_record(&f.h, UINT64_MAX);
	assert_int_equal(histogram_quantile(&f.h, 0.3), 5);
	assert_true(histogram_quantile(&f.h, 0.6) == UINT64_MAX);
	assert_true(histogram_quantile(&f.h, 1) == UINT64_MAX);
}

static void a_quantile_is_never_above_the_greatest_value(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++)
		histogram_record(&f.h, 1000);
	assert_int_equal(histogram_quantile(&f.h, 0.01), 1000);
	assert_int_equal(histogram_quantile(&f.h, 1), 1000);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* xorshift64*: the same values in every run. */
static uint64_t next(uint64_t *s)
{
	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return *s * UINT64_C(0x2545f4914f6cdd1d);
}

#define SAMPLES 20000

/* spread > 0: over many octaves, as latencies are; 0: all within one million. */
static void check_quantiles(uint64_t seed, unsigned spread)
{
	static const double quantiles[] = {0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1};
	static uint64_t values[SAMPLES];

	memset(&f.h, 0, sizeof(f.h));
	for (size_t i = 0; i < SAMPLES; i++) {
		values[i] = spread > 0 ? (next(&seed) >> 24) >> (next(&seed) % spread) : next(&seed) % 1000000;
		histogram_record(&f.h, values[i]);
	}
	qsort(values, SAMPLES, sizeof(values[0]), by_value);
	for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
		double exact_rank = quantiles[i] * SAMPLES;
		size_t rank = (size_t)exact_rank + ((double)(size_t)exact_rank < exact_rank);
		uint64_t exact = values[rank > 0 ? rank - 1 : 0];
		uint64_t told = histogram_quantile(&f.h, quantiles[i]);

		assert_true(told >= exact);
		assert_true(told - exact <= exact / 16);
	}
	assert_int_equal(histogram_quantile(&f.h, 1), values[SAMPLES - 1]);
}

static void quantiles_agree_with_sorted_values(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		check_quantiles(seed, 0);
		check_quantiles(seed, 8);
		check_quantiles(seed, 40);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_table_describes_the_fields_of_its_struct, setup),
		cmocka_unit_test_setup(a_walk_shows_all_modules_in_order_with_fresh_gauges, setup),
		cmocka_unit_test_setup(a_module_without_values_is_described_as_zero, setup),
		cmocka_unit_test_setup(the_registry_takes_its_limit, setup),
		cmocka_unit_test_setup(an_empty_histogram_answers_zero, setup),
		cmocka_unit_test_setup(small_values_are_exact, setup),
		cmocka_unit_test_setup(no_bucket_edge_is_more_than_a_sixteenth_above_its_values, setup),
		cmocka_unit_test_setup(values_beyond_the_last_bucket_are_told_as_the_maximum, setup),
		cmocka_unit_test_setup(a_quantile_is_never_above_the_greatest_value, setup),
		cmocka_unit_test_setup(quantiles_agree_with_sorted_values, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
