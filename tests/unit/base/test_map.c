/* map: what is in it is found, at every moment of a resize, with and without memory; no call moves more than its share.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/failing_malloc.h"

#include "server/base/map.c"

#define MANY 200000

struct item {
	struct map_node node;
	unsigned seen;
	bool in;
};

struct fixture {
	struct map m;
	struct item *items;
	struct random_state random;
	size_t visits;
};

static struct fixture f;

static int setup(void **state)
{
	size_t i;

	(void)state;
	failing_malloc_after = -1;
	f = (struct fixture){.items = calloc(MANY, sizeof *f.items)};
	random_seed(&f.random, 11);
	for (i = 0; i < MANY; i++) {
		uint64_t key[4] = {random_next(&f.random), random_next(&f.random), random_next(&f.random), i};

		memcpy(f.items[i].node.key, key, sizeof key);
	}
	return f.items != NULL ? map_init(&f.m) : -1;
}

static int teardown(void **state)
{
	(void)state;
	failing_malloc_after = -1;
	map_free(&f.m);
	free(f.items);
	return map_bytes(&f.m) == 0 ? 0 : -1;
}

static void put(size_t i)
{
	map_insert(&f.m, &f.items[i].node);
	f.items[i].in = true;
}

static void take(size_t i)
{
	map_remove(&f.m, &f.items[i].node);
	f.items[i].in = false;
}

static void assert_agrees(size_t from, size_t to)
{
	size_t i;

	for (i = from; i < to; i++)
		assert_ptr_equal(map_find(&f.m, f.items[i].node.key), f.items[i].in ? &f.items[i].node : NULL);
}

/* The classes moved by one call that began with `before`; a resize may have ended, begun, or both in it. */
static void assert_moved_little(const struct map *before)
{
	size_t moved;

	if (f.m.old == before->old && f.m.table == before->table)
		moved = f.m.moved - before->moved;
	else if (before->old != NULL)
		moved = map_classes(before) - before->moved + f.m.moved;
	else
		moved = f.m.moved;
	assert_true(moved <= MAP_MOVES_PER_CALL);
}

static void what_was_inserted_is_found_and_what_was_removed_is_not(void **state)
{
	(void)state;
	assert_agrees(0, 3);
	put(0);
	put(1);
	assert_agrees(0, 3);
	take(0);
	assert_agrees(0, 3);
	assert_int_equal(f.m.count, 1);
	take(1);
}

static void keys_that_differ_in_one_byte_are_different(void **state)
{
	size_t i;

	(void)state;
	for (i = 1; i < MAP_KEY_BYTES; i++) {
		memcpy(f.items[i].node.key, f.items[0].node.key, MAP_KEY_BYTES);
		f.items[i].node.key[i] ^= 1;
		put(i);
	}
	assert_agrees(0, MAP_KEY_BYTES);
}

static void no_call_moves_more_than_its_share(void **state)
{
	struct map before;
	size_t i;

	(void)state;
	for (i = 0; i < MANY; i++) {
		before = f.m;
		put(i);
		assert_moved_little(&before);
		assert_true(f.m.count <= f.m.size || f.m.old != NULL);
	}
	assert_agrees(0, MANY);
	assert_in_range(f.m.size, MANY, MANY * 2);
	for (i = 0; i < MANY; i++) {
		before = f.m;
		take(i);
		assert_moved_little(&before);
	}
	assert_int_equal(f.m.count, 0);
	assert_true(map_bytes(&f.m) < MANY / 2); /* deleting shrinks too */
}

static void every_node_is_found_at_every_moment_of_a_resize(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < 300; i++) {
		put(i);
		assert_agrees(0, 300);
	}
	for (i = 0; i < 300; i++) {
		take(i);
		/* Not by map_find alone: it moves buckets and would hide the middle of a resize. */
		f.m.walking = true;
		assert_agrees(0, 300);
		f.m.walking = false;
	}
}

static void growth_without_memory_is_put_off(void **state)
{
	size_t i;

	(void)state;
	failing_malloc_after = 0;
	for (i = 0; i < 1000; i++)
		put(i);
	assert_int_equal(f.m.size, MAP_SIZE_MIN);
	assert_agrees(0, 1000);
	failing_malloc_after = -1;
	for (; i < 3000; i++)
		put(i);
	assert_agrees(0, 3000);
	assert_true(f.m.size >= 2048);
}

static void a_map_that_finds_no_memory_at_all_says_so(void **state)
{
	struct map m = {0};

	(void)state;
	failing_malloc_after = 0;
	assert_int_equal(map_init(&m), -1);
	assert_null(m.table);
	map_free(&m);
}

static void two_maps_put_the_same_key_in_different_places(void **state)
{
	struct map other;
	size_t i, equal = 0;

	(void)state;
	assert_int_equal(map_init(&other), 0);
	for (i = 0; i < 1000; i++)
		equal += (map_hash(&f.m, f.items[i].node.key) & 1023) == (map_hash(&other, f.items[i].node.key) & 1023);
	assert_true(equal < 20); /* one in 1,024 by chance */
	map_free(&other);
}

static void see(void *owner, struct map_node *node)
{
	assert_ptr_equal(owner, &f);
	((struct item *)node)->seen++;
	f.visits++;
}

static void see_and_remove(void *owner, struct map_node *node)
{
	see(owner, node);
	map_remove(&f.m, node);
	((struct item *)node)->in = false;
	memset(&node->next, 0xA5, sizeof node->next); /* it is gone for good */
}

static void a_walk_sees_every_node_once_when_nothing_moves(void **state)
{
	size_t i, cursor = 0, slices = 0;

	(void)state;
	for (i = 0; i < 1000; i++)
		put(i);
	for (i = 0; f.m.old != NULL && i < 1000; i++)
		map_find(&f.m, f.items[0].node.key);
	assert_null(f.m.old);
	do {
		map_walk(&f.m, &cursor, 10, see, &f);
		slices++;
	} while (cursor != 0);
	for (i = 0; i < 1000; i++)
		assert_int_equal(f.items[i].seen, 1);
	assert_true(slices > 50);
}

static void a_walk_sees_every_node_though_the_table_grows_and_shrinks(void **state)
{
	size_t i, cursor, round, steady = 1000, next;

	(void)state;
	for (i = 0; i < steady; i++)
		put(i);
	for (round = 0; round < 40; round++) {
		cursor = 0;
		next = steady;
		for (i = 0; i < steady; i++)
			f.items[i].seen = 0;
		do {
			map_walk(&f.m, &cursor, 1 + random_below(&f.random, 100), see, &f);
			/* even rounds grow, odd ones shrink back to what is steady */
			for (i = 0; i < 150 && next < 8000; i++, next++)
				if (round % 2 == 0)
					put(next);
				else
					take(next);
		} while (cursor != 0);
		for (; next < 8000; next++)
			if (round % 2 == 0)
				put(next);
			else
				take(next);
		for (i = 0; i < steady; i++)
			assert_true(f.items[i].seen >= 1);
	}
}

static void a_walk_may_remove_what_it_is_given(void **state)
{
	size_t i, cursor = 0;

	(void)state;
	for (i = 0; i < 5000; i++)
		put(i);
	do
		map_walk(&f.m, &cursor, 64, see_and_remove, &f);
	while (cursor != 0);
	assert_int_equal(f.m.count, 0);
	assert_int_equal(f.visits, 5000);
	assert_agrees(0, 5000);
}

static void any_mixture_of_calls_agrees_with_flags(void **state)
{
	size_t step, i, limit;

	(void)state;
	for (step = 0; step < 100000; step++) {
		limit = step / 20000 % 2 == 0 ? 4000 : 40; /* breathes in and out */
		i = random_below(&f.random, 4000);
		if (f.items[i].in && (i >= limit || random_below(&f.random, 3) == 0))
			take(i);
		else if (!f.items[i].in && i < limit)
			put(i);
		i = random_below(&f.random, 4000);
		assert_agrees(i, i + 1);
	}
	assert_agrees(0, 4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_inserted_is_found_and_what_was_removed_is_not, setup,
						teardown),
		cmocka_unit_test_setup_teardown(keys_that_differ_in_one_byte_are_different, setup, teardown),
		cmocka_unit_test_setup_teardown(no_call_moves_more_than_its_share, setup, teardown),
		cmocka_unit_test_setup_teardown(every_node_is_found_at_every_moment_of_a_resize, setup, teardown),
		cmocka_unit_test_setup_teardown(growth_without_memory_is_put_off, setup, teardown),
		cmocka_unit_test_setup_teardown(a_map_that_finds_no_memory_at_all_says_so, setup, teardown),
		cmocka_unit_test_setup_teardown(two_maps_put_the_same_key_in_different_places, setup, teardown),
		cmocka_unit_test_setup_teardown(a_walk_sees_every_node_once_when_nothing_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(a_walk_sees_every_node_though_the_table_grows_and_shrinks, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_walk_may_remove_what_it_is_given, setup, teardown),
		cmocka_unit_test_setup_teardown(any_mixture_of_calls_agrees_with_flags, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
