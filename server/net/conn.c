#include "server/net/conn.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "server/base/log.h"
#include "server/net/conn_io.h"

static const struct {
	const char *text;
	unsigned next; /* bits of the states that may follow */
} conn_states[] = {
#define X(name, text, next) {text, next},
	CONN_STATES(X)
#undef X
};

/* The only place where a state changes. */
static void conn_move(struct conn *c, enum conn_state to)
{
	assert(conn_states[c->state].next & (1u << to));
	c->state = to;
}

static void conn_log_end(const struct conn *c, const char *reason)
{
	if (log_wants(LOG_DEBUG))
		log_event(LOG_DEBUG, "conn.end", "id=%" PRIu64 " state=%s reason=%s", c->id,
			  log_quote(conn_states[c->state].text, -1), log_quote(reason, -1));
}

/* ---- turns and time */

static void conn_free(struct conn *c);

static void conn_on_turn(struct loop_task *t)
{
	struct conn *c = (struct conn *)((char *)t - offsetof(struct conn, task));

	if (c->state == CONN_CLOSED)
		conn_free(c);
	else
		conn_io_turn(c);
}

void conn_touch(struct conn *c) { loop_defer(c->shared->loop, &c->task, conn_on_turn); }

static void conn_on_deadline(struct deadline *d);

void conn_watch(struct conn *c)
{
	struct loop *l = c->shared->loop;
	enum liveness_event event;
	uint64_t due_us = liveness_due_us(&c->liveness, &c->shared->limits, &event), now_us;

	if (c->state == CONN_CLOSED || due_us == UINT64_MAX || (c->deadline.armed && c->deadline.at_us <= due_us))
		return; /* one that fires too early asks again */
	now_us = loop_now_us(l);
	loop_arm(l, &c->deadline, due_us > now_us ? due_us - now_us : 0, conn_on_deadline);
}

static void conn_ping(struct conn *c)
{
	c->liveness.pings++;
	c->liveness.pinged_us = loop_now_us(c->shared->loop);
	c->shared->counters.net_pings_total++;
	if (conn_sent(c, reply_ping(conn_output(c), false)))
		conn_watch(c);
}

/* Tells why before it ends. */
static void conn_expire(struct conn *c, const char *what, uint64_t limit_us)
{
	struct fault fault;

	fault_set(&fault, ERR_TIMEOUT, "", "%s within %" PRIu64 " ms", what, limit_us / 1000);
	conn_fault(c, 0, &fault);
	conn_finish(c, what);
}

static void conn_on_deadline(struct deadline *d)
{
	struct conn *c = (struct conn *)((char *)d - offsetof(struct conn, deadline));
	const struct liveness_limits *limits = &c->shared->limits;
	struct net_metrics *counters = &c->shared->counters;
	enum liveness_event event;

	if (liveness_due_us(&c->liveness, limits, &event) > loop_now_us(c->shared->loop)) {
		conn_watch(c);
		return;
	}
	switch (event) {
	case LIVENESS_HELLO_TIMEOUT:
		counters->net_hello_timeouts_total++;
		conn_expire(c, "no HELLO came", limits->hello_us);
		break;
	case LIVENESS_FRAME_TIMEOUT:
		counters->net_frame_timeouts_total++;
		conn_expire(c, "a frame began and did not end", limits->frame_us);
		break;
	case LIVENESS_WRITE_TIMEOUT:
		counters->net_write_timeouts_total++;
		conn_close(c, "it does not read");
		break;
	case LIVENESS_PING:
		conn_ping(c);
		break;
	case LIVENESS_PING_TIMEOUT:
		counters->net_ping_timeouts_total++;
		conn_close(c, "PINGs unanswered");
		break;
	case LIVENESS_IDLE:
		counters->net_idle_timeouts_total++;
		conn_goaway(c, 0, "idle");
		break;
	case LIVENESS_LINGER_TIMEOUT:
		conn_close(c, "done, and the peer stays");
		break;
	}
}

/* ---- life */

void conn_check_emptied(struct conn_shared *s)
{
	if (s->conns_count == 0 && s->requests.used_count == 0)
		s->emptied(s);
}

static struct conn *conn_new(struct conn_shared *s, struct stream *stream)
{
	struct conn *c = calloc(1, sizeof *c);

	if (c == NULL)
		return NULL;
	c->shared = s;
	c->stream = stream;
	c->id = ++s->next_conn_id;
	c->frame_max = (uint32_t)FRAME_BYTES_MAX;
	c->liveness.opened_us = loop_now_us(s->loop);
	input_init(&c->input);
	TAILQ_INIT(&c->ready);
	TAILQ_INSERT_TAIL(&s->conns, c, link);
	s->conns_count++;
	s->counters.net_connections = s->conns_count;
	s->counters.net_connections_total++;
	return c;
}

static void conn_free(struct conn *c)
{
	struct conn_shared *s = c->shared;

	TAILQ_REMOVE(&s->conns, c, link);
	s->conns_count--;
	s->refused_count -= c->refused;
	s->counters.net_connections = s->conns_count;
	input_free(&c->input);
	output_free(&c->output, &s->spares);
	conn_io_account(c);
	free(c);
	conn_check_emptied(s);
}

static void conn_refuse(struct conn *c)
{
	struct fault fault;

	c->refused = true;
	c->shared->refused_count++;
	fault_set(&fault, ERR_OVERLOADED, "", "%" PRIu64 " connections are open (net.connections)",
		  c->shared->connections_max);
	conn_error(c, 0, &(struct reply_error){.fault = &fault, .retry_after_ms = 1000});
	conn_finish(c, "too many connections");
}

void conn_accept(struct conn_shared *s, struct stream *stream)
{
	bool refused = s->conns_count - s->refused_count >= s->connections_max;
	struct conn *c = NULL;

	if (refused)
		s->counters.net_connections_refused_total++;
	if (!refused || s->refused_count < CONN_REFUSED_MAX)
		c = conn_new(s, stream);
	if (c == NULL) {
		stream_close(stream);
		return;
	}
	stream_start(stream, &conn_io_events, c);
	conn_watch(c);
	if (refused)
		conn_refuse(c);
}

void conn_leave(struct conn *c)
{
	if (c->state != CONN_OPEN)
		return;
	conn_move(c, CONN_LEAVING);
	if (c->requests.count == 0)
		conn_finish(c, "left");
}

void conn_goaway(struct conn *c, uint64_t grace_ms, const char *reason)
{
	if (c->state == CONN_GREETING)
		conn_finish(c, reason);
	if (c->state != CONN_OPEN)
		return;
	if ((c->features & FEATURE_GOAWAY) && !conn_sent(c, reply_goaway(conn_output(c), grace_ms, c->last_id, reason)))
		return;
	conn_leave(c);
}

void conn_finish(struct conn *c, const char *reason)
{
	if (c->state == CONN_LINGERING || c->state == CONN_CLOSED)
		return;
	conn_log_end(c, reason);
	conn_move(c, CONN_LINGERING);
	request_abandon_all(c);
	c->liveness.waiting_us = c->liveness.frame_us = 0;
	c->liveness.ending = true;
	c->backlog = false;
	conn_touch(c);
}

void conn_close(struct conn *c, const char *reason)
{
	if (c->state == CONN_CLOSED)
		return;
	if (c->state != CONN_LINGERING)
		conn_log_end(c, reason);
	conn_move(c, CONN_CLOSED);
	request_abandon_all(c);
	loop_disarm(c->shared->loop, &c->deadline);
	stream_close(c->stream);
	c->stream = NULL;
	conn_touch(c); /* frees: a frame of it may be in use further up the stack */
}

void conn_greet(struct conn *c, uint32_t features, uint32_t frame_max)
{
	conn_move(c, CONN_OPEN);
	c->features = features;
	c->frame_max = frame_max;
	c->liveness.greeted = true;
}

void conn_request_began(struct conn *c)
{
	if (c->requests.count != 1)
		return;
	c->liveness.waiting_us = loop_now_us(c->shared->loop);
	c->liveness.pinged_us = 0;
	c->liveness.pings = 0;
	conn_watch(c);
}

void conn_request_ended(struct conn *c)
{
	if (c->requests.count > 0)
		return;
	c->liveness.waiting_us = 0;
	if (c->state == CONN_LEAVING)
		conn_finish(c, "left");
}

/* ---- output */

struct buf *conn_output(struct conn *c)
{
	if (c->state != CONN_CLOSED)
		conn_touch(c);
	return output_buf(&c->output, &c->shared->spares);
}

bool conn_sent(struct conn *c, bool ok)
{
	if (!ok && c->state != CONN_CLOSED) {
		c->shared->counters.net_no_memory_total++;
		conn_close(c, "no memory for its output");
	}
	return c->state != CONN_CLOSED;
}

bool conn_may_send(const struct conn *c)
{
	const struct net_options *options = c->shared->options;
	size_t bytes = output_bytes(&c->output);

	if (bytes == 0)
		return true;
	return bytes < options->high_water_bytes &&
	       c->shared->counters.net_output_bytes - c->output_counted + bytes < options->output_limit_bytes;
}

void conn_error(struct conn *c, uint64_t id, const struct reply_error *e)
{
	struct reply_error about = *e;
	struct fault fault;

	if (id != 0 && requests_find(&c->requests, id) != NULL) {
		fault_set(&fault, e->fault->code, e->fault->field, "id %" PRIu64 ": %s", id, e->fault->message);
		about.fault = &fault;
		id = 0;
	}
	conn_sent(c, reply_error(conn_output(c), id, &about));
}

void conn_fault(struct conn *c, uint64_t id, const struct fault *fault)
{
	conn_error(c, id, &(struct reply_error){.fault = fault});
}
