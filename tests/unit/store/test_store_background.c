/* store: what goes on behind the requests: warming after a start, reclaiming. */
#include "tests/unit/store/store_fixture.h"

/* ---- warming */

static void fill_and_reopen(uint64_t count)
{
	for (uint64_t n = 0; n < count; n++)
		write_one(n, 10, 'a');
	run(SECOND);
	close_store();
	open_store(true);
}

static void warming_fills_memory(void **state)
{
	(void)state;
	fill_and_reopen(100);
	assert_null(find(50));
	durable_sim_warm(f.sim, 1000, store_found, f.store);
	run(SECOND);
	for (uint64_t n = 0; n < 100; n++)
		assert_entry(find(n), n, 10, 'a');
}

static void warming_leaves_out_what_was_written_or_removed_since(void **state)
{
	struct seen_ack ack;

	(void)state;
	fill_and_reopen(3);
	durable_sim_warm(f.sim, SECOND, store_found, f.store);
	run(1000);
	write_one(1, 10, 'b');
	remove_one_key(2, &ack);
	run(2 * SECOND);
	assert_entry(find(0), 0, 10, 'a');
	assert_entry(find(1), 1, 10, 'b');
	assert_null(find(2));
}

static void warming_leaves_out_what_is_dead(void **state)
{
	(void)state;
	fill_and_reopen(10);
	f.dead_from = 1005;
	durable_sim_warm(f.sim, 0, store_found, f.store);
	run(SECOND);
	assert_null(find(4));
	assert_non_null(find(5));
}

static void a_row_with_a_payload_that_nobody_made_is_not_found_by_reading_nor_by_warming(void **state)
{
	struct seen_read r;

	(void)state;
	fill_and_reopen(10);
	f.unsound_from = 1005;
	start_read(7, &r);
	run(SECOND);
	assert_ended(&r, 7, 0);
	start_read(4, &r);
	run(SECOND);
	assert_ended(&r, 4, 'a');
	durable_sim_warm(f.sim, 0, store_found, f.store);
	run(SECOND);
	assert_non_null(find(3));
	assert_null(find(6));
	assert_null(find(7));
}

static void warming_stops_when_memory_is_nearly_full(void **state)
{
	(void)state;
	fill_and_reopen(7000);
	durable_sim_warm(f.sim, 0, store_found, f.store);
	run(SECOND);
	assert_in_range(counted("memory_bytes"), MEMORY_LIMIT * 79 / 100, MEMORY_LIMIT * 81 / 100);
	assert_int_equal(counted("memory_evicted_total"), 0);
}

/* ---- reclaiming */

static void reclaiming_forgets_the_dead_in_slices(void **state)
{
	(void)state;
	for (uint64_t n = 0; n < 3000; n++)
		write_one(n, 10, 'a');
	f.dead_from = 1000 + 2000;
	store_reclaim(f.store);
	run(STORE_RECLAIM_GAP_US);
	assert_in_range(counted("store_reclaimed_total"), 1, STORE_RECLAIM_SLICE * 2);
	run(SECOND);
	assert_int_equal(counted("store_reclaimed_total"), 2000);
	assert_int_equal(counted("memory_entries"), 1000);
}

static void a_reclaim_that_runs_goes_around_once_more(void **state)
{
	(void)state;
	for (uint64_t n = 0; n < 3000; n++)
		write_one(n, 10, 'a');
	f.dead_from = 1000 + 1000;
	store_reclaim(f.store);
	run(STORE_RECLAIM_GAP_US * 3);
	f.dead_from = 1000 + 2000;
	store_reclaim(f.store);
	run(SECOND);
	assert_int_equal(counted("memory_entries"), 1000);
}

static void reclaims_that_come_faster_than_one_ends_reach_everything(void **state)
{
	(void)state;
	for (uint64_t n = 0; n < 5000; n++)
		write_one(n, 10, 'a');
	f.dead_from = 1000 + 5000;
	for (int i = 0; i < 200; i++) {
		store_reclaim(f.store);
		run(STORE_RECLAIM_GAP_US / 2);
	}
	assert_int_equal(counted("memory_entries"), 0);
}

static void closing_while_it_reclaims_is_fine(void **state)
{
	(void)state;
	for (uint64_t n = 0; n < 3000; n++)
		write_one(n, 10, 'a');
	store_reclaim(f.store);
	run(STORE_RECLAIM_GAP_US);
	close_store();
	open_store(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(warming_fills_memory),
		CASE(warming_leaves_out_what_was_written_or_removed_since),
		CASE(warming_leaves_out_what_is_dead),
		CASE(a_row_with_a_payload_that_nobody_made_is_not_found_by_reading_nor_by_warming),
		CASE(warming_stops_when_memory_is_nearly_full),
		CASE(reclaiming_forgets_the_dead_in_slices),
		CASE(a_reclaim_that_runs_goes_around_once_more),
		CASE(reclaims_that_come_faster_than_one_ends_reach_everything),
		CASE(closing_while_it_reclaims_is_fine),
	};
	return cmocka_run_group_tests_name("store_background", tests, NULL, NULL);
}
