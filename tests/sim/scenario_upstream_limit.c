/* Calls of LLMs in virtual time: rate limits, slots, deadlines, cancelling in every state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/sim/upstream_fixture.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
