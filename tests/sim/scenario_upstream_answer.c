/* Calls of LLMs in virtual time: answers of every kind, failures, further attempts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/sim/upstream_fixture.h"

/* ---- answers */

static void an_answer_comes_in_pieces_as_the_provider_sends_them(void **state)
{
	struct fixture_call *c;

	(void)state;
	answers(100, 50);
	c = start(0, 0);
	run_ms(149);
	assert_string_equal(c->text, "");
	run_ms(1);
	assert_string_equal(c->text, "Hel|");
	run_ms(50);
	expect_ok(c, "Hel|lo|");
	assert_string_equal(c->finish_reason, "stop");
	assert_string_equal(c->model, "sim-1");
	assert_int_equal(c->result.prompt_tokens, 10);
	assert_int_equal(c->result.completion_tokens, 5);
	assert_int_equal(c->result.slot_us, 0);
	assert_int_equal(c->result.first_byte_us, 150 * MS);
	assert_int_equal(c->result.total_us, 200 * MS);
	assert_int_equal(c->result.attempts, 1);
	assert_string_equal(http_sim_last_url(f.http), "http://sim/v1/chat/completions");
	assert_string_equal(http_sim_last_body(f.http),
			    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Q\"}],"
			    "\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
	assert_true(http_sim_last_has_header(f.http, "Content-Type: application/json"));
	assert_int_equal(metric("upstream_prompt_tokens_total"), 10);
}

static void json_is_taken_although_a_stream_was_asked_for(void **state)
{
	struct http_sim_rule *r = http_sim_rule(f.http, "");
	struct fixture_call *c;

	(void)state;
	http_sim_status(r, 10, 200, "application/json");
	http_sim_piece(r, 0, "{\"model\":\"sim-2\",\"choices\":[{\"message\":{\"content\":");
	http_sim_piece(r, 10, "\"Hello\"},\"finish_reason\":\"length\"}]}");
	http_sim_end(r, 0, HTTP_SIM_CLEAN);
	c = start(0, 0);
	run_ms(100);
	expect_ok(c, "Hello|");
	assert_string_equal(c->finish_reason, "length");
	assert_string_equal(c->model, "sim-2");
}

static void a_long_body_and_a_long_prompt_go_through_the_pool(void **state)
{
	struct http_sim_rule *r = http_sim_rule(f.http, "");
	char *text = calloc(1, LONG_BYTES + 1);
	struct fixture_call *c;

	(void)state;
	memset(text, 'a', LONG_BYTES);
	http_sim_status(r, 10, 200, "application/json");
	http_sim_piece(r, 0, "{\"choices\":[{\"message\":{\"content\":\"");
	http_sim_piece(r, 0, text);
	http_sim_piece(r, 0, "\"},\"finish_reason\":\"stop\"}]}");
	http_sim_end(r, 0, HTTP_SIM_CLEAN);
	loop_sim_job_delay_us(f.loop, 5 * MS);
	ask_long();
	c = start(0, 0);
	run_ms(4);
	assert_int_equal(http_sim_counters(f.http).started, 0);
	run_ms(1);
	assert_int_equal(http_sim_counters(f.http).started, 1);
	run_ms(14);
	assert_false(c->ended);
	run_ms(1);
	assert_true(c->ended);
	assert_int_equal(c->result.code, ERR_NONE);
	assert_int_equal(c->bytes, LONG_BYTES);
	free(text);
}

/* A stream of one short event and one that goes through the pool for 5 ms, and then more, all in one piece. */
static struct http_sim_rule *begins_long(enum http_sim_ending ending)
{
	struct http_sim_rule *r = begins();
	char *text = calloc(1, LONG_BYTES + 1);
	struct buf piece;

	memset(text, 'a', LONG_BYTES);
	buf_init(&piece, 1 << 20, NULL);
	assert_true(buf_append_str(&piece, "data: {\"choices\":[{\"delta\":{\"content\":\"") &&
		    buf_append_str(&piece, text) && buf_append_str(&piece, "\"}}]}\n\n") &&
		    buf_append_str(&piece, "data: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}\n\n"));
	http_sim_bytes(r, 0, buf_slice(&piece));
	if (ending == HTTP_SIM_CLEAN)
		http_sim_chat_end(r, 0, "stop");
	else
		http_sim_end(r, 0, ending);
	loop_sim_job_delay_us(f.loop, 5 * MS);
	buf_free(&piece);
	free(text);
	return r;
}

static void a_long_event_of_a_stream_goes_through_the_pool_and_the_end_waits_for_it(void **state)
{
	struct fixture_call *c;

	(void)state;
	begins_long(HTTP_SIM_CLEAN);
	c = start(0, 0);
	run_ms(24);
	assert_int_equal(c->pieces, 1);
	assert_false(c->ended);
	run_ms(2);
	assert_true(c->ended);
	assert_int_equal(c->result.code, ERR_NONE);
	assert_int_equal(c->pieces, 3);
	assert_int_equal(c->bytes, 3 + LONG_BYTES + 2);
	assert_int_equal(http_sim_counters(f.http).cancelled, 0);
}

static void a_stream_that_breaks_behind_a_long_event_is_interrupted_with_all_that_came(void **state)
{
	struct fixture_call *c;

	(void)state;
	begins_long(HTTP_SIM_CUT);
	c = start(0, 0);
	run_ms(30);
	expect_error(c, ERR_INTERRUPTED, "");
	assert_int_equal(c->bytes, 3 + LONG_BYTES + 2);
}

static void a_call_may_end_while_its_long_event_is_parsed(void **state)
{
	(void)state;
	begins_long(HTTP_SIM_HANG);
	start(0, 0);
	run_ms(22);
	cancel(&f.calls[0]);
	start(1, 23);
	run_ms(24);
	expect_error(&f.calls[1], ERR_TIMEOUT, "");
	start(2, 0)->cancel_after = 2; /* inside the piece that the long event is */
	run_ms(30);
	assert_true(f.calls[2].ended);
	start(3, 0)->stop_after = 2;
	run_ms(30);
	expect_error(&f.calls[3], ERR_TOO_LARGE, "");
	loop_sim_refuse_jobs(f.loop, 1);
	start(4, 0);
	run_ms(30);
	expect_error(&f.calls[4], ERR_NO_MEMORY, "");
	assert_int_equal(http_sim_counters(f.http).running, 0);
	assert_int_equal(metric("upstream_in_flight"), 0);
}

static void done_and_a_finish_reason_make_it_whole_whatever_the_connection_does(void **state)
{
	static const enum http_sim_ending endings[] = {HTTP_SIM_CUT, HTTP_SIM_HANG};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct http_sim_rule *r = begins();

		http_sim_times(r, 1);
		http_sim_piece(r, 0,
			       "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
		http_sim_end(r, 10, endings[i]);
		start(i, 0);
	}
	run_ms(30);
	expect_ok(&f.calls[0], "Hel|");
	assert_false(f.calls[1].ended);
	run_ms(1000);
	expect_ok(&f.calls[1], "Hel|");
	assert_int_equal(http_sim_counters(f.http).cancelled, 1);
}

static void without_done_a_clean_end_is_enough_and_a_cut_is_not(void **state)
{
	static const enum http_sim_ending endings[] = {HTTP_SIM_CLEAN, HTTP_SIM_CUT};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct http_sim_rule *r = begins();

		http_sim_times(r, 1);
		http_sim_piece(r, 0, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
		http_sim_end(r, 0, endings[i]);
		start(i, 0);
	}
	run_ms(100);
	expect_ok(&f.calls[0], "Hel|");
	expect_error(&f.calls[1], ERR_INTERRUPTED, "connection reset");
}

static void tool_calls_are_delivered_at_the_end_so_a_cut_before_is_tried_again(void **state)
{
	static const char call[] =
		"data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":"
		"{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\n";
	static const enum http_sim_ending endings[] = {HTTP_SIM_CUT, HTTP_SIM_CLEAN};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct http_sim_rule *r = http_sim_rule(f.http, "");

		http_sim_times(r, 1);
		http_sim_chat_head(r, 1);
		http_sim_piece(r, 1, call);
		http_sim_end(r, 1, endings[i]);
	}
	start(0, 0);
	run_ms(1000);
	expect_ok(&f.calls[0], "{\"id\":\"a\",\"name\":\"f\",\"arguments\":\"{}\"}|");
	assert_int_equal(f.calls[0].result.attempts, 2);
}

/* ---- failures and further attempts */

static void a_failure_before_the_first_piece_is_tried_again(void **state)
{
	struct fixture_call *c;

	(void)state;
	http_sim_times(fails(500, "{}"), 1);
	http_sim_end(http_sim_rule(f.http, "never"), 0, HTTP_SIM_HANG);
	answers(10, 0);
	c = start(0, 0);
	run_ms(10 + 501 + 10);
	expect_ok(c, "Hel|lo|");
	assert_int_equal(c->result.attempts, 2);
	assert_int_equal(metric("upstream_retries_total"), 1);
	assert_int_equal(metric("upstream_attempts_total"), 2);
	assert_int_equal(metric("upstream_calls_total"), 1);
}

static void attempts_are_limited_and_pauses_grow(void **state)
{
	struct fixture_call *c;

	(void)state;
	fails(503, "{}");
	configure("upstreams[0].attempts=4");
	c = start(0, 0);
	run_ms(4 * 10 + 501 + 1001 + 2001);
	expect_error(c, ERR_UPSTREAM_FAILED, "503");
	assert_int_equal(c->result.attempts, 4);
	assert_int_equal(c->result.http_status, 503);
	assert_int_equal(metric("upstream_failures_total"), 1);
}

static void pauses_are_spread(void **state)
{
	uint64_t first_us = UINT64_MAX, last_us = 0;

	(void)state;
	fails(500, "{}");
	configure("upstreams[0].attempts=2");
	for (int i = 0; i < CALLS; i++)
		start(i, 0);
	run_ms(2000);
	for (int i = 0; i < CALLS; i++) {
		assert_true(f.calls[i].ended);
		first_us = f.calls[i].ended_us < first_us ? f.calls[i].ended_us : first_us;
		last_us = f.calls[i].ended_us > last_us ? f.calls[i].ended_us : last_us;
	}
	assert_true(last_us - first_us > 100 * MS);
}

static void who_cannot_be_reached_is_tried_again_and_named(void **state)
{
	struct fixture_call *c;

	(void)state;
	http_sim_end(http_sim_rule(f.http, ""), 5, HTTP_SIM_UNREACHED);
	c = start(0, 0);
	run_ms(3000);
	expect_error(c, ERR_UPSTREAM_FAILED, "cannot be reached: connection refused");
	assert_int_equal(c->result.attempts, 3);
}

static void what_broke_after_a_piece_is_interrupted_and_not_tried_again(void **state)
{
	(void)state;
	http_sim_end(begins(), 5, HTTP_SIM_CUT);
	start(0, 0);
	run_ms(1000);
	expect_error(&f.calls[0], ERR_INTERRUPTED, "");
	assert_int_equal(f.calls[0].result.attempts, 1);
	assert_int_equal(metric("upstream_interrupted_total"), 1);
}

static void a_stream_without_finish_reason_is_interrupted(void **state)
{
	struct http_sim_rule *r = begins();

	(void)state;
	http_sim_piece(r, 0, "data: [DONE]\n\n");
	http_sim_end(r, 0, HTTP_SIM_CLEAN);
	start(0, 0);
	run_ms(1000);
	expect_error(&f.calls[0], ERR_INTERRUPTED, "ended before the answer did");
}

static void rubbish_in_a_stream_is_counted(void **state)
{
	struct http_sim_rule *r = begins();

	(void)state;
	http_sim_piece(r, 0, "data: {rubbish\n\n");
	http_sim_end(r, 0, HTTP_SIM_HANG);
	start(0, 0);
	run_ms(1000);
	expect_error(&f.calls[0], ERR_INTERRUPTED, "not what the API promises");
	assert_int_equal(metric("upstream_malformed_total"), 1);
}

static void json_without_choices_is_malformed(void **state)
{
	(void)state;
	fails(200, "{\"object\":\"list\"}");
	start(0, 0);
	run_ms(3000);
	expect_error(&f.calls[0], ERR_UPSTREAM_FAILED, "not what the API promises");
	assert_int_equal(metric("upstream_malformed_total"), 3);
}

static void a_page_of_html_says_to_check_the_address(void **state)
{
	struct http_sim_rule *r = http_sim_rule(f.http, "");

	(void)state;
	http_sim_status(r, 1, 200, "text/html");
	http_sim_piece(r, 0, "<html>");
	http_sim_end(r, 0, HTTP_SIM_HANG);
	start(0, 0);
	run_ms(3000);
	expect_error(&f.calls[0], ERR_UPSTREAM_FAILED, "answered text/html where");
	expect_error(&f.calls[0], ERR_UPSTREAM_FAILED, "check base_url");
}

static void a_refusal_is_not_tried_again(void **state)
{
	(void)state;
	http_sim_times(fails(401, "{\"error\":{\"message\":\"sk-12345 is wrong\"}}"), 1);
	fails(400, "{\"error\":{\"message\":\"no such model\"}}");
	start(0, 0);
	run_ms(1000);
	start(1, 0);
	run_ms(1000);
	expect_error(&f.calls[0], ERR_UPSTREAM_REFUSED, "check api_key_env");
	assert_null(strstr(f.calls[0].result.message, "sk-"));
	expect_error(&f.calls[1], ERR_UPSTREAM_REFUSED, "no such model");
	assert_int_equal(metric("upstream_attempts_total"), 2);
}

static void an_error_that_quotes_the_key_is_told_without_its_words(void **state)
{
	struct http_sim_rule *r = http_sim_rule(f.http, "");

	(void)state;
	configure("upstreams[0].headers=X-Key: Bearer sk-0123456789");
	http_sim_status(r, 1, 400, "application/json");
	http_sim_piece(r, 0, "{\"error\":{\"message\":\"no such key: sk-0123456789\"}}");
	http_sim_end(r, 0, HTTP_SIM_CLEAN);
	start(0, 0);
	run_ms(100);
	expect_error(&f.calls[0], ERR_UPSTREAM_REFUSED, "answered 400");
	assert_null(strstr(f.calls[0].result.message, "sk-"));
}

static void a_very_long_error_is_read_in_part(void **state)
{
	struct http_sim_rule *r = http_sim_rule(f.http, "");
	char *text = calloc(1, LONG_BYTES + 1);

	(void)state;
	memset(text, ' ', LONG_BYTES);
	http_sim_status(r, 1, 400, "text/plain");
	http_sim_piece(r, 0, text);
	http_sim_end(r, 0, HTTP_SIM_HANG);
	start(0, 0);
	run_ms(100);
	expect_error(&f.calls[0], ERR_UPSTREAM_REFUSED, "answered 400");
	free(text);
}

static void no_response_at_all_is_a_failure_after_the_timeout(void **state)
{
	(void)state;
	http_sim_end(http_sim_rule(f.http, ""), 0, HTTP_SIM_HANG);
	configure("upstreams[0].first_byte_timeout=2s");
	configure("upstreams[0].attempts=1");
	start(0, 0);
	run_ms(1999);
	assert_false(f.calls[0].ended);
	run_ms(1);
	expect_error(&f.calls[0], ERR_UPSTREAM_FAILED, "timeout");
}

static void a_response_that_stalls_is_interrupted_after_the_timeout(void **state)
{
	(void)state;
	http_sim_end(begins(), 0, HTTP_SIM_HANG);
	configure("upstreams[0].idle_timeout=3s");
	start(0, 0);
	run_ms(20 + 2999);
	assert_false(f.calls[0].ended);
	run_ms(1);
	expect_error(&f.calls[0], ERR_INTERRUPTED, "timeout");
}

static void more_than_the_receiver_takes_is_too_large(void **state)
{
	(void)state;
	answers(1, 1);
	f.calls[0].stop_after = 1;
	start(0, 0);
	run_ms(100);
	expect_error(&f.calls[0], ERR_TOO_LARGE, "limit");
	assert_string_equal(f.calls[0].text, "Hel|");
}

static void a_request_that_cannot_be_written_names_the_field(void **state)
{
	(void)state;
	ask("Q", 1, true);
	start(0, 0);
	run_ms(1);
	expect_error(&f.calls[0], ERR_INVALID, "params.n: ");
	assert_int_equal(f.calls[0].result.attempts, 0);
}

static void no_memory_is_said(void **state)
{
	(void)state;
	answers(1, 1);
	http_sim_refuse_starts(f.http, 1);
	start(0, 0);
	run_ms(1);
	expect_error(&f.calls[0], ERR_NO_MEMORY, "");
	loop_sim_refuse_jobs(f.loop, 1);
	ask_long();
	start(1, 0);
	run_ms(1);
	expect_error(&f.calls[1], ERR_NO_MEMORY, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(an_answer_comes_in_pieces_as_the_provider_sends_them),
		CASE(json_is_taken_although_a_stream_was_asked_for),
		CASE(a_long_body_and_a_long_prompt_go_through_the_pool),
		CASE(a_long_event_of_a_stream_goes_through_the_pool_and_the_end_waits_for_it),
		CASE(a_stream_that_breaks_behind_a_long_event_is_interrupted_with_all_that_came),
		CASE(a_call_may_end_while_its_long_event_is_parsed),
		CASE(done_and_a_finish_reason_make_it_whole_whatever_the_connection_does),
		CASE(without_done_a_clean_end_is_enough_and_a_cut_is_not),
		CASE(tool_calls_are_delivered_at_the_end_so_a_cut_before_is_tried_again),
		CASE(a_failure_before_the_first_piece_is_tried_again),
		CASE(attempts_are_limited_and_pauses_grow),
		CASE(pauses_are_spread),
		CASE(who_cannot_be_reached_is_tried_again_and_named),
		CASE(what_broke_after_a_piece_is_interrupted_and_not_tried_again),
		CASE(a_stream_without_finish_reason_is_interrupted),
		CASE(rubbish_in_a_stream_is_counted),
		CASE(json_without_choices_is_malformed),
		CASE(a_page_of_html_says_to_check_the_address),
		CASE(a_refusal_is_not_tried_again),
		CASE(an_error_that_quotes_the_key_is_told_without_its_words),
		CASE(a_very_long_error_is_read_in_part),
		CASE(no_response_at_all_is_a_failure_after_the_timeout),
		CASE(a_response_that_stalls_is_interrupted_after_the_timeout),
		CASE(more_than_the_receiver_takes_is_too_large),
		CASE(a_request_that_cannot_be_written_names_the_field),
		CASE(no_memory_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
