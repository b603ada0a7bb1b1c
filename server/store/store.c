/* What is on its way, and who holds it:
 *
 *      struct outgoing   one write, from store_write to its ack; the newest of a key is in `outgoing` and found there
 *      struct incoming   one read, from store_read to its end; `changes` tells whether its key was changed meanwhile */
#include "server/store/store_internal.h"

#include <assert.h>
#include <stdlib.h>

struct outgoing {
	struct map_node node; /* first */
	struct durable_ack ack;
	struct store *store;
	struct entry *e; /* one reference */
	bool listed;	 /* in store->outgoing */
};

struct incoming {
	struct durable_read read;
	struct durable_read *asked; /* the caller's */
	struct store *store;
	uint64_t since; /* changes.now when the durable store was asked */
	int attempts;
};

/* ---- life */

struct store *store_new(struct loop *l, uint64_t memory_limit_bytes, struct durable durable,
			const struct durable_events *events)
{
	struct store *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	s->loop = l;
	s->durable = durable;
	if (events != NULL)
		s->events = *events;
	TAILQ_INIT(&s->acks);
	TAILQ_INIT(&s->misses);
	s->memory = memory_new(memory_limit_bytes);
	if (s->memory == NULL || map_init(&s->outgoing) != 0) {
		memory_free(s->memory);
		free(s);
		return NULL;
	}
	return s;
}

void store_free(struct store *s)
{
	void (*closed)(void *owner) = s->closed;
	void *owner = s->closed_owner;

	assert(s->outgoing.count == 0);
	loop_undefer(s->loop, &s->tell); /* who is told may have closed it just then */
	map_free(&s->outgoing);
	memory_free(s->memory);
	free(s);
	if (closed != NULL)
		closed(owner);
}

/* Ends what needs no durable store, and the store itself when it was waiting for that. */
static void store_tell(struct loop_task *t)
{
	struct store *s = container_of(t, struct store, tell);
	struct durable_ack *a;
	struct durable_read *r;

	while ((a = TAILQ_FIRST(&s->acks)) != NULL) {
		TAILQ_REMOVE(&s->acks, a, link);
		a->done(a);
	}
	while ((r = TAILQ_FIRST(&s->misses)) != NULL) {
		TAILQ_REMOVE(&s->misses, r, link);
		r->status = DURABLE_NOT_FOUND;
		r->entry = NULL;
		r->done(r);
	}
	if (s->closing && s->durable_is_gone)
		store_free(s);
}

static void store_tell_later(struct store *s) { loop_defer(s->loop, &s->tell, store_tell); }

static void store_on_durable_closed(void *owner)
{
	struct store *s = owner;

	s->durable_is_gone = true;
	store_tell_later(s);
}

void store_close(struct store *s, void (*done)(void *owner), void *owner)
{
	assert(!s->closing);

	s->closing = true;
	s->closed = done;
	s->closed_owner = owner;
	loop_disarm(s->loop, &s->reclaim);
	if (s->durable.ops != NULL)
		s->durable.ops->close(s->durable.impl, store_on_durable_closed, s);
	else
		store_on_durable_closed(s);
}

bool store_has_durable(const struct store *s) { return s->durable.ops != NULL; }

/* ---- writing */

static struct outgoing *store_outgoing(struct store *s, const uint8_t *key)
{
	return (struct outgoing *)map_find(&s->outgoing, key);
}

static void outgoing_unlist(struct outgoing *o)
{
	if (o == NULL || !o->listed)
		return;
	map_remove(&o->store->outgoing, &o->node);
	o->listed = false;
}

static void outgoing_done(struct durable_ack *ack)
{
	struct outgoing *o = container_of(ack, struct outgoing, ack);

	if (ack->status != DURABLE_OK)
		o->store->metrics.store_write_failures_total++;
	outgoing_unlist(o);
	entry_unref(o->e);
	free(o);
}

static bool store_send(struct store *s, struct entry *e)
{
	struct outgoing *o;

	if (s->durable.ops == NULL) {
		s->metrics.store_write_failures_total += s->unusable;
		return false;
	}
	o = calloc(1, sizeof *o);
	if (o != NULL)
		o->ack.done = outgoing_done;
	if (o == NULL || s->durable.ops->write(s->durable.impl, e, &o->ack) != DURABLE_OK) {
		free(o);
		s->metrics.store_write_failures_total++;
		return false;
	}
	o->store = s;
	o->e = entry_ref(e);
	memcpy(o->node.key, e->node.key, ENTRY_KEY_BYTES);
	outgoing_unlist(store_outgoing(s, e->node.key));
	map_insert(&s->outgoing, &o->node);
	o->listed = true;
	return true;
}

bool store_write(struct store *s, struct entry *e)
{
	bool in_memory, sent;

	assert(!s->closing);
	changes_note(&s->changes, e->node.key);
	sent = store_send(s, e);
	in_memory = memory_insert(s->memory, e);
	return in_memory || sent;
}

void store_drop(struct store *s, const uint8_t key[ENTRY_KEY_BYTES]) { memory_remove(s->memory, key); }

static void store_end_ack(struct store *s, struct durable_ack *ack)
{
	ack->status = s->unusable ? DURABLE_FAILED : DURABLE_OK;
	TAILQ_INSERT_TAIL(&s->acks, ack, link);
	store_tell_later(s);
}

void store_remove(struct store *s, const uint8_t key[ENTRY_KEY_BYTES], struct durable_ack *ack)
{
	struct outgoing *o = store_outgoing(s, key);

	assert(!s->closing);
	changes_note(&s->changes, key);
	ack->existed = memory_remove(s->memory, key) || o != NULL;
	outgoing_unlist(o);
	if (s->durable.ops != NULL)
		s->durable.ops->remove(s->durable.impl, key, ack);
	else
		store_end_ack(s, ack);
}

void store_epoch(struct store *s, const struct tag *tag, uint64_t stamp, struct durable_ack *ack)
{
	assert(!s->closing);

	if (s->durable.ops != NULL)
		s->durable.ops->epoch(s->durable.impl, tag, stamp, ack);
	else
		store_end_ack(s, ack);
}

/* ---- reading */

struct entry *store_find(struct store *s, const uint8_t key[ENTRY_KEY_BYTES])
{
	struct entry *e = memory_find(s->memory, key);
	struct outgoing *o;

	if (e != NULL)
		return e;
	o = store_outgoing(s, key);
	return o != NULL ? o->e : NULL;
}

static void incoming_start(struct incoming *i)
{
	struct store *s = i->store;

	i->attempts++;
	i->since = s->changes.now;
	s->durable.ops->read(s->durable.impl, &i->read);
}

/* As store_find, without counting as asked. */
static struct entry *store_peek(struct store *s, const uint8_t *key)
{
	struct entry *e = memory_peek(s->memory, key);
	struct outgoing *o = e == NULL ? store_outgoing(s, key) : NULL;

	return o != NULL ? o->e : e;
}

static bool store_is_sound(const struct store *s, const struct entry *e)
{
	return s->events.sound == NULL || s->events.sound(s->events.owner, e);
}

/* What memory or a write on its way has is newer than what was read. Returns one reference, or NULL. */
static struct entry *incoming_settle(struct incoming *i, struct entry *e)
{
	struct store *s = i->store;
	struct entry *known = store_peek(s, i->read.key);

	if (known == NULL) {
		if (e != NULL && !store_is_sound(s, e)) {
			entry_unref(e);
			return NULL;
		}
		if (e != NULL)
			memory_insert(s->memory, e);
		return e;
	}
	entry_unref(e);
	return entry_ref(known);
}

static void incoming_done(struct durable_read *read)
{
	struct incoming *i = container_of(read, struct incoming, read);
	struct store *s = i->store;
	struct durable_read *asked = i->asked;
	struct entry *e = read->status == DURABLE_OK ? read->entry : NULL;

	if (read->status == DURABLE_FAILED || read->status == DURABLE_BUSY)
		s->metrics.store_read_failures_total++;
	if (changes_since(&s->changes, read->key, i->since)) {
		entry_unref(e); /* as it was before somebody wrote or removed it */
		e = NULL;
		if (store_peek(s, read->key) == NULL && i->attempts < STORE_READ_ATTEMPTS && !s->closing) {
			incoming_start(i);
			return;
		}
	}
	asked->entry = incoming_settle(i, e);
	asked->status = asked->entry != NULL ? DURABLE_OK : DURABLE_NOT_FOUND;
	free(i);
	asked->done(asked);
}

void store_read(struct store *s, struct durable_read *r)
{
	struct incoming *i = NULL;

	assert(!s->closing);
	if (s->durable.ops != NULL) {
		s->metrics.store_reads_total++;
		i = calloc(1, sizeof *i);
		s->metrics.store_read_failures_total += i == NULL;
	}
	if (i == NULL) {
		TAILQ_INSERT_TAIL(&s->misses, r, link);
		store_tell_later(s);
		return;
	}
	i->store = s;
	i->asked = r;
	i->read.done = incoming_done;
	memcpy(i->read.key, r->key, ENTRY_KEY_BYTES);
	incoming_start(i);
}

bool store_found(void *owner, struct entry *e)
{
	struct store *s = owner;

	if (s->closing || !memory_is_roomy(s->memory))
		return false;
	if (store_peek(s, e->node.key) == NULL && (s->events.alive == NULL || s->events.alive(s->events.owner, e)) &&
	    store_is_sound(s, e))
		memory_insert(s->memory, e);
	return true;
}

/* ---- reclaiming */

static void store_reclaim_slice(struct deadline *d)
{
	struct store *s = container_of(d, struct store, reclaim);

	s->metrics.store_reclaimed_total +=
		memory_sweep(s->memory, &s->reclaim_cursor, STORE_RECLAIM_SLICE, s->events.alive, s->events.owner);
	if (s->reclaim_cursor == 0 && !s->reclaim_again)
		return;
	s->reclaim_again &= s->reclaim_cursor != 0;
	loop_arm(s->loop, &s->reclaim, STORE_RECLAIM_GAP_US, store_reclaim_slice);
}

void store_reclaim(struct store *s)
{
	assert(!s->closing);
	if (s->events.alive == NULL)
		return;
	if (s->reclaim.armed)
		s->reclaim_again = true; /* not back to the start: who asks all the time would keep it there */
	else
		loop_arm(s->loop, &s->reclaim, STORE_RECLAIM_GAP_US, store_reclaim_slice);
}
