/* core: the connection without a socket: recorded streams byte by byte, credit, cancels, limits. */
#include "tests/unit/client/core_test.h"

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
		record_stream();
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
		CASE(each_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
