/* lmdb when LMDB, the disk, the pool or the memory fails: in virtual time, with functions of LMDB replaced by ones that
 * fail on demand (this program's symbols come before the shared library's). */
#include "tests/unit/store/helpers.h"

#include <dlfcn.h>
#include <errno.h>

/* The virtual loop as part of this program: its symbols come before those of server_base. */
#include "tests/sim/loop_sim.c"

#include "server/store/lmdb_internal.h"

#define SECOND UINT64_C(1000000)

struct faults {
	int commit_rc, commits; /* the next `commits` commits fail with commit_rc */
	int put_rc, puts;	/* and puts of more than 1,000 bytes */
	int get_rc, gets;
	size_t map_bytes; /* in place of what is asked for */
	int opens;	  /* environments opened */
};

struct fixture {
	struct loop *loop;
	struct durable d;
	struct lmdb_options options;
	struct durable_events events;
	char path[64];
	char error[512];
	size_t found;
};

static struct faults faults;
static struct fixture f;

#define EXPORTED   __attribute__((visibility("default")))
#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);

	assert_non_null(p);
	return p;
}

static bool fails(int *left) { return *left > 0 && (*left)-- > 0; }

EXPORTED int mdb_txn_commit(MDB_txn *txn)
{
	if (!fails(&faults.commits))
		return REAL(mdb_txn_commit)(txn);
	mdb_txn_abort(txn);
	return faults.commit_rc;
}

EXPORTED int mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned int flags)
{
	if (data->mv_size > 1000 && fails(&faults.puts))
		return faults.put_rc;
	return REAL(mdb_put)(txn, dbi, key, data, flags);
}

EXPORTED int mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data)
{
	if (fails(&faults.gets))
		return faults.get_rc;
	return REAL(mdb_get)(txn, dbi, key, data);
}

EXPORTED int mdb_env_set_mapsize(MDB_env *env, size_t size)
{
	return REAL(mdb_env_set_mapsize)(env, faults.map_bytes > 0 ? faults.map_bytes : size);
}

EXPORTED int mdb_env_open(MDB_env *env, const char *path, unsigned int flags, mdb_mode_t mode)
{
	faults.opens++;
	return REAL(mdb_env_open)(env, path, flags, mode);
}

/* ---- fixture */

static void open_store(void)
{
	if (lmdb_open(&f.d, f.loop, &f.options, &f.events, f.error, sizeof f.error) != 0)
		fail_msg("%s", f.error);
}

static void close_store(void)
{
	bool closed = false;

	f.d.ops->close(f.d.impl, set_true, &closed);
	assert_false(closed);
	loop_run(f.loop);
	assert_true(closed);
}

static int setup(void **state)
{
	(void)state;
	faults = (struct faults){0};
	f = (struct fixture){.loop = loop_new()};
	make_scratch(f.path);
	f.options = (struct lmdb_options){.path = f.path, .limit_bytes = 64 << 20, .commit_interval_ms = 50};
	open_store();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close_store();
	loop_free(f.loop);
	remove_scratch(f.path);
	return 0;
}

static struct lmdb_metrics *metrics(void) { return lmdb_metrics(&f.d); }
static void run(uint64_t us) { loop_sim_run_for(f.loop, us); }

static enum durable_status start_write(uint64_t n, uint32_t bytes, uint8_t version, struct seen_ack *ack)
{
	struct entry *e = entry_of(n, bytes, version, loop_wall_us(f.loop) + HOUR_US + n);
	enum durable_status status;

	*ack = (struct seen_ack){.ack.done = seen_ack_done};
	status = f.d.ops->write(f.d.impl, e, &ack->ack);
	entry_unref(e);
	return status;
}

static void assert_write_ends(uint64_t n, uint32_t bytes, uint8_t version, enum durable_status expected)
{
	struct seen_ack ack;

	assert_int_equal(start_write(n, bytes, version, &ack), DURABLE_OK);
	run(SECOND);
	assert_true(ack.done);
	assert_int_equal(ack.ack.status, expected);
}

static void start_remove(uint64_t n, struct seen_ack *ack)
{
	uint8_t key[ENTRY_KEY_BYTES];

	*ack = (struct seen_ack){.ack.done = seen_ack_done};
	key_of(n, key);
	f.d.ops->remove(f.d.impl, key, &ack->ack);
}

static void start_read(uint64_t n, struct seen_read *r)
{
	*r = (struct seen_read){.read.done = seen_read_done};
	key_of(n, r->read.key);
	f.d.ops->read(f.d.impl, &r->read);
	assert_false(r->done);
}

static enum durable_status read_now(uint64_t n)
{
	struct seen_read r;

	start_read(n, &r);
	run(SECOND);
	assert_true(r.done);
	if (r.read.status == DURABLE_OK)
		entry_unref(r.read.entry);
	return r.read.status;
}

/* ---- the map is full */

static void a_map_that_is_full_now_and_then_loses_nothing(void **state)
{
	(void)state;
	faults.put_rc = MDB_MAP_FULL;
	faults.puts = 2;
	assert_write_ends(1, 2000, 'a', DURABLE_OK);
	assert_int_equal(faults.puts, 0);
	faults.commit_rc = MDB_MAP_FULL;
	faults.commits = 1;
	assert_write_ends(2, 2000, 'a', DURABLE_OK);
	assert_int_equal(metrics()->lmdb_degraded, 0);
	assert_int_equal(read_now(2), DURABLE_OK);
}

static void a_map_that_stays_full_drops_writes_but_not_removes_and_epochs(void **state)
{
	struct seen_ack write, remove, epoch = {.ack.done = seen_ack_done};
	const struct tag tag = {{1}};

	(void)state;
	assert_write_ends(1, 2000, 'a', DURABLE_OK);
	assert_write_ends(2, 2000, 'a', DURABLE_OK);
	faults.put_rc = MDB_MAP_FULL;
	faults.puts = 1000;
	assert_int_equal(start_write(1, 2000, 'b', &write), DURABLE_OK);
	start_remove(2, &remove);
	f.d.ops->epoch(f.d.impl, &tag, 5, &epoch.ack);
	run(SECOND);
	assert_true(write.done && remove.done && epoch.done);
	assert_int_equal(write.ack.status, DURABLE_FAILED);
	assert_int_equal(remove.ack.status, DURABLE_OK);
	assert_int_equal(epoch.ack.status, DURABLE_OK);
	assert_int_equal(metrics()->lmdb_degraded, 0);
	faults.puts = 0;
	assert_int_equal(read_now(1), DURABLE_NOT_FOUND); /* not the older one: it was replaced */
}

static void reopen(uint64_t limit_bytes, size_t map_bytes)
{
	close_store();
	f.options.limit_bytes = limit_bytes;
	faults.map_bytes = map_bytes;
	open_store();
	faults.map_bytes = 0;
}

/* Large records among small ones, and a map hardly larger than the limit: free pages are there, but scattered. */
static void a_small_map_is_survived_by_deleting(void **state)
{
	struct seen_ack ack;
	size_t kept = 0;

	(void)state;
	reopen(1500000, 2 << 20);
	for (uint64_t n = 0; n < 2000; n++) {
		assert_int_equal(start_write(n, n % 10 == 0 ? 100000 : 3000, 'a', &ack), DURABLE_OK);
		run(100000);
		kept += ack.ack.status == DURABLE_OK;
	}
	assert_int_equal(metrics()->lmdb_degraded, 0);
	assert_in_range(kept, 1990, 2000);
	assert_int_equal(read_now(1999), DURABLE_OK);
	assert_true(metrics()->lmdb_swept_total > 1000);
	start_remove(1999, &ack);
	run(SECOND);
	assert_int_equal(ack.ack.status, DURABLE_OK);
}

static void a_map_too_small_even_for_deleting_is_made_anew(void **state)
{
	(void)state;
	assert_write_ends(1, 10, 'a', DURABLE_OK);
	faults.commit_rc = MDB_MAP_FULL;
	faults.commits = 1000;
	faults.opens = 0;
	assert_write_ends(2, 10, 'a', DURABLE_FAILED);
	assert_int_equal(metrics()->lmdb_degraded, 1);
	faults.commits = 0;
	run(LMDB_PROBE_MS * 1000);
	assert_int_equal(faults.opens, 1);
	assert_int_equal(metrics()->lmdb_degraded, 0);
	assert_int_equal(read_now(1), DURABLE_OK);
}

static void a_lower_limit_is_reached_by_sweeping(void **state)
{
	static struct seen_ack acks[4000];

	(void)state;
	for (uint64_t n = 0; n < 4000; n++)
		assert_int_equal(start_write(n, 12000, 'a', &acks[n]), DURABLE_OK);
	run(SECOND);
	assert_int_equal(metrics()->lmdb_entries, 4000);
	assert_true(metrics()->lmdb_bytes > 40 << 20); /* more than the map of the lower limit */
	reopen(1 << 20, 0);
	loop_sim_job_delay_us(f.loop, 10000);
	assert_int_equal(start_write(4000, 3000, 'a', &acks[0]), DURABLE_OK);
	run(70000);
	start_remove(3999, &acks[1]); /* does not wait for the limit */
	run(30000);
	assert_true(acks[1].done && metrics()->lmdb_bytes > 10 << 20);
	run(SECOND);
	assert_in_range(metrics()->lmdb_bytes, 1 << 19, 1 << 20);
	assert_int_equal(metrics()->lmdb_degraded, 0);
	assert_int_equal(read_now(4000), DURABLE_OK);
	assert_int_equal(read_now(0), DURABLE_NOT_FOUND);
}

/* ---- the disk fails */

static void a_failing_commit_degrades_it_and_a_probe_brings_it_back(void **state)
{
	struct seen_ack ack;

	(void)state;
	assert_write_ends(1, 10, 'a', DURABLE_OK);
	faults.commit_rc = EIO;
	faults.commits = 2;
	assert_write_ends(2, 10, 'a', DURABLE_FAILED);
	assert_int_equal(metrics()->lmdb_degraded, 1);
	assert_int_equal(start_write(3, 10, 'a', &ack), DURABLE_FAILED);
	start_remove(1, &ack);
	assert_false(ack.done);
	run(0);
	assert_int_equal(ack.ack.status, DURABLE_FAILED);
	assert_int_equal(read_now(1), DURABLE_OK);
	run(LMDB_PROBE_MS * 1000); /* the first probe fails too */
	assert_int_equal(metrics()->lmdb_degraded, 1);
	run(LMDB_PROBE_MS * 1000);
	assert_int_equal(metrics()->lmdb_degraded, 0);
	assert_write_ends(3, 10, 'a', DURABLE_OK);
	assert_int_equal(metrics()->lmdb_failures_total, 3);
}

static void writes_behind_a_failed_commit_are_dropped_too(void **state)
{
	struct seen_ack acks[3];

	(void)state;
	loop_sim_job_delay_us(f.loop, 10000);
	faults.commit_rc = ENOSPC;
	faults.commits = 1;
	assert_int_equal(start_write(1, 10, 'a', &acks[0]), DURABLE_OK);
	run(26000); /* its job runs: it began after half of the commit interval */
	assert_int_equal(start_write(2, 10, 'a', &acks[1]), DURABLE_OK);
	start_remove(3, &acks[2]);
	run(SECOND);
	for (int i = 0; i < 3; i++)
		assert_true(acks[i].done && acks[i].ack.status == DURABLE_FAILED);
}

static void an_environment_that_lmdb_gives_up_is_opened_anew(void **state)
{
	struct seen_read r;

	(void)state;
	assert_write_ends(1, 10, 'a', DURABLE_OK);
	faults.commit_rc = MDB_PANIC;
	faults.commits = 1;
	faults.opens = 0;
	assert_write_ends(2, 10, 'a', DURABLE_FAILED);
	start_read(1, &r);
	run(0);
	assert_int_equal(r.read.status, DURABLE_FAILED);
	run(LMDB_PROBE_MS * 1000);
	assert_int_equal(faults.opens, 1);
	assert_int_equal(metrics()->lmdb_degraded, 0);
	assert_int_equal(read_now(1), DURABLE_OK);
	assert_write_ends(2, 10, 'a', DURABLE_OK);
}

static void damage_found_while_running_stops_writing_until_the_next_start_checks(void **state)
{
	struct seen_ack ack;

	(void)state;
	assert_write_ends(1, 10, 'a', DURABLE_OK);
	faults.commit_rc = MDB_CORRUPTED;
	faults.commits = 1;
	assert_write_ends(2, 10, 'a', DURABLE_FAILED);
	run(LMDB_PROBE_MS * 10000);
	assert_int_equal(metrics()->lmdb_degraded, 1);
	assert_int_equal(start_write(3, 10, 'a', &ack), DURABLE_FAILED);
	close_store();
	faults.opens = 0;
	open_store(); /* it is sound after all, and the child said so */
	assert_int_equal(metrics()->lmdb_degraded, 0);
	assert_int_equal(read_now(1), DURABLE_OK);
}

static void a_batch_that_was_due_is_not_written_to_a_file_that_is_damaged(void **state)
{
	struct seen_ack acks[2];
	struct seen_read r;

	(void)state;
	assert_write_ends(1, 10, 'a', DURABLE_OK);
	faults.get_rc = MDB_CORRUPTED;
	loop_sim_job_delay_us(f.loop, 10000);
	start_read(1, &r);
	run(1000);
	loop_sim_job_delay_us(f.loop, 100000);
	start_remove(6, &acks[0]); /* runs when the damage is found … */
	run(1000);
	start_remove(7, &acks[1]); /* … and this one waits behind it */
	faults.gets = 1;
	run(10000);
	assert_true(r.done && acks[1].done);
	assert_int_equal(acks[1].ack.status, DURABLE_FAILED);
	loop_sim_job_delay_us(f.loop, 0);
	run(30 * SECOND);
	assert_int_equal(metrics()->lmdb_commits_total, 2); /* the write's, and the one that ran */
}

static void a_failing_read_fails_that_read_only(void **state)
{
	(void)state;
	assert_write_ends(1, 10, 'a', DURABLE_OK);
	faults.get_rc = EIO;
	faults.gets = 1;
	assert_int_equal(read_now(1), DURABLE_FAILED);
	assert_int_equal(read_now(1), DURABLE_OK);
	assert_int_equal(metrics()->lmdb_failures_total, 1);
	assert_int_equal(metrics()->lmdb_degraded, 0);
}

/* ---- the disk hangs */

static void a_read_that_hangs_ends_at_its_deadline(void **state)
{
	struct seen_read r[LMDB_READ_JOBS + 1];

	(void)state;
	assert_write_ends(1, 10, 'a', DURABLE_OK);
	loop_sim_job_delay_us(f.loop, 10 * SECOND);
	for (int i = 0; i < LMDB_READ_JOBS; i++) {
		start_read(1, &r[i]);
		run(1000); /* a job each */
	}
	start_read(1, &r[LMDB_READ_JOBS]); /* waits behind them */
	run(LMDB_READ_STALL_MS * 1000);
	for (int i = 0; i <= LMDB_READ_JOBS; i++)
		assert_int_equal(r[i].read.status, DURABLE_FAILED);
	start_read(1, &r[0]); /* while all hang, nobody waits at all */
	run(0);
	assert_int_equal(r[0].read.status, DURABLE_FAILED);
	loop_sim_job_delay_us(f.loop, 0);
	run(10 * SECOND);
	assert_int_equal(read_now(1), DURABLE_OK);
}

static void a_commit_that_hangs_ends_at_its_deadline_and_counts_when_it_is_over(void **state)
{
	struct seen_ack acks[2];

	(void)state;
	loop_sim_job_delay_us(f.loop, 15 * SECOND);
	assert_int_equal(start_write(1, 10, 'a', &acks[0]), DURABLE_OK);
	start_remove(2, &acks[1]);
	run(9 * SECOND);
	assert_false(acks[0].done || acks[1].done);
	run(2 * SECOND);
	assert_true(acks[0].done && acks[1].done);
	assert_int_equal(acks[0].ack.status, DURABLE_FAILED);
	assert_int_equal(acks[1].ack.status, DURABLE_FAILED);
	assert_int_equal(metrics()->lmdb_degraded, 1);
	loop_sim_job_delay_us(f.loop, 0);
	run(5 * SECOND);
	assert_int_equal(metrics()->lmdb_degraded, 0);
	assert_int_equal(read_now(1), DURABLE_OK); /* it got there in the end */
}

/* ---- the pool refuses */

static void jobs_that_cannot_be_started_fail_what_they_were_for(void **state)
{
	struct seen_ack ack;
	struct seen_read r;

	(void)state;
	assert_write_ends(1, 10, 'a', DURABLE_OK);
	loop_sim_refuse_jobs(f.loop, 1);
	start_read(1, &r);
	run(SECOND);
	assert_int_equal(r.read.status, DURABLE_FAILED);
	loop_sim_refuse_jobs(f.loop, 1);
	start_remove(1, &ack);
	run(SECOND);
	assert_int_equal(ack.ack.status, DURABLE_FAILED);
	run(LMDB_PROBE_MS * 1000);
	assert_int_equal(metrics()->lmdb_degraded, 0);
	assert_int_equal(read_now(1), DURABLE_OK);
}

static void closing_without_a_pool_ends_the_reads_that_wait_and_closes_all_the_same(void **state)
{
	struct seen_read r;

	(void)state;
	assert_write_ends(1, 10, 'a', DURABLE_OK);
	start_read(1, &r);
	loop_sim_refuse_jobs(f.loop, 2); /* the read's and the closing's */
	close_store();
	assert_int_equal(r.read.status, DURABLE_FAILED);
	open_store();
}

/* ---- time */

static void a_batch_is_committed_after_half_the_interval_and_not_before(void **state)
{
	struct seen_ack acks[2];

	(void)state;
	assert_int_equal(start_write(1, 10, 'a', &acks[0]), DURABLE_OK);
	run(24000);
	assert_int_equal(start_write(2, 10, 'a', &acks[1]), DURABLE_OK);
	assert_false(acks[0].done);
	run(2000);
	assert_true(acks[0].done && acks[1].done);
	assert_int_equal(metrics()->lmdb_commits_total, 1);
}

static void a_full_batch_does_not_wait_for_the_interval(void **state)
{
	struct seen_ack *acks = calloc(LMDB_BATCH_OPS, sizeof *acks);

	(void)state;
	for (uint64_t n = 0; n < LMDB_BATCH_OPS; n++)
		assert_int_equal(start_write(n, 10, 'a', &acks[n]), DURABLE_OK);
	run(0);
	assert_true(acks[0].done && acks[LMDB_BATCH_OPS - 1].done);
	free(acks);
}

static void expired_rows_go_when_nothing_else_happens(void **state)
{
	struct seen_ack ack = {.ack.done = seen_ack_done};
	struct entry *e = entry_of(1, 10, 'a', loop_wall_us(f.loop) + SECOND);

	(void)state;
	assert_int_equal(f.d.ops->write(f.d.impl, e, &ack.ack), DURABLE_OK);
	entry_unref(e);
	run(SECOND / 2);
	assert_int_equal(metrics()->lmdb_entries, 1);
	run(LMDB_SWEEP_MS * 1000 + SECOND);
	assert_int_equal(metrics()->lmdb_entries, 0);
	assert_int_equal(metrics()->lmdb_swept_total, 1);
}

static void a_new_expiry_replaces_the_old_one(void **state)
{
	struct seen_ack ack = {.ack.done = seen_ack_done};
	struct entry *e = entry_of(1, 10, 'a', loop_wall_us(f.loop) + SECOND);

	(void)state;
	assert_int_equal(f.d.ops->write(f.d.impl, e, &ack.ack), DURABLE_OK);
	entry_unref(e);
	run(SECOND / 2);
	assert_write_ends(1, 10, 'b', DURABLE_OK);
	run(LMDB_SWEEP_MS * 2000);
	assert_int_equal(metrics()->lmdb_swept_total, 0);
	assert_int_equal(read_now(1), DURABLE_OK);
}

static bool on_found(void *owner, struct entry *e)
{
	(void)owner;
	assert_int_equal(entry_payload(e).p[0], 'a');
	f.found++;
	return true;
}

/* Of two warming jobs one begins before the changes, one while they are on their way; both see what was there before. */
static void warming_brings_back_nothing_that_changed_or_is_about_to(void **state)
{
	struct seen_ack acks[100];

	(void)state;
	for (uint64_t n = 0; n < 100; n++)
		assert_int_equal(start_write(n, 10, 'a', &acks[n]), DURABLE_OK);
	close_store();
	f.events.found = on_found;
	loop_sim_job_delay_us(f.loop, 10000);
	open_store();
	run(5000);
	loop_sim_job_delay_us(f.loop, SECOND);
	start_remove(99, &acks[0]); /* what expires last comes first */
	assert_int_equal(start_write(98, 10, 'b', &acks[1]), DURABLE_OK);
	start_remove(1, &acks[2]);
	assert_int_equal(start_write(0, 10, 'b', &acks[3]), DURABLE_OK);
	run(0);
	loop_sim_job_delay_us(f.loop, 0);
	run(SECOND / 2);
	assert_int_equal(f.found, 96);
	run(SECOND);
	assert_true(acks[0].ack.existed && acks[2].ack.existed && acks[3].done);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(a_map_that_is_full_now_and_then_loses_nothing),
		CASE(a_map_that_stays_full_drops_writes_but_not_removes_and_epochs),
		CASE(a_small_map_is_survived_by_deleting),
		CASE(a_map_too_small_even_for_deleting_is_made_anew),
		CASE(a_lower_limit_is_reached_by_sweeping),
		CASE(a_failing_commit_degrades_it_and_a_probe_brings_it_back),
		CASE(writes_behind_a_failed_commit_are_dropped_too),
		CASE(an_environment_that_lmdb_gives_up_is_opened_anew),
		CASE(damage_found_while_running_stops_writing_until_the_next_start_checks),
		CASE(a_batch_that_was_due_is_not_written_to_a_file_that_is_damaged),
		CASE(a_failing_read_fails_that_read_only),
		CASE(a_read_that_hangs_ends_at_its_deadline),
		CASE(a_commit_that_hangs_ends_at_its_deadline_and_counts_when_it_is_over),
		CASE(jobs_that_cannot_be_started_fail_what_they_were_for),
		CASE(closing_without_a_pool_ends_the_reads_that_wait_and_closes_all_the_same),
		CASE(a_batch_is_committed_after_half_the_interval_and_not_before),
		CASE(a_full_batch_does_not_wait_for_the_interval),
		CASE(expired_rows_go_when_nothing_else_happens),
		CASE(a_new_expiry_replaces_the_old_one),
		CASE(warming_brings_back_nothing_that_changed_or_is_about_to),
	};
	return cmocka_run_group_tests_name("lmdb_faults", tests, NULL, NULL);
}
