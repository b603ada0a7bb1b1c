/* store: the tiers as one, and the order of what happens on one key. */
#include "tests/unit/store/store_fixture.h"

static void what_was_written_is_found_in_the_same_turn(void **state)
{
	(void)state;
	assert_null(find(1));
	write_one(1, 10, 'a');
	assert_entry(find(1), 1, 10, 'a');
	write_one(1, 10, 'b');
	assert_entry(find(1), 1, 10, 'b');
}

static void a_write_on_its_way_is_found_when_memory_has_let_it_go(void **state)
{
	(void)state;
	write_one(1, 10, 'a');
	forget(1);
	assert_entry(find(1), 1, 10, 'a');
	run(SECOND);
	assert_null(find(1));
	assert_int_equal(durable_sim_disk_entries(f.disk), 1);
}

static void the_newest_of_two_writes_on_their_way_is_found(void **state)
{
	(void)state;
	write_one(1, 10, 'a');
	run(50001); /* the first is being committed */
	write_one(1, 10, 'b');
	forget(1);
	assert_entry(find(1), 1, 10, 'b');
	run(2000); /* the first is committed */
	assert_entry(find(1), 1, 10, 'b');
	run(SECOND);
	assert_null(find(1));
}

static void what_was_read_is_in_memory_then(void **state)
{
	struct seen_read r;

	(void)state;
	write_one(1, 10, 'a');
	run(SECOND);
	forget(1);
	start_read(1, &r);
	run(SECOND);
	assert_ended(&r, 1, 'a');
	assert_entry(find(1), 1, 10, 'a');
	assert_int_equal(counted("store_reads_total"), 1);
}

static void two_reads_of_one_key_share_one_entry(void **state)
{
	struct seen_read r[2];

	(void)state;
	write_one(1, 10, 'a');
	run(SECOND);
	forget(1);
	start_read(1, &r[0]);
	start_read(1, &r[1]);
	run(SECOND);
	assert_ptr_equal(r[0].read.entry, r[1].read.entry);
	assert_ended(&r[0], 1, 'a');
	assert_ended(&r[1], 1, 'a');
}

static void an_entry_too_large_for_memory_is_kept_by_the_durable_store(void **state)
{
	struct seen_read r;

	(void)state;
	write_one(1, 200000, 'a');
	assert_non_null(find(1)); /* on its way */
	run(SECOND);
	assert_null(find(1));
	start_read(1, &r);
	run(SECOND);
	assert_true(r.done);
	assert_entry(r.read.entry, 1, 200000, 'a');
	entry_unref(r.read.entry);
}

static void a_read_that_began_before_a_remove_does_not_bring_the_entry_back(void **state)
{
	struct seen_read r;
	struct seen_ack ack;

	(void)state;
	write_one(1, 10, 'a');
	run(SECOND);
	forget(1);
	f.sim->read_delay_us = 10000;
	start_read(1, &r);
	run(1000);
	remove_one_key(1, &ack);
	run(SECOND);
	assert_ended(&r, 1, 0);
	assert_null(find(1));
	assert_true(ack.done && ack.ack.existed);
}

static void a_read_that_began_before_a_write_ends_with_what_was_written(void **state)
{
	struct seen_read r;

	(void)state;
	write_one(1, 10, 'a');
	run(SECOND);
	forget(1);
	f.sim->read_delay_us = 10000;
	start_read(1, &r);
	run(1000);
	write_one(1, 10, 'b');
	run(SECOND);
	assert_ended(&r, 1, 'b');
	assert_entry(find(1), 1, 10, 'b');
}

static void a_read_overtaken_by_write_and_drop_asks_once_more(void **state)
{
	struct seen_read r;

	(void)state;
	write_one(1, 10, 'a');
	run(SECOND);
	forget(1);
	f.sim->read_delay_us = 100000;
	start_read(1, &r);
	write_one(1, 10, 'b');
	forget(1);
	run(SECOND);
	assert_ended(&r, 1, 'b');
	assert_int_equal(f.sim->reads, 2);
}

static void a_read_that_is_overtaken_again_and_again_gives_up(void **state)
{
	struct seen_read r;
	struct seen_ack acks[STORE_READ_ATTEMPTS];

	(void)state;
	write_one(1, 10, 'a');
	run(SECOND);
	forget(1);
	f.sim->read_delay_us = 10000;
	start_read(1, &r);
	for (int i = 0; i < STORE_READ_ATTEMPTS; i++) {
		assert_false(r.done);
		remove_one_key(1, &acks[i]);
		run(10000);
	}
	assert_ended(&r, 1, 0);
	run(SECOND);
	assert_int_equal(f.sim->reads, STORE_READ_ATTEMPTS);
}

static void a_remove_reaches_memory_writes_on_their_way_and_the_disk(void **state)
{
	struct seen_ack ack;

	(void)state;
	write_one(1, 10, 'a');
	remove_one_key(1, &ack);
	assert_null(find(1));
	run(SECOND);
	assert_true(ack.done && ack.ack.existed);
	assert_int_equal(ack.ack.status, DURABLE_OK);
	assert_int_equal(durable_sim_disk_entries(f.disk), 0);
	remove_one_key(1, &ack);
	run(SECOND);
	assert_true(ack.done);
	assert_false(ack.ack.existed);
}

static void what_only_the_disk_has_existed_too(void **state)
{
	struct seen_ack ack;

	(void)state;
	write_one(1, 10, 'a');
	run(SECOND);
	forget(1);
	remove_one_key(1, &ack);
	run(SECOND);
	assert_true(ack.ack.existed);
}

static void a_durable_store_that_fails_to_read_is_a_miss_and_counted(void **state)
{
	struct seen_read r;

	(void)state;
	write_one(1, 10, 'a');
	run(SECOND);
	forget(1);
	f.sim->reads_fail = true;
	start_read(1, &r);
	run(SECOND);
	assert_ended(&r, 1, 0);
	f.sim->reads_fail = false;
	f.sim->busy = true;
	start_read(1, &r);
	run(SECOND);
	assert_ended(&r, 1, 0);
	assert_int_equal(counted("store_read_failures_total"), 2);
}

static void a_durable_store_that_takes_no_writes_leaves_memory(void **state)
{
	(void)state;
	f.sim->writes_refused = true;
	write_one(1, 10, 'a');
	assert_entry(find(1), 1, 10, 'a');
	assert_int_equal(counted("store_write_failures_total"), 1);
	f.sim->writes_refused = false;
	f.sim->commits_fail = true;
	write_one(2, 10, 'a');
	run(SECOND);
	assert_non_null(find(2));
	assert_int_equal(counted("store_write_failures_total"), 2);
	f.sim->commits_fail = false;
}

static void what_nothing_keeps_is_told(void **state)
{
	struct entry *e = entry_of(1, 200000, 'a', UINT64_MAX);

	(void)state;
	f.sim->busy = true;
	assert_false(store_write(f.store, e));
	entry_unref(e);
	assert_null(find(1));
}

static void a_failed_remove_and_a_failed_epoch_are_told(void **state)
{
	struct seen_ack remove, epoch = {.ack.done = seen_ack_done};
	const struct tag tag = {{1}};

	(void)state;
	f.sim->commits_fail = true;
	remove_one_key(1, &remove);
	store_epoch(f.store, &tag, 9, &epoch.ack);
	run(SECOND);
	assert_true(remove.done && epoch.done);
	assert_int_equal(remove.ack.status, DURABLE_FAILED);
	assert_int_equal(epoch.ack.status, DURABLE_FAILED);
	f.sim->commits_fail = false;
}

static void an_epoch_is_remembered_over_a_restart(void **state)
{
	struct seen_ack epoch = {.ack.done = seen_ack_done};
	const struct tag tag = {{1}};

	(void)state;
	store_epoch(f.store, &tag, 5000, &epoch.ack);
	run(SECOND);
	assert_int_equal(epoch.ack.status, DURABLE_OK);
	close_store();
	open_store(true);
	assert_int_equal(f.epoch, 5000);
	assert_int_equal(f.stamp, 5000);
}

static void closing_flushes_and_ends_what_is_on_its_way(void **state)
{
	struct seen_read r;
	struct seen_ack ack;

	(void)state;
	write_one(1, 10, 'a');
	start_read(2, &r);
	remove_one_key(3, &ack);
	close_store();
	assert_ended(&r, 2, 0);
	assert_true(ack.done);
	assert_int_equal(durable_sim_disk_entries(f.disk), 1);
	open_store(true);
	start_read(1, &r);
	run(SECOND);
	assert_ended(&r, 1, 'a');
}

static void a_kill_loses_only_what_was_not_committed(void **state)
{
	struct seen_read r[2];

	(void)state;
	write_one(1, 10, 'a');
	run(SECOND);
	f.sim->lossy = true;
	write_one(2, 10, 'a');
	close_store();
	open_store(true);
	start_read(1, &r[0]);
	start_read(2, &r[1]);
	run(SECOND);
	assert_ended(&r[0], 1, 'a');
	assert_ended(&r[1], 2, 0);
}

static void without_a_durable_store_everything_ends_in_a_later_turn(void **state)
{
	struct seen_read r;
	struct seen_ack remove, epoch = {.ack.done = seen_ack_done};
	const struct tag tag = {{1}};

	(void)state;
	close_store();
	open_store(false);
	assert_false(store_has_durable(f.store));
	write_one(1, 10, 'a');
	start_read(2, &r);
	remove_one_key(1, &remove);
	store_epoch(f.store, &tag, 9, &epoch.ack);
	run(0);
	assert_ended(&r, 2, 0);
	assert_true(remove.done && remove.ack.existed && remove.ack.status == DURABLE_OK);
	assert_true(epoch.done && epoch.ack.status == DURABLE_OK);
	assert_int_equal(counted("store_reads_total"), 0);
}

static void without_a_durable_store_closing_ends_what_is_on_its_way(void **state)
{
	struct seen_read r;
	struct seen_ack ack;

	(void)state;
	close_store();
	open_store(false);
	start_read(1, &r);
	remove_one_key(1, &ack);
	close_store();
	assert_ended(&r, 1, 0);
	assert_true(ack.done);
	open_store(false);
}

static bool closed_in_ack;

static void close_in_ack(struct durable_ack *a)
{
	(void)a;
	store_close(f.store, set_true, &closed_in_ack);
}

static void it_may_be_closed_by_what_it_tells(void **state)
{
	struct durable_ack ack = {.done = close_in_ack};
	const struct tag tag = {{1}};

	(void)state;
	close_store();
	open_store(false);
	store_epoch(f.store, &tag, 9, &ack);
	run(0);
	assert_true(closed_in_ack);
	open_store(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(what_was_written_is_found_in_the_same_turn),
		CASE(a_write_on_its_way_is_found_when_memory_has_let_it_go),
		CASE(the_newest_of_two_writes_on_their_way_is_found),
		CASE(what_was_read_is_in_memory_then),
		CASE(two_reads_of_one_key_share_one_entry),
		CASE(an_entry_too_large_for_memory_is_kept_by_the_durable_store),
		CASE(a_read_that_began_before_a_remove_does_not_bring_the_entry_back),
		CASE(a_read_that_began_before_a_write_ends_with_what_was_written),
		CASE(a_read_overtaken_by_write_and_drop_asks_once_more),
		CASE(a_read_that_is_overtaken_again_and_again_gives_up),
		CASE(a_remove_reaches_memory_writes_on_their_way_and_the_disk),
		CASE(what_only_the_disk_has_existed_too),
		CASE(a_durable_store_that_fails_to_read_is_a_miss_and_counted),
		CASE(a_durable_store_that_takes_no_writes_leaves_memory),
		CASE(what_nothing_keeps_is_told),
		CASE(a_failed_remove_and_a_failed_epoch_are_told),
		CASE(an_epoch_is_remembered_over_a_restart),
		CASE(closing_flushes_and_ends_what_is_on_its_way),
		CASE(a_kill_loses_only_what_was_not_committed),
		CASE(without_a_durable_store_everything_ends_in_a_later_turn),
		CASE(without_a_durable_store_closing_ends_what_is_on_its_way),
		CASE(it_may_be_closed_by_what_it_tells),
	};
	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
