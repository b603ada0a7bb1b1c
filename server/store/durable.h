/* durable: what a durable store must offer. LMDB (lmdb.h) is one; Redis comes beside it. A table of functions because
 * one binary holds several.
 *
 * Law: every operation that was started ends exactly once, by its callback, never before the call that started it has
 * returned, also when the store is closing. Failures are told in the status; nothing hangs: each store keeps its own
 * deadlines. Writes are batched; `committed` of an operation comes when it is durable. Operations on one key take
 * effect in the order of the calls. */
#ifndef STORE_DURABLE_H
#define STORE_DURABLE_H

#include "server/base/loop.h"
#include "server/base/metrics.h"
#include "server/store/entry.h"

enum durable_status {
	DURABLE_OK,
	DURABLE_NOT_FOUND,
	DURABLE_FAILED, /* the store could not do it; logged and counted by the store */
	DURABLE_BUSY,	/* a queue is at its limit; nothing was started, counted */
};

/* One read. Memory is the caller's until the callback. */
struct durable_read {
	uint8_t key[ENTRY_KEY_BYTES];
	void (*done)(struct durable_read *r); /* with DURABLE_OK `entry` holds one reference, now the callback's */
	enum durable_status status;
	struct entry *entry;
	TAILQ_ENTRY(durable_read) link; /* the store's */
};

/* Tells when a change is durable. Memory is the caller's until the callback. */
struct durable_ack {
	void (*done)(struct durable_ack *a);
	enum durable_status status;
	bool existed;		       /* remove: set when a row was there, else left as it is */
	TAILQ_ENTRY(durable_ack) link; /* the store's */
};

struct durable_ops {
	const char *name;
	/* Starts a read, to be ended by r->done. */
	void (*read)(void *impl, struct durable_read *r);
	/* Takes a reference until committed. DURABLE_OK: it is on its way. ack may be NULL. */
	enum durable_status (*write)(void *impl, struct entry *e, struct durable_ack *ack);
	/* Committed at once, not at the interval; ack may be NULL. */
	void (*remove)(void *impl, const uint8_t key[ENTRY_KEY_BYTES], struct durable_ack *ack);
	void (*epoch)(void *impl, const struct tag *tag, uint64_t stamp,
		      struct durable_ack *ack); /* max of old and new */
	/* Flushes, ends what was started, then calls done; after it the store is gone. No call may follow this one. */
	void (*close)(void *impl, void (*done)(void *owner), void *owner);
	void (*metrics_add)(void *impl, struct metrics *m); /* may be NULL: it has none */
};

struct durable {
	const struct durable_ops *ops; /* NULL: there is no durable store */
	void *impl;
};

/* What a durable store tells its user. Owner and functions are given at open. */
struct durable_events {
	/* Only during open, before it returns: every invalidation that the store remembers. */
	void (*epoch)(void *owner, const struct tag *tag, uint64_t stamp);
	/* Newest stamp that the store has seen (entries and epochs), once, during open. */
	void (*stamp)(void *owner, uint64_t stamp);
	/* While warming: an entry found again, borrowed. No write or remove of its key was called since it was read, or
	 * was on its way then. False: enough. */
	bool (*found)(void *owner, struct entry *e);
	/* Asked before anybody gets what was read or found: is its payload what it should be? NULL: yes. */
	bool (*sound)(void *owner, const struct entry *e);
	/* Reclaiming asks: may this one still be served? */
	bool (*alive)(void *owner, const struct entry *e);
	void *owner;
};

#endif
