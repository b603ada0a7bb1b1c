/* store_fixture: a store in virtual time over a durable one that is slow, broken or forgetful, for the tests of store.c. */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include "tests/unit/store/helpers.h"

/* The fakes as part of this program: their symbols come before the library's (tests/sim/CMakeLists.txt says why that works). */
#include "tests/sim/durable_sim.c"
#include "tests/sim/loop_sim.c"

#include "server/store/store.h"

#define SECOND	     UINT64_C(1000000)
#define MEMORY_LIMIT (UINT64_C(1) << 20)

struct fixture {
	struct loop *loop;
	struct durable_sim_disk *disk;
	struct durable_sim *sim;
	struct store *store;
	struct durable_events events;
	struct metrics metrics;
	uint64_t dead_from;    /* alive: entries begun before this are dead */
	uint64_t unsound_from; /* sound: entries begun from here on have a payload nobody made; 0: none */
	uint64_t epoch, stamp;
};

static struct fixture f;

static inline bool alive(void *owner, const struct entry *e)
{
	(void)owner;
	return e->begun >= f.dead_from;
}

static inline bool sound(void *owner, const struct entry *e)
{
	(void)owner;
	return f.unsound_from == 0 || e->begun < f.unsound_from;
}

static inline void on_epoch(void *owner, const struct tag *tag, uint64_t stamp)
{
	(void)owner, (void)tag;
	f.epoch = stamp;
}

static inline void on_stamp(void *owner, uint64_t stamp)
{
	(void)owner;
	f.stamp = stamp;
}

static inline void open_store(bool with_durable)
{
	struct durable durable = {0};

	if (with_durable)
		f.sim = durable_sim_open(&durable, f.loop, f.disk, &f.events);
	f.store = store_new(f.loop, MEMORY_LIMIT, durable, &f.events);
	assert_non_null(f.store);
	f.metrics.count = 0;
	store_metrics_add(f.store, &f.metrics);
}

static inline void close_store(void)
{
	bool closed = false;

	store_close(f.store, set_true, &closed);
	assert_false(closed);
	loop_run(f.loop);
	assert_true(closed);
}

static inline int setup(void **state)
{
	(void)state;
	f = (struct fixture){.loop = loop_new(), .disk = durable_sim_disk_new()};
	f.events = (struct durable_events){.epoch = on_epoch, .stamp = on_stamp, .alive = alive, .sound = sound};
	open_store(true);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	close_store();
	durable_sim_disk_free(f.disk);
	loop_free(f.loop);
	return 0;
}

static inline void run(uint64_t us) { loop_sim_run_for(f.loop, us); }

static inline void write_one(uint64_t n, uint32_t bytes, uint8_t version)
{
	struct entry *e = entry_of(n, bytes, version, UINT64_MAX);

	assert_true(store_write(f.store, e));
	entry_unref(e);
}

static inline struct entry *find(uint64_t n)
{
	uint8_t key[ENTRY_KEY_BYTES];

	key_of(n, key);
	return store_find(f.store, key);
}

static inline void forget(uint64_t n)
{
	uint8_t key[ENTRY_KEY_BYTES];

	key_of(n, key);
	store_drop(f.store, key);
}

static inline void start_read(uint64_t n, struct seen_read *r)
{
	*r = (struct seen_read){.read.done = seen_read_done};
	key_of(n, r->read.key);
	store_read(f.store, &r->read);
	assert_false(r->done);
}

/* version 0: not there */
static inline void assert_ended(struct seen_read *r, uint64_t n, uint8_t version)
{
	assert_true(r->done);
	if (version == 0) {
		assert_int_equal(r->read.status, DURABLE_NOT_FOUND);
		assert_null(r->read.entry);
		return;
	}
	assert_int_equal(r->read.status, DURABLE_OK);
	assert_entry(r->read.entry, n, 10, version);
	entry_unref(r->read.entry);
}

static inline void remove_one_key(uint64_t n, struct seen_ack *ack)
{
	uint8_t key[ENTRY_KEY_BYTES];

	*ack = (struct seen_ack){.ack.done = seen_ack_done};
	key_of(n, key);
	store_remove(f.store, key, &ack->ack);
	assert_false(ack->done);
}

struct wanted {
	const char *name;
	uint64_t value;
	bool there;
};

static inline void look(void *owner, const struct metric *metric, uint64_t value)
{
	struct wanted *w = owner;

	if (strcmp(metric->name, w->name) != 0)
		return;
	w->value = value;
	w->there = true;
}

static inline uint64_t counted(const char *name)
{
	struct wanted w = {.name = name};

	metrics_walk(&f.metrics, look, &w);
	assert_true(w.there);
	return w.value;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
