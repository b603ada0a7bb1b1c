#include "server/net/dispatch.h"

#include <assert.h>
#include <inttypes.h>

#include "server/net/hello.h"

#define HANDLER_C(name) static void dispatch_##name(struct conn *c, const struct message *m, struct slice frame);
#define HANDLER_B(name) HANDLER_C(name)
#define HANDLER_S(name)
#define X(name, number, from, body, text) HANDLER_##from(name)
PROTO_OPS(X)
#undef X
#undef HANDLER_C

typedef void dispatch_handler(struct conn *c, const struct message *m, struct slice frame);

#define HANDLER_C(name) [OP_##name] = dispatch_##name,
static dispatch_handler *const handlers[] = {
#define X(name, number, from, body, text) HANDLER_##from(name)
	PROTO_OPS(X)
#undef X
};

uint32_t dispatch_frame_max(const struct conn *c)
{
	return (uint32_t)(c->state == CONN_GREETING ? HELLO_BYTES_MAX : FRAME_BYTES_MAX);
}

/* ---- frames */

uint64_t dispatch_error_id(uint64_t op, uint64_t id)
{
	return op == OP_CANCEL || op == OP_WINDOW || op == OP_GOAWAY ? 0 : id;
}

/* Before HELLO nobody is given a second chance: a peer that does not know the protocol only costs. */
static void dispatch_refuse(struct conn *c, uint64_t id, const struct fault *fault)
{
	c->shared->counters.net_malformed_total++;
	conn_fault(c, id, fault);
	if (c->state == CONN_GREETING)
		conn_finish(c, "malformed frame before HELLO");
}

/* Before HELLO nothing but HELLO and PING is even looked at. False: refused. */
static bool dispatch_check_greeted(struct conn *c, struct slice frame)
{
	uint64_t op, id;
	struct fault fault;

	if (c->state != CONN_GREETING || !frame_peek(frame, &op, &id) || op == OP_HELLO || op == OP_PING)
		return true;
	c->shared->counters.net_unauthenticated_total++;
	fault_set(&fault, ERR_UNAUTHENTICATED, "", "HELLO comes first");
	conn_fault(c, dispatch_error_id(op, id), &fault);
	conn_finish(c, "no HELLO first");
	return false;
}

void dispatch_frame(struct conn *c, struct slice frame)
{
	struct message m;
	struct fault fault;

	c->shared->counters.net_frames_total++;
	if (!dispatch_check_greeted(c, frame))
		return;
	if (message_decode(&c->shared->decoder, frame, FROM_C, &m, &fault) < 0)
		dispatch_refuse(c, dispatch_error_id(m.op, m.id), &fault);
	else
		handlers[m.op](c, &m, frame);
}

void dispatch_oversize(struct conn *c, struct slice begin, uint32_t max)
{
	uint64_t op = 0, id = 0;
	struct fault fault;

	c->shared->counters.net_oversize_total++;
	if (!frame_peek(begin, &op, &id))
		id = 0;
	fault_set(&fault, ERR_TOO_LARGE, "", "a frame has at most %" PRIu32 " bytes%s", max,
		  c->state == CONN_GREETING ? " before HELLO is accepted" : "");
	dispatch_refuse(c, dispatch_error_id(op, id), &fault);
}

static bool looks_like_http(struct slice s)
{
	static const char *const methods[] = {"GET ",	 "POST ",  "HEAD ",    "PUT ", "OPTIONS ",
					      "DELETE ", "PATCH ", "CONNECT ", "PRI "};
	size_t i;

	for (i = 0; i < sizeof methods / sizeof *methods; i++)
		if (s.n >= strlen(methods[i]) && memcmp(s.p, methods[i], strlen(methods[i])) == 0)
			return true;
	return false;
}

void dispatch_garbage(struct conn *c, struct slice begin)
{
	const char *line = "promptcached: this port speaks the promptcache protocol, see proto/PROTOCOL.md\n";

	if (looks_like_http(begin))
		line = "promptcached: this port speaks the promptcache protocol, see proto/PROTOCOL.md; HTTP is not "
		       "spoken here\n";
	c->shared->counters.net_garbage_total++;
	conn_sent(c, buf_append_str(conn_output(c), line));
	conn_finish(c, "another protocol");
}

/* ---- requests */

/* Does this request come into flight? Else it was answered. */
static bool dispatch_admit(struct conn *c, const struct message *m)
{
	struct net_metrics *counters = &c->shared->counters;
	struct fault fault;

	assert(m->id != 0); /* message_decode refuses requests without an id */
	if (requests_find(&c->requests, m->id) != NULL) {
		counters->net_duplicate_ids_total++;
		fault_set(&fault, ERR_DUPLICATE_ID, "id",
			  "%s with id %" PRIu64
			  ": a request with this id is in flight and goes on; this one is not served",
			  proto_op_name(m->op), m->id);
		conn_fault(c, 0, &fault); /* with its id it would be taken for the end of the first one */
		return false;
	}
	if (c->state == CONN_LEAVING) {
		fault_set(&fault, ERR_SHUTTING_DOWN, "", "this connection takes no more requests; open another one");
		conn_fault(c, m->id, &fault);
		return false;
	}
	if (c->requests.count >= c->shared->options->inflight) {
		counters->net_requests_refused_total++;
		fault_set(&fault, ERR_OVERLOADED, "",
			  "%" PRIu32 " requests are in flight on this connection (net.inflight)", c->requests.count);
		conn_error(c, m->id, &(struct reply_error){.fault = &fault, .retry_after_ms = 100});
		return false;
	}
	c->last_id = m->id;
	return true;
}

static void dispatch_HELLO(struct conn *c, const struct message *m, struct slice frame)
{
	(void)frame;
	hello_serve(c, m);
}

static void dispatch_PING(struct conn *c, const struct message *m, struct slice frame)
{
	const struct end_body end = {0};

	(void)frame;
	if (m->id == 0) {
		if (!(m->flags & PROTO_FLAG_ACK)) /* an ACK has done its work by being heard */
			conn_sent(c, reply_ping(conn_output(c), true));
		return;
	}
	if (dispatch_admit(c, m))
		conn_sent(c, reply_end(conn_output(c), m->id, &end));
}

static void dispatch_QUERY(struct conn *c, const struct message *m, struct slice frame)
{
	if (dispatch_admit(c, m))
		request_query(c, m, frame);
}

static void dispatch_LOOKUP(struct conn *c, const struct message *m, struct slice frame)
{
	dispatch_QUERY(c, m, frame);
}

static void dispatch_PUT(struct conn *c, const struct message *m, struct slice frame)
{
	struct query_outcome outcome;
	uint8_t entry[ENTRY_KEY_BYTES];
	struct end_body end = {0};
	struct fault fault;

	(void)frame;
	if (!dispatch_admit(c, m))
		return;
	if (engine_put(c->shared->engine, m, &outcome, entry, &fault) < 0) {
		conn_fault(c, m->id, &fault);
		return;
	}
	MESSAGE_SET(&end, END, stored, outcome.stored);
	MESSAGE_SET(&end, END, reason, outcome.reason);
	MESSAGE_SET(&end, END, entry, slice_of(entry, sizeof entry));
	MESSAGE_SET(&end, END, as_of, outcome.as_of);
	conn_sent(c, reply_end(conn_output(c), m->id, &end));
}

static void dispatch_INVALIDATE(struct conn *c, const struct message *m, struct slice frame)
{
	(void)frame;
	if (dispatch_admit(c, m))
		request_invalidate(c, m);
}

/* The one END beside those of answers that may be longer than a client's frames: the others stay below
 * CONN_PEER_FRAME_MIN. */
static void dispatch_STATS(struct conn *c, const struct message *m, struct slice frame)
{
	struct fault fault;
	struct buf *out;
	size_t start, bytes;

	(void)frame;
	if (!dispatch_admit(c, m))
		return;
	out = conn_output(c);
	start = out->n;
	if (!conn_sent(c, reply_stats(out, m->id, c->shared->metrics)))
		return;
	bytes = out->n - start - PROTO_FRAME_PREFIX;
	if (bytes <= c->frame_max)
		return;
	out->n = start;
	fault_set(&fault, ERR_TOO_LARGE, "frame_max", "the counters have %zu bytes, your frames at most %" PRIu32,
		  bytes, c->frame_max);
	conn_fault(c, m->id, &fault);
}

/* ---- about requests in flight; they have no reply of their own, and one that is not in flight has just ended */

static void dispatch_CANCEL(struct conn *c, const struct message *m, struct slice frame)
{
	struct request *r = requests_find(&c->requests, m->id);

	(void)frame;
	if (r != NULL)
		request_cancel(r);
	else
		c->shared->counters.net_unknown_ids_total++;
}

static void dispatch_WINDOW(struct conn *c, const struct message *m, struct slice frame)
{
	struct request *r = requests_find(&c->requests, m->id);

	(void)frame;
	if (r != NULL)
		request_credit(r, m->window.credit);
	else
		c->shared->counters.net_unknown_ids_total++;
}

/* The client sends no more requests: when the last one has ended, so has the connection. */
static void dispatch_GOAWAY(struct conn *c, const struct message *m, struct slice frame)
{
	(void)m;
	(void)frame;
	conn_leave(c);
}
