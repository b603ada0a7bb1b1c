/* store_internal: the struct that store.c (what happens while it runs) and store_open.c (options, opening, metrics)
 * share. */
#ifndef STORE_STORE_INTERNAL_H
#define STORE_STORE_INTERNAL_H

#include "server/base/loop.h"
#include "server/store/changes.h"
#include "server/store/store.h"

#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

struct store {
	struct loop *loop;
	struct memory *memory;
	struct durable durable;
	bool unusable; /* there should be a durable store, and it could not be opened: what it holds may come back one
			  day */
	struct durable_events events;
	struct changes changes;
	struct map outgoing;

	/* Ended already, told in a later round. */
	TAILQ_HEAD(, durable_ack) acks;
	TAILQ_HEAD(, durable_read) misses;
	struct loop_task tell;

	struct deadline reclaim;
	size_t reclaim_cursor;
	bool reclaim_again; /* asked for while it ran: once more around */

	void (*closed)(void *owner);
	void *closed_owner;
	bool closing, durable_is_gone;
	struct store_metrics metrics;
};

/* Only when nothing is on its way; tells nobody unless it was closed. */
void store_free(struct store *s);

#endif
