/* conn: what finished answers hold while their clients do not take them. */
#include "tests/unit/net/net_fixture.h"

#include "server/net/conn.h"

enum {
	LARGE = 700 * 1024
};

static void open_with(const char *setting) { fixture_open((const char *const[]){setting, NULL}); }

static void ask_with_window(struct client *c, uint64_t id, const char *prompt, uint64_t bytes)
{
	struct message m = question(OP_QUERY, id, prompt);

	MESSAGE_SET(&m.request, REQUEST, window, bytes);
	client_send(c, &m);
	run();
}

static void without_credit_no_copy_is_made(void **state)
{
	struct client c;

	(void)state;
	open_with(NULL);
	client_open(&c);
	client_put(&c, "large", LARGE);
	for (uint64_t id = 2; id < 102; id++)
		ask_with_window(&c, id, "large", 0);
	client_expect_nothing(&c);
	assert_int_equal(metric("net_requests"), 100);
	assert_true(metric("net_held_bytes") < 10 * LARGE); /* the one entry, by shares */
	client_close(&c);
	run();
	assert_int_equal(metric("net_held_bytes"), 0);
}

static void copies_for_slow_credit_are_limited_in_all(void **state)
{
	struct client c;

	(void)state;
	open_with("net.output_limit=1MB");
	client_open(&c);
	client_put(&c, "large", LARGE);
	ask_with_window(&c, 2, "large", 1);
	client_expect(&c, OP_HEAD, 2);
	client_expect(&c, OP_CHUNK, 2);
	ask_with_window(&c, 3, "large", 1);
	client_expect_error(&c, 3, ERR_OVERLOADED);
	assert_true(c.m.error.retry_after_ms > 0);
	assert_int_equal(metric("net_held_refused_total"), 1);
	client_send(&c, &(struct message){.op = OP_CANCEL, .id = 2});
	run();
	client_expect_error(&c, 2, ERR_CANCELLED);
	assert_int_equal(metric("net_held_bytes"), 0);
	ask_with_window(&c, 4, "large", 1);
	client_expect(&c, OP_HEAD, 4);
	client_close(&c);
}

/* The fixture's memory tier keeps 64 MB: an entry of its own for each question is forgotten there, and held here. */
static void entries_that_wait_for_credit_are_limited_in_all(void **state)
{
	unsigned refused = 0;
	char prompt[16];
	struct client c;

	(void)state;
	open_with("net.output_limit=4MB");
	client_open(&c);
	for (uint64_t id = 2; id < 42; id++) {
		snprintf(prompt, sizeof prompt, "%u", (unsigned)id);
		client_put(&c, prompt, LARGE);
		ask_with_window(&c, id, prompt, 0);
		while (client_next(&c))
			refused += c.m.op == OP_ERROR && c.m.error.code == ERR_OVERLOADED;
	}
	assert_true(refused > 20);
	assert_true(metric("net_held_bytes") <= 4 << 20);
	client_close(&c);
}

static void a_large_end_is_not_made_where_all_outputs_are_full(void **state)
{
	struct message m = question(OP_QUERY, 2, "large"), hello = hello_message();
	struct client slow, other, plain;

	(void)state;
	open_with("net.output_limit=1MB");
	client_open(&slow);
	client_put(&slow, "large", LARGE);
	transport_sim_take_only(slow.sim, 0);
	client_send(&slow, &m);
	run();
	assert_true(metric("net_output_bytes") > LARGE);
	client_open(&other);
	client_send(&other, &m);
	run();
	client_expect(&other, OP_HEAD, 2); /* in pieces, which refer to bytes and wait their turn */
	client_connect(&plain, UNIX_ADDRESS);
	hello.hello.features = 0;
	client_send(&plain, &hello);
	client_send(&plain, &m);
	run();
	client_expect(&plain, OP_END, 1);
	client_expect_error(&plain, 2, ERR_OVERLOADED); /* it knows no pieces */
	client_close(&plain);
	client_close(&other);
	client_close(&slow);
}

#define CASE(name) cmocka_unit_test_teardown(name, fixture_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(without_credit_no_copy_is_made),
		CASE(copies_for_slow_credit_are_limited_in_all),
		CASE(entries_that_wait_for_credit_are_limited_in_all),
		CASE(a_large_end_is_not_made_where_all_outputs_are_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
