/* metrics: tables and the registry. Fixture, helpers, cases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_table_describes_the_fields_of_its_struct, setup),
		cmocka_unit_test_setup(a_walk_shows_all_modules_in_order_with_fresh_gauges, setup),
		cmocka_unit_test_setup(a_module_without_values_is_described_as_zero, setup),
		cmocka_unit_test_setup(the_registry_takes_its_limit, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
