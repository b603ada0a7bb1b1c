/* The durable store and time: what is found again, what is forgotten, for how long an answer lives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/sim/world.h"

#define DAY_MS UINT64_C(86400000)

static struct world w;
static struct durable_sim_disk *disk;
static const char *const words[] = {"one ", "two", NULL};

static void provider(void) { http_sim_chat(http_sim_rule(w.http, ""), 100, 100, words, "stop"); }

static int setup(void **state)
{
	(void)state;
	disk = durable_sim_disk_new();
	world_open(&w, disk, NULL);
	provider();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_close(&w);
	durable_sim_disk_free(disk);
	return 0;
}

static void restart(void)
{
	world_close(&w);
	world_open(&w, disk, NULL);
	provider();
}

static struct client *ask_and_wait(const char *question, unsigned how)
{
	struct client *c = world_ask(&w, question, how);

	world_run_ms(&w, 1000);
	assert_true(client_ended(c));
	return c;
}

static void an_answer_is_found_again_after_a_restart(void **state)
{
	struct client *c;

	(void)state;
	ask_and_wait("q", 0);
	restart();
	c = ask_and_wait("q", 0);
	assert_int_equal(c->q.outcome.source, SOURCE_EXACT);
	assert_string_equal(client_answer(c), "one two");
	assert_int_equal(c->q.outcome.tokens_saved, 15);
	assert_int_equal(http_sim_counters(w.http).started, 0);
	/* and the next one comes from memory, in the same turn */
	assert_true(client_ended(world_ask(&w, "q", 0)));
}

static void identical_questions_share_the_store_read_too(void **state)
{
	uint64_t reads;

	(void)state;
	ask_and_wait("q", 0);
	restart();
	reads = w.durable->reads;
	for (int i = 0; i < 10; i++)
		world_ask(&w, "q", i % 2 ? ASK_STREAM : 0);
	world_run_ms(&w, 10);
	assert_int_equal(w.durable->reads - reads, 1);
	assert_int_equal(world_metric(&w, "engine_hits_exact_total"), 10);
}

static void a_lookup_never_calls_the_llm(void **state)
{
	struct client *c = ask_and_wait("q", ASK_LOOKUP);

	(void)state;
	assert_int_equal(c->q.outcome.source, SOURCE_NONE);
	assert_int_equal(c->q.outcome.reason, REASON_MISS);
	assert_int_equal(http_sim_counters(w.http).started, 0);
	assert_int_equal(world_metric(&w, "engine_misses_total"), 1);
}

static void a_lookup_does_not_wait_for_a_call_that_is_running(void **state)
{
	struct client *query = world_ask(&w, "q", 0), *lookup;

	(void)state;
	world_run_ms(&w, 50);
	lookup = world_ask(&w, "q", ASK_LOOKUP);
	assert_true(client_ended(lookup));
	assert_int_equal(lookup->q.outcome.source, SOURCE_NONE);
	world_run_ms(&w, 1000);
	assert_true(client_ended(query));
}

static void a_lookup_beside_a_no_cache_call_finds_what_is_stored(void **state)
{
	struct client *lookup;

	(void)state;
	ask_and_wait("q", 0);
	restart();
	world_ask(&w, "q", ASK_NO_CACHE);
	world_run_ms(&w, 50);
	lookup = world_ask(&w, "q", ASK_LOOKUP);
	world_run_ms(&w, 10);
	assert_true(client_ended(lookup));
	assert_int_equal(lookup->q.outcome.source, SOURCE_EXACT);
	world_run_ms(&w, 1000);
}

static void a_query_that_joins_a_lookups_flight_gets_its_call(void **state)
{
	struct client *lookup = world_ask(&w, "q", ASK_LOOKUP), *query = world_ask(&w, "q", 0);

	(void)state;
	world_run_ms(&w, 1000);
	assert_int_equal(lookup->q.outcome.source, SOURCE_NONE);
	assert_int_equal(query->q.outcome.source, SOURCE_LLM);
	assert_string_equal(client_answer(query), "one two");
}

static void a_store_that_fails_is_skipped_and_the_client_gets_its_answer(void **state)
{
	(void)state;
	w.durable->reads_fail = true;
	w.durable->writes_refused = true;
	assert_string_equal(client_answer(ask_and_wait("q", 0)), "one two");
	assert_int_equal(ask_and_wait("q", 0)->q.outcome.source, SOURCE_EXACT); /* memory has it */
	assert_true(world_metric(&w, "store_read_failures_total") > 0);
	assert_true(world_metric(&w, "store_write_failures_total") > 0);
}

/* ---- ages */

static void after_its_ttl_an_answer_is_asked_for_anew(void **state)
{
	struct client *c;

	(void)state;
	c = world_ask_with(&w, "q", 0, UINT64_MAX, UINT64_MAX, 5000);
	world_run_ms(&w, 1000);
	assert_true(client_ended(c));
	world_run_ms(&w, 3000);
	assert_int_equal(ask_and_wait("q", 0)->q.outcome.source, SOURCE_EXACT);
	world_run_ms(&w, 2000);
	assert_int_equal(ask_and_wait("q", 0)->q.outcome.source, SOURCE_LLM);
	assert_true(world_metric(&w, "engine_expired_total") > 0);
}

static void the_servers_ttl_is_the_ceiling(void **state)
{
	(void)state;
	world_ask_with(&w, "q", 0, UINT64_MAX, UINT64_MAX, 300 * DAY_MS);
	world_run_ms(&w, 1000);
	world_run_ms(&w, 7 * DAY_MS);
	assert_int_equal(ask_and_wait("q", 0)->q.outcome.source, SOURCE_LLM);
}

static void the_shortest_ttl_of_the_joiners_wins(void **state)
{
	(void)state;
	world_ask(&w, "q", 0);
	world_ask_with(&w, "q", 0, UINT64_MAX, UINT64_MAX, 2000);
	world_run_ms(&w, 1000);
	world_run_ms(&w, 2000);
	assert_int_equal(ask_and_wait("q", 0)->q.outcome.source, SOURCE_LLM);
}

static void max_age_takes_nothing_older(void **state)
{
	struct client *c;

	(void)state;
	ask_and_wait("q", 0);
	world_run_ms(&w, 10000);
	c = world_ask_with(&w, "q", 0, UINT64_MAX, 20000, UINT64_MAX);
	assert_int_equal(c->q.outcome.source, SOURCE_EXACT);
	assert_true(c->q.outcome.age_ms >= 10000 && c->q.outcome.age_ms < 12000);
	c = world_ask_with(&w, "q", 0, UINT64_MAX, 5000, UINT64_MAX);
	world_run_ms(&w, 1000);
	assert_int_equal(c->q.outcome.source, SOURCE_LLM);
}

static void an_entry_from_far_in_the_future_was_stored_under_a_wrong_clock(void **state)
{
	(void)state;
	loop_sim_set_wall_us(w.loop, WORLD_WALL_US + 365 * DAY_MS * 1000);
	ask_and_wait("q", 0);
	assert_int_equal(ask_and_wait("q", 0)->q.outcome.source, SOURCE_EXACT);
	loop_sim_set_wall_us(w.loop, WORLD_WALL_US);
	assert_int_equal(ask_and_wait("q", 0)->q.outcome.source, SOURCE_LLM);
	assert_int_equal(ask_and_wait("q", 0)->q.outcome.source, SOURCE_EXACT);
}

/* ---- invalidation */

static void an_invalidated_request_is_asked_for_anew_also_after_a_restart(void **state)
{
	(void)state;
	ask_and_wait("q", 0);
	ask_and_wait("other", 0);
	assert_int_equal(world_invalidate(&w, TARGET_REQUEST, "q").code, ERR_NONE);
	restart();
	assert_int_equal(ask_and_wait("other", 0)->q.outcome.source, SOURCE_EXACT);
	assert_int_equal(ask_and_wait("q", 0)->q.outcome.source, SOURCE_LLM);
}

static void an_invalidated_namespace_is_forgotten_at_once_and_also_after_a_restart(void **state)
{
	struct invalidation i;

	(void)state;
	ask_and_wait("q", 0);
	world_invalidate_start(&w, TARGET_NAMESPACE, NULL, &i);
	assert_int_equal(world_ask(&w, "q", ASK_LOOKUP)->q.state, QUERY_WAITING); /* memory does not serve it */
	world_run_ms(&w, 1000);
	assert_null(i.done);
	restart();
	assert_int_equal(ask_and_wait("q", ASK_LOOKUP)->q.outcome.source, SOURCE_NONE);
}

static void an_answer_that_was_being_made_when_it_was_invalidated_is_delivered_and_not_stored(void **state)
{
	static const enum proto_target targets[] = {TARGET_REQUEST, TARGET_NAMESPACE};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct client *c = world_ask(&w, "q", 0);

		world_run_ms(&w, 50);
		assert_int_equal(world_invalidate(&w, targets[i], "q").code, ERR_NONE);
		world_run_ms(&w, 1000);
		assert_string_equal(client_answer(c), "one two");
		assert_int_equal(c->q.outcome.reason, REASON_INVALIDATED);
		assert_int_equal(ask_and_wait("q", ASK_LOOKUP)->q.outcome.source, SOURCE_NONE);
	}
}

static void a_newcomer_after_an_invalidation_does_not_join_the_flight_from_before(void **state)
{
	struct client *before = world_ask(&w, "q", 0), *after;

	(void)state;
	world_run_ms(&w, 50);
	world_invalidate(&w, TARGET_NAMESPACE, NULL);
	after = world_ask(&w, "q", 0);
	world_run_ms(&w, 1000);
	assert_int_equal(before->q.outcome.reason, REASON_INVALIDATED);
	assert_int_equal(after->q.outcome.reason, REASON_STORED);
	assert_int_equal(after->q.outcome.source, SOURCE_LLM);
	assert_int_equal(http_sim_counters(w.http).started, 2);
}

static void a_read_that_was_on_its_way_does_not_bring_back_what_was_invalidated(void **state)
{
	struct client *before, *after;

	(void)state;
	ask_and_wait("q", 0);
	restart();
	w.durable->read_delay_us = 500000;
	before = world_ask(&w, "q", 0);
	world_run_ms(&w, 10);
	world_invalidate(&w, TARGET_REQUEST, "q");
	after = world_ask(&w, "q", 0);
	world_run_ms(&w, 5000);
	assert_true(client_ended(before) && client_ended(after));
	assert_int_equal(after->q.outcome.source, SOURCE_LLM);
}

static void an_invalidation_that_is_not_durable_says_so(void **state)
{
	(void)state;
	ask_and_wait("q", 0);
	w.durable->commits_fail = true;
	assert_int_equal(world_invalidate(&w, TARGET_NAMESPACE, NULL).code, ERR_STORE_FAILED);
	assert_int_equal(world_ask(&w, "q", ASK_LOOKUP)->q.outcome.source, SOURCE_NONE); /* but it is in force */
	w.durable->commits_fail = false;
	world_run_ms(&w, 10000);
}

static void an_invalidated_request_stays_forgotten_while_the_store_does_not_take_it(void **state)
{
	struct client *c;

	(void)state;
	ask_and_wait("q", 0);
	ask_and_wait("other", 0);
	w.durable->commits_fail = true;
	assert_int_equal(world_invalidate(&w, TARGET_REQUEST, "q").code, ERR_STORE_FAILED);
	w.durable->commits_fail = false; /* the old row is on disk still, and can be read */
	assert_int_equal(ask_and_wait("q", ASK_LOOKUP)->q.outcome.source, SOURCE_NONE);
	assert_int_equal(ask_and_wait("other", ASK_LOOKUP)->q.outcome.source, SOURCE_EXACT);
	c = ask_and_wait("q", 0);
	assert_int_equal(c->q.outcome.source, SOURCE_LLM);
	assert_true(c->q.outcome.stored);
	assert_int_equal(ask_and_wait("q", 0)->q.outcome.source, SOURCE_EXACT); /* what came after it lives */
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(an_answer_is_found_again_after_a_restart),
		CASE(identical_questions_share_the_store_read_too),
		CASE(a_lookup_never_calls_the_llm),
		CASE(a_lookup_does_not_wait_for_a_call_that_is_running),
		CASE(a_lookup_beside_a_no_cache_call_finds_what_is_stored),
		CASE(a_query_that_joins_a_lookups_flight_gets_its_call),
		CASE(a_store_that_fails_is_skipped_and_the_client_gets_its_answer),
		CASE(after_its_ttl_an_answer_is_asked_for_anew),
		CASE(the_servers_ttl_is_the_ceiling),
		CASE(the_shortest_ttl_of_the_joiners_wins),
		CASE(max_age_takes_nothing_older),
		CASE(an_entry_from_far_in_the_future_was_stored_under_a_wrong_clock),
		CASE(an_invalidated_request_is_asked_for_anew_also_after_a_restart),
		CASE(an_invalidated_namespace_is_forgotten_at_once_and_also_after_a_restart),
		CASE(an_answer_that_was_being_made_when_it_was_invalidated_is_delivered_and_not_stored),
		CASE(a_newcomer_after_an_invalidation_does_not_join_the_flight_from_before),
		CASE(a_read_that_was_on_its_way_does_not_bring_back_what_was_invalidated),
		CASE(an_invalidation_that_is_not_durable_says_so),
		CASE(an_invalidated_request_stays_forgotten_while_the_store_does_not_take_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
