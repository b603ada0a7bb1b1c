/* conn: requests and what comes back: answers whole and in pieces, cancelled, refused. */
#include "tests/unit/net/net_fixture.h"

#include "server/net/conn.h"

static void a_question_is_answered_and_then_hit(void **state)
{
	struct client c;

	(void)state;
	http_sim_chat(http_sim_rule(f.http, ""), 100, 10, (const char *const[]){"it ", "is", NULL}, "stop");
	client_open(&c);
	client_ask(&c, 2, "what?");
	run_us(SECOND_US);
	client_expect(&c, OP_END, 2);
	assert_int_equal(c.m.end.source, SOURCE_LLM);
	assert_int_equal(segments_bytes(&c.m.end), 5);
	client_ask(&c, 3, "what?");
	run();
	assert_int_equal(client_expect(&c, OP_END, 3)->end.source, SOURCE_EXACT);
	assert_int_equal(metric("net_requests"), 0);
	client_close(&c);
}

static void answers_come_in_any_order(void **state)
{
	struct client c;

	(void)state;
	http_sim_chat(http_sim_rule(f.http, "slow"), 2000, 0, (const char *const[]){"slow", NULL}, "stop");
	http_sim_chat(http_sim_rule(f.http, "fast"), 10, 0, (const char *const[]){"fast", NULL}, "stop");
	client_open(&c);
	client_ask(&c, 2, "slow");
	client_ask(&c, 3, "fast");
	client_ping(&c, 4);
	run_us(3 * SECOND_US);
	client_expect(&c, OP_END, 4);
	client_expect(&c, OP_END, 3);
	client_expect(&c, OP_END, 2);
	client_close(&c);
}

static void a_stream_comes_as_head_chunks_and_end(void **state)
{
	struct client c;

	(void)state;
	http_sim_chat(http_sim_rule(f.http, ""), 100, 10, (const char *const[]){"one ", "two ", "three", NULL}, "stop");
	client_open(&c);
	client_stream(&c, 2, "count");
	run_us(SECOND_US);
	assert_int_equal(client_expect(&c, OP_HEAD, 2)->head.source, SOURCE_LLM);
	for (int i = 0; i < 3; i++)
		assert_int_equal(client_expect(&c, OP_CHUNK, 2)->chunk.index, 0);
	assert_true(slice_is(c.m.chunk.data, "three"));
	client_expect(&c, OP_END, 2);
	assert_false(MESSAGE_HAS(&c.m.end, END, segments));
	assert_true(slice_is(c.m.end.finish_reason, "stop"));
	client_stream(&c, 3, "count");
	run();
	client_expect(&c, OP_END, 3); /* a short hit comes whole */
	assert_int_equal(segments_bytes(&c.m.end), 13);
	client_close(&c);
}

static void a_stream_that_breaks_says_how_far_it_came(void **state)
{
	struct http_sim_rule *r = http_sim_rule(f.http, "");
	struct client c;

	(void)state;
	http_sim_chat_head(r, 10);
	http_sim_chat_text(r, 10, "12345");
	http_sim_chat_text(r, 10, "678");
	http_sim_end(r, 10, HTTP_SIM_CUT);
	client_open(&c);
	client_stream(&c, 2, "count");
	run_us(SECOND_US);
	client_expect(&c, OP_HEAD, 2);
	client_expect(&c, OP_CHUNK, 2);
	client_expect(&c, OP_CHUNK, 2);
	client_expect_error(&c, 2, ERR_INTERRUPTED);
	assert_int_equal(c.m.error.offset, 8);
	assert_true(c.m.error.retryable);
	client_close(&c);
}

static void cancel_ends_its_target_once_and_frees_the_id(void **state)
{
	struct client c;

	(void)state;
	http_sim_chat(http_sim_rule(f.http, ""), 1000, 0, (const char *const[]){"answer", NULL}, "stop");
	client_open(&c);
	client_ask(&c, 7, "first");
	client_send(&c, &(struct message){.op = OP_CANCEL, .id = 7});
	client_send(&c, &(struct message){.op = OP_CANCEL, .id = 7});
	client_ask(&c, 7, "second");
	run_us(3 * SECOND_US);
	client_expect_error(&c, 7, ERR_CANCELLED);
	client_expect(&c, OP_END, 7);
	client_expect_nothing(&c);
	assert_int_equal(metric("net_unknown_ids_total"), 1);
	assert_int_equal(metric("engine_cancelled_total"), 1);
	client_close(&c);
}

static void put_lookup_and_invalidate(void **state)
{
	struct message lookup = question(OP_LOOKUP, 2, "known"), forget = question(OP_INVALIDATE, 3, "known");
	struct client c;

	(void)state;
	client_open(&c);
	client_send(&c, &lookup);
	run();
	assert_int_equal(client_expect(&c, OP_END, 2)->end.source, SOURCE_NONE);
	assert_int_equal(c.m.end.reason, REASON_MISS);
	client_put(&c, "known", 10);
	client_send(&c, &lookup);
	run();
	assert_int_equal(client_expect(&c, OP_END, 2)->end.source, SOURCE_EXACT);
	client_send(&c, &forget);
	run_us(SECOND_US);
	assert_int_equal(client_expect(&c, OP_END, 3)->end.removed, 1);
	client_send(&c, &lookup);
	run();
	assert_int_equal(client_expect(&c, OP_END, 2)->end.source, SOURCE_NONE);
	client_close(&c);
}

static void stats_tell_all_counters(void **state)
{
	struct client c;

	(void)state;
	client_open(&c);
	client_send(&c, &(struct message){.op = OP_STATS, .id = 2});
	run();
	client_expect(&c, OP_END, 2);
	assert_true(MESSAGE_HAS(&c.m.end, END, stats));
	assert_true(c.m.end.stats->via.map.size > 50);
	client_close(&c);
}

static void cancel_and_window_with_id_0_are_ignored(void **state)
{
	struct message window = {.op = OP_WINDOW};
	struct client c;

	(void)state;
	client_open(&c);
	MESSAGE_SET(&window.window, WINDOW, credit, 1);
	client_send(&c, &window);
	client_send(&c, &(struct message){.op = OP_CANCEL});
	client_ping(&c, 2);
	run();
	client_expect(&c, OP_END, 2);
	assert_int_equal(metric("net_unknown_ids_total"), 2);
	client_close(&c);
}

static void counters_are_refused_that_the_client_could_not_read(void **state)
{
	struct message m = hello_message();
	struct client c;

	(void)state;
	client_connect(&c, UNIX_ADDRESS);
	MESSAGE_SET(&m.hello, HELLO, frame_max, CONN_PEER_FRAME_MIN);
	client_send(&c, &m);
	client_send(&c, &(struct message){.op = OP_STATS, .id = 2});
	client_ping(&c, 3);
	run();
	client_expect(&c, OP_END, 1);
	client_expect_error(&c, 2, ERR_TOO_LARGE);
	assert_true(slice_is(c.m.error.field, "frame_max"));
	client_expect(&c, OP_END, 3);
	client_close(&c);
}

static void an_answer_larger_than_the_clients_frames_comes_in_chunks(void **state)
{
	struct message m = hello_message();
	size_t total = 0;
	struct client c;

	(void)state;
	client_connect(&c, UNIX_ADDRESS);
	MESSAGE_SET(&m.hello, HELLO, frame_max, 4096);
	client_send(&c, &m);
	run();
	client_expect(&c, OP_END, 1);
	client_put(&c, "large", 100000);
	client_ask(&c, 2, "large");
	run();
	assert_int_equal(client_expect(&c, OP_HEAD, 2)->head.source, SOURCE_EXACT);
	while (client_next(&c) && c.m.op == OP_CHUNK) {
		assert_true(c.frame.n <= 4096);
		total += c.m.chunk.data.n;
	}
	assert_int_equal(c.m.op, OP_END);
	assert_int_equal(total, 100000);
	client_close(&c);
}

static void an_answer_is_refused_that_the_client_could_not_read(void **state)
{
	struct message m = hello_message();
	struct client c;

	(void)state;
	client_connect(&c, UNIX_ADDRESS);
	MESSAGE_SET(&m.hello, HELLO, frame_max, 4096);
	MESSAGE_SET(&m.hello, HELLO, features, 0);
	client_send(&c, &m);
	run();
	client_expect(&c, OP_END, 1);
	client_put(&c, "large", 100000);
	client_ask(&c, 2, "large");
	run();
	client_expect_error(&c, 2, ERR_TOO_LARGE);
	client_close(&c);
}

static void a_short_streamed_hit_waits_for_credit_too(void **state)
{
	struct message m = question(OP_QUERY, 2, "short");
	struct client c;

	(void)state;
	client_open(&c);
	client_put(&c, "short", REQUEST_WHOLE_BYTES_MAX); /* with its other fields it is longer than that */
	MESSAGE_SET(&m.request, REQUEST, stream, true);
	MESSAGE_SET(&m.request, REQUEST, window, 100);
	client_send(&c, &m);
	run();
	client_expect(&c, OP_HEAD, 2);
	assert_int_equal(client_expect(&c, OP_CHUNK, 2)->chunk.data.n, 100);
	client_expect_nothing(&c);
	client_send(&c, &(struct message){.op = OP_CANCEL, .id = 2});
	run();
	client_expect_error(&c, 2, ERR_CANCELLED);
	client_close(&c);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_plain, fixture_close)
	const struct CMUnitTest tests[] = {
		CASE(a_question_is_answered_and_then_hit),
		CASE(answers_come_in_any_order),
		CASE(a_stream_comes_as_head_chunks_and_end),
		CASE(a_stream_that_breaks_says_how_far_it_came),
		CASE(cancel_ends_its_target_once_and_frees_the_id),
		CASE(put_lookup_and_invalidate),
		CASE(stats_tell_all_counters),
		CASE(cancel_and_window_with_id_0_are_ignored),
		CASE(counters_are_refused_that_the_client_could_not_read),
		CASE(an_answer_larger_than_the_clients_frames_comes_in_chunks),
		CASE(an_answer_is_refused_that_the_client_could_not_read),
		CASE(a_short_streamed_hit_waits_for_credit_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
