/* conn: turns that have been long already: one connection a turn goes on, the others wait in the order they came. */
#include "tests/unit/net/net_fixture.h"

#include "server/net/conn.h"

enum {
	CLIENTS = 20
};

static void in_a_long_turn_one_connection_is_read_and_the_others_wait_for_theirs(void **state)
{
	struct client c[CLIENTS];
	uint64_t before;

	(void)state;
	for (int i = 0; i < CLIENTS; i++)
		client_open(&c[i]);
	client_put(&c[0], "q", 100);
	loop_sim_clock_ahead_us(f.loop, CONN_TURN_US);
	before = metric("net_yields_total");
	for (int i = 0; i < CLIENTS; i++)
		client_ask(&c[i], 2, "q");
	run();
	assert_true(metric("net_yields_total") >= before + CLIENTS - 2);
	for (int i = 0; i < CLIENTS; i++) {
		client_expect(&c[i], OP_END, 2);
		client_expect_nothing(&c[i]);
	}
	for (int i = 0; i < CLIENTS; i++)
		client_close(&c[i]);
}

static void frames_left_in_a_long_turn_are_parsed_in_later_ones_in_their_order(void **state)
{
	struct client c, other;

	(void)state;
	client_open(&c);
	client_open(&other);
	loop_sim_clock_ahead_us(f.loop, CONN_TURN_US);
	for (uint64_t id = 2; id < 300; id++)
		client_ping(&c, id);
	client_ping(&other, 2);
	run();
	for (uint64_t id = 2; id < 300; id++)
		client_expect(&c, OP_END, id);
	client_expect(&other, OP_END, 2);
	client_close(&other);
	client_close(&c);
}

static void one_that_waits_for_its_turn_may_be_closed(void **state)
{
	struct client c[CLIENTS];

	(void)state;
	for (int i = 0; i < CLIENTS; i++)
		client_open(&c[i]);
	loop_sim_clock_ahead_us(f.loop, CONN_TURN_US);
	for (int i = 0; i < CLIENTS; i++)
		client_ping(&c[i], 2);
	loop_sim_step(f.loop);
	for (int i = 0; i < CLIENTS; i++)
		client_close(&c[i]);
	run();
	assert_int_equal(metric("net_connections"), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_plain, fixture_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(in_a_long_turn_one_connection_is_read_and_the_others_wait_for_theirs),
		CASE(frames_left_in_a_long_turn_are_parsed_in_later_ones_in_their_order),
		CASE(one_that_waits_for_its_turn_may_be_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
