/* http_sim: order and times of steps, timeouts, cancelling, rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "tests/sim/http_sim.h"
#include "tests/sim/loop_sim.h"

struct fixture {
	struct loop *loop;
	struct http *http;
	struct http_transfer transfer;
	char seen[256]; /* "head 200;data x;done 0;" */
	bool refuse, cancel_in_head, cancel_in_data;
};

static struct fixture f;

static void note(const char *what, unsigned number, struct slice data)
{
	size_t n = strlen(f.seen);

	snprintf(f.seen + n, sizeof(f.seen) - n, "%s %u %.*s;", what, number, (int)data.n,
		 data.n > 0 ? (const char *)data.p : "");
}

static void on_head(struct http_transfer *t)
{
	note("head", t->status, slice_str(t->content_type));
	if (f.cancel_in_head)
		http_cancel(t);
}

static bool on_data(struct http_transfer *t, struct slice piece)
{
	note("data", 0, piece);
	if (f.cancel_in_data)
		http_cancel(t);
	return !f.refuse;
}

static void on_done(struct http_transfer *t) { note("done", t->outcome, slice_str(t->error)); }

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){.loop = loop_new()};
	f.http = http_new(f.loop);
	f.transfer = (struct http_transfer){.head = on_head, .data = on_data, .done = on_done};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	http_free(f.http);
	loop_free(f.loop);
	return 0;
}

static void start(const char *url, const char *body)
{
	static const char *const headers[] = {"A: b"};
	const struct http_request request = {
		.url = url,
		.headers = headers,
		.headers_count = 1,
		.body = slice_str(body),
		.first_byte_timeout_ms = 100,
		.idle_timeout_ms = 50,
		.total_timeout_ms = 200,
	};

	assert_int_equal(http_start(f.http, &f.transfer, &request), 0);
	assert_string_equal(f.seen, "");
}

static void run_ms(uint64_t ms) { loop_sim_run_for(f.loop, ms * 1000); }

static struct http_sim_rule *usual(enum http_sim_ending ending)
{
	struct http_sim_rule *r = http_sim_rule(f.http, "");

	http_sim_status(r, 10, 200, "x/y");
	http_sim_piece(r, 5, "a");
	http_sim_piece(r, 5, "b");
	http_sim_end(r, 5, ending);
	return r;
}

static void steps_come_at_their_times(void **state)
{
	(void)state;
	usual(HTTP_SIM_CLEAN);
	start("u", "b");
	run_ms(9);
	assert_string_equal(f.seen, "");
	run_ms(1);
	assert_string_equal(f.seen, "head 200 x/y;");
	run_ms(5);
	assert_string_equal(f.seen, "head 200 x/y;data 0 a;");
	run_ms(10);
	assert_string_equal(f.seen, "head 200 x/y;data 0 a;data 0 b;done 0 ;");
	assert_int_equal(http_sim_counters(f.http).done, 1);
	assert_int_equal(http_sim_counters(f.http).running, 0);
}

static void endings_are_what_they_say(void **state)
{
	(void)state;
	usual(HTTP_SIM_CUT);
	start("u", "b");
	run_ms(100);
	assert_string_equal(f.seen, "head 200 x/y;data 0 a;data 0 b;done 2 connection reset;");
}

static void timeouts_of_the_request_hold(void **state)
{
	struct http_sim_rule *r;

	(void)state;
	http_sim_times(usual(HTTP_SIM_HANG), 1);
	start("u", "b");
	run_ms(20 + 50);
	assert_string_equal(f.seen, "head 200 x/y;data 0 a;data 0 b;done 3 timeout;");
	f.seen[0] = '\0';
	http_sim_times(http_sim_rule(f.http, ""), 1);
	start("u", "b");
	run_ms(100);
	assert_string_equal(f.seen, "done 3 timeout;");
	f.seen[0] = '\0';
	r = http_sim_rule(f.http, "");
	http_sim_status(r, 0, 200, "");
	for (int i = 0; i < 10; i++)
		http_sim_piece(r, 40, "x");
	start("u", "b");
	run_ms(200);
	assert_non_null(strstr(f.seen, "done 3 timeout;"));
}

static void rules_are_tried_in_order_and_used_up(void **state)
{
	struct http_sim_rule *one = http_sim_rule(f.http, "yes"), *two = http_sim_rule(f.http, "");

	(void)state;
	http_sim_times(one, 1);
	http_sim_end(one, 0, HTTP_SIM_UNREACHED);
	http_sim_status(two, 0, 204, "");
	http_sim_end(two, 0, HTTP_SIM_CLEAN);
	start("no", "body with yes in it");
	run_ms(1);
	assert_string_equal(f.seen, "done 1 connection refused;");
	f.seen[0] = '\0';
	start("yes", "");
	run_ms(1);
	assert_string_equal(f.seen, "head 204 ;done 0 ;");
	assert_int_equal(http_sim_uses(one), 1);
	assert_int_equal(http_sim_uses(two), 1);
	assert_string_equal(http_sim_last_url(f.http), "yes");
	assert_string_equal(http_sim_last_body(f.http), "");
	assert_true(http_sim_last_has_header(f.http, "A: b"));
}

static void cancelled_nothing_more_comes(void **state)
{
	(void)state;
	usual(HTTP_SIM_CLEAN);
	start("u", "b");
	http_cancel(&f.transfer);
	run_ms(1000);
	assert_string_equal(f.seen, "");
	f.cancel_in_head = true;
	start("u", "b");
	run_ms(1000);
	assert_string_equal(f.seen, "head 200 x/y;");
	f.seen[0] = '\0';
	f.cancel_in_head = false;
	f.cancel_in_data = true;
	start("u", "b");
	run_ms(1000);
	assert_string_equal(f.seen, "head 200 x/y;data 0 a;");
	assert_int_equal(http_sim_counters(f.http).cancelled, 3);
}

static void data_may_be_refused(void **state)
{
	(void)state;
	usual(HTTP_SIM_CLEAN);
	f.refuse = true;
	start("u", "b");
	run_ms(1000);
	assert_string_equal(f.seen, "head 200 x/y;data 0 a;done 4 ;");
}

static void starts_may_be_refused(void **state)
{
	(void)state;
	http_sim_refuse_starts(f.http, 1);
	assert_int_equal(http_start(f.http, &f.transfer, &(struct http_request){.url = "u"}), -1);
	usual(HTTP_SIM_CLEAN);
	start("u", "b");
	run_ms(1000);
	assert_int_equal(http_sim_counters(f.http).started, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(steps_come_at_their_times),    CASE(endings_are_what_they_say),
		CASE(timeouts_of_the_request_hold), CASE(rules_are_tried_in_order_and_used_up),
		CASE(cancelled_nothing_more_comes), CASE(data_may_be_refused),
		CASE(starts_may_be_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
