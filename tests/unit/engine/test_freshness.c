/* freshness: stamps that never go back, epochs that never forget too little. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/engine/freshness.h"

static struct freshness f;

static int setup(void **state)
{
	(void)state;
	return freshness_init(&f);
}

static int teardown(void **state)
{
	(void)state;
	freshness_free(&f);
	return 0;
}

static struct tag tag_of(uint32_t n)
{
	struct tag t = {{0}};

	memcpy(t.id, &n, sizeof n);
	return t;
}

static void stamps_grow_also_when_the_clock_stands_or_jumps_back(void **state)
{
	uint64_t a = freshness_stamp(&f, 1000), b = freshness_stamp(&f, 1000), c = freshness_stamp(&f, 10);

	(void)state;
	assert_int_equal(a, 1000);
	assert_true(b > a && c > b);
	assert_int_equal(freshness_as_of(&f, 10), c);
	assert_int_equal(freshness_stamp(&f, 5000), 5000);
}

static void a_stamp_seen_in_a_store_is_behind_all_later_ones(void **state)
{
	(void)state;
	freshness_seen(&f, 9000);
	assert_true(freshness_stamp(&f, 100) > 9000);
}

static void what_began_before_the_invalidation_is_dead_and_what_began_after_lives(void **state)
{
	struct tag t = tag_of(1), other = tag_of(2);
	uint64_t before = freshness_stamp(&f, 1000), at = freshness_stamp(&f, 1000), after;

	(void)state;
	freshness_invalidate(&f, &t, at);
	after = freshness_stamp(&f, 1000);
	assert_false(freshness_alive(&f, before, &t, 1));
	assert_false(freshness_alive(&f, at, &t, 1));
	assert_true(freshness_alive(&f, after, &t, 1));
	assert_true(freshness_alive(&f, before, &other, 1));
}

static void one_dead_tag_among_many_is_enough(void **state)
{
	struct tag tags[3] = {tag_of(1), tag_of(2), tag_of(3)};

	(void)state;
	freshness_invalidate(&f, &tags[2], 500);
	assert_false(freshness_alive(&f, 400, tags, 3));
	assert_true(freshness_alive(&f, 400, tags, 2));
}

static void an_older_invalidation_does_not_lower_an_epoch(void **state)
{
	struct tag t = tag_of(1);

	(void)state;
	freshness_invalidate(&f, &t, 500);
	freshness_invalidate(&f, &t, 300);
	assert_false(freshness_alive(&f, 400, &t, 1));
}

static void a_full_table_folds_and_forgets_more_but_never_less(void **state)
{
	struct tag first = tag_of(0), never = tag_of(UINT32_MAX);
	uint64_t last = 0;

	(void)state;
	for (uint32_t i = 0; i <= FRESHNESS_EPOCHS_MAX; i++) {
		struct tag t = tag_of(i);

		last = freshness_stamp(&f, 1000);
		freshness_invalidate(&f, &t, last);
	}
	assert_int_equal(f.folds, 1);
	assert_true(f.epochs.count <= FRESHNESS_EPOCHS_MAX);
	assert_false(freshness_alive(&f, 1000, &first, 1));
	assert_false(freshness_alive(&f, last - 1, &never, 1)); /* more than was asked */
	assert_true(freshness_alive(&f, last + 1, &first, 1));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(stamps_grow_also_when_the_clock_stands_or_jumps_back),
		CASE(a_stamp_seen_in_a_store_is_behind_all_later_ones),
		CASE(what_began_before_the_invalidation_is_dead_and_what_began_after_lives),
		CASE(one_dead_tag_among_many_is_enough),
		CASE(an_older_invalidation_does_not_lower_an_epoch),
		CASE(a_full_table_folds_and_forgets_more_but_never_less),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
