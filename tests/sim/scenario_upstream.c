/* Calls of LLMs in virtual time: slots, back-off, Retry-After, deadlines, cancelling in every state, and answers of every kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/upstream/upstream.h"
#include "tests/sim/http_sim.h"
#include "tests/sim/loop_sim.h"

#define CALLS	   40
#define MS	   1000
#define LONG_BYTES 50000 /* a prompt or answer that goes through the pool */

struct fixture_call {
	struct upstream_call call; /* first: a call is its fixture_call */
	bool started, ended;
	unsigned pieces, stop_after, cancel_after; /* 0: never */
	char text[256];				   /* pieces with "|" behind each; what fits */
	size_t bytes;
	struct upstream_result result;
	char finish_reason[32], model[32];
	uint64_t ended_us;
};

struct fixture {
	struct loop *loop;
	struct http *http;
	struct options *options;
	struct upstream_set_options *set;
	struct upstreams *upstreams;
	struct upstream *upstream;
	struct buf frame;
	struct fixture_call calls[CALLS];
	uint64_t began_us;
	struct fault fault;
	uint64_t retry_after_ms;
};

static struct fixture f;

/* ---- helpers */

static void configure(const char *assignment)
{
	char error[300];

	assert_int_equal(options_set(f.options, assignment, error, sizeof(error)), 0);
}

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){.loop = loop_new(), .options = options_new(), .set = calloc(1, sizeof(*f.set))};
	assert_non_null(f.loop);
	assert_non_null(f.options);
	f.http = http_new(f.loop);
	buf_init(&f.frame, FRAME_BYTES_MAX, NULL);
	upstream_options_add(f.options, f.set);
	configure("upstreams[0].name=sim");
	configure("upstreams[0].base_url=http://sim/v1");
	f.began_us = loop_now_us(f.loop);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	loop_sim_run_for(f.loop, 60000 * MS); /* whoever was cancelled lets go */
	upstreams_free(f.upstreams);
	assert_int_equal(http_sim_counters(f.http).running, 0);
	http_free(f.http);
	options_free(f.options);
	free(f.set);
	buf_free(&f.frame);
	loop_free(f.loop);
	return 0;
}

/* With the options as they are now. */
static void open_upstream(void)
{
	char error[300];

	assert_int_equal(upstreams_new(&f.upstreams, f.loop, f.http, f.set, error, sizeof(error)), 0);
	f.upstream = upstreams_route(f.upstreams, slice_str("m"));
	assert_non_null(f.upstream);
}

static void ask(const char *prompt, size_t n, bool two_choices)
{
	struct message m = {.op = OP_QUERY, .id = 1};
	msgpack_object_kv kv = {.key = {.type = MSGPACK_OBJECT_STR, .via.str = {1, "n"}},
				.val = {.type = MSGPACK_OBJECT_POSITIVE_INTEGER, .via.u64 = 2}};
	msgpack_object params = {.type = MSGPACK_OBJECT_MAP, .via.map = {1, &kv}};

	MESSAGE_SET(&m.request, REQUEST, prompt, slice_of(prompt, n));
	if (two_choices)
		MESSAGE_SET(&m.request, REQUEST, params, &params);
	buf_free(&f.frame);
	assert_true(message_encode(&f.frame, &m));
}

static void ask_long(void)
{
	char *prompt = malloc(LONG_BYTES);

	memset(prompt, 'p', LONG_BYTES);
	ask(prompt, LONG_BYTES, false);
	free(prompt);
}

static bool on_piece(struct upstream_call *call, enum proto_segment kind, unsigned index, struct slice data)
{
	struct fixture_call *c = (struct fixture_call *)call;
	size_t n = strlen(c->text);

	(void)kind;
	(void)index;
	assert_true(c->started && !c->ended);
	c->pieces++;
	c->bytes += data.n;
	snprintf(c->text + n, sizeof(c->text) - n, "%.*s|", (int)data.n, (const char *)data.p);
	if (c->pieces == c->cancel_after) {
		upstream_cancel(call);
		c->ended = true;
	}
	return c->pieces != c->stop_after;
}

static void on_end(struct upstream_call *call, const struct upstream_result *result)
{
	struct fixture_call *c = (struct fixture_call *)call;

	assert_true(c->started && !c->ended);
	c->ended = true;
	c->result = *result;
	c->ended_us = loop_now_us(f.loop);
	snprintf(c->finish_reason, sizeof(c->finish_reason), "%.*s", (int)result->finish_reason.n,
		 (const char *)result->finish_reason.p);
	snprintf(c->model, sizeof(c->model), "%.*s", (int)result->model.n, (const char *)result->model.p);
}

static int try_start(int i, uint64_t patience_ms)
{
	struct fixture_call *c = &f.calls[i];
	const struct upstream_request request = {
		.frame = slice_of(f.frame.p + PROTO_FRAME_PREFIX, f.frame.n - PROTO_FRAME_PREFIX),
		.model = slice_str("m"),
		.deadline_us = patience_ms == 0 ? 0 : loop_now_us(f.loop) + patience_ms * MS,
	};
	int rc;

	if (f.upstream == NULL)
		open_upstream();
	c->call.piece = on_piece;
	c->call.end = on_end;
	rc = upstream_start(f.upstream, &c->call, &request, &f.fault, &f.retry_after_ms);
	c->started = rc == 0;
	return rc;
}

static struct fixture_call *start(int i, uint64_t patience_ms)
{
	if (f.frame.n == 0)
		ask("Q", 1, false);
	assert_int_equal(try_start(i, patience_ms), 0);
	return &f.calls[i];
}

static void cancel(struct fixture_call *c)
{
	upstream_cancel(&c->call);
	c->ended = true;
}

static void run_ms(uint64_t ms) { loop_sim_run_for(f.loop, ms * MS); }

static uint64_t metric(const char *name);

static struct {
	const char *name;
	uint64_t value;
	bool found;
} wanted;

static void on_metric(void *owner, const struct metric *m, uint64_t value)
{
	(void)owner;
	if (strcmp(m->name, wanted.name) == 0) {
		wanted.value = value;
		wanted.found = true;
	}
}

static uint64_t metric(const char *name)
{
	struct metrics m = {0};

	wanted.name = name;
	wanted.found = false;
	upstream_metrics_add(f.upstreams, &m);
	metrics_walk(&m, on_metric, NULL);
	assert_true(wanted.found);
	return wanted.value;
}

static void expect_ok(const struct fixture_call *c, const char *text)
{
	assert_true(c->ended);
	assert_int_equal(c->result.code, ERR_NONE);
	assert_string_equal(c->text, text);
}

static void expect_error(const struct fixture_call *c, enum proto_error code, const char *part)
{
	assert_true(c->ended);
	assert_int_equal(c->result.code, code);
	if (strstr(c->result.message, part) == NULL)
		print_error("%s\n", c->result.message);
	assert_non_null(strstr(c->result.message, part));
}

static struct http_sim_rule *answers(uint64_t latency_ms, uint64_t pace_ms)
{
	static const char *const texts[] = {"Hel", "lo", NULL};
	struct http_sim_rule *r = http_sim_rule(f.http, "");

	http_sim_chat(r, latency_ms, pace_ms, texts, "stop");
	return r;
}

static struct http_sim_rule *fails(unsigned status, const char *body)
{
	struct http_sim_rule *r = http_sim_rule(f.http, "");

	http_sim_status(r, 10, status, "application/json");
	http_sim_piece(r, 0, body);
	http_sim_end(r, 0, HTTP_SIM_CLEAN);
	return r;
}

/* Head and one piece of a chat answer; the caller says how it goes on. */
static struct http_sim_rule *begins(void)
{
	struct http_sim_rule *r = http_sim_rule(f.http, "");

	http_sim_chat_head(r, 10);
	http_sim_chat_text(r, 10, "Hel");
	return r;
}

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

/* ---- rate limits */

static void retry_after_is_obeyed_by_all_calls(void **state)
{
	struct http_sim_rule *r = fails(429, "{}");

	(void)state;
	http_sim_times(r, 1);
	http_sim_retry_after(r, 5000);
	answers(10, 0);
	start(0, 0);
	run_ms(100);
	start(1, 0);
	run_ms(4900);
	assert_int_equal(http_sim_counters(f.http).started, 1);
	assert_int_equal(metric("upstream_waiting"), 2);
	run_ms(20);
	expect_ok(&f.calls[0], "Hel|lo|");
	expect_ok(&f.calls[1], "Hel|lo|");
	assert_int_equal(f.calls[0].result.attempts, 2);
	assert_int_equal(f.calls[1].result.attempts, 1);
	assert_true(f.calls[1].result.slot_us >= 4900 * MS);
	assert_int_equal(metric("upstream_rate_limited_total"), 1);
}

static void a_wait_that_does_not_fit_ends_at_once(void **state)
{
	struct http_sim_rule *r = fails(429, "{}");

	(void)state;
	http_sim_retry_after(r, 5000);
	start(0, 2000);
	run_ms(20);
	expect_error(&f.calls[0], ERR_RATE_LIMITED, "429");
	assert_int_equal(f.calls[0].result.retry_after_ms, 5000);
}

static void who_waited_for_a_closed_provider_hears_of_the_rate(void **state)
{
	struct http_sim_rule *r = fails(429, "{}");

	(void)state;
	http_sim_retry_after(r, 5000);
	start(0, 2000);
	run_ms(20);
	start(1, 1000);
	run_ms(1000);
	expect_error(&f.calls[1], ERR_RATE_LIMITED, "limits the rate");
	assert_in_range(f.calls[1].result.retry_after_ms, 3900, 4000);
}

static void a_rate_limit_without_a_time_backs_off(void **state)
{
	(void)state;
	http_sim_times(fails(429, "{}"), 1);
	answers(10, 0);
	start(0, 0);
	run_ms(1000);
	expect_ok(&f.calls[0], "Hel|lo|");
	assert_int_equal(f.calls[0].result.attempts, 2);
}

static void an_empty_account_is_not_waited_for(void **state)
{
	struct http_sim_rule *r = fails(429, "{\"error\":{\"code\":\"insufficient_quota\"}}");

	(void)state;
	http_sim_retry_after(r, 5000);
	start(0, 0);
	run_ms(20);
	expect_error(&f.calls[0], ERR_RATE_LIMITED, "quota");
	start(1, 0);
	run_ms(20);
	assert_true(f.calls[1].ended);
}

/* ---- slots and deadlines */

static void no_more_calls_run_than_there_are_slots(void **state)
{
	(void)state;
	answers(100, 0);
	configure("upstreams[0].concurrency=3");
	for (int i = 0; i < 10; i++)
		start(i, 0);
	run_ms(1);
	assert_int_equal(metric("upstream_in_flight"), 3);
	assert_int_equal(metric("upstream_waiting"), 7);
	run_ms(1000);
	for (int i = 0; i < 10; i++)
		expect_ok(&f.calls[i], "Hel|lo|");
	assert_int_equal(http_sim_counters(f.http).running_max, 3);
	assert_in_range(f.calls[9].result.slot_us, 300 * MS, 310 * MS);
	assert_int_equal(metric("upstream_in_flight"), 0);
}

static void a_full_queue_refuses_with_a_time(void **state)
{
	(void)state;
	answers(100, 0);
	configure("upstreams[0].concurrency=1");
	configure("upstreams[0].queue=2");
	for (int i = 0; i < 3; i++)
		start(i, 0);
	assert_int_equal(try_start(3, 0), -1);
	assert_int_equal(f.fault.code, ERR_OVERLOADED);
	assert_true(f.retry_after_ms > 0);
	assert_int_equal(metric("upstream_refused_total"), 1);
	run_ms(1000);
	assert_false(f.calls[3].ended);
}

static void the_deadline_ends_a_call_in_any_state(void **state)
{
	(void)state;
	http_sim_end(begins(), 0, HTTP_SIM_HANG);
	configure("upstreams[0].concurrency=1");
	start(0, 500); /* half-way through its answer */
	start(1, 400); /* waits for a slot */
	run_ms(400);
	expect_error(&f.calls[1], ERR_TIMEOUT, "");
	assert_int_equal(f.calls[1].result.attempts, 0);
	run_ms(100);
	expect_error(&f.calls[0], ERR_TIMEOUT, "");
	run_ms(1);
	assert_int_equal(http_sim_counters(f.http).cancelled, 1);
	assert_int_equal(metric("upstream_in_flight"), 0);
}

static void a_deadline_in_the_pool_ends_the_call_and_the_slot_is_free_after_the_job(void **state)
{
	(void)state;
	loop_sim_job_delay_us(f.loop, 100 * MS);
	ask_long();
	start(0, 50);
	run_ms(60);
	expect_error(&f.calls[0], ERR_TIMEOUT, "");
	assert_int_equal(metric("upstream_in_flight"), 1);
	run_ms(50);
	assert_int_equal(metric("upstream_in_flight"), 0);
}

static void a_deadline_that_has_passed_already_ends_it_too(void **state)
{
	(void)state;
	run_ms(1000);
	ask("Q", 1, false);
	open_upstream();
	f.calls[0].call.piece = on_piece;
	f.calls[0].call.end = on_end;
	assert_int_equal(upstream_start(f.upstream, &f.calls[0].call,
					&(struct upstream_request){.frame = slice_of(f.frame.p + 5, f.frame.n - 5),
								   .model = slice_str("m"),
								   .deadline_us = f.began_us},
					&f.fault, &f.retry_after_ms),
			 0);
	f.calls[0].started = true;
	http_sim_end(http_sim_rule(f.http, ""), 0, HTTP_SIM_HANG);
	run_ms(1);
	expect_error(&f.calls[0], ERR_TIMEOUT, "");
}

/* ---- cancelling */

static void cancelled_while_waiting_it_leaves_the_queue(void **state)
{
	(void)state;
	answers(100, 0);
	configure("upstreams[0].concurrency=1");
	for (int i = 0; i < 3; i++)
		start(i, 0);
	run_ms(10);
	cancel(&f.calls[1]);
	run_ms(1000);
	expect_ok(&f.calls[2], "Hel|lo|");
	assert_int_equal(http_sim_counters(f.http).started, 2);
}

static void cancelled_before_anything_was_sent_nothing_is_sent(void **state)
{
	(void)state;
	cancel(start(0, 0));
	run_ms(1000);
	assert_int_equal(http_sim_counters(f.http).started, 0);
}

static void cancelled_while_running_its_connection_is_closed_and_its_slot_free(void **state)
{
	(void)state;
	answers(100, 0);
	configure("upstreams[0].concurrency=1");
	start(0, 0);
	start(1, 0);
	run_ms(50);
	cancel(&f.calls[0]);
	run_ms(101);
	expect_ok(&f.calls[1], "Hel|lo|");
	assert_int_equal(http_sim_counters(f.http).cancelled, 1);
}

static void cancelled_in_a_piece_nothing_more_comes(void **state)
{
	struct http_sim_rule *r = http_sim_rule(f.http, "");

	(void)state;
	http_sim_chat_head(r, 1);
	http_sim_piece(r, 1,
		       "data: {\"choices\":[{\"delta\":{\"content\":\"A\"}}]}\n\n"
		       "data: {\"choices\":[{\"delta\":{\"content\":\"B\"}}]}\n\n");
	http_sim_chat_end(r, 1, "stop");
	f.calls[0].cancel_after = 1;
	start(0, 0);
	run_ms(100);
	assert_string_equal(f.calls[0].text, "A|");
	assert_int_equal(http_sim_counters(f.http).cancelled, 1);
	assert_int_equal(metric("upstream_in_flight"), 0);
}

static void cancelled_in_the_piece_of_a_whole_answer_nothing_more_comes(void **state)
{
	(void)state;
	fails(200, "{\"choices\":[{\"message\":{\"reasoning\":\"A\",\"content\":\"B\"},\"finish_reason\":\"stop\"}]}");
	f.calls[0].cancel_after = 1;
	start(0, 0);
	run_ms(100);
	assert_string_equal(f.calls[0].text, "A|");
}

static void cancelled_in_the_piece_of_a_tool_call_nothing_more_comes(void **state)
{
	(void)state;
	fails(200, "{\"choices\":[{\"message\":{\"tool_calls\":[{\"id\":\"a\"},{\"id\":\"b\"}]},\"finish_reason\":"
		   "\"stop\"}]}");
	f.calls[0].cancel_after = 1;
	start(0, 0);
	run_ms(100);
	assert_int_equal(f.calls[0].pieces, 1);
}

static void cancelled_between_two_attempts_there_is_no_other(void **state)
{
	(void)state;
	fails(500, "{}");
	start(0, 0);
	run_ms(10);
	assert_int_equal(metric("upstream_waiting"), 1);
	cancel(&f.calls[0]);
	assert_int_equal(metric("upstream_waiting"), 0);
	run_ms(5000);
	assert_int_equal(http_sim_counters(f.http).started, 1);
}

static void cancelled_in_the_pool_it_counts_until_the_job_is_done(void **state)
{
	(void)state;
	loop_sim_job_delay_us(f.loop, 100 * MS);
	ask_long();
	start(0, 0);
	run_ms(10);
	cancel(&f.calls[0]);
	buf_free(&f.frame); /* the caller's again */
	run_ms(10);
	assert_int_equal(metric("upstream_in_flight"), 1);
	run_ms(100);
	assert_int_equal(metric("upstream_in_flight"), 0);
}

static void a_set_may_be_freed_while_a_job_still_runs(void **state)
{
	(void)state;
	loop_sim_job_delay_us(f.loop, 100 * MS);
	ask_long();
	start(0, 0);
	run_ms(10);
	cancel(&f.calls[0]);
	upstreams_free(f.upstreams);
	f.upstreams = NULL;
	run_ms(200);
}

static void a_set_may_be_freed_right_after_a_cancel(void **state)
{
	(void)state;
	answers(100, 0);
	start(0, 0);
	run_ms(10);
	cancel(&f.calls[0]);
	upstreams_free(f.upstreams);
	f.upstreams = NULL;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(an_answer_comes_in_pieces_as_the_provider_sends_them),
		CASE(json_is_taken_although_a_stream_was_asked_for),
		CASE(a_long_body_and_a_long_prompt_go_through_the_pool),
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
		CASE(a_very_long_error_is_read_in_part),
		CASE(no_response_at_all_is_a_failure_after_the_timeout),
		CASE(a_response_that_stalls_is_interrupted_after_the_timeout),
		CASE(more_than_the_receiver_takes_is_too_large),
		CASE(a_request_that_cannot_be_written_names_the_field),
		CASE(no_memory_is_said),
		CASE(retry_after_is_obeyed_by_all_calls),
		CASE(a_wait_that_does_not_fit_ends_at_once),
		CASE(who_waited_for_a_closed_provider_hears_of_the_rate),
		CASE(a_rate_limit_without_a_time_backs_off),
		CASE(an_empty_account_is_not_waited_for),
		CASE(no_more_calls_run_than_there_are_slots),
		CASE(a_full_queue_refuses_with_a_time),
		CASE(the_deadline_ends_a_call_in_any_state),
		CASE(a_deadline_in_the_pool_ends_the_call_and_the_slot_is_free_after_the_job),
		CASE(a_deadline_that_has_passed_already_ends_it_too),
		CASE(cancelled_while_waiting_it_leaves_the_queue),
		CASE(cancelled_before_anything_was_sent_nothing_is_sent),
		CASE(cancelled_while_running_its_connection_is_closed_and_its_slot_free),
		CASE(cancelled_in_a_piece_nothing_more_comes),
		CASE(cancelled_in_the_piece_of_a_whole_answer_nothing_more_comes),
		CASE(cancelled_in_the_piece_of_a_tool_call_nothing_more_comes),
		CASE(cancelled_between_two_attempts_there_is_no_other),
		CASE(cancelled_in_the_pool_it_counts_until_the_job_is_done),
		CASE(a_set_may_be_freed_while_a_job_still_runs),
		CASE(a_set_may_be_freed_right_after_a_cancel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
