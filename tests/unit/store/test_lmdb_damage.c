/* lmdb: a file that is damaged, or something else in its place, is found out at open, set aside, and costs the daemon
 * nothing. */
#include "tests/unit/store/helpers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "server/base/random.h"
#include "server/store/lmdb.h"

#define ROWS	   3000
#define ROW_BYTES  700
#define PAGE_BYTES 4096
#define ROUNDS	   25

struct fixture {
	struct loop *loop;
	struct durable d;
	struct lmdb_options options;
	char path[64], data[128];
	char error[512];
};

static struct fixture f;
static char golden[64]; /* a file with ROWS entries, made once */

static void open_store(void)
{
	const struct durable_events events = {0};

	f.error[0] = 0;
	if (lmdb_open(&f.d, f.loop, &f.options, &events, f.error, sizeof f.error) != 0)
		fail_msg("%s", f.error);
}

static void close_store(void)
{
	bool closed = false;

	f.d.ops->close(f.d.impl, set_true, &closed);
	wait_for(f.loop, &closed);
	f.d.ops = NULL;
}

static void write_rows(uint64_t from, uint64_t to)
{
	struct seen_ack ack = {.ack.done = seen_ack_done};

	for (uint64_t n = from; n < to; n++) {
		struct entry *e = entry_of(n, ROW_BYTES, 'a', loop_wall_us(f.loop) + HOUR_US + n);

		assert_int_equal(f.d.ops->write(f.d.impl, e, n + 1 == to ? &ack.ack : NULL), DURABLE_OK);
		entry_unref(e);
	}
	wait_for(f.loop, &ack.done);
	assert_int_equal(ack.ack.status, DURABLE_OK);
}

static bool is_there(uint64_t n)
{
	struct seen_read r = {.read.done = seen_read_done};

	key_of(n, r.read.key);
	f.d.ops->read(f.d.impl, &r.read);
	wait_for(f.loop, &r.done);
	if (r.read.status != DURABLE_OK)
		return false;
	assert_entry(r.read.entry, n, ROW_BYTES, 'a');
	entry_unref(r.read.entry);
	return true;
}

static size_t set_aside_count(void)
{
	DIR *dir = opendir(f.path);
	struct dirent *file;
	size_t count = 0;

	assert_non_null(dir);
	while ((file = readdir(dir)) != NULL)
		count += strncmp(file->d_name, "data.mdb.damaged-", 17) == 0;
	closedir(dir);
	return count;
}

static void copy_file(const char *from, const char *to)
{
	static char block[1 << 16];
	FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
	size_t n;

	assert_true(in != NULL && out != NULL);
	while ((n = fread(block, 1, sizeof block, in)) > 0)
		assert_int_equal(fwrite(block, 1, n, out), n);
	fclose(in);
	assert_int_equal(fclose(out), 0);
}

static void begin(void)
{
	f = (struct fixture){.loop = loop_new()};
	make_scratch(f.path);
	snprintf(f.data, sizeof f.data, "%s/data.mdb", f.path);
	f.options = (struct lmdb_options){.path = f.path, .limit_bytes = 256 << 20, .commit_interval_ms = 5};
}

static void end(void)
{
	if (f.d.ops != NULL)
		close_store();
	loop_free(f.loop);
	remove_scratch(f.path);
}

static int setup(void **state)
{
	(void)state;
	begin();
	copy_file(golden, f.data);
	return 0;
}

static int setup_empty(void **state)
{
	(void)state;
	begin();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	end();
	return 0;
}

static int make_golden(void **state)
{
	(void)state;
	begin();
	open_store();
	write_rows(0, ROWS);
	write_rows(0, ROWS / 10); /* so that there are free pages */
	close_store();
	strcpy(golden, "/tmp/promptcache-golden-XXXXXX");
	close(mkstemp(golden));
	copy_file(f.data, golden);
	end();
	return 0;
}

static int remove_golden(void **state)
{
	(void)state;
	return remove(golden);
}

/* What every opening must end in: it works, whether or not the old file was kept. */
static void assert_works(void)
{
	assert_true(is_there(1) || !is_there(1));
	write_rows(100000, 100010);
	assert_true(is_there(100005));
}

static off_t size_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

static void overwrite(off_t at, const void *p, size_t n)
{
	int fd = open(f.data, O_WRONLY);

	assert_int_equal(pwrite(fd, p, n, at), n);
	close(fd);
}

/* ---- */

static void a_sound_file_that_was_not_closed_is_checked_and_kept(void **state)
{
	uint64_t entries = 0;

	(void)state;
	assert_int_equal(lmdb_check(f.path, &entries), LMDB_SOUND);
	assert_int_equal(entries, ROWS);
	open_store();
	assert_int_equal(lmdb_check(f.path, &entries), LMDB_IN_USE);
	assert_int_equal(set_aside_count(), 0);
	for (uint64_t n = 0; n < ROWS; n += 100)
		assert_true(is_there(n));
}

static void the_check_tells_what_it_finds_and_survives_it(void **state)
{
	uint64_t entries = 7;

	(void)state;
	assert_int_equal(truncate(f.data, size_of(f.data) / 2), 0);
	assert_int_equal(lmdb_check(f.path, &entries), LMDB_DAMAGED);
	assert_int_equal(truncate(f.data, 0), 0);
	assert_int_equal(lmdb_check(f.path, &entries), LMDB_SOUND);
	assert_int_equal(entries, 0);
	assert_int_equal(unlink(f.data), 0);
	assert_int_equal(lmdb_check(f.path, &entries), LMDB_ABSENT);
	assert_int_equal(mkdir(f.data, 0700), 0);
	assert_int_equal(lmdb_check(f.path, &entries), LMDB_DAMAGED);
	assert_int_equal(rmdir(f.data), 0);
	assert_int_equal(lmdb_check("/nonexistent/store", &entries), LMDB_ABSENT);
	assert_int_equal(entries, 0);
}

static void a_file_truncated_anywhere_is_set_aside_or_sound(void **state)
{
	off_t size = size_of(f.data);
	const off_t cuts[] = {1,
			      4095,
			      4096,
			      8191,
			      8192,
			      8193,
			      12288,
			      40000,
			      size / 4,
			      size / 2,
			      size * 3 / 4,
			      size - 100000,
			      size - 1,
			      size - 9,
			      size - 4096,
			      size - 4097,
			      size - 5 * 4096,
			      size / 4096 / 2 * 4096,
			      20480,
			      16384,
			      size - 8192,
			      size / 3};
	size_t kept = 0;

	(void)state;
	for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
		size_t before = set_aside_count();
		char aside[256];

		copy_file(golden, f.data);
		assert_int_equal(truncate(f.data, cuts[i]), 0);
		open_store();
		kept += set_aside_count() == before;
		assert_works();
		close_store();
		snprintf(aside, sizeof aside, "rm -f %s/data.mdb.damaged-*", f.path);
		assert_int_equal(system(aside), 0);
	}
	assert_in_range(kept, 0, 4); /* cut within the free pages at the end */
}

/* A clean end, then a cut: the marker does not fit any more. */
static void a_file_truncated_after_a_clean_end_is_noticed(void **state)
{
	(void)state;
	open_store();
	close_store();
	assert_int_equal(truncate(f.data, size_of(f.data) / 2), 0);
	open_store();
	assert_int_equal(set_aside_count(), 1);
	assert_works();
}

static void random_bytes_over_random_pages_never_bring_it_down(void **state)
{
	struct random_state r;
	size_t set_aside = 0;

	(void)state;
	random_seed(&r, 42);
	for (int round = 0; round < ROUNDS; round++) {
		off_t pages = size_of(golden) / PAGE_BYTES;
		uint8_t junk[PAGE_BYTES];
		char aside[256];

		copy_file(golden, f.data);
		for (int i = 0; i <= round % 8; i++) {
			for (size_t k = 0; k < sizeof junk; k++)
				junk[k] = round % 3 == 0 ? 0 : (uint8_t)random_next(&r);
			overwrite((off_t)random_below(&r, (uint64_t)pages) * PAGE_BYTES, junk, sizeof junk);
		}
		open_store();
		for (uint64_t n = 0; n < ROWS; n += 37)
			(void)is_there(n); /* whatever comes is whole: is_there asserts it */
		assert_works();
		set_aside += set_aside_count();
		close_store();
		snprintf(aside, sizeof aside, "rm -f %s/data.mdb.damaged-*", f.path);
		assert_int_equal(system(aside), 0);
	}
	print_message("%zu of %d files were set aside\n", set_aside, ROUNDS);
	assert_true(set_aside >= ROUNDS / 2);
}

/* Single bytes within pages: pointers, sizes, flags, records. */
static void random_single_bytes_never_bring_it_down(void **state)
{
	struct random_state r;

	(void)state;
	random_seed(&r, 43);
	for (int round = 0; round < ROUNDS; round++) {
		off_t size = size_of(golden);
		char aside[256];

		copy_file(golden, f.data);
		for (int i = 0; i < 200; i++) {
			uint8_t byte = (uint8_t)random_next(&r);
			off_t at = (off_t)random_below(&r, (uint64_t)size / PAGE_BYTES) * PAGE_BYTES;

			overwrite(at + (off_t)random_below(&r, i % 2 ? 64 : PAGE_BYTES), &byte, 1);
		}
		open_store();
		for (uint64_t n = 0; n < ROWS; n += 37)
			(void)is_there(n);
		assert_works();
		close_store();
		snprintf(aside, sizeof aside, "rm -f %s/data.mdb.damaged-*", f.path);
		assert_int_equal(system(aside), 0);
	}
}

static void both_meta_pages_of_another_kind_are_set_aside(void **state)
{
	const char text[] = "#!/bin/sh\necho this is not a database, and it was never meant to be one\n";
	uint8_t junk[2 * PAGE_BYTES] = {0};

	(void)state;
	memcpy(junk, text, sizeof text);
	overwrite(0, junk, sizeof junk);
	open_store();
	assert_int_equal(set_aside_count(), 1);
	assert_works();
}

static void an_empty_file_is_a_new_one(void **state)
{
	(void)state;
	assert_int_equal(truncate(f.data, 0), 0);
	open_store();
	assert_int_equal(set_aside_count(), 0);
	assert_works();
}

static void a_directory_in_its_place_is_set_aside(void **state)
{
	(void)state;
	assert_int_equal(mkdir(f.data, 0700), 0);
	open_store();
	assert_int_equal(set_aside_count(), 1);
	assert_works();
}

static void a_damaged_record_is_left_out_counted_and_deleted(void **state)
{
	static uint8_t file[64 << 20];
	FILE *in = fopen(f.data, "rb");
	size_t n = fread(file, 1, sizeof file, in), damaged = 0, left_out = 0;
	uint8_t pattern[64];

	(void)state;
	fclose(in);
	memset(pattern, 'a', sizeof pattern);
	for (size_t at = 0; at + sizeof pattern < n && damaged < 20; at += 1) {
		if (memcmp(file + at, pattern, sizeof pattern) != 0)
			continue;
		overwrite((off_t)at, "b", 1);
		damaged++;
		at += 200000;
	}
	open_store();
	assert_int_equal(set_aside_count(), 0);
	for (uint64_t i = 0; i < ROWS; i++)
		left_out += !is_there(i);
	assert_in_range(left_out, 1, damaged); /* some were in free pages */
	assert_int_equal(lmdb_metrics(&f.d)->lmdb_damaged_total, left_out);
	write_rows(100000, 100001);
	assert_int_equal(lmdb_metrics(&f.d)->lmdb_entries, ROWS - left_out + 1);
}

static void a_file_in_place_of_the_directory_is_an_error_that_names_it(void **state)
{
	const struct durable_events events = {0};

	(void)state;
	copy_file(golden, f.data);
	f.options.path = f.data;
	assert_int_equal(lmdb_open(&f.d, f.loop, &f.options, &events, f.error, sizeof f.error), LMDB_MISPLACED);
	assert_non_null(strstr(f.error, f.data));
}

static void a_directory_that_may_not_be_written_is_an_error_that_names_it(void **state)
{
	const struct durable_events events = {0};

	(void)state;
	if (geteuid() == 0) {
		print_message("skipped: root may write anywhere\n");
		skip();
	}
	assert_int_equal(chmod(f.path, 0500), 0);
	assert_int_equal(lmdb_open(&f.d, f.loop, &f.options, &events, f.error, sizeof f.error), LMDB_MISPLACED);
	assert_non_null(strstr(f.error, f.path));
	chmod(f.path, 0700);
}

/* ---- a disk that is full, where mounting is permitted */

static bool mount_small(void)
{
	if (mount("tmpfs", f.path, "tmpfs", 0, "size=4m") == 0)
		return true;
	print_message("skipped: mounting a tmpfs is not permitted: %s\n", strerror(errno));
	return false;
}

static void fill_disk(const char *name, size_t leave_bytes)
{
	static char block[PAGE_BYTES];
	char path[128];
	int fd;
	off_t size = 0;

	snprintf(path, sizeof path, "%s/%s", f.path, name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	while (write(fd, block, sizeof block) == (ssize_t)sizeof block)
		size += (off_t)sizeof block;
	if (leave_bytes > 0)
		assert_int_equal(ftruncate(fd, size - (off_t)leave_bytes), 0);
	close(fd);
}

static void a_full_disk_at_open_is_an_error(void **state)
{
	const struct durable_events events = {0};

	(void)state;
	if (!mount_small())
		skip();
	fill_disk("filler", 0);
	assert_int_equal(lmdb_open(&f.d, f.loop, &f.options, &events, f.error, sizeof f.error), -1);
	assert_non_null(strstr(f.error, "space"));
	assert_int_equal(umount(f.path), 0);
}

static void a_disk_that_fills_up_degrades_it_and_space_brings_it_back(void **state)
{
	struct seen_ack ack = {.ack.done = seen_ack_done}, remove = {.ack.done = seen_ack_done};
	struct entry *e;
	uint8_t key[ENTRY_KEY_BYTES];
	char filler[128];

	(void)state;
	if (!mount_small())
		skip();
	open_store();
	write_rows(0, 10);
	fill_disk("filler", 0);
	e = entry_of(50, 1 << 20, 'a', UINT64_MAX);
	assert_int_equal(f.d.ops->write(f.d.impl, e, &ack.ack), DURABLE_OK);
	wait_for(f.loop, &ack.done);
	assert_int_equal(ack.ack.status, DURABLE_FAILED);
	assert_int_equal(lmdb_metrics(&f.d)->lmdb_degraded, 1);
	assert_int_equal(f.d.ops->write(f.d.impl, e, NULL), DURABLE_FAILED);
	entry_unref(e);
	key_of(1, key);
	f.d.ops->remove(f.d.impl, key, &remove.ack);
	wait_for(f.loop, &remove.done);
	assert_int_equal(remove.ack.status, DURABLE_FAILED);
	assert_true(is_there(1)); /* reads go on */

	snprintf(filler, sizeof filler, "%s/filler", f.path);
	assert_int_equal(unlink(filler), 0);
	for (int i = 0; i < 100 && lmdb_metrics(&f.d)->lmdb_degraded; i++)
		wait_us(f.loop, &(const bool){false}, 100000);
	assert_int_equal(lmdb_metrics(&f.d)->lmdb_degraded, 0);
	write_rows(60, 70);
	assert_true(is_there(65));
	close_store();
	open_store();
	assert_int_equal(set_aside_count(), 0);
	assert_true(is_there(9));
	close_store();
	assert_int_equal(umount(f.path), 0);
}

int main(void)
{
#define CASE(name)	 cmocka_unit_test_setup_teardown(name, setup, teardown)
#define CASE_EMPTY(name) cmocka_unit_test_setup_teardown(name, setup_empty, teardown)
	const struct CMUnitTest tests[] = {
		CASE(a_sound_file_that_was_not_closed_is_checked_and_kept),
		CASE(the_check_tells_what_it_finds_and_survives_it),
		CASE(a_file_truncated_anywhere_is_set_aside_or_sound),
		CASE(a_file_truncated_after_a_clean_end_is_noticed),
		CASE(random_bytes_over_random_pages_never_bring_it_down),
		CASE(random_single_bytes_never_bring_it_down),
		CASE(both_meta_pages_of_another_kind_are_set_aside),
		CASE(an_empty_file_is_a_new_one),
		CASE_EMPTY(a_directory_in_its_place_is_set_aside),
		CASE(a_damaged_record_is_left_out_counted_and_deleted),
		CASE_EMPTY(a_file_in_place_of_the_directory_is_an_error_that_names_it),
		CASE_EMPTY(a_directory_that_may_not_be_written_is_an_error_that_names_it),
		CASE_EMPTY(a_full_disk_at_open_is_an_error),
		CASE_EMPTY(a_disk_that_fills_up_degrades_it_and_space_brings_it_back),
	};
	return cmocka_run_group_tests_name("lmdb_damage", tests, make_golden, remove_golden);
}
