#include "server/net/request.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "server/engine/payload.h"
#include "server/net/conn.h"

#define REQUESTS_BUCKETS_MIN 8

/* ---- the table: chained, doubled when it is full; ids are the client's own and hurt nobody else when they collide */

static struct request **requests_bucket(const struct requests *t, uint64_t id)
{
	return &t->buckets[(uint32_t)((id * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (t->size - 1)];
}

struct request *requests_find(const struct requests *t, uint64_t id)
{
	struct request *r;

	if (t->count == 0)
		return NULL;
	for (r = *requests_bucket(t, id); r != NULL; r = r->next)
		if (r->id == id)
			return r;
	return NULL;
}

static void requests_put(struct requests *t, struct request *r)
{
	struct request **bucket = requests_bucket(t, r->id);

	r->next = *bucket;
	*bucket = r;
}

/* False: no memory for the first buckets. Without memory for more, chains get longer. */
static bool requests_grow(struct requests *t)
{
	struct requests grown = {.size = t->size > 0 ? t->size * 2 : REQUESTS_BUCKETS_MIN, .count = t->count};
	struct request *r, *next;
	uint32_t i;

	grown.buckets = calloc(grown.size, sizeof(struct request *));
	if (grown.buckets == NULL)
		return t->size > 0;
	for (i = 0; i < t->size; i++)
		for (r = t->buckets[i]; r != NULL; r = next) {
			next = r->next;
			requests_put(&grown, r);
		}
	free(t->buckets);
	*t = grown;
	return true;
}

static bool requests_insert(struct requests *t, struct request *r)
{
	if (t->count >= t->size && !requests_grow(t))
		return false;
	requests_put(t, r);
	t->count++;
	return true;
}

static void requests_remove(struct requests *t, struct request *r)
{
	struct request **at = requests_bucket(t, r->id);

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	r->next = NULL;
	if (--t->count > 0)
		return;
	free(t->buckets);
	*t = (struct requests){0};
}

/* ---- life */

void request_pool_free(struct request_pool *p)
{
	struct request *r;

	assert(p->used_count == 0);
	while ((r = p->spare) != NULL) {
		p->spare = r->next;
		free(r);
	}
	p->spare_count = 0;
}

static struct request *request_new(struct conn *c, const struct message *m)
{
	struct request_pool *p = &c->shared->requests;
	struct request *r = p->spare;

	if (r != NULL) {
		p->spare = r->next;
		p->spare_count--;
	} else {
		r = malloc(sizeof *r);
		if (r == NULL)
			return NULL;
	}
	p->used_count++;
	*r = (struct request){.shared = c->shared, .conn = c, .id = m->id, .op = m->op, .credit = UINT64_MAX};
	return r;
}

static bool request_is_query(const struct request *r) { return r->op == OP_QUERY || r->op == OP_LOOKUP; }

static void request_free(struct request *r)
{
	struct conn_shared *s = r->shared;
	struct request_pool *p = &s->requests;

	loop_disarm(s->loop, &r->window);
	if (request_is_query(r))
		query_release(&r->query);
	answer_unref(r->whole);
	s->counters.net_held_bytes -= r->held;
	assert(p->used_count > 0);
	p->used_count--;
	if (p->spare_count < REQUESTS_SPARE_MAX) {
		r->next = p->spare;
		p->spare = r;
		p->spare_count++;
	} else {
		free(r);
	}
	if (p->used_count == 0)
		conn_check_emptied(s);
}

static bool request_list(struct request *r)
{
	struct conn *c = r->conn;

	if (!requests_insert(&c->requests, r))
		return false;
	r->listed = true;
	c->shared->counters.net_requests++;
	conn_request_began(c);
	return true;
}

static void request_unlist(struct request *r)
{
	struct conn *c = r->conn;

	if (r->queued)
		TAILQ_REMOVE(&c->ready, r, ready_link);
	r->queued = false;
	if (!r->listed)
		return;
	requests_remove(&c->requests, r);
	r->listed = false;
	c->shared->counters.net_requests--;
}

/* Its END or ERROR is in the output: the id is free. */
static void request_end(struct request *r)
{
	struct conn *c = r->conn;
	bool was_listed = r->listed;

	request_unlist(r);
	request_free(r);
	if (was_listed)
		conn_request_ended(c);
}

static void request_fail(struct request *r, const struct reply_error *e)
{
	struct conn *c = r->conn;

	if (conn_sent(c, reply_error(conn_output(c), r->id, e)))
		request_end(r);
	/* Else the connection is closed, and with it all its requests, this one too. */
}

/* ---- sending */

enum request_progress {
	REQUEST_DRAINED, /* every piece there is was sent */
	REQUEST_WAITS,	 /* for the output, or for its next turn */
	REQUEST_STARVES, /* for WINDOW */
	REQUEST_GONE,	 /* it has ended, or its connection was closed for want of memory */
};

static enum request_progress request_fail_memory(struct request *r)
{
	struct fault fault;

	fault_set(&fault, ERR_NO_MEMORY, "", "there is no memory for the answer");
	request_fail(r, &(struct reply_error){.fault = &fault, .retry_after_ms = 1000});
	return REQUEST_GONE;
}

static enum proto_source request_source(const struct request *r)
{
	if (r->query.state == QUERY_ENDED)
		return r->query.outcome.source;
	return r->query.leader ? SOURCE_LLM : SOURCE_JOINED;
}

static bool request_send_head(struct request *r)
{
	struct conn *c = r->conn;

	if (r->chunked)
		return true;
	r->chunked = true;
	return conn_sent(c, reply_head(conn_output(c), r->id, request_source(r), r->query.outcome.age_ms));
}

static bool request_send_piece(struct request *r, const struct answer_piece *piece)
{
	struct conn *c = r->conn;

	r->sent += piece->data.n;
	if (r->credit != UINT64_MAX)
		r->credit -= piece->data.n;
	return conn_sent(c, reply_chunk_begin(conn_output(c), r->id, piece->kind, piece->index, piece->data.n) &&
				    output_append_block(&c->output, &c->shared->spares, piece->block, piece->data));
}

/* Bytes of data that the next CHUNK may have. */
static size_t request_room(const struct request *r)
{
	size_t room = r->conn->frame_max - REPLY_CHUNK_OVERHEAD;

	if (room > REQUEST_CHUNK_BYTES_MAX)
		room = REQUEST_CHUNK_BYTES_MAX;
	return r->credit < room ? (size_t)r->credit : room;
}

/* At most REQUEST_CHUNK_BYTES_MAX and one piece more: then it is the turn of the connection's next request. */
static enum request_progress request_send_pieces(struct request *r, const struct answer *a,
						 struct answer_reader *reader)
{
	uint32_t stop = reader->offset + REQUEST_CHUNK_BYTES_MAX;
	struct answer_piece piece;

	while (reader->offset < a->bytes) {
		if (request_room(r) == 0)
			return REQUEST_STARVES;
		if (reader->offset >= stop || !conn_may_send(r->conn))
			return REQUEST_WAITS;
		if (!answer_read(a, reader, request_room(r), &piece))
			break;
		if (!request_send_head(r) || !request_send_piece(r, &piece))
			return REQUEST_GONE;
	}
	return REQUEST_DRAINED;
}

/* An END is copied into the output: not a large one where the outputs of all together are full. */
static bool request_overflows(const struct request *r)
{
	uint64_t waiting = r->shared->counters.net_output_bytes;
	size_t n = entry_payload(r->query.entry).n;

	return n > REQUEST_LARGE_BYTES && waiting > 0 && waiting + n > r->shared->options->output_limit_bytes;
}

/* Does the answer travel whole in END? */
static bool request_fits(const struct request *r)
{
	struct slice payload = entry_payload(r->query.entry);

	if (payload.n + REPLY_END_OVERHEAD > r->conn->frame_max || request_overflows(r))
		return false;
	if (r->query.stream && payload.n > REQUEST_WHOLE_BYTES_MAX &&
	    payload_segments_bytes(payload) > REQUEST_WHOLE_BYTES_MAX)
		return false;
	return r->credit == UINT64_MAX || payload_segments_bytes(payload) <= r->credit;
}

static enum request_progress request_send_end(struct request *r, bool segments)
{
	struct conn *c = r->conn;

	if (conn_sent(c, reply_query_end(conn_output(c), r->id, &r->query, segments)))
		request_end(r);
	return REQUEST_GONE;
}

static enum request_progress request_fail_size(struct request *r)
{
	struct fault fault;

	fault_set(&fault, ERR_TOO_LARGE, "frame_max",
		  "the answer has %u bytes, your frames at most %u: ask with stream: true, or announce the feature "
		  "stream in HELLO",
		  (unsigned)r->query.entry->payload_bytes, (unsigned)r->conn->frame_max);
	request_fail(r, &(struct reply_error){.fault = &fault});
	return REQUEST_GONE;
}

static enum request_progress request_fail_overload(struct request *r)
{
	struct fault fault;

	r->shared->counters.net_held_refused_total++;
	fault_set(&fault, ERR_OVERLOADED, "",
		  "too many bytes of answers wait for clients to take them (net.output_limit); the answer is stored if "
		  "it may be");
	request_fail(r, &(struct reply_error){.fault = &fault, .retry_after_ms = 1000, .offset = r->sent});
	return REQUEST_GONE;
}

/* The request keeps so many bytes that nobody else may need. False: all together keep too many. */
static bool request_hold(struct request *r, size_t bytes)
{
	struct net_metrics *counters = &r->shared->counters;
	uint64_t others = counters->net_held_bytes - r->held;

	if (bytes <= r->held)
		return true;
	if (others > 0 && others + bytes > r->shared->options->output_limit_bytes)
		return false;
	counters->net_held_bytes = others + bytes;
	r->held = bytes;
	return true;
}

/* What waits for its client holds its share of the entry: forgotten by the memory tier, it would still be there. */
static bool request_hold_entry(struct request *r)
{
	const struct entry *entry = r->query.state == QUERY_ENDED ? r->query.entry : NULL;

	return entry == NULL || request_hold(r, entry->payload_bytes / (entry->refs - entry->in_memory));
}

/* The query ended well and its answer goes, or went, in CHUNKs. */
static enum request_progress request_finish_chunks(struct request *r)
{
	const struct answer *a = r->query.answer;
	struct answer_reader *reader = &r->query.reader;
	enum request_progress progress;

	if (a == NULL && r->whole == NULL) {
		if (r->credit == 0) /* a copy is made for who can take of it */
			return REQUEST_STARVES;
		if (!request_hold(r, r->query.entry->payload_bytes))
			return request_fail_overload(r);
		r->whole = payload_answer(&r->shared->payload_decoder, entry_payload(r->query.entry), r->query.mint);
		if (r->whole == NULL)
			return request_fail_memory(r);
	}
	if (r->whole != NULL) {
		a = r->whole;
		reader = &r->whole_reader;
	}
	progress = request_send_pieces(r, a, reader);
	return progress == REQUEST_DRAINED ? request_send_end(r, false) : progress;
}

static enum request_progress request_pump_ended(struct request *r)
{
	struct query *q = &r->query;

	if (q->outcome.fault.code != ERR_NONE) {
		request_fail(r, &(struct reply_error){.fault = &q->outcome.fault,
						      .retry_after_ms = q->outcome.retry_after_ms,
						      .offset = r->sent,
						      .upstream_status = q->outcome.upstream_status});
		return REQUEST_GONE;
	}
	if (!conn_may_send(r->conn))
		return REQUEST_WAITS;
	if (q->entry == NULL || (!r->chunked && r->whole == NULL && request_fits(r)))
		return request_send_end(r, true);
	if (r->chunks_ok)
		return request_finish_chunks(r);
	return request_overflows(r) ? request_fail_overload(r) : request_fail_size(r);
}

static void request_on_no_window(struct deadline *d)
{
	struct request *r = (struct request *)((char *)d - offsetof(struct request, window));
	struct conn_shared *s = r->shared;
	struct fault fault;

	s->counters.net_window_timeouts_total++;
	fault_set(&fault, ERR_TIMEOUT, "window", "the answer waited %" PRIu64 " ms for WINDOW",
		  s->options->write_timeout_ms);
	request_fail(r, &(struct reply_error){.fault = &fault});
}

void request_pump(struct request *r)
{
	struct query *q = &r->query;
	enum request_progress progress;

	if (!request_is_query(r) || q->state == QUERY_WAITING)
		return;
	progress = q->state == QUERY_ENDED ? request_pump_ended(r) : request_send_pieces(r, q->answer, &q->reader);
	if ((progress == REQUEST_WAITS || progress == REQUEST_STARVES) && !request_hold_entry(r))
		progress = request_fail_overload(r);
	if (progress == REQUEST_WAITS && !r->queued) {
		r->queued = true;
		TAILQ_INSERT_TAIL(&r->conn->ready, r, ready_link);
	} else if (progress == REQUEST_STARVES && q->state == QUERY_ENDED && !r->window.armed) {
		loop_arm(r->shared->loop, &r->window, r->shared->options->write_timeout_ms * 1000,
			 request_on_no_window);
	}
}

static void request_on_ready(struct query *q)
{
	request_pump((struct request *)((char *)q - offsetof(struct request, query)));
}

/* ---- starting */

static void request_refuse_memory(struct conn *c, uint64_t id)
{
	struct fault fault;

	fault_set(&fault, ERR_NO_MEMORY, "", "there is no memory for the request");
	conn_error(c, id, &(struct reply_error){.fault = &fault, .retry_after_ms = 1000});
}

void request_query(struct conn *c, const struct message *m, struct slice frame)
{
	struct request *r = request_new(c, m);

	if (r == NULL) {
		request_refuse_memory(c, m->id);
		return;
	}
	r->query.ready = request_on_ready;
	r->query.stream = m->request.stream;
	if (MESSAGE_HAS(&m->request, REQUEST, window))
		r->credit = m->request.window;
	r->chunks_ok = (c->features & FEATURE_STREAM) || r->query.stream || r->credit != UINT64_MAX;
	/* Refused, or failed in the same turn: no upstream serves the model, or its queue is full. */
	if (engine_query(c->shared->engine, &r->query, m, frame) < 0 || r->query.outcome.fault.code != ERR_NONE) {
		conn_error(c, r->id,
			   &(struct reply_error){.fault = &r->query.outcome.fault,
						 .retry_after_ms = r->query.outcome.retry_after_ms});
		request_free(r);
		return;
	}
	/* A hit that fits is sent right here: it is in flight for no time at all. */
	if (r->query.state == QUERY_ENDED && (r->query.entry == NULL || request_fits(r))) {
		conn_sent(c, reply_query_end(conn_output(c), r->id, &r->query, true));
		request_free(r);
		return;
	}
	if (!request_list(r)) {
		if (r->query.state != QUERY_ENDED)
			query_cancel(&r->query);
		request_free(r);
		request_refuse_memory(c, m->id);
		return;
	}
	request_pump(r);
}

static void request_on_invalidated(struct invalidation *i)
{
	struct request *r = (struct request *)((char *)i - offsetof(struct request, invalidation));
	struct conn *c = r->conn;
	struct end_body end = {0};

	if (c == NULL) {
		request_free(r);
		return;
	}
	if (i->fault.code != ERR_NONE) {
		request_fail(r, &(struct reply_error){.fault = &i->fault});
		return;
	}
	if (i->counted)
		MESSAGE_SET(&end, END, removed, i->removed);
	MESSAGE_SET(&end, END, as_of, i->as_of);
	if (conn_sent(c, reply_end(conn_output(c), r->id, &end)))
		request_end(r);
}

void request_invalidate(struct conn *c, const struct message *m)
{
	struct request *r = request_new(c, m);
	struct fault fault;

	if (r == NULL || !request_list(r)) {
		if (r != NULL)
			request_free(r);
		request_refuse_memory(c, m->id);
		return;
	}
	r->invalidation.done = request_on_invalidated;
	if (engine_invalidate(c->shared->engine, &r->invalidation, m, &fault) < 0)
		request_fail(r, &(struct reply_error){.fault = &fault});
}

/* ---- what else happens to it */

void request_credit(struct request *r, uint64_t bytes)
{
	if (r->credit == UINT64_MAX || bytes == 0)
		return;
	loop_disarm(r->shared->loop, &r->window);
	r->credit = bytes < UINT64_MAX - 1 - r->credit ? r->credit + bytes : UINT64_MAX - 1;
	request_pump(r);
}

void request_cancel(struct request *r)
{
	struct fault fault;

	if (!request_is_query(r))
		return;
	if (r->query.state != QUERY_ENDED)
		query_cancel(&r->query);
	fault_set(&fault, ERR_CANCELLED, "", "the client cancelled the request");
	request_fail(r, &(struct reply_error){.fault = &fault});
}

static void request_abandon(struct request *r)
{
	r->shared->counters.net_requests_gone_total++;
	request_unlist(r);
	r->conn = NULL;
	if (!request_is_query(r))
		return; /* its `done` will find that nobody waits */
	if (r->query.state != QUERY_ENDED)
		query_cancel(&r->query);
	request_free(r);
}

void request_abandon_all(struct conn *c)
{
	struct requests *t = &c->requests;
	uint32_t i = 0;

	while (t->count > 0) { /* the buckets go with the last one */
		while (t->buckets[i] == NULL)
			i++;
		request_abandon(t->buckets[i]);
	}
}
