/* core: what the server sends. Each function returns PC_OK, or fills c->failure and returns why the connection has to
 * be closed. */
#include "client/core_internal.h"
#include "proto/frame.h"

#include <assert.h>
#include <stdio.h>

/* A server that announces less would have us call it dead between two of its PINGs when the machine is busy. */
#define PING_INTERVAL_LEAST_MS 1000

static int core_broken(struct core *c, const char *what)
{
	return failure_set(&c->failure, PC_PROTOCOL, NULL, "the server sent %s", what);
}

static int core_no_memory(struct core *c)
{
	return failure_set(&c->failure, PC_NO_MEMORY, NULL, "no memory for an answer");
}

/* ---- pieces of an answer */

/* Hands a piece over. False: the request ended in the callback, and r is gone. */
static bool piece_deliver(struct core *c, struct core_request *r, const struct piece *p)
{
	struct pc_chunk chunk = {
		.kind = p->kind,
		.index = p->index,
		.data = (const char *)p->data.p,
		.len = p->data.n,
		.source = answer_source_name(r->source),
		.model = r->model.n > 0 ? (const char *)r->model.p : "",
	};

	if (p->data.n == 0)
		return true;
	c->delivering = r;

	int stop = r->on_chunk(r, &chunk);

	if (c->delivering != r)
		return false;
	c->delivering = NULL;
	if (!stop)
		return true;

	struct failure cancelled;
	core_done_cb done = r->on_done;

	failure_set(&cancelled, PC_CANCELLED, NULL, "the chunk callback asked for it");
	if (!core_forget(c, r))
		core_no_memory(c);
	done(r, PC_CANCELLED, NULL, &cancelled.seen);
	return false;
}

static int model_note(struct core *c, struct core_request *r, struct slice model)
{
	if (model.n == 0)
		return PC_OK;
	r->model.n = 0;
	if (!buf_append(&r->model, model.p, model.n) || !buf_append(&r->model, "", 1))
		return core_no_memory(c);
	return PC_OK;
}

static bool is_asking(const struct core_request *r) { return r->op == OP_QUERY || r->op == OP_LOOKUP; }

static int on_head(struct core *c, struct core_request *r, const struct head_body *head)
{
	if (!is_asking(r) || r->answered)
		return core_broken(c, "a HEAD out of place");
	r->answered = true;
	r->source = head->source;
	return r->on_chunk != NULL ? model_note(c, r, head->model) : PC_OK;
}

static int window_grant(struct core *c, struct core_request *r)
{
	struct message m = {.op = OP_WINDOW, .id = r->id};

	if (r->ungranted < (r->window + 1) / 2)
		return PC_OK;
	MESSAGE_SET(&m.window, WINDOW, credit, r->ungranted);
	if (!message_encode(&c->out, &m))
		return core_no_memory(c);
	r->credit += r->ungranted;
	r->ungranted = 0;
	return PC_OK;
}

static int on_chunk(struct core *c, struct core_request *r, const struct chunk_body *chunk)
{
	struct piece p;

	if (!is_asking(r) || !piece_of_chunk(chunk, &p))
		return core_broken(c, "a CHUNK out of place");
	r->answered = true;
	if (r->window > 0) {
		if (p.data.n > r->credit)
			return core_broken(c, "more than its credit");
		r->credit -= p.data.n;
		r->ungranted += p.data.n;
	}

	int status = gather_add(&r->gather, &p);

	if (status != PC_OK)
		return status == PC_NO_MEMORY ? core_no_memory(c)
					      : core_broken(c, "an answer that is too long or mixes kinds");
	if (r->on_chunk != NULL && !piece_deliver(c, r, &p))
		return c->failure.seen.status;
	return r->window > 0 ? window_grant(c, r) : PC_OK;
}

/* ---- ends */

/* What END brings of a stream goes to the chunk callback first. False: the request ended there. */
static bool end_deliver(struct core *c, struct core_request *r, const struct end_body *end)
{
	size_t count = end->segments != NULL ? end->segments->via.array.size : 0;

	r->source = end->source;
	for (size_t i = 0; i < count; i++) {
		struct piece p;

		if (!piece_of_object(&end->segments->via.array.ptr[i], &p))
			return true; /* answer_make will say so */
		if (!piece_deliver(c, r, &p))
			return false;
	}
	return true;
}

static int on_end(struct core *c, struct core_request *r, const struct end_body *end, uint64_t now_us)
{
	struct pc_answer *answer = NULL;

	if (r->on_chunk != NULL) {
		int status = model_note(c, r, end->model);

		if (status != PC_OK)
			return status;
		if (!end_deliver(c, r, end))
			return c->failure.seen.status;
	}

	uint64_t latency_us = now_us > r->started_us ? now_us - r->started_us : 0;
	int status = answer_make(&r->gather, end, latency_us, &answer);

	if (status != PC_OK)
		return status == PC_NO_MEMORY ? core_no_memory(c)
					      : core_broken(c, "an END whose segments are malformed");
	status = r->op == OP_LOOKUP && end->source == SOURCE_NONE ? PC_MISS : PC_OK;
	core_end(c, r, status, answer, NULL);
	return PC_OK;
}

static int on_hello_end(struct core *c, const struct end_body *end)
{
	if (c->state != CORE_HELLO)
		return core_broken(c, "a second answer to HELLO");
	if (end->version < 1 || end->version > PROTO_VERSION)
		return core_broken(c, "a version that was not offered");
	c->state = CORE_OPEN;
	if (MESSAGE_HAS(end, END, frame_max) && end->frame_max < c->server_frame_max)
		c->server_frame_max = end->frame_max;
	if (end->ping_interval_ms > PING_INTERVAL_LEAST_MS && end->ping_interval_ms < TIMEOUT_MS_MAX)
		c->ping_interval_us = end->ping_interval_ms * 1000;
	return PC_OK;
}

/* The server knows neither by which address it was found nor what was not sent. */
static int on_hello_error(struct core *c, const struct error_body *e)
{
	int status = failure_of_error(&c->failure, e);
	bool withheld = c->token_withheld && e->code == ERR_UNAUTHENTICATED;
	char message[FAILURE_MESSAGE_BYTES];

	memcpy(message, c->failure.message, sizeof(message));
	snprintf(c->failure.message, sizeof(c->failure.message), "%s%s%.700s%s", c->server,
		 c->server[0] != '\0' ? ": " : "", message,
		 withheld ? "; name the address (PROMPTCACHE_SERVER) to send the token of the default file" : "");
	return status;
}

static int on_error(struct core *c, struct core_request *r, const struct error_body *e)
{
	struct failure f;
	int status = failure_of_error(&f, e);

	if (e->code == ERR_SHUTTING_DOWN)
		c->leaving = true; /* whether or not its GOAWAY came first */
	core_end(c, r, status, NULL, &f.seen);
	return PC_OK;
}

/* ---- frames */

/* A request that was forgotten may still be answered; its last frame makes its id free. Anything else with an unknown
 * id is a fault. */
static int on_stray(struct core *c, const struct message *m)
{
	if (c->forgotten == 0 || m->id >= c->next_id)
		return core_broken(c, "a frame of a request that is not in flight");
	if (m->op == OP_END || m->op == OP_ERROR)
		c->forgotten--;
	return PC_OK;
}

static int on_request_frame(struct core *c, const struct message *m, uint64_t now_us)
{
	if (m->id == CORE_HELLO_ID && c->state == CORE_HELLO) {
		if (m->op == OP_END)
			return on_hello_end(c, &m->end);
		if (m->op == OP_ERROR)
			return on_hello_error(c, &m->error);
		return core_broken(c, "an answer to HELLO that is neither END nor ERROR");
	}

	struct core_request *r = core_find(c, m->id);

	if (r == NULL)
		return on_stray(c, m);
	switch (m->op) {
	case OP_HEAD:
		return on_head(c, r, &m->head);
	case OP_CHUNK:
		return on_chunk(c, r, &m->chunk);
	case OP_END:
		return on_end(c, r, &m->end, now_us);
	default:
		assert(m->op == OP_ERROR);
		return on_error(c, r, &m->error);
	}
}

static int on_ping(struct core *c, const struct message *m)
{
	struct message ack = {.op = OP_PING, .flags = PROTO_FLAG_ACK};

	if (m->id != 0)
		return core_broken(c, "a PING with a request's id");
	if (m->flags & PROTO_FLAG_ACK)
		return PC_OK;
	return message_encode(&c->out, &ack) ? PC_OK : core_no_memory(c);
}

static int on_goaway(struct core *c, const struct message *m)
{
	if (m->id != 0)
		return core_broken(c, "a GOAWAY with a request's id");
	c->leaving = true;
	if (MESSAGE_HAS(&m->goaway, GOAWAY, last_id))
		c->last_id = m->goaway.last_id;
	return PC_OK;
}

static int on_frame(struct core *c, struct slice frame, uint64_t now_us)
{
	struct message m;
	struct fault fault;

	if (message_decode(&c->decoder, frame, FROM_S, &m, &fault) != 0) {
		if (fault.code == ERR_NO_MEMORY)
			return core_no_memory(c);
		return failure_set(&c->failure, PC_PROTOCOL, fault.field, "the server sent a bad frame: %s",
				   fault.message);
	}
	if (m.op == OP_PING)
		return on_ping(c, &m);
	if (m.op == OP_GOAWAY)
		return on_goaway(c, &m);
	if (m.id == 0 && m.op == OP_ERROR)
		return failure_of_error(&c->failure, &m.error);
	return on_request_frame(c, &m, now_us);
}

/* ---- bytes */

uint8_t *core_space(struct core *c, size_t *ret_size)
{
	if (c->in.cap - c->in.n < CORE_READ_BYTES / 4 && !buf_reserve(&c->in, CORE_READ_BYTES))
		return NULL;
	*ret_size = c->in.cap - c->in.n;
	return c->in.p + c->in.n;
}

static int frames_take(struct core *c, size_t *taken, uint64_t now_us)
{
	while (*taken < c->in.n) {
		struct frame_result f = frame_next(slice_of(c->in.p + *taken, c->in.n - *taken), c->frame_max);

		if (f.status == FRAME_MORE)
			return PC_OK;
		if (f.status == FRAME_GARBAGE)
			return core_broken(c, "something that is not the promptcache protocol");
		if (f.status == FRAME_OVERSIZE)
			return core_broken(c, "a frame longer than we take");
		*taken += f.taken;

		int status = on_frame(c, f.frame, now_us);

		if (status != PC_OK)
			return status;
	}
	return PC_OK;
}

int core_received(struct core *c, size_t n, uint64_t now_us)
{
	size_t taken = 0;

	assert(c->state != CORE_CLOSED && !c->feeding);
	assert(n <= c->in.cap - c->in.n);
	c->in.n += n;
	c->heard_us = now_us;
	c->feeding = true;

	int status = frames_take(c, &taken, now_us);

	c->feeding = false;
	buf_consume(&c->in, taken);
	/* A long frame made it grow; the next ones are short again. */
	if (c->in.n == 0 && c->in.cap > 2 * CORE_READ_BYTES)
		buf_free(&c->in);
	return status;
}
