/* core: requests in flight, the output, the ends. What comes in is core_receive.c. */
#include "client/core_internal.h"

#include <assert.h>

#define BUCKETS_FIRST	  16
#define OUTPUT_KEEP_BYTES 262144 /* an output buffer that grew beyond is given back when it is empty */

/* ---- the table: ids are given out one after the other, so their low bits spread them evenly */

struct core_request *core_find(struct core *c, uint64_t id)
{
	struct core_request *r = c->bucket_count > 0 ? c->buckets[id & (c->bucket_count - 1)] : NULL;

	while (r != NULL && r->id != id)
		r = r->next;
	return r;
}

static void table_put(struct core_request **buckets, size_t bucket_count, struct core_request *r)
{
	struct core_request **head = &buckets[r->id & (bucket_count - 1)];

	r->next = *head;
	*head = r;
}

static bool table_reserve(struct core *c)
{
	if (c->inflight < c->bucket_count)
		return true;

	size_t count = c->bucket_count > 0 ? 2 * c->bucket_count : BUCKETS_FIRST;
	struct core_request **buckets = mem_resize(c->mem, NULL, count * sizeof(struct core_request *));

	if (buckets == NULL)
		return false;
	memset(buckets, 0, count * sizeof(struct core_request *));
	for (size_t i = 0; i < c->bucket_count; i++) {
		for (struct core_request *r = c->buckets[i], *next; r != NULL; r = next) {
			next = r->next;
			table_put(buckets, count, r);
		}
	}
	mem_free(c->mem, c->buckets);
	c->buckets = buckets;
	c->bucket_count = count;
	return true;
}

static void table_remove(struct core *c, struct core_request *r)
{
	struct core_request **at = &c->buckets[r->id & (c->bucket_count - 1)];

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	r->next = NULL;
	c->inflight--;
}

/* ---- life */

static bool hello_put(struct core *c, const struct core_options *o)
{
	struct message m = {.op = OP_HELLO, .id = CORE_HELLO_ID};

	MESSAGE_SET(&m.hello, HELLO, version, PROTO_VERSION);
	MESSAGE_SET(&m.hello, HELLO, features, FEATURES_ALL);
	if (o->token.n > 0)
		MESSAGE_SET(&m.hello, HELLO, token, o->token);
	MESSAGE_SET(&m.hello, HELLO, client, slice_str(o->client));
	MESSAGE_SET(&m.hello, HELLO, frame_max, o->frame_max);
	return message_encode(&c->out, &m);
}

int core_init(struct core *c, const struct mem *mem, const struct core_options *o, uint64_t now_us)
{
	assert(o->frame_max >= CORE_FRAME_MAX_LEAST && o->frame_max <= FRAME_BYTES_MAX);
	if (o->token.n > TOKEN_BYTES_MAX)
		return PC_INVALID;
	*c = (struct core){
		.state = CORE_HELLO,
		.mem = mem,
		.frame_max = o->frame_max,
		.server_frame_max = FRAME_BYTES_MAX,
		.ping_interval_us = PING_INTERVAL_MS * 1000,
		.heard_us = now_us,
		.next_id = CORE_HELLO_ID + 1,
		.last_id = UINT64_MAX,
		.token_withheld = o->token_withheld,
	};
	failure_clear(&c->failure);
	buf_init(&c->in, (size_t)o->frame_max + PROTO_FRAME_PREFIX + 2 * CORE_READ_BYTES, mem);
	buf_init(&c->out, o->output_max, mem);
	if (message_decoder_init(&c->decoder) != 0)
		return PC_NO_MEMORY;
	if (!hello_put(c, o)) {
		c->state = CORE_CLOSED;
		core_free(c);
		return PC_NO_MEMORY;
	}
	return PC_OK;
}

void core_free(struct core *c)
{
	assert(c->inflight == 0 && !c->feeding);
	mem_free(c->mem, c->buckets);
	buf_free(&c->in);
	buf_free(&c->out);
	message_decoder_free(&c->decoder);
	*c = (struct core){.state = CORE_CLOSED};
}

/* The request is out of the table; its memory goes back with this. */
static void request_clear(struct core_request *r)
{
	gather_free(&r->gather);
	buf_free(&r->model);
}

void core_end(struct core *c, struct core_request *r, int status, struct pc_answer *answer,
	      const struct pc_failure *failure)
{
	table_remove(c, r);
	if (c->delivering == r)
		c->delivering = NULL;
	request_clear(r);
	r->on_done(r, status, answer, failure); /* r may be gone from here on */
}

void core_close(struct core *c)
{
	assert(!c->feeding);
	assert(c->inflight == 0 || c->failure.seen.status != PC_OK);
	c->state = CORE_CLOSED;
	for (size_t i = 0; i < c->bucket_count; i++) {
		while (c->buckets[i] != NULL)
			core_end(c, c->buckets[i], c->failure.seen.status, NULL, &c->failure.seen);
	}
}

/* ---- requests */

static int submit_refuse(struct core *c, size_t out_n, struct failure *failure)
{
	if (out_n > 0)
		return failure_set(failure, PC_OVERLOADED, NULL, "%zu bytes wait to be sent, and no more may",
				   c->out.n);
	return failure_set(failure, PC_NO_MEMORY, NULL, "no memory for the request");
}

int core_submit(struct core *c, struct core_request *r, struct message *m, uint64_t now_us, struct failure *failure)
{
	size_t before = c->out.n;

	assert(c->state != CORE_CLOSED);
	assert(r->on_done != NULL);
	m->id = c->next_id;
	if (!table_reserve(c) || !message_encode(&c->out, m))
		return submit_refuse(c, before - c->out_head, failure);
	if (c->out.n - before > c->server_frame_max + PROTO_FRAME_PREFIX) {
		size_t size = c->out.n - before - PROTO_FRAME_PREFIX;

		c->out.n = before;
		return failure_set(failure, PC_INVALID, NULL, "a request of %zu bytes; the server takes %llu", size,
				   (unsigned long long)c->server_frame_max);
	}
	c->next_id++;
	r->op = m->op;
	r->id = m->id;
	r->end_at = c->out_base + (c->out.n - c->out_head);
	r->credit = r->window;
	r->ungranted = 0;
	r->answered = false;
	r->source = SOURCE_NONE;
	buf_init(&r->model, MODEL_BYTES_MAX + 1, c->mem);
	gather_init(&r->gather, c->mem);
	if (c->inflight == 0)
		c->heard_us = now_us;
	table_put(c->buckets, c->bucket_count, r);
	c->inflight++;
	return PC_OK;
}

bool core_forget(struct core *c, struct core_request *r)
{
	struct message m = {.op = OP_CANCEL, .id = r->id};

	assert(core_find(c, r->id) == r);
	table_remove(c, r);
	if (c->delivering == r)
		c->delivering = NULL;
	request_clear(r);
	c->forgotten++;
	return message_encode(&c->out, &m);
}

bool core_was_taken(const struct core *c, const struct core_request *r)
{
	return r->end_at <= c->out_base && r->id <= c->last_id;
}

/* ---- output and liveness */

struct slice core_output(const struct core *c)
{
	return c->out.n > c->out_head ? slice_of(c->out.p + c->out_head, c->out.n - c->out_head) : slice_of(NULL, 0);
}

void core_sent(struct core *c, size_t n)
{
	assert(n <= c->out.n - c->out_head);
	c->out_head += n;
	c->out_base += n;
	if (c->out_head == c->out.n) {
		c->out.n = 0;
		c->out_head = 0;
		if (c->out.cap > OUTPUT_KEEP_BYTES)
			buf_free(&c->out);
	} else if (c->out_head > c->out.n / 2) {
		/* Only when less is moved than was sent: each byte is moved once at most. */
		buf_consume(&c->out, c->out_head);
		c->out_head = 0;
	}
}

uint64_t core_silent_at_us(const struct core *c)
{
	return c->inflight > 0 ? c->heard_us + CORE_SILENT_INTERVALS * c->ping_interval_us : UINT64_MAX;
}
