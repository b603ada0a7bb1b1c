/* Coalescing: who shares whose flight, who gets what when somebody leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/sim/world.h"

static struct world w;
static struct http_sim_rule *provider;
static const char *const three_words[] = {"one ", "two ", "three", NULL};

/* A provider that needs 1,000 ms to its first piece and 100 ms from piece to piece: whole after 1,200 ms. */
static int setup(void **state)
{
	(void)state;
	world_open(&w, NULL, NULL);
	provider = http_sim_rule(w.http, "");
	http_sim_chat(provider, 900, 100, three_words, "stop");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_close(&w);
	return 0;
}

static void a_thousand_identical_questions_cost_one_call(void **state)
{
	struct client *c[1000];
	unsigned llm = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		c[i] = world_ask(&w, "same", i % 3 == 0 ? ASK_STREAM : 0);
		world_run_ms(&w, i % 100 == 0);
	}
	world_run_ms(&w, 2000);
	for (int i = 0; i < 1000; i++) {
		assert_true(client_ended(c[i]));
		assert_string_equal(client_answer(c[i]), "one two three");
		llm += c[i]->q.outcome.source == SOURCE_LLM;
		assert_true(c[i]->q.outcome.source == SOURCE_LLM || c[i]->q.outcome.source == SOURCE_JOINED);
	}
	assert_int_equal(llm, 1);
	assert_int_equal(http_sim_counters(w.http).started, 1);
	assert_int_equal(world_metric(&w, "engine_joined_total"), 999);
	assert_int_equal(world_metric(&w, "engine_flights_total"), 1);
	assert_int_equal(world_metric(&w, "engine_flights"), 0);
}

static void different_questions_do_not_share(void **state)
{
	(void)state;
	world_ask(&w, "one question", 0);
	world_ask(&w, "One question", 0);
	world_run_ms(&w, 2000);
	assert_int_equal(http_sim_counters(w.http).started, 2);
}

static void the_next_one_is_answered_from_memory_in_the_same_turn(void **state)
{
	struct client *first = world_ask(&w, "q", 0), *second;

	(void)state;
	world_run_ms(&w, 2000);
	assert_true(first->q.outcome.stored);
	second = world_ask(&w, "q", 0);
	assert_true(client_ended(second));
	assert_int_equal(second->q.outcome.source, SOURCE_EXACT);
	assert_int_equal(second->q.outcome.reason, REASON_ALREADY);
	assert_int_equal(second->q.outcome.tokens_saved, 15);
	assert_string_equal(client_answer(second), "one two three");
	assert_int_equal(http_sim_counters(w.http).started, 1);
}

static void a_late_joiner_gets_the_answer_from_its_first_byte(void **state)
{
	struct client *first = world_ask(&w, "q", ASK_STREAM), *late;

	(void)state;
	world_run_ms(&w, 1050);
	assert_string_equal(first->text, "one ");
	late = world_ask(&w, "q", ASK_STREAM);
	world_run_ms(&w, 1);
	assert_string_equal(late->text, "one ");
	world_run_ms(&w, 1000);
	assert_string_equal(client_answer(late), "one two three");
	assert_int_equal(late->q.outcome.source, SOURCE_JOINED);
	assert_int_equal(http_sim_counters(w.http).started, 1);
}

static void a_streaming_client_is_told_at_most_once_a_turn_and_an_unstreamed_one_once(void **state)
{
	struct client *stream = world_ask(&w, "q", ASK_STREAM), *whole = world_ask(&w, "q", 0);

	(void)state;
	world_run_ms(&w, 2000);
	assert_true(stream->readies >= 3 && stream->readies <= 4);
	assert_int_equal(whole->readies, 1);
}

static void the_first_one_leaving_half_way_costs_nobody_anything(void **state)
{
	struct client *first = world_ask(&w, "q", ASK_STREAM), *second = world_ask(&w, "q", 0),
		      *third = world_ask(&w, "q", ASK_STREAM);

	(void)state;
	world_run_ms(&w, 1050);
	client_leave(first);
	world_run_ms(&w, 1000);
	assert_string_equal(client_answer(second), "one two three");
	assert_string_equal(client_answer(third), "one two three");
	assert_int_equal(second->q.outcome.source, SOURCE_LLM); /* the call counts as the next one's */
	assert_int_equal(third->q.outcome.source, SOURCE_JOINED);
	assert_int_equal(http_sim_counters(w.http).started, 1);
	assert_int_equal(http_sim_counters(w.http).cancelled, 0);
}

static void when_the_last_one_leaves_the_answer_is_finished_for_the_cache(void **state)
{
	struct client *only = world_ask(&w, "q", 0), *later;

	(void)state;
	world_run_ms(&w, 500);
	client_leave(only);
	assert_int_equal(world_metric(&w, "engine_flights_abandoned_total"), 1);
	world_run_ms(&w, 1000);
	later = world_ask(&w, "q", 0);
	assert_int_equal(later->q.outcome.source, SOURCE_EXACT);
	assert_int_equal(http_sim_counters(w.http).started, 1);
}

static void a_newcomer_joins_a_flight_that_everybody_has_left(void **state)
{
	struct client *only = world_ask(&w, "q", 0), *later;

	(void)state;
	world_run_ms(&w, 500);
	client_leave(only);
	later = world_ask(&w, "q", 0);
	world_run_ms(&w, 1000);
	assert_string_equal(client_answer(later), "one two three");
	assert_int_equal(http_sim_counters(w.http).started, 1);
}

static void an_abandoned_call_that_may_not_be_stored_is_cancelled(void **state)
{
	struct client *only = world_ask(&w, "q", ASK_NO_STORE);

	(void)state;
	world_run_ms(&w, 500);
	client_leave(only);
	world_run_ms(&w, 1);
	assert_int_equal(http_sim_counters(w.http).cancelled, 1);
	assert_int_equal(world_metric(&w, "engine_flights"), 0);
}

static void an_abandoned_call_whose_answer_is_invalidated_is_cancelled(void **state)
{
	struct client *only = world_ask(&w, "q", 0);

	(void)state;
	world_run_ms(&w, 500);
	client_leave(only);
	world_run_ms(&w, 1);
	assert_int_equal(http_sim_counters(w.http).cancelled, 0);
	world_invalidate(&w, TARGET_REQUEST, "q");
	assert_int_equal(http_sim_counters(w.http).cancelled, 1);
	assert_int_equal(world_metric(&w, "engine_flights"), 0);
}

static void a_slow_reader_slows_nobody_and_reads_on_after_the_end(void **state)
{
	struct client *slow = world_ask(&w, "q", ASK_STREAM | ASK_SLOW), *quick = world_ask(&w, "q", ASK_STREAM);

	(void)state;
	world_run_ms(&w, 2000);
	assert_string_equal(client_answer(quick), "one two three");
	assert_true(client_ended(slow));
	assert_string_equal(slow->text, "");
	client_read(slow);
	assert_string_equal(client_answer(slow), "one two three");
}

static void each_waiter_has_its_own_patience(void **state)
{
	struct client *hasty = world_ask_with(&w, "q", 0, 300, UINT64_MAX, UINT64_MAX),
		      *patient = world_ask(&w, "q", 0);
	uint64_t asked_us = loop_now_us(w.loop);

	(void)state;
	world_run_ms(&w, 2000);
	assert_int_equal(client_error(hasty), ERR_TIMEOUT);
	assert_int_equal(hasty->ended_us - asked_us, 300000);
	assert_string_equal(client_answer(patient), "one two three");
	assert_int_equal(world_metric(&w, "engine_timeouts_total"), 1);
}

static void no_cache_asks_anew_and_replaces_and_ordinary_questions_may_join_it(void **state)
{
	struct client *ordinary = world_ask(&w, "q", 0), *fresh, *joins;

	(void)state;
	world_run_ms(&w, 500);
	fresh = world_ask(&w, "q", ASK_NO_CACHE);
	world_run_ms(&w, 800);
	assert_true(client_ended(ordinary) && !client_ended(fresh));
	world_run_ms(&w, 1000);
	assert_true(client_ended(fresh));
	assert_int_equal(fresh->q.outcome.source, SOURCE_LLM);
	assert_int_equal(http_sim_counters(w.http).started, 2);

	fresh = world_ask(&w, "other", ASK_NO_CACHE);
	joins = world_ask(&w, "other", 0);
	world_run_ms(&w, 2000);
	assert_true(client_ended(fresh) && client_ended(joins));
	assert_int_equal(http_sim_counters(w.http).started, 3);
}

static void one_no_store_among_the_joiners_wins(void **state)
{
	struct client *first = world_ask(&w, "q", 0), *secret = world_ask(&w, "q", ASK_NO_STORE);

	(void)state;
	world_run_ms(&w, 2000);
	assert_false(first->q.outcome.stored);
	assert_int_equal(first->q.outcome.reason, REASON_NO_STORE);
	assert_int_equal(secret->q.outcome.reason, REASON_NO_STORE);
	assert_int_equal(world_ask(&w, "q", 0)->q.state, QUERY_WAITING);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(a_thousand_identical_questions_cost_one_call),
		CASE(different_questions_do_not_share),
		CASE(the_next_one_is_answered_from_memory_in_the_same_turn),
		CASE(a_late_joiner_gets_the_answer_from_its_first_byte),
		CASE(a_streaming_client_is_told_at_most_once_a_turn_and_an_unstreamed_one_once),
		CASE(the_first_one_leaving_half_way_costs_nobody_anything),
		CASE(when_the_last_one_leaves_the_answer_is_finished_for_the_cache),
		CASE(a_newcomer_joins_a_flight_that_everybody_has_left),
		CASE(an_abandoned_call_that_may_not_be_stored_is_cancelled),
		CASE(an_abandoned_call_whose_answer_is_invalidated_is_cancelled),
		CASE(a_slow_reader_slows_nobody_and_reads_on_after_the_end),
		CASE(each_waiter_has_its_own_patience),
		CASE(no_cache_asks_anew_and_replaces_and_ordinary_questions_may_join_it),
		CASE(one_no_store_among_the_joiners_wins),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
