/* core: the connection without a socket: recorded streams byte by byte, credit, cancels, and whatever a hostile server may send. */
#include "client_test.h"

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

static int core_begin(void)
{
	struct core_options o = {
		.token = slice_str("token"), .client = "test", .frame_max = 65536, .output_max = 1 << 20};

	return core_init(&f.core, &f.mem, &o, 0);
}

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){.mem = {.resize = test_resize, .owner = &f.memory}};
	buf_init(&f.server, TEST_OUT_MAX, NULL);
	assert_int_equal(core_begin(), PC_OK);
	return 0;
}

static int teardown(void **state)
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

static int on_chunk(struct core_request *r, const struct pc_chunk *chunk)
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

static void on_done(struct core_request *r, int status, struct pc_answer *answer, const struct pc_failure *failure)
{
	struct call *c = r->owner;

	c->ends++;
	c->status = status;
	c->answer = answer;
	if (failure != NULL)
		snprintf(c->name, sizeof(c->name), "%s", failure->name);
}

static struct call *submit(size_t i, enum proto_op op, uint64_t window)
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

static int feed(const void *bytes, size_t n)
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

static int feed_server(void)
{
	int status = PC_OK;

	for (size_t i = 0; i < f.server.n && status == PC_OK; i += 8192)
		status = feed(f.server.p + i, f.server.n - i < 8192 ? f.server.n - i : 8192);
	f.server.n = 0;
	return status;
}

/* Reads the client's next frame. */
static bool sent(struct message *ret)
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

static void skip_output(void) { core_sent(&f.core, core_output(&f.core).n); }

/* ---- cases */

static void hello_comes_first_and_requests_behind_it(void **state)
{
	struct message m;

	(void)state;
	submit(0, OP_QUERY, 0);
	assert_true(sent(&m));
	assert_int_equal(m.op, OP_HELLO);
	assert_true(slice_is(m.hello.token, "token"));
	assert_int_equal(m.hello.frame_max, 65536);
	assert_true(sent(&m));
	assert_int_equal(m.op, OP_QUERY);
	assert_false(sent(&m));
	put_hello_end(&f.server);
	assert_int_equal(feed_server(), PC_OK);
	assert_int_equal(f.core.state, CORE_OPEN);
}

static void record(void)
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

static void a_recorded_stream_means_the_same_byte_by_byte_and_at_once(void **state)
{
	(void)state;
	for (int at_once = 0; at_once < 2; at_once++) {
		struct message m;
		bool acked = false;

		submit(0, OP_QUERY, 1000);
		submit(1, OP_QUERY, 0);
		submit(2, OP_LOOKUP, 0);
		skip_output();
		record();
		for (size_t i = 0; i < f.server.n && !at_once; i++)
			assert_int_equal(feed(f.server.p + i, 1), PC_OK);
		if (at_once)
			assert_int_equal(feed(f.server.p, f.server.n), PC_OK);
		f.server.n = 0;
		assert_string_equal(f.calls[0].text, "2think|1in |1pieces|");
		assert_string_equal(pc_answer_text(f.calls[0].answer), "in pieces");
		assert_string_equal(pc_answer_text(f.calls[1].answer), "whole");
		assert_int_equal(f.calls[2].status, PC_REFUSED);
		assert_string_equal(f.calls[2].name, "NO_UPSTREAM");
		assert_true(f.core.leaving);
		assert_int_equal(f.core.last_id, 4);
		assert_int_equal(f.core.inflight, 0);
		while (sent(&m))
			acked = acked || (m.op == OP_PING && m.id == 0 && m.flags == PROTO_FLAG_ACK);
		assert_true(acked);
		for (size_t i = 0; i < 3; i++)
			assert_int_equal(f.calls[i].ends, 1);
		teardown(NULL);
		setup(NULL);
	}
}

static void a_lookup_without_an_answer_is_a_miss(void **state)
{
	struct call *c = submit(0, OP_LOOKUP, 0);

	(void)state;
	put_hello_end(&f.server);
	put_end(&f.server, c->request.id, SOURCE_NONE, 0, NULL, NULL);
	assert_int_equal(feed_server(), PC_OK);
	assert_int_equal(c->status, PC_MISS);
	assert_non_null(c->answer);
}

static void the_window_is_granted_again_when_half_of_it_is_used(void **state)
{
	struct call *c = submit(0, OP_QUERY, 10);
	struct message m;

	(void)state;
	skip_output();
	put_hello_end(&f.server);
	put_chunk(&f.server, c->request.id, PC_TEXT, 0, "1234");
	assert_int_equal(feed_server(), PC_OK);
	assert_false(sent(&m));
	put_chunk(&f.server, c->request.id, PC_TEXT, 0, "56");
	assert_int_equal(feed_server(), PC_OK);
	assert_true(sent(&m));
	assert_int_equal(m.op, OP_WINDOW);
	assert_int_equal(m.id, c->request.id);
	assert_int_equal(m.window.credit, 6);
	put_chunk(&f.server, c->request.id, PC_TEXT, 0, "1234567890");
	assert_int_equal(feed_server(), PC_OK);
	put_chunk(&f.server, c->request.id, PC_TEXT, 0, "12345678901");
	assert_int_equal(feed_server(), PC_PROTOCOL); /* one more than its credit */
}

static void a_refused_hello_ends_every_request_with_the_reason(void **state)
{
	(void)state;
	submit(0, OP_QUERY, 0);
	submit(1, OP_PING, 0);
	put_error(&f.server, 1, ERR_UNAUTHENTICATED);
	assert_int_equal(feed_server(), PC_REFUSED);
	core_close(&f.core);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(f.calls[i].ends, 1);
		assert_string_equal(f.calls[i].name, "UNAUTHENTICATED");
	}
}

static void an_error_of_the_connection_closes_it(void **state)
{
	(void)state;
	submit(0, OP_QUERY, 0);
	put_hello_end(&f.server);
	put_error(&f.server, 0, ERR_OVERLOADED);
	assert_int_equal(feed_server(), PC_OVERLOADED);
}

static void what_comes_for_a_forgotten_request_is_skipped_until_it_ends(void **state)
{
	struct call *c = submit(0, OP_QUERY, 1000);
	uint64_t id = c->request.id;
	struct message m;

	(void)state;
	skip_output();
	assert_true(core_forget(&f.core, &c->request));
	assert_true(sent(&m));
	assert_int_equal(m.op, OP_CANCEL);
	assert_int_equal(m.id, id);
	put_hello_end(&f.server);
	put_head(&f.server, id, SOURCE_LLM, "m");
	put_chunk(&f.server, id, PC_TEXT, 0, "late");
	put_error(&f.server, id, ERR_CANCELLED);
	assert_int_equal(feed_server(), PC_OK);
	assert_int_equal(c->ends, 0);
	put_error(&f.server, id, ERR_CANCELLED); /* once was enough */
	assert_int_equal(feed_server(), PC_PROTOCOL);
}

static void a_chunk_callback_may_stop_or_forget_its_request(void **state)
{
	struct call *stopped, *forgotten;

	(void)state;
	stopped = submit(0, OP_QUERY, 1000);
	forgotten = submit(1, OP_QUERY, 1000);
	stopped->stop_after = 2;
	forgotten->forget = true;
	put_hello_end(&f.server);
	for (uint64_t id = 2; id < 4; id++) {
		for (int i = 0; i < 3; i++)
			put_chunk(&f.server, id, PC_TEXT, 0, "x");
		put_end_text(&f.server, id, SOURCE_LLM, "y");
	}
	assert_int_equal(feed_server(), PC_OK);
	assert_string_equal(stopped->text, "1x|1x|");
	assert_int_equal(stopped->status, PC_CANCELLED);
	assert_int_equal(stopped->ends, 1);
	assert_string_equal(forgotten->text, "1x|");
	assert_int_equal(forgotten->ends, 0);
	assert_int_equal(f.core.inflight, 0);
}

static void a_silent_server_is_dead_only_while_something_waits(void **state)
{
	(void)state;
	assert_true(core_silent_at_us(&f.core) == UINT64_MAX);
	submit(0, OP_QUERY, 0);
	assert_int_equal(core_silent_at_us(&f.core), CORE_SILENT_INTERVALS * PING_INTERVAL_MS * 1000);
	put_hello_end(&f.server);
	assert_int_equal(feed_server(), PC_OK); /* at 1000 us */
	assert_int_equal(core_silent_at_us(&f.core), 1000 + CORE_SILENT_INTERVALS * PING_INTERVAL_MS * 1000);
}

static void a_request_over_the_servers_limit_is_refused_here(void **state)
{
	struct message hello = {.op = OP_END, .id = 1}, m = {.op = OP_QUERY};
	struct call *c = &f.calls[0];
	static uint8_t big[8192];
	size_t before;

	(void)state;
	MESSAGE_SET(&hello.end, END, version, 1);
	MESSAGE_SET(&hello.end, END, frame_max, 4096);
	put_message(&f.server, &hello);
	assert_int_equal(feed_server(), PC_OK);
	memset(big, 'x', sizeof(big));
	MESSAGE_SET(&m.request, REQUEST, prompt, slice_of(big, sizeof(big)));
	c->request = (struct core_request){.on_done = on_done, .owner = c};
	before = core_output(&f.core).n;
	assert_int_equal(core_submit(&f.core, &c->request, &m, 0, &f.failure), PC_INVALID);
	assert_int_equal(core_output(&f.core).n, before);
	assert_int_equal(f.core.inflight, 0);
}

static void a_full_output_refuses_more(void **state)
{
	struct message m = {.op = OP_QUERY};
	static uint8_t big[65536];
	struct core_request r[32];
	int status = PC_OK;
	size_t i;

	(void)state;
	memset(big, 'x', sizeof(big));
	MESSAGE_SET(&m.request, REQUEST, prompt, slice_of(big, sizeof(big)));
	for (i = 0; i < 32 && status == PC_OK; i++) {
		r[i] = (struct core_request){.on_done = on_done, .owner = &f.calls[3]};
		status = core_submit(&f.core, &r[i], &m, 0, &f.failure);
	}
	assert_int_equal(status, PC_OVERLOADED);
	assert_int_equal(f.core.inflight, i - 1);
	failure_set(&f.core.failure, PC_UNAVAILABLE, NULL, "over");
	core_close(&f.core);
	assert_int_equal(f.calls[3].ends, i - 1);
}

static void many_requests_are_told_apart(void **state)
{
	enum {
		MANY = 1000
	};
	static struct call calls[MANY];

	(void)state;
	memset(calls, 0, sizeof(calls));
	for (size_t i = 0; i < MANY; i++) {
		struct message m = {.op = OP_PING};

		calls[i].request = (struct core_request){.on_done = on_done, .owner = &calls[i]};
		assert_int_equal(core_submit(&f.core, &calls[i].request, &m, 0, &f.failure), PC_OK);
	}
	put_hello_end(&f.server);
	for (size_t i = MANY; i-- > 0;)
		put_message(&f.server, &(struct message){.op = OP_END, .id = calls[i].request.id});
	assert_int_equal(feed_server(), PC_OK);
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(calls[i].ends, 1);
		assert_int_equal(calls[i].status, PC_OK);
		pc_answer_free(calls[i].answer);
	}
}

/* ---- a hostile server: each of these breaks the connection, and each request ends once */

static void raw(const void *bytes, size_t n) { assert_true(buf_append(&f.server, bytes, n)); }

static void hostile_garbage(void) { raw("HTTP/1.1 200 OK", 15); }
static void hostile_empty_frame(void) { raw("\xCE\0\0\0\0", 5); }
static void hostile_long_frame(void) { raw("\xCE\xFF\xFF\xFF\xFF\x94\x43\x02\x00\x80zzzzzzzzzzzzzzzzzzzz", 30); }
static void hostile_request(void) { put_message(&f.server, &(struct message){.op = OP_STATS, .id = 2}); }
static void hostile_unknown_op(void) { raw("\xCE\0\0\0\x05\x94\x7F\x02\x00\x80", 10); }
static void hostile_unknown_id(void) { put_end_text(&f.server, 77, SOURCE_LLM, "x"); }
static void hostile_id_zero(void) { put_end_text(&f.server, 0, SOURCE_LLM, "x"); }
static void hostile_hello_again(void) { put_hello_end(&f.server); }
static void hostile_ping_with_id(void) { put_message(&f.server, &(struct message){.op = OP_PING, .id = 2}); }
static void hostile_goaway_with_id(void) { put_message(&f.server, &(struct message){.op = OP_GOAWAY, .id = 2}); }
static void hostile_chunk_of_ping(void) { put_chunk(&f.server, 4, PC_TEXT, 0, "x"); }
static void hostile_head_of_ping(void) { put_head(&f.server, 4, SOURCE_LLM, "m"); }
static void hostile_kind_zero(void) { put_chunk(&f.server, 2, 0, 0, "x"); }
static void hostile_index(void) { put_chunk(&f.server, 2, PC_TEXT, 4096, "x"); }
static void hostile_array(void) { raw("\xCE\0\0\0\x0B\x94\x43\x02\x00\x81\x02\xDD\x10\x00\x00\x00", 16); }

static void hostile_two_heads(void)
{
	put_head(&f.server, 2, SOURCE_LLM, "m");
	put_head(&f.server, 2, SOURCE_LLM, "m");
}

static void hostile_head_after_chunk(void)
{
	put_chunk(&f.server, 2, PC_TEXT, 0, "x");
	put_head(&f.server, 2, SOURCE_LLM, "m");
}

static void hostile_kind_changes(void)
{
	put_chunk(&f.server, 2, PC_TEXT, 0, "x");
	put_chunk(&f.server, 2, PC_REFUSAL, 0, "x");
}

static void hostile_end_kind_changes(void)
{
	put_chunk(&f.server, 2, PC_TEXT, 0, "x");
	put_end(&f.server, 2, SOURCE_LLM, 1, (const int[]){PC_REFUSAL}, (const char *const[]){"y"});
}

static void hostile_end_twice(void)
{
	put_end_text(&f.server, 3, SOURCE_LLM, "x");
	put_end_text(&f.server, 3, SOURCE_LLM, "x");
}

static void hostile_too_much(void)
{
	static char text[32768];

	memset(text, 'x', sizeof(text) - 1);
	for (size_t i = 0; i < 300; i++)
		put_chunk(&f.server, 3, PC_TEXT, 0, text);
}

static void hostile_segments(void)
{
	struct message m = {.op = OP_END, .id = 3};
	msgpack_object item = object_of_uint(7), array = {.type = MSGPACK_OBJECT_ARRAY, .via.array = {1, &item}};

	MESSAGE_SET(&m.end, END, segments, &array);
	put_message(&f.server, &m);
}

static void each_hostile_stream_breaks_the_connection_and_nothing_else(void **state)
{
	void (*const streams[])(void) = {
		hostile_garbage,
		hostile_empty_frame,
		hostile_long_frame,
		hostile_request,
		hostile_unknown_op,
		hostile_unknown_id,
		hostile_id_zero,
		hostile_hello_again,
		hostile_ping_with_id,
		hostile_goaway_with_id,
		hostile_chunk_of_ping,
		hostile_head_of_ping,
		hostile_kind_zero,
		hostile_index,
		hostile_array,
		hostile_two_heads,
		hostile_head_after_chunk,
		hostile_kind_changes,
		hostile_end_kind_changes,
		hostile_end_twice,
		hostile_too_much,
		hostile_segments,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
		submit(0, OP_QUERY, 1000000);
		submit(1, OP_QUERY, 0);
		submit(2, OP_PING, 0);
		put_hello_end(&f.server);
		streams[i]();
		if (feed_server() != PC_PROTOCOL)
			fail_msg("hostile stream %zu: %s", i, f.core.failure.message);
		core_close(&f.core);
		for (size_t c = 0; c < 3; c++)
			assert_int_equal(f.calls[c].ends, 1);
		teardown(NULL);
		setup(NULL);
	}
}

static void a_version_that_was_not_offered_is_refused(void **state)
{
	struct message m = {.op = OP_END, .id = 1};

	(void)state;
	MESSAGE_SET(&m.end, END, version, 2);
	put_message(&f.server, &m);
	assert_int_equal(feed_server(), PC_PROTOCOL);
}

static uint64_t seed = 88172645463325252u;

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void a_damaged_stream_ends_every_request_once(void **state)
{
	(void)state;
	for (int round = 0; round < 3000; round++) {
		int status = PC_OK;

		submit(0, OP_QUERY, 1000);
		submit(1, OP_QUERY, 0);
		submit(2, OP_LOOKUP, 0);
		f.calls[1].stop_after = (int)(next_random() % 3);
		record();
		for (size_t n = 1 + next_random() % 4; n > 0; n--)
			f.server.p[next_random() % f.server.n] = (uint8_t)next_random();
		for (size_t i = 0, n; i < f.server.n && status == PC_OK; i += n) {
			n = 1 + next_random() % 64;
			n = n < f.server.n - i ? n : f.server.n - i;
			status = feed(f.server.p + i, n);
		}
		f.server.n = 0;
		if (status == PC_OK)
			failure_set(&f.core.failure, PC_UNAVAILABLE, NULL, "over");
		core_close(&f.core);
		for (size_t c = 0; c < 3; c++)
			assert_int_equal(f.calls[c].ends, 1);
		teardown(NULL);
		setup(NULL);
	}
}

static void each_allocation_may_fail(void **state)
{
	bool failed = true;

	(void)state;
	for (size_t at = 1; failed; at++) {
		struct message m = {.op = OP_QUERY};
		struct call *c = &f.calls[0];
		int status;

		assert_true(at < 100);
		teardown(NULL);
		f = (struct fixture){.mem = {.resize = test_resize, .owner = &f.memory}, .memory = {.fail_at = at}};
		buf_init(&f.server, TEST_OUT_MAX, NULL);
		c->request =
			(struct core_request){.on_done = on_done, .on_chunk = on_chunk, .owner = c, .window = 1000};
		MESSAGE_SET(&m.request, REQUEST, prompt, slice_str("question"));
		status = core_begin();
		if (status != PC_OK) {
			assert_int_equal(status, PC_NO_MEMORY);
			f.core.state = CORE_CLOSED;
			continue;
		}
		status = core_submit(&f.core, &c->request, &m, 0, &f.failure);
		if (status == PC_OK) {
			put_hello_end(&f.server);
			put_head(&f.server, 2, SOURCE_LLM, "model");
			put_chunk(&f.server, 2, PC_TEXT, 0, "text");
			put_chunk(&f.server, 2, PC_TOOL_CALL, 1, "{}");
			put_end_text(&f.server, 2, SOURCE_LLM, " and end");
			status = feed_server();
		}
		failed = status != PC_OK;
		assert_true(!failed || status == PC_NO_MEMORY || status == PC_OVERLOADED);
	}
	assert_string_equal(pc_answer_text(f.calls[0].answer), "text and end");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(hello_comes_first_and_requests_behind_it),
		CASE(a_recorded_stream_means_the_same_byte_by_byte_and_at_once),
		CASE(a_lookup_without_an_answer_is_a_miss),
		CASE(the_window_is_granted_again_when_half_of_it_is_used),
		CASE(a_refused_hello_ends_every_request_with_the_reason),
		CASE(an_error_of_the_connection_closes_it),
		CASE(what_comes_for_a_forgotten_request_is_skipped_until_it_ends),
		CASE(a_chunk_callback_may_stop_or_forget_its_request),
		CASE(a_silent_server_is_dead_only_while_something_waits),
		CASE(a_request_over_the_servers_limit_is_refused_here),
		CASE(a_full_output_refuses_more),
		CASE(many_requests_are_told_apart),
		CASE(each_hostile_stream_breaks_the_connection_and_nothing_else),
		CASE(a_version_that_was_not_offered_is_refused),
		CASE(a_damaged_stream_ends_every_request_once),
		CASE(each_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
