/* Failure: the provider, the durable store or a limit gives way; what each client sees, and what is stored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/sim/world.h"

static struct world w;
static const char *const words[] = {"one ", "two ", NULL};

static int setup(void **state)
{
	(void)state;
	world_open(&w, NULL, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_close(&w);
	return 0;
}

static struct http_sim_rule *good_provider(void)
{
	struct http_sim_rule *r = http_sim_rule(w.http, "");

	http_sim_chat(r, 100, 100, words, "stop");
	return r;
}

/* Answers `times` requests with a status and nothing else. */
static void failing(unsigned times, unsigned status)
{
	struct http_sim_rule *r = http_sim_rule(w.http, "");

	http_sim_times(r, times);
	http_sim_status(r, 10, status, "application/json");
	http_sim_end(r, 0, HTTP_SIM_CLEAN);
}

static void before_the_first_byte_it_is_tried_again_and_nobody_notices(void **state)
{
	struct client *a, *b;

	(void)state;
	failing(2, 500);
	good_provider();
	a = world_ask(&w, "q", 0);
	b = world_ask(&w, "q", ASK_STREAM);
	world_run_ms(&w, 60000);
	assert_string_equal(client_answer(a), "one two ");
	assert_string_equal(client_answer(b), "one two ");
	assert_int_equal(http_sim_counters(w.http).started, 3);
	assert_int_equal(world_metric(&w, "upstream_retries_total"), 2);
}

static void when_the_attempts_are_used_up_every_waiter_gets_a_retryable_error(void **state)
{
	struct client *c[3];

	(void)state;
	failing(100, 503);
	for (int i = 0; i < 3; i++)
		c[i] = world_ask(&w, "q", i == 1 ? ASK_STREAM : 0);
	world_run_ms(&w, 100000);
	for (int i = 0; i < 3; i++) {
		assert_true(client_ended(c[i]));
		assert_int_equal(client_error(c[i]), ERR_UPSTREAM_FAILED);
		assert_int_equal(c[i]->q.outcome.upstream_status, 503);
	}
	assert_true(proto_error_retryable(ERR_UPSTREAM_FAILED));
	assert_int_equal(world_metric(&w, "engine_stored_total"), 0);
	assert_int_equal(world_metric(&w, "engine_failed_total"), 3);
	assert_int_equal(world_metric(&w, "engine_flights"), 0);
}

static void cut_half_way_those_who_saw_nothing_get_a_new_attempt_and_the_others_an_error(void **state)
{
	struct http_sim_rule *cut = http_sim_rule(w.http, "");
	struct client *saw, *whole;

	(void)state;
	http_sim_times(cut, 1);
	http_sim_chat_head(cut, 100);
	http_sim_chat_text(cut, 10, "half an ans");
	http_sim_end(cut, 10, HTTP_SIM_CUT);
	good_provider();
	saw = world_ask(&w, "q", ASK_STREAM);
	whole = world_ask(&w, "q", 0);
	world_run_ms(&w, 60000);
	assert_int_equal(client_error(saw), ERR_INTERRUPTED);
	assert_string_equal(saw->text, "half an ans");
	assert_int_equal(saw->q.reader.offset, 11);
	assert_string_equal(client_answer(whole), "one two ");
	assert_int_equal(http_sim_counters(w.http).started, 2);
	assert_int_equal(world_metric(&w, "engine_flights_restarted_total"), 1);
	assert_int_equal(world_metric(&w, "engine_stored_total"), 1);
}

static void a_stream_that_is_cut_is_never_stored(void **state)
{
	struct http_sim_rule *cut = http_sim_rule(w.http, "");
	struct client *c;

	(void)state;
	http_sim_chat_head(cut, 100);
	http_sim_chat_text(cut, 10, "half");
	http_sim_end(cut, 10, HTTP_SIM_CUT);
	c = world_ask(&w, "q", ASK_STREAM);
	world_run_ms(&w, 60000);
	assert_int_equal(client_error(c), ERR_INTERRUPTED);
	assert_int_equal(http_sim_counters(w.http).started, 1); /* nobody was left who had seen nothing */
	assert_int_equal(world_metric(&w, "engine_stored_total"), 0);
	assert_int_equal(world_ask(&w, "q", 0)->q.state, QUERY_WAITING);
}

static void a_slow_reader_of_an_answer_that_broke_gets_the_new_one_if_it_had_read_nothing(void **state)
{
	struct http_sim_rule *cut = http_sim_rule(w.http, "");
	struct client *slow;

	(void)state;
	http_sim_times(cut, 1);
	http_sim_chat_head(cut, 100);
	http_sim_chat_text(cut, 10, "half");
	http_sim_end(cut, 10, HTTP_SIM_CUT);
	good_provider();
	slow = world_ask(&w, "q", ASK_STREAM | ASK_SLOW);
	world_run_ms(&w, 60000);
	client_read(slow);
	assert_string_equal(client_answer(slow), "one two ");
}

/* finish_reason, whether stored, why */
static void an_unfinished_answer_is_delivered_as_what_it_is_and_not_stored(void **state)
{
	static const char *const reasons[] = {"length", "content_filter"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct http_sim_rule *r = http_sim_rule(w.http, reasons[i]);
		struct client *c;

		http_sim_chat(r, 10, 10, words, reasons[i]);
		c = world_ask(&w, reasons[i], 0);
		world_run_ms(&w, 1000);
		assert_string_equal(client_answer(c), "one two ");
		assert_false(c->q.outcome.stored);
		assert_int_equal(c->q.outcome.reason, REASON_UNFINISHED);
		assert_int_equal(world_ask(&w, reasons[i], ASK_LOOKUP)->q.outcome.reason, REASON_MISS);
	}
	assert_int_equal(world_metric(&w, "engine_unstored_unfinished_total"), 2);
}

static void an_empty_answer_is_not_stored(void **state)
{
	static const char *const nothing[] = {NULL};
	struct client *c;

	(void)state;
	http_sim_chat(http_sim_rule(w.http, ""), 10, 10, nothing, "stop");
	c = world_ask(&w, "q", ASK_STREAM);
	world_run_ms(&w, 1000);
	assert_true(client_ended(c));
	assert_int_equal(c->q.outcome.reason, REASON_EMPTY);
}

static void the_providers_retry_after_is_obeyed(void **state)
{
	struct http_sim_rule *limited = http_sim_rule(w.http, "");
	struct client *c;

	(void)state;
	http_sim_times(limited, 1);
	http_sim_status(limited, 10, 429, "application/json");
	http_sim_retry_after(limited, 5000);
	http_sim_end(limited, 0, HTTP_SIM_CLEAN);
	good_provider();
	c = world_ask(&w, "q", 0);
	world_run_ms(&w, 4900);
	assert_int_equal(http_sim_counters(w.http).started, 1);
	world_run_ms(&w, 10000);
	assert_string_equal(client_answer(c), "one two ");
	assert_int_equal(world_metric(&w, "upstream_rate_limited_total"), 1);
}

static void a_refused_request_is_not_tried_again(void **state)
{
	struct client *c;

	(void)state;
	failing(1, 400);
	c = world_ask(&w, "q", 0);
	world_run_ms(&w, 1000);
	assert_int_equal(client_error(c), ERR_UPSTREAM_REFUSED);
	assert_int_equal(http_sim_counters(w.http).started, 1);
}

static void a_provider_that_hangs_costs_the_clients_patience_and_no_more(void **state)
{
	struct client *c;

	(void)state;
	http_sim_end(http_sim_rule(w.http, ""), 0, HTTP_SIM_HANG);
	c = world_ask_with(&w, "q", 0, 700, UINT64_MAX, UINT64_MAX);
	world_run_ms(&w, 701);
	assert_int_equal(client_error(c), ERR_TIMEOUT);
	world_run_ms(&w, 700000);
	assert_int_equal(world_metric(&w, "engine_flights"), 0); /* flight.timeout ended it */
}

static void over_flight_limit_the_next_question_is_refused_at_once(void **state)
{
	static const char *const settings[] = {"flight.limit=2", NULL};
	struct client *third;

	(void)state;
	world_close(&w);
	world_open(&w, NULL, settings);
	good_provider();
	world_ask(&w, "1", 0);
	world_ask(&w, "2", 0);
	world_ask(&w, "2", 0); /* joins */
	third = world_ask(&w, "3", 0);
	assert_int_equal(third->refused, -1);
	assert_int_equal(third->q.outcome.fault.code, ERR_OVERLOADED);
	assert_true(third->q.outcome.retry_after_ms > 0);
	assert_int_equal(world_metric(&w, "engine_overloaded_total"), 1);
	world_run_ms(&w, 1000);
	assert_int_equal(world_ask(&w, "3", 0)->refused, 0);
	world_run_ms(&w, 1000);
}

static void over_flight_memory_the_next_question_is_refused_at_once(void **state)
{
	static const char *const settings[] = {"flight.memory=1MB", NULL};
	enum {
		LONG = 600 * 1024
	};
	char *question = malloc(LONG + 1);
	struct client *second;

	(void)state;
	assert_non_null(question);
	memset(question, 'q', LONG);
	question[LONG] = '\0';
	world_close(&w);
	world_open(&w, NULL, settings);
	good_provider();
	world_ask(&w, question, 0);
	assert_true(world_metric(&w, "engine_flights_bytes") > LONG);
	world_ask(&w, question, 0); /* joins, and costs nothing */
	question[0] = 'p';
	second = world_ask(&w, question, 0);
	assert_int_equal(second->refused, -1);
	assert_int_equal(second->q.outcome.fault.code, ERR_OVERLOADED);
	assert_int_equal(world_ask(&w, "short", 0)->refused, 0);
	world_run_ms(&w, 1000);
	assert_int_equal(world_metric(&w, "engine_flights_bytes"), 0);
	assert_int_equal(world_metric(&w, "engine_answers_bytes"), 0);
	assert_int_equal(world_ask(&w, question, 0)->refused, 0);
	world_run_ms(&w, 1000);
	free(question);
}

static void over_flight_waiters_the_next_client_is_refused_at_once(void **state)
{
	static const char *const settings[] = {"flight.waiters=2", NULL};

	(void)state;
	world_close(&w);
	world_open(&w, NULL, settings);
	good_provider();
	world_ask(&w, "q", 0);
	world_ask(&w, "q", 0);
	assert_int_equal(world_ask(&w, "q", 0)->q.outcome.fault.code, ERR_OVERLOADED);
	world_run_ms(&w, 1000);
}

static void over_the_providers_queue_the_call_is_refused_at_once(void **state)
{
	static const char *const settings[] = {"upstreams[0].concurrency=1", "upstreams[0].queue=1", NULL};
	struct client *c[3];

	(void)state;
	world_close(&w);
	world_open(&w, NULL, settings);
	good_provider();
	c[0] = world_ask(&w, "0", 0);
	c[1] = world_ask(&w, "1", 0);
	c[2] = world_ask(&w, "2", 0);
	world_run_ms(&w, 1);
	assert_int_equal(client_error(c[2]), ERR_OVERLOADED);
	assert_true(c[2]->q.outcome.retry_after_ms > 0);
	world_run_ms(&w, 2000);
	assert_string_equal(client_answer(c[0]), "one two ");
	assert_string_equal(client_answer(c[1]), "one two ");
	assert_int_equal(http_sim_counters(w.http).running_max, 1);
}

static void an_old_flight_takes_no_more_joiners(void **state)
{
	static const char *const settings[] = {"flight.joinable=2s", NULL};
	struct http_sim_rule *slow;

	(void)state;
	world_close(&w);
	world_open(&w, NULL, settings);
	slow = http_sim_rule(w.http, "");
	http_sim_times(slow, 1);
	http_sim_chat(slow, 30000, 0, words, "stop");
	good_provider();
	world_ask(&w, "q", 0);
	world_run_ms(&w, 3000);
	struct client *fresh = world_ask(&w, "q", 0);

	world_run_ms(&w, 1000);
	assert_string_equal(client_answer(fresh), "one two ");
	assert_int_equal(http_sim_counters(w.http).started, 2);
	world_run_ms(&w, 40000);
}

static void a_model_that_no_upstream_serves_is_an_error_that_names_it(void **state)
{
	static const char *const settings[] = {"upstreams[0].models=other-*", NULL};
	struct client *c;

	(void)state;
	world_close(&w);
	world_open(&w, NULL, settings);
	c = world_ask(&w, "q", 0);
	world_run_ms(&w, 1);
	assert_int_equal(client_error(c), ERR_NO_UPSTREAM);
	assert_string_equal(c->q.outcome.fault.field, "model");
}

static void without_memory_for_a_transfer_the_client_gets_an_error_and_the_server_stays(void **state)
{
	struct client *c;

	(void)state;
	good_provider();
	http_sim_refuse_starts(w.http, 100);
	c = world_ask(&w, "q", 0);
	world_run_ms(&w, 60000);
	assert_true(client_ended(c) && client_error(c) != ERR_NONE);
	http_sim_refuse_starts(w.http, 0);
	c = world_ask(&w, "q", 0);
	world_run_ms(&w, 1000);
	assert_string_equal(client_answer(c), "one two ");
}

/* ---- shutting down */

static void note(void *owner) { ++*(int *)owner; }

static void draining_lets_flights_finish_and_refuses_newcomers(void **state)
{
	struct client *flying, *late;
	int drained = 0;

	(void)state;
	good_provider();
	flying = world_ask(&w, "q", 0);
	world_run_ms(&w, 50);
	engine_drain(w.engine, note, &drained);
	late = world_ask(&w, "q", 0);
	assert_int_equal(late->q.outcome.fault.code, ERR_SHUTTING_DOWN);
	world_run_ms(&w, 10);
	assert_int_equal(drained, 0);
	world_run_ms(&w, 1000);
	assert_string_equal(client_answer(flying), "one two ");
	assert_int_equal(drained, 1);
}

static void draining_an_idle_engine_ends_at_once_and_not_before_the_call_returns(void **state)
{
	int drained = 0;

	(void)state;
	engine_drain(w.engine, note, &drained);
	assert_int_equal(drained, 0);
	world_run_ms(&w, 1);
	assert_int_equal(drained, 1);
}

static void aborting_ends_every_flight_with_shutting_down(void **state)
{
	struct client *flying;
	int drained = 0;

	(void)state;
	http_sim_end(http_sim_rule(w.http, ""), 0, HTTP_SIM_HANG);
	flying = world_ask(&w, "q", ASK_STREAM);
	world_run_ms(&w, 50);
	engine_drain(w.engine, note, &drained);
	engine_abort(w.engine);
	world_run_ms(&w, 1);
	assert_int_equal(client_error(flying), ERR_SHUTTING_DOWN);
	assert_int_equal(drained, 1);
	assert_int_equal(http_sim_counters(w.http).cancelled, 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(before_the_first_byte_it_is_tried_again_and_nobody_notices),
		CASE(when_the_attempts_are_used_up_every_waiter_gets_a_retryable_error),
		CASE(cut_half_way_those_who_saw_nothing_get_a_new_attempt_and_the_others_an_error),
		CASE(a_stream_that_is_cut_is_never_stored),
		CASE(a_slow_reader_of_an_answer_that_broke_gets_the_new_one_if_it_had_read_nothing),
		CASE(an_unfinished_answer_is_delivered_as_what_it_is_and_not_stored),
		CASE(an_empty_answer_is_not_stored),
		CASE(the_providers_retry_after_is_obeyed),
		CASE(a_refused_request_is_not_tried_again),
		CASE(a_provider_that_hangs_costs_the_clients_patience_and_no_more),
		CASE(over_flight_limit_the_next_question_is_refused_at_once),
		CASE(over_flight_memory_the_next_question_is_refused_at_once),
		CASE(over_flight_waiters_the_next_client_is_refused_at_once),
		CASE(over_the_providers_queue_the_call_is_refused_at_once),
		CASE(an_old_flight_takes_no_more_joiners),
		CASE(a_model_that_no_upstream_serves_is_an_error_that_names_it),
		CASE(without_memory_for_a_transfer_the_client_gets_an_error_and_the_server_stays),
		CASE(draining_lets_flights_finish_and_refuses_newcomers),
		CASE(draining_an_idle_engine_ends_at_once_and_not_before_the_call_returns),
		CASE(aborting_ends_every_flight_with_shutting_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
