/* lmdb: what is written is read again, also by the next process; order on one key; limits; warming. */
#include "tests/unit/store/helpers.h"

#include <fcntl.h>
#include <sys/file.h>

#include "server/store/lmdb.h"

struct fixture {
	struct loop *loop;
	struct durable d;
	struct lmdb_options options;
	struct durable_events events;
	char path[64];
	char error[512];

	uint64_t stamp, epoch;
	size_t epochs, found, found_max;
	bool enough; /* found_max were found, or one more was offered */
	struct tag epoch_tag;
	uint8_t found_version;
};

static struct fixture f;

static void on_epoch(void *owner, const struct tag *tag, uint64_t stamp)
{
	(void)owner;
	f.epochs++;
	f.epoch = stamp;
	f.epoch_tag = *tag;
}

static void on_stamp(void *owner, uint64_t stamp)
{
	(void)owner;
	f.stamp = stamp;
}

static bool on_found(void *owner, struct entry *e)
{
	(void)owner;
	if (f.found == f.found_max) {
		f.enough = true;
		return false;
	}
	f.found++;
	f.found_version = entry_payload(e).n > 0 ? entry_payload(e).p[0] : 0;
	return true;
}

static void open_again(void)
{
	assert_int_equal(lmdb_open(&f.d, f.loop, &f.options, &f.events, f.error, sizeof f.error), 0);
}

static void shut(void)
{
	bool closed = false;

	f.d.ops->close(f.d.impl, set_true, &closed);
	assert_false(closed);
	wait_for(f.loop, &closed);
}

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){.found_max = SIZE_MAX};
	f.loop = loop_new();
	make_scratch(f.path);
	f.options = (struct lmdb_options){.path = f.path, .limit_bytes = 64 << 20, .commit_interval_ms = 5};
	f.events = (struct durable_events){.epoch = on_epoch, .stamp = on_stamp};
	open_again();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (f.d.ops != NULL)
		shut();
	loop_free(f.loop);
	remove_scratch(f.path);
	return 0;
}

static void write_one(uint64_t n, uint32_t bytes, uint8_t version, uint64_t expires_us, struct seen_ack *ack)
{
	struct entry *e = entry_of(n, bytes, version, expires_us);

	if (ack != NULL)
		*ack = (struct seen_ack){.ack.done = seen_ack_done};
	assert_int_equal(f.d.ops->write(f.d.impl, e, ack != NULL ? &ack->ack : NULL), DURABLE_OK);
	entry_unref(e);
}

static void write_committed(uint64_t n, uint32_t bytes, uint8_t version)
{
	struct seen_ack ack;

	write_one(n, bytes, version, loop_wall_us(f.loop) + HOUR_US, &ack);
	assert_false(ack.done);
	wait_for(f.loop, &ack.done);
	assert_int_equal(ack.ack.status, DURABLE_OK);
}

static void start_read(uint64_t n, struct seen_read *r)
{
	*r = (struct seen_read){.read.done = seen_read_done};
	key_of(n, r->read.key);
	f.d.ops->read(f.d.impl, &r->read);
	assert_false(r->done);
}

/* version 0: not there */
static void assert_reads(uint64_t n, uint32_t bytes, uint8_t version)
{
	struct seen_read r;

	start_read(n, &r);
	wait_for(f.loop, &r.done);
	if (version == 0) {
		assert_int_equal(r.read.status, DURABLE_NOT_FOUND);
		return;
	}
	assert_int_equal(r.read.status, DURABLE_OK);
	assert_entry(r.read.entry, n, bytes, version);
	entry_unref(r.read.entry);
}

static void remove_one_key(uint64_t n, struct seen_ack *ack)
{
	uint8_t key[ENTRY_KEY_BYTES];

	*ack = (struct seen_ack){.ack.done = seen_ack_done};
	key_of(n, key);
	f.d.ops->remove(f.d.impl, key, &ack->ack);
	assert_false(ack->done);
}

static void what_was_committed_is_read_after_a_restart(void **state)
{
	(void)state;
	write_committed(1, 100, 'a');
	write_committed(2, 5 << 20, 'b');
	shut();
	open_again();
	assert_int_equal(lmdb_metrics(&f.d)->lmdb_entries, 2);
	assert_reads(1, 100, 'a');
	assert_reads(2, 5 << 20, 'b');
	assert_reads(3, 0, 0);
	assert_int_equal(f.stamp, 1002);
}

static void a_write_on_its_way_is_read(void **state)
{
	(void)state;
	write_one(1, 100, 'a', UINT64_MAX, NULL);
	assert_reads(1, 100, 'a');
	write_one(1, 50, 'b', UINT64_MAX, NULL);
	assert_reads(1, 50, 'b');
}

static void a_removed_entry_is_not_read_while_the_remove_is_on_its_way(void **state)
{
	struct seen_ack ack;
	struct seen_read r;

	(void)state;
	write_committed(1, 100, 'a');
	remove_one_key(1, &ack);
	start_read(1, &r);
	wait_for(f.loop, &r.done);
	assert_int_equal(r.read.status, DURABLE_NOT_FOUND);
	wait_for(f.loop, &ack.done);
	assert_int_equal(ack.ack.status, DURABLE_OK);
	assert_true(ack.ack.existed);
	assert_reads(1, 0, 0);
	assert_int_equal(lmdb_metrics(&f.d)->lmdb_entries, 0);
}

static void operations_on_one_key_take_effect_in_the_order_of_the_calls(void **state)
{
	struct seen_ack first, second;

	(void)state;
	write_one(1, 10, 'a', UINT64_MAX, NULL);
	remove_one_key(1, &first);
	write_one(1, 10, 'b', UINT64_MAX - 1, NULL);
	write_one(2, 10, 'a', UINT64_MAX, NULL);
	remove_one_key(2, &second);
	wait_for(f.loop, &second.done);
	assert_true(first.done && first.ack.existed && second.ack.existed);
	assert_reads(1, 10, 'b');
	assert_reads(2, 0, 0);
	shut();
	open_again();
	assert_reads(1, 10, 'b');
	assert_reads(2, 0, 0);
}

static void removing_what_is_not_there_says_so(void **state)
{
	struct seen_ack ack;

	(void)state;
	remove_one_key(1, &ack);
	wait_for(f.loop, &ack.done);
	assert_int_equal(ack.ack.status, DURABLE_OK);
	assert_false(ack.ack.existed);
}

static void a_remove_does_not_wait_for_the_commit_interval(void **state)
{
	struct seen_ack ack;
	uint64_t began_us;

	(void)state;
	shut();
	f.options.commit_interval_ms = 10000;
	open_again();
	write_one(1, 10, 'a', UINT64_MAX, NULL);
	began_us = loop_clock_us(f.loop);
	remove_one_key(1, &ack);
	wait_for(f.loop, &ack.done);
	assert_true(loop_clock_us(f.loop) - began_us < 5000000);
}

static void epochs_keep_their_maximum_and_come_back_at_open(void **state)
{
	const struct tag tag = {{42}};
	struct seen_ack acks[3];
	const uint64_t stamps[] = {5000, 9000, 7000};

	(void)state;
	for (int i = 0; i < 3; i++) {
		acks[i] = (struct seen_ack){.ack.done = seen_ack_done};
		f.d.ops->epoch(f.d.impl, &tag, stamps[i], &acks[i].ack);
	}
	wait_for(f.loop, &acks[2].done);
	shut();
	open_again();
	assert_int_equal(f.epochs, 1);
	assert_int_equal(f.epoch, 9000);
	assert_memory_equal(&f.epoch_tag, &tag, sizeof tag);
	assert_int_equal(f.stamp, 9000);
}

static void closing_flushes_what_was_written(void **state)
{
	struct seen_ack ack;

	(void)state;
	shut();
	f.options.commit_interval_ms = 10000;
	open_again();
	write_one(1, 10, 'a', UINT64_MAX, &ack);
	shut();
	assert_true(ack.done);
	assert_int_equal(ack.ack.status, DURABLE_OK);
	open_again();
	assert_reads(1, 10, 'a');
}

static void reads_that_run_while_it_closes_end(void **state)
{
	struct seen_read r[100];

	(void)state;
	write_committed(1, 10, 'a');
	for (uint64_t i = 0; i < 100; i++)
		start_read(i % 2, &r[i]);
	shut();
	for (int i = 0; i < 100; i++) {
		assert_true(r[i].done);
		assert_int_equal(r[i].read.status, i % 2 ? DURABLE_OK : DURABLE_NOT_FOUND);
		if (i % 2)
			entry_unref(r[i].read.entry);
	}
	open_again();
}

static void one_read_too_many_is_busy_and_counted(void **state)
{
	struct seen_read *r = calloc(LMDB_READS_MAX + 1, sizeof *r);

	(void)state;
	for (uint64_t i = 0; i <= LMDB_READS_MAX; i++)
		start_read(i, &r[i]);
	for (int i = 0; i <= LMDB_READS_MAX; i++)
		wait_for(f.loop, &r[i].done);
	assert_int_equal(r[LMDB_READS_MAX].read.status, DURABLE_BUSY);
	assert_int_equal(r[0].read.status, DURABLE_NOT_FOUND);
	assert_int_equal(lmdb_metrics(&f.d)->lmdb_busy_total, 1);
	free(r);
}

static void pending_bytes_have_a_ceiling(void **state)
{
	struct entry *e = entry_of(1, 15 << 20, 'x', UINT64_MAX);
	int taken = 0;

	(void)state;
	while (f.d.ops->write(f.d.impl, e, NULL) == DURABLE_OK)
		taken++;
	entry_unref(e);
	assert_int_equal(taken, LMDB_PENDING_BYTES_MAX / (15 << 20));
	assert_int_equal(lmdb_metrics(&f.d)->lmdb_busy_total, 1);
	assert_true(lmdb_metrics(&f.d)->lmdb_pending_bytes <= LMDB_PENDING_BYTES_MAX);
	shut();
	open_again();
	assert_reads(1, 15 << 20, 'x');
}

static void what_expires_first_makes_room(void **state)
{
	struct seen_ack ack;
	uint64_t now_us = loop_wall_us(f.loop);

	(void)state;
	shut();
	f.options.limit_bytes = 1 << 20;
	open_again();
	for (uint64_t n = 0; n < 2000; n++)
		write_one(n, 3000, 'a', now_us + HOUR_US + n, n == 1999 ? &ack : NULL);
	wait_for(f.loop, &ack.done);
	shut();
	open_again();
	assert_in_range(lmdb_metrics(&f.d)->lmdb_bytes, (1 << 20) * 8 / 10, 1 << 20);
	assert_reads(0, 0, 0);
	assert_reads(1999, 3000, 'a');
}

static void expired_rows_are_deleted(void **state)
{
	struct seen_ack ack;
	uint64_t now_us = loop_wall_us(f.loop);

	(void)state;
	write_one(1, 10, 'a', now_us - 1, NULL);
	write_one(2, 10, 'a', now_us + HOUR_US, &ack);
	wait_for(f.loop, &ack.done);
	assert_int_equal(lmdb_metrics(&f.d)->lmdb_entries, 1);
	assert_int_equal(lmdb_metrics(&f.d)->lmdb_swept_total, 1);
	assert_reads(1, 0, 0);
}

static void fill(uint64_t count)
{
	struct seen_ack ack;

	for (uint64_t n = 0; n < count; n++)
		write_one(n, 100, 'a', loop_wall_us(f.loop) + HOUR_US + n, n == count - 1 ? &ack : NULL);
	wait_for(f.loop, &ack.done);
}

static void warming_finds_every_entry(void **state)
{
	(void)state;
	fill(1000);
	shut();
	f.events.found = on_found;
	f.found_max = 999;
	open_again();
	wait_for(f.loop, &f.enough);
	assert_int_equal(f.found, 999);
	assert_int_equal(lmdb_metrics(&f.d)->lmdb_warmed_total, 999);
}

static void warming_stops_when_it_is_told_to(void **state)
{
	(void)state;
	fill(1000);
	shut();
	f.events.found = on_found;
	f.found_max = 70;
	open_again();
	wait_for(f.loop, &f.enough);
	wait_us(f.loop, &(const bool){false}, 50000);
	assert_int_equal(f.found, 70);
}

static void warming_does_not_bring_back_what_was_removed_or_written_since(void **state)
{
	struct seen_ack ack[2];

	(void)state;
	write_committed(1, 10, 'a');
	write_committed(2, 10, 'a');
	shut();
	f.events.found = on_found;
	open_again();
	wait_us(f.loop, &(const bool){false}, 0); /* the job runs, or has ended on its thread */
	remove_one_key(1, &ack[0]);
	write_one(2, 10, 'b', UINT64_MAX, &ack[1]);
	wait_for(f.loop, &ack[1].done);
	assert_true(ack[0].done);
	assert_true(f.found == 0 || f.found_version == 'b');
}

static void closing_while_it_warms_is_fine(void **state)
{
	(void)state;
	fill(1000);
	shut();
	f.events.found = on_found;
	open_again();
	shut();
	open_again();
}

static void a_second_one_on_the_same_path_is_refused_by_name(void **state)
{
	struct durable other;

	(void)state;
	assert_int_equal(lmdb_open(&other, f.loop, &f.options, &f.events, f.error, sizeof f.error), LMDB_LOCKED);
	assert_non_null(strstr(f.error, f.path));
	assert_non_null(strstr(f.error, "in use"));
}

static void the_directory_is_made_with_its_parents(void **state)
{
	char path[128];

	(void)state;
	shut();
	snprintf(path, sizeof path, "%s/a/b/c", f.path);
	f.options.path = path;
	open_again();
	write_committed(1, 10, 'a');
	shut();
	f.d.ops = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_committed_is_read_after_a_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(a_write_on_its_way_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(a_removed_entry_is_not_read_while_the_remove_is_on_its_way, setup,
						teardown),
		cmocka_unit_test_setup_teardown(operations_on_one_key_take_effect_in_the_order_of_the_calls, setup,
						teardown),
		cmocka_unit_test_setup_teardown(removing_what_is_not_there_says_so, setup, teardown),
		cmocka_unit_test_setup_teardown(a_remove_does_not_wait_for_the_commit_interval, setup, teardown),
		cmocka_unit_test_setup_teardown(epochs_keep_their_maximum_and_come_back_at_open, setup, teardown),
		cmocka_unit_test_setup_teardown(closing_flushes_what_was_written, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_that_run_while_it_closes_end, setup, teardown),
		cmocka_unit_test_setup_teardown(one_read_too_many_is_busy_and_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(pending_bytes_have_a_ceiling, setup, teardown),
		cmocka_unit_test_setup_teardown(what_expires_first_makes_room, setup, teardown),
		cmocka_unit_test_setup_teardown(expired_rows_are_deleted, setup, teardown),
		cmocka_unit_test_setup_teardown(warming_finds_every_entry, setup, teardown),
		cmocka_unit_test_setup_teardown(warming_stops_when_it_is_told_to, setup, teardown),
		cmocka_unit_test_setup_teardown(warming_does_not_bring_back_what_was_removed_or_written_since, setup,
						teardown),
		cmocka_unit_test_setup_teardown(closing_while_it_warms_is_fine, setup, teardown),
		cmocka_unit_test_setup_teardown(a_second_one_on_the_same_path_is_refused_by_name, setup, teardown),
		cmocka_unit_test_setup_teardown(the_directory_is_made_with_its_parents, setup, teardown),
	};
	return cmocka_run_group_tests_name("lmdb", tests, NULL, NULL);
}
