/* conn: credit: how much of an answer a client wants before it says WINDOW. */
#include "tests/unit/net/net_fixture.h"

#include "server/net/conn.h"

static void open_with(const char *setting) { fixture_open((const char *const[]){setting, NULL}); }

/* A LOOKUP whose answer has to be asked for piece by piece. */
static void look_up_with_window(struct client *c, uint64_t id, uint64_t bytes)
{
	struct message m = question(OP_LOOKUP, id, "large");

	MESSAGE_SET(&m.request, REQUEST, window, bytes);
	client_send(c, &m);
	run();
}

static void grant(struct client *c, uint64_t id, uint64_t bytes)
{
	struct message m = {.op = OP_WINDOW, .id = id};

	MESSAGE_SET(&m.window, WINDOW, credit, bytes);
	client_send(c, &m);
	run();
}

static void an_answer_beyond_the_window_waits_for_credit(void **state)
{
	struct message m = question(OP_QUERY, 2, "large"), window = {.op = OP_WINDOW, .id = 2};
	size_t total = 0;
	struct client c;

	(void)state;
	open_with(NULL);
	client_open(&c);
	client_put(&c, "large", 10000);
	MESSAGE_SET(&m.request, REQUEST, window, 1000);
	client_send(&c, &m);
	run();
	client_expect(&c, OP_HEAD, 2);
	total += client_expect(&c, OP_CHUNK, 2)->chunk.data.n;
	client_expect_nothing(&c);
	assert_int_equal(total, 1000);
	MESSAGE_SET(&window.window, WINDOW, credit, 4500);
	client_send(&c, &window);
	client_send(&c, &window);
	run();
	while (client_next(&c) && c.m.op == OP_CHUNK)
		total += c.m.chunk.data.n;
	assert_int_equal(c.m.op, OP_END);
	assert_int_equal(total, 10000);
	client_close(&c);
}

static void an_answer_within_the_window_comes_whole(void **state)
{
	struct message m = question(OP_QUERY, 2, "small");
	struct client c;

	(void)state;
	open_with(NULL);
	client_open(&c);
	client_put(&c, "small", 1000);
	MESSAGE_SET(&m.request, REQUEST, window, 1000);
	client_send(&c, &m);
	run();
	client_expect(&c, OP_END, 2);
	assert_int_equal(segments_bytes(&c.m.end), 1000);
	client_close(&c);
}

static void a_request_that_waits_for_credit_can_be_cancelled(void **state)
{
	struct message m = question(OP_QUERY, 2, "large");
	struct client c;

	(void)state;
	open_with(NULL);
	client_open(&c);
	client_put(&c, "large", 10000);
	MESSAGE_SET(&m.request, REQUEST, window, 0);
	client_send(&c, &m);
	client_send(&c, &(struct message){.op = OP_CANCEL, .id = 2});
	run();
	client_expect_error(&c, 2, ERR_CANCELLED);
	client_expect_nothing(&c);
	client_close(&c);
}

static void an_answer_that_waits_for_credit_in_vain_is_given_up_and_the_connection_lives(void **state)
{
	struct client c;

	(void)state;
	open_with("net.write_timeout=5s");
	client_open(&c);
	client_put(&c, "large", 10000);
	look_up_with_window(&c, 2, 0);
	run_us(4 * SECOND_US);
	client_expect_nothing(&c);
	grant(&c, 2, 1000); /* in time: from here on it counts anew */
	client_expect(&c, OP_HEAD, 2);
	assert_int_equal(client_expect(&c, OP_CHUNK, 2)->chunk.data.n, 1000);
	run_us(4 * SECOND_US);
	grant(&c, 2, 0); /* is none */
	run_us(SECOND_US);
	client_expect_error(&c, 2, ERR_TIMEOUT);
	assert_true(slice_is(c.m.error.field, "window"));
	assert_int_equal(metric("net_window_timeouts_total"), 1);
	assert_int_equal(metric("net_requests"), 0);
	look_up_with_window(&c, 2, 10000); /* the id is free */
	client_expect(&c, OP_END, 2);
	client_close(&c);
}

static void a_live_stream_that_ends_without_credit_is_given_up_too(void **state)
{
	struct message m = question(OP_QUERY, 2, "live");
	struct client c;

	(void)state;
	open_with("net.write_timeout=5s");
	http_sim_chat(http_sim_rule(f.http, ""), 1000, 0, (const char *const[]){"some text", NULL}, "stop");
	client_open(&c);
	MESSAGE_SET(&m.request, REQUEST, stream, true);
	MESSAGE_SET(&m.request, REQUEST, window, 4);
	client_send(&c, &m);
	run_us(5 * SECOND_US);
	client_expect(&c, OP_HEAD, 2);
	assert_int_equal(client_expect(&c, OP_CHUNK, 2)->chunk.data.n, 4);
	client_expect_nothing(&c);
	run_us(2 * SECOND_US);
	client_expect_error(&c, 2, ERR_TIMEOUT);
	assert_int_equal(metric("net_window_timeouts_total"), 1);
	assert_int_equal(metric("engine_stored_total"), 1);
	client_close(&c);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_teardown(name, fixture_close)
	const struct CMUnitTest tests[] = {
		CASE(an_answer_beyond_the_window_waits_for_credit),
		CASE(an_answer_within_the_window_comes_whole),
		CASE(a_request_that_waits_for_credit_can_be_cancelled),
		CASE(an_answer_that_waits_for_credit_in_vain_is_given_up_and_the_connection_lives),
		CASE(a_live_stream_that_ends_without_credit_is_given_up_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
