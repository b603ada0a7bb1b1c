/* memory: the limit is hard, scans do not flush it, order of eviction, sweeping. */
#include "tests/unit/store/helpers.h"

#include "server/base/random.h"
#include "server/store/memory.h"

#define LIMIT (UINT64_C(1) << 20)

static struct memory *m;

static int setup(void **state)
{
	(void)state;
	m = memory_new(LIMIT);
	assert_non_null(m);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	memory_free(m);
	return 0;
}

static bool put(struct memory *to, uint64_t n, uint32_t bytes, uint8_t version)
{
	struct entry *e = entry_of(n, bytes, version, 0);
	bool kept = memory_insert(to, e);

	entry_unref(e);
	assert_true(memory_metrics(to)->memory_bytes <= memory_metrics(to)->memory_limit_bytes);
	return kept;
}

static struct entry *get(struct memory *from, uint64_t n)
{
	uint8_t key[ENTRY_KEY_BYTES];

	key_of(n, key);
	return memory_find(from, key);
}

static bool drop(uint64_t n)
{
	uint8_t key[ENTRY_KEY_BYTES];

	key_of(n, key);
	return memory_remove(m, key);
}

static void what_was_inserted_is_found(void **state)
{
	(void)state;
	assert_true(put(m, 1, 100, 'a'));
	assert_entry(get(m, 1), 1, 100, 'a');
	assert_null(get(m, 2));
	assert_int_equal(memory_metrics(m)->memory_entries, 1);
}

static void a_second_entry_of_a_key_replaces_the_first(void **state)
{
	(void)state;
	put(m, 1, 100, 'a');
	put(m, 1, 200, 'b');
	assert_entry(get(m, 1), 1, 200, 'b');
	assert_int_equal(memory_metrics(m)->memory_entries, 1);
}

static void the_same_entry_again_changes_nothing(void **state)
{
	struct entry *e = entry_of(1, 10, 'a', 0);

	(void)state;
	assert_true(memory_insert(m, e));
	assert_true(memory_insert(m, e));
	assert_int_equal(e->refs, 2);
	entry_unref(e);
}

static void a_removed_entry_is_gone_but_lives_for_who_holds_it(void **state)
{
	struct entry *e;

	(void)state;
	put(m, 1, 100, 'a');
	e = entry_ref(get(m, 1));
	assert_true(drop(1));
	assert_false(drop(1));
	assert_null(get(m, 1));
	assert_entry(e, 1, 100, 'a');
	entry_unref(e);
}

static void an_entry_above_an_eighth_of_the_limit_is_refused(void **state)
{
	(void)state;
	assert_false(put(m, 1, LIMIT / 8, 'a'));
	assert_int_equal(memory_metrics(m)->memory_refused_total, 1);
	assert_true(put(m, 1, LIMIT / 8 - 1000, 'a'));
	/* and the older one of its key goes: it is not what was stored last */
	assert_false(put(m, 1, LIMIT / 8, 'b'));
	assert_null(get(m, 1));
}

static void the_limit_holds_after_each_of_many_operations(void **state)
{
	struct random_state r;

	(void)state;
	random_seed(&r, 7);
	for (int i = 0; i < 200000; i++) {
		uint64_t n = random_below(&r, 30000);

		switch (random_below(&r, 8)) {
		case 0:
			drop(n);
			break;
		case 1:
		case 2:
		case 3:
			get(m, n);
			break;
		default:
			put(m, n, (uint32_t)random_below(&r, i < 100000 ? 10 : 4000), 'a');
		}
		assert_true(memory_metrics(m)->memory_bytes <= LIMIT);
	}
	assert_true(memory_metrics(m)->memory_evicted_total > 10000);
	assert_true(memory_metrics(m)->memory_bytes > LIMIT / 2);
}

static void no_insert_evicts_a_crowd_to_let_the_table_grow(void **state)
{
	uint64_t evicted = 0, most = 0;

	(void)state;
	for (uint64_t n = 0; n < 20000; n++) {
		put(m, n, 1, 'a');
		if (memory_metrics(m)->memory_evicted_total - evicted > most)
			most = memory_metrics(m)->memory_evicted_total - evicted;
		evicted = memory_metrics(m)->memory_evicted_total;
	}
	assert_true(evicted > 0);
	assert_in_range(most, 1, 4);
}

static void what_was_asked_again_outlives_what_was_not(void **state)
{
	(void)state;
	put(m, 0, 1000, 'a');
	get(m, 0);
	for (uint64_t n = 1; n < 3000; n++)
		put(m, n, 1000, 'a');
	assert_non_null(get(m, 0));
	assert_null(get(m, 1));
	assert_true(memory_metrics(m)->memory_promoted_total >= 1);
}

static void a_peek_does_not_count_as_asked(void **state)
{
	uint8_t key[ENTRY_KEY_BYTES];

	(void)state;
	key_of(0, key);
	put(m, 0, 1000, 'a');
	assert_non_null(memory_peek(m, key));
	for (uint64_t n = 1; n < 3000; n++)
		put(m, n, 1000, 'a');
	assert_null(memory_peek(m, key));
}

static void what_comes_back_from_the_ghosts_goes_to_main(void **state)
{
	uint64_t n;

	(void)state;
	for (n = 0; n < 1200; n++)
		put(m, n, 1000, 'a');
	assert_null(get(m, 100));
	put(m, 100, 1000, 'a'); /* evicted a moment ago: more than a scan's */
	for (; n < 2000; n++)
		put(m, n, 1000, 'a');
	assert_non_null(get(m, 100));
}

/* ---- against plain LRU. Popular questions after Zipf's law, and questions that never come back. */

#define POPULAR	    20000
#define TRACE	    300000
#define ENTRY_BYTES 1000

static double zipf_sum[POPULAR];

static uint64_t zipf_pick(struct random_state *r)
{
	double u = (double)(random_next(r) >> 11) / (double)(UINT64_C(1) << 53) * zipf_sum[POPULAR - 1];
	size_t low = 0, high = POPULAR - 1;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (zipf_sum[middle] < u)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The simplest LRU: a list of `places`, the number that was asked last in front. */
struct lru {
	uint64_t numbers[1000];
	size_t count, places;
};

static bool lru_ask(struct lru *l, uint64_t n)
{
	size_t i = 0;

	while (i < l->count && l->numbers[i] != n)
		i++;
	if (i == l->count && l->count < l->places)
		l->count++;
	memmove(l->numbers + 1, l->numbers, (i < l->count ? i : l->count - 1) * sizeof *l->numbers);
	l->numbers[0] = n;
	return i < l->count;
}

static bool memory_ask(uint64_t n)
{
	if (get(m, n) != NULL)
		return true;
	put(m, n, ENTRY_BYTES, 'a');
	return false;
}

static void it_beats_lru_on_popular_questions_mixed_with_a_scan(void **state)
{
	static struct lru lru;
	struct random_state r;
	size_t ours = 0, theirs = 0, asked = 0;
	uint64_t scan = 1000000;

	(void)state;
	lru = (struct lru){.places = LIMIT / (ENTRY_BYTES + 200)};
	for (int i = 0; i < POPULAR; i++)
		zipf_sum[i] = (i > 0 ? zipf_sum[i - 1] : 0) + 1.0 / (i + 1);
	random_seed(&r, 1);
	for (int i = 0; i < TRACE; i++) {
		bool is_scan = random_below(&r, 3) == 0;
		uint64_t n = is_scan ? scan++ : zipf_pick(&r);
		bool before = lru_ask(&lru, n), hit = memory_ask(n);

		if (is_scan || i < TRACE / 10)
			continue;
		asked++;
		ours += hit;
		theirs += before;
	}
	print_message("hit ratio of popular questions: memory %.3f, LRU %.3f\n", (double)ours / (double)asked,
		      (double)theirs / (double)asked);
	assert_true(ours > theirs * 11 / 10);
}

static void a_scan_does_not_flush_what_is_popular(void **state)
{
	size_t left = 0;

	(void)state;
	for (int round = 0; round < 4; round++)
		for (uint64_t n = 0; n < 500; n++)
			memory_ask(n);
	for (uint64_t n = 0; n < 20000; n++)
		put(m, 1000000 + n, ENTRY_BYTES, 'a');
	for (uint64_t n = 0; n < 500; n++)
		left += get(m, n) != NULL;
	print_message("of 500 popular entries %zu are left after a scan of 25 times the memory\n", left);
	assert_true(left >= 450);
}

/* ---- sweeping */

static bool is_even(void *owner, const struct entry *e)
{
	++*(size_t *)owner;
	return e->begun % 2 == 0;
}

static void a_sweep_forgets_what_is_denied_in_slices(void **state)
{
	size_t cursor = 0, forgotten = 0, looked = 0, slices = 0;

	(void)state;
	for (uint64_t n = 0; n < 1000; n++)
		put(m, n, 10, 'a');
	do {
		size_t before = looked;

		forgotten += memory_sweep(m, &cursor, 64, is_even, &looked);
		assert_true(looked - before < 200);
		slices++;
	} while (cursor != 0);
	assert_int_equal(forgotten, 500);
	assert_int_equal(memory_metrics(m)->memory_entries, 500);
	assert_true(slices > 5);
	assert_null(get(m, 1));
	assert_non_null(get(m, 2));
}

static void it_is_roomy_until_four_fifths(void **state)
{
	uint64_t n = 0;

	(void)state;
	while (memory_is_roomy(m))
		put(m, n++, 1000, 'a');
	assert_in_range(memory_metrics(m)->memory_bytes, LIMIT * 79 / 100, LIMIT * 81 / 100);
	assert_int_equal(memory_metrics(m)->memory_evicted_total, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_inserted_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(a_second_entry_of_a_key_replaces_the_first, setup, teardown),
		cmocka_unit_test_setup_teardown(the_same_entry_again_changes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_removed_entry_is_gone_but_lives_for_who_holds_it, setup, teardown),
		cmocka_unit_test_setup_teardown(an_entry_above_an_eighth_of_the_limit_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(the_limit_holds_after_each_of_many_operations, setup, teardown),
		cmocka_unit_test_setup_teardown(no_insert_evicts_a_crowd_to_let_the_table_grow, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_asked_again_outlives_what_was_not, setup, teardown),
		cmocka_unit_test_setup_teardown(a_peek_does_not_count_as_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(what_comes_back_from_the_ghosts_goes_to_main, setup, teardown),
		cmocka_unit_test_setup_teardown(it_beats_lru_on_popular_questions_mixed_with_a_scan, setup, teardown),
		cmocka_unit_test_setup_teardown(a_scan_does_not_flush_what_is_popular, setup, teardown),
		cmocka_unit_test_setup_teardown(a_sweep_forgets_what_is_denied_in_slices, setup, teardown),
		cmocka_unit_test_setup_teardown(it_is_roomy_until_four_fifths, setup, teardown),
	};
	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
