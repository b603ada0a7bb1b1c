/* What the tests of the core share: a core without a socket, calls that count their ends, and the stream of a server. */
#ifndef CORE_TEST_H
#define CORE_TEST_H

#include "tests/unit/client/client_test.h"

struct call {
	struct core_request request;
	int ends;
	int status;
	struct pc_answer *answer;
	char name[64];	/* of the failure */
	char text[256]; /* of the chunks */
	int stop_after; /* chunks; 0: never */
	bool forget;	/* in the chunk callback */
};

struct fixture {
	struct test_memory memory;
	struct mem mem;
	struct core core;
	struct failure failure;
	struct buf server; /* what the server sends */
	struct call calls[4];
};

static struct fixture f;

static inline int core_begin(void)
{
	struct core_options o = {
		.token = slice_str("token"), .client = "test", .frame_max = 65536, .output_max = 1 << 20};

	return core_init(&f.core, &f.mem, &o, 0);
}

static inline int setup(void **state)
{
	(void)state;
	f = (struct fixture){.mem = {.resize = test_resize, .owner = &f.memory}};
	buf_init(&f.server, TEST_OUT_MAX, NULL);
	assert_int_equal(core_begin(), PC_OK);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	if (f.core.state != CORE_CLOSED) {
		failure_set(&f.core.failure, PC_UNAVAILABLE, NULL, "the test is over");
		core_close(&f.core);
	}
	core_free(&f.core);
	buf_free(&f.server);
	for (size_t i = 0; i < 4; i++)
		pc_answer_free(f.calls[i].answer);
	assert_int_equal(f.memory.live, 0);
	return 0;
}

static inline int on_chunk(struct core_request *r, const struct pc_chunk *chunk)
{
	struct call *c = r->owner;

	snprintf(c->text + strlen(c->text), sizeof(c->text) - strlen(c->text), "%d%.*s|", chunk->kind, (int)chunk->len,
		 chunk->data);
	if (c->forget) {
		assert_true(core_forget(&f.core, r));
		memset(r, 0xA5, sizeof(*r)); /* as if it were freed */
		return 0;
	}
	return c->stop_after > 0 && --c->stop_after == 0;
}

static inline void on_done(struct core_request *r, int status, struct pc_answer *answer,
			   const struct pc_failure *failure)
{
	struct call *c = r->owner;

	c->ends++;
	c->status = status;
	c->answer = answer;
	if (failure != NULL)
		snprintf(c->name, sizeof(c->name), "%s", failure->name);
}

static inline struct call *submit(size_t i, enum proto_op op, uint64_t window)
{
	struct call *c = &f.calls[i];
	struct message m = {.op = op};

	c->request = (struct core_request){.on_done = on_done, .owner = c, .window = window};
	if (window > 0)
		c->request.on_chunk = on_chunk;
	if (op != OP_PING && op != OP_STATS)
		MESSAGE_SET(&m.request, REQUEST, prompt, slice_str("question"));
	assert_int_equal(core_submit(&f.core, &c->request, &m, 0, &f.failure), PC_OK);
	return c;
}

static inline int feed(const void *bytes, size_t n)
{
	size_t size;
	uint8_t *space = core_space(&f.core, &size);

	if (space == NULL)
		return failure_set(&f.core.failure, PC_NO_MEMORY, NULL, "no memory");
	assert_true(size >= n);
	if (n > 0)
		memcpy(space, bytes, n);
	return core_received(&f.core, n, 1000);
}

static inline int feed_server(void)
{
	int status = PC_OK;

	for (size_t i = 0; i < f.server.n && status == PC_OK; i += 8192)
		status = feed(f.server.p + i, f.server.n - i < 8192 ? f.server.n - i : 8192);
	f.server.n = 0;
	return status;
}

/* Reads the client's next frame. */
static inline bool sent(struct message *ret)
{
	static struct message_decoder decoder;
	struct fault fault;
	struct slice out = core_output(&f.core);
	struct frame_result r = frame_next(out, FRAME_BYTES_MAX);
	static uint8_t copy[65536];

	if (r.status != FRAME_READY)
		return false;
	if (decoder.zone == NULL)
		assert_int_equal(message_decoder_init(&decoder), 0);
	memcpy(copy, r.frame.p, r.frame.n);
	assert_int_equal(message_decode(&decoder, slice_of(copy, r.frame.n), FROM_C, ret, &fault), 0);
	core_sent(&f.core, r.taken);
	if (core_output(&f.core).n == 0)
		message_decoder_free(&decoder);
	return true;
}

static inline void skip_output(void) { core_sent(&f.core, core_output(&f.core).n); }

/* A stream with everything in it: for the requests 2 (streamed), 3 (whole) and 4 (refused). */
static inline void record_stream(void)
{
	struct message away = {.op = OP_GOAWAY};

	put_hello_end(&f.server);
	put_head(&f.server, 2, SOURCE_LLM, "gpt-4o");
	put_chunk(&f.server, 2, PC_REASONING, 0, "think");
	put_end_text(&f.server, 3, SOURCE_EXACT, "whole");
	put_chunk(&f.server, 2, PC_TEXT, 1, "in ");
	put_message(&f.server, &(struct message){.op = OP_PING});
	put_chunk(&f.server, 2, PC_TEXT, 1, "pieces");
	put_error(&f.server, 4, ERR_NO_UPSTREAM);
	MESSAGE_SET(&away.goaway, GOAWAY, last_id, 4);
	put_message(&f.server, &away);
	put_end(&f.server, 2, SOURCE_LLM, 0, NULL, NULL);
}

#endif
