/* store_open: options and their limits, which durable store, and what happens when there should be one and cannot. */
#include "tests/unit/store/helpers.h"

#include <fcntl.h>

#include "server/store/lmdb.h"
#include "server/store/store.h"

struct fixture {
	struct loop *loop;
	struct store *store;
	struct options *config;
	struct store_options options;
	struct metrics metrics;
	char path[64];
	char error[512];
	size_t epochs;
	uint64_t stamp;
};

static struct fixture f;

static void on_epoch(void *owner, const struct tag *tag, uint64_t stamp)
{
	(void)owner, (void)tag, (void)stamp;
	f.epochs++;
}

static void on_stamp(void *owner, uint64_t stamp)
{
	(void)owner;
	f.stamp = stamp;
}

static const struct durable_events events = {.epoch = on_epoch, .stamp = on_stamp};

static int open_with(const char *default_path)
{
	return store_open(&f.store, f.loop, &f.options, default_path, &events, f.error, sizeof f.error);
}

static void shut(void)
{
	bool closed = false;

	store_close(f.store, set_true, &closed);
	wait_for(f.loop, &closed);
	f.store = NULL;
}

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){.loop = loop_new(), .config = options_new()};
	store_options_add(f.config, &f.options);
	make_scratch(f.path);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (f.store != NULL)
		shut();
	options_free(f.config);
	loop_free(f.loop);
	remove_scratch(f.path);
	return 0;
}

static int set(const char *assignment) { return options_set(f.config, assignment, f.error, sizeof f.error); }

static void count(void *owner, const struct metric *metric, uint64_t value)
{
	(void)metric, (void)value;
	++*(size_t *)owner;
}

static void the_defaults_are_those_of_the_documents(void **state)
{
	(void)state;
	assert_int_equal(f.options.kind, STORE_LMDB);
	assert_null(f.options.path);
	assert_int_equal(f.options.limit_bytes, UINT64_C(4) << 30);
	assert_int_equal(f.options.commit_interval_ms, 50);
	assert_int_equal(f.options.memory_limit_bytes, 256 << 20);
}

static void values_out_of_range_are_refused(void **state)
{
	(void)state;
	assert_int_equal(set("memory.limit=1MB"), 0);
	assert_int_equal(set("memory.limit=1000KB"), -1);
	assert_int_equal(set("store.commit_interval=1ms"), 0);
	assert_int_equal(set("store.commit_interval=0"), -1);
	assert_int_equal(set("store.commit_interval=11s"), -1);
	assert_int_equal(set("store.kind=rocksdb"), -1);
	assert_non_null(strstr(f.error, "store.kind"));
}

static void redis_is_told_to_come_later(void **state)
{
	(void)state;
	assert_int_equal(set("store.kind=redis"), 0);
	assert_int_equal(store_check(&f.options, f.error, sizeof f.error), -1);
	assert_int_equal(open_with(f.path), -1);
	assert_non_null(strstr(f.error, "later version"));
}

static void none_means_memory_only(void **state)
{
	(void)state;
	assert_int_equal(set("store.kind=none"), 0);
	assert_int_equal(open_with(f.path), 0);
	assert_false(store_has_durable(f.store));
}

static void lmdb_lives_at_the_default_path_unless_another_is_given(void **state)
{
	char other[128], data[160];

	(void)state;
	assert_int_equal(open_with(f.path), 0);
	assert_true(store_has_durable(f.store));
	shut();
	snprintf(data, sizeof data, "%s/data.mdb", f.path);
	assert_int_equal(access(data, F_OK), 0);
	snprintf(other, sizeof other, "store.path=%s/other", f.path);
	assert_int_equal(set(other), 0);
	assert_int_equal(open_with("/nonexistent/no"), 0);
	snprintf(data, sizeof data, "%s/other/data.mdb", f.path);
	assert_int_equal(access(data, F_OK), 0);
}

static void what_was_written_comes_back_through_warming(void **state)
{
	struct entry *e = entry_of(1, 10, 'a', UINT64_MAX);
	struct seen_ack ack = {.ack.done = seen_ack_done};
	const struct tag tag = {{1}};

	(void)state;
	assert_int_equal(open_with(f.path), 0);
	assert_true(store_write(f.store, e));
	store_epoch(f.store, &tag, 5000, &ack.ack);
	shut();
	assert_int_equal(ack.ack.status, DURABLE_OK);
	assert_int_equal(open_with(f.path), 0);
	assert_int_equal(f.epochs, 1);
	assert_int_equal(f.stamp, 5000);
	for (int i = 0; i < 1000 && store_find(f.store, e->node.key) == NULL; i++)
		wait_us(f.loop, &(const bool){false}, 10000);
	assert_entry(store_find(f.store, e->node.key), 1, 10, 'a');
	entry_unref(e);
}

static void a_locked_directory_is_an_error_that_names_it(void **state)
{
	struct store *first;

	(void)state;
	assert_int_equal(open_with(f.path), 0);
	first = f.store;
	assert_int_equal(open_with(f.path), -1);
	assert_non_null(strstr(f.error, f.path));
	assert_ptr_equal(f.store, first);
}

/* What the file holds may come back one day: so an invalidation that did not reach it is not told as done. */
static void an_unusable_one_leaves_memory_and_fails_invalidations(void **state)
{
	struct entry *e = entry_of(1, 10, 'a', UINT64_MAX);
	struct seen_ack remove = {.ack.done = seen_ack_done}, epoch = {.ack.done = seen_ack_done};
	const struct tag tag = {{1}};
	char file[128];

	(void)state;
	snprintf(file, sizeof file, "%s/file", f.path);
	close(open(file, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(open_with(file), 0);
	assert_false(store_has_durable(f.store));
	assert_true(store_write(f.store, e));
	assert_non_null(store_find(f.store, e->node.key));
	store_remove(f.store, e->node.key, &remove.ack);
	store_epoch(f.store, &tag, 9, &epoch.ack);
	wait_for(f.loop, &epoch.done);
	assert_true(remove.done && remove.ack.existed);
	assert_int_equal(remove.ack.status, DURABLE_FAILED);
	assert_int_equal(epoch.ack.status, DURABLE_FAILED);
	assert_null(store_find(f.store, e->node.key));
	entry_unref(e);
}

/* Who names a place wants answers there: nobody would look for them in memory only. */
static void a_path_that_was_given_and_is_none_is_an_error(void **state)
{
	char file[128], assignment[160];

	(void)state;
	snprintf(file, sizeof file, "%s/file", f.path);
	close(open(file, O_CREAT | O_WRONLY, 0600));
	for (const char *const *rest = (const char *const[]){"", "/below", NULL}; *rest != NULL; rest++) {
		snprintf(assignment, sizeof assignment, "store.path=%s%s", file, *rest);
		assert_int_equal(set(assignment), 0);
		assert_int_equal(open_with(f.path), -1);
		assert_non_null(strstr(f.error, "store.path"));
		assert_non_null(strstr(f.error, file));
	}
	assert_null(f.store);
}

static void without_any_directory_memory_works_alone(void **state)
{
	(void)state;
	assert_int_equal(open_with(NULL), 0);
	assert_false(store_has_durable(f.store));
}

static void every_metric_that_is_described_is_there_with_lmdb(void **state)
{
	struct metrics described = {0};
	size_t tables = 0, values = 0;

	(void)state;
	store_metrics_describe(&described);
	for (size_t i = 0; i < described.count; i++)
		tables += described.modules[i].count;
	assert_int_equal(open_with(f.path), 0);
	store_metrics_add(f.store, &f.metrics);
	metrics_walk(&f.metrics, count, &values);
	assert_int_equal(values, tables);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(the_defaults_are_those_of_the_documents),
		CASE(values_out_of_range_are_refused),
		CASE(redis_is_told_to_come_later),
		CASE(none_means_memory_only),
		CASE(lmdb_lives_at_the_default_path_unless_another_is_given),
		CASE(what_was_written_comes_back_through_warming),
		CASE(a_locked_directory_is_an_error_that_names_it),
		CASE(an_unusable_one_leaves_memory_and_fails_invalidations),
		CASE(a_path_that_was_given_and_is_none_is_an_error),
		CASE(without_any_directory_memory_works_alone),
		CASE(every_metric_that_is_described_is_there_with_lmdb),
	};
	return cmocka_run_group_tests_name("store_open", tests, NULL, NULL);
}
