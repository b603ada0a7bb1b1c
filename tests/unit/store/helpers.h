/* helpers of the store's tests: entries by number, a directory of one's own, waiting on the loop. */
#ifndef TESTS_STORE_HELPERS_H
#define TESTS_STORE_HELPERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/base/loop.h"
#include "server/store/durable.h"

#define HOUR_US (UINT64_C(3600) * 1000000)

/* Uniform bytes for each number, as a SHA-256 has. */
static inline void key_of(uint64_t n, uint8_t ret[ENTRY_KEY_BYTES])
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = (n * 4 + (uint64_t)i + 1) * UINT64_C(0x9e3779b97f4a7c15);

		z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
		z ^= z >> 31;
		memcpy(ret + 8 * i, &z, 8);
	}
}

/* Its payload is `version` repeated, so that what comes back can be told. */
static inline struct entry *entry_of(uint64_t n, uint32_t payload_bytes, uint8_t version, uint64_t expires_us)
{
	const struct tag tags[] = {{{1, 2, 3}}, {{(uint8_t)n}}};
	struct entry_parts parts = {.begun = 1000 + n,
				    .stored_us = 5,
				    .expires_us = expires_us,
				    .policy_revision = 7,
				    .saves_nusd = 8,
				    .saves_us = 9,
				    .tags = tags,
				    .tags_count = 2};
	uint8_t *payload = malloc(payload_bytes + 1);
	struct entry *e;

	assert_non_null(payload);
	memset(payload, version, payload_bytes);
	parts.payload = slice_of(payload, payload_bytes);
	key_of(n, parts.key);
	e = entry_new(&parts);
	free(payload);
	assert_non_null(e);
	return e;
}

static inline void assert_entry(const struct entry *e, uint64_t n, uint32_t payload_bytes, uint8_t version)
{
	uint8_t key[ENTRY_KEY_BYTES];
	struct slice payload = entry_payload(e);

	key_of(n, key);
	assert_memory_equal(e->node.key, key, sizeof key);
	assert_int_equal(payload.n, payload_bytes);
	for (size_t i = 0; i < payload.n; i++)
		assert_int_equal(payload.p[i], version);
	assert_int_equal(e->tags_count, 2);
	assert_int_equal(e->begun, 1000 + n);
}

/* ---- a directory of one's own */

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static inline void make_scratch(char ret[64])
{
	strcpy(ret, "/tmp/promptcache-store-XXXXXX");
	assert_non_null(mkdtemp(ret));
}

static inline void remove_scratch(const char *path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

/* ---- waiting: runs the loop until *flag is true; fails after 30 s */

struct waiting {
	struct deadline poll;
	struct loop *loop;
	const bool *flag;
	uint64_t left_us;
};

static inline void waiting_poll(struct deadline *d)
{
	struct waiting *w = (struct waiting *)d;

	if (*w->flag || w->left_us < 1000) {
		loop_stop(w->loop);
		return;
	}
	w->left_us -= 1000;
	loop_arm(w->loop, d, 1000, waiting_poll);
}

static inline bool wait_us(struct loop *l, const bool *flag, uint64_t us)
{
	struct waiting w = {.loop = l, .flag = flag, .left_us = us};

	loop_arm(l, &w.poll, 0, waiting_poll);
	loop_run(l);
	loop_disarm(l, &w.poll);
	return *flag;
}

static inline void wait_for(struct loop *l, const bool *flag) { assert_true(wait_us(l, flag, 30 * UINT64_C(1000000))); }

/* ---- acks and reads that remember how they ended */

struct seen_ack {
	struct durable_ack ack;
	bool done;
};

static inline void seen_ack_done(struct durable_ack *a)
{
	struct seen_ack *s = (struct seen_ack *)a;

	assert_false(s->done);
	s->done = true;
}

struct seen_read {
	struct durable_read read;
	bool done;
};

static inline void seen_read_done(struct durable_read *r)
{
	struct seen_read *s = (struct seen_read *)r;

	assert_false(s->done);
	s->done = true;
}

static inline void set_true(void *flag) { *(bool *)flag = true; }

#endif
