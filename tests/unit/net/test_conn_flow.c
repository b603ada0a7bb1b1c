/* conn: limits, back-pressure, time, and leaving. */
#include "tests/unit/net/net_fixture.h"

#include "server/net/conn.h"

static void open_with(const char *a, const char *b) { fixture_open((const char *const[]){a, b, NULL}); }

static size_t received(const struct client *c) { return transport_sim_received(c->sim).n; }

/* ---- output */

static void a_client_that_does_not_read_is_not_read_either(void **state)
{
	struct client c;
	uint64_t id;

	(void)state;
	open_with("net.high_water=64KB", "net.low_water=16KB");
	client_open(&c);
	client_put(&c, "x", 8000);
	transport_sim_take_only(c.sim, 1000);
	for (id = 2; id < 102; id++)
		client_ask(&c, id, "x");
	run();
	assert_true(metric("net_output_bytes") < 64 * 1024 + 9000);
	assert_true(metric("engine_hits_exact_total") < 12);
	assert_int_equal(metric("net_blocked_total"), 1);
	transport_sim_take_only(c.sim, SIZE_MAX);
	run();
	for (id = 2; id < 102; id++)
		client_expect(&c, OP_END, id);
	assert_int_equal(metric("net_output_bytes"), 0);
	client_close(&c);
}

static void large_answers_take_turns_and_keep_below_high_water(void **state)
{
	uint64_t ended[2] = {0};
	unsigned switches = 0;
	struct client c;
	uint64_t last = 0;

	(void)state;
	open_with("net.high_water=256KB", "net.low_water=64KB");
	client_open(&c);
	client_put(&c, "large", 2000000);
	transport_sim_take_only(c.sim, 0);
	client_stream(&c, 2, "large");
	client_stream(&c, 3, "large");
	run();
	for (int i = 0; i < 100; i++) {
		assert_true(metric("net_output_bytes") <= 256 * 1024 + 66000);
		transport_sim_take_only(c.sim, 50000);
		run();
	}
	while (client_next(&c)) {
		switches += last != 0 && c.m.id != last;
		last = c.m.id;
		if (c.m.op == OP_END)
			ended[c.m.id - 2]++;
		else
			assert_true(c.m.op == OP_HEAD || c.m.op == OP_CHUNK);
	}
	assert_int_equal(ended[0] + ended[1], 2);
	assert_true(switches > 4);
	client_close(&c);
}

static void a_client_that_never_reads_is_dropped_and_only_it(void **state)
{
	struct client mute, other;

	(void)state;
	open_with("net.write_timeout=5s", NULL);
	client_open(&mute);
	client_open(&other);
	transport_sim_take_only(mute.sim, 0);
	client_ping(&mute, 2);
	run_us(4 * SECOND_US);
	client_ping(&other, 2);
	run();
	client_expect(&other, OP_END, 2);
	assert_false(transport_sim_closed(mute.sim));
	run_us(2 * SECOND_US);
	assert_true(transport_sim_closed(mute.sim));
	assert_int_equal(metric("net_write_timeouts_total"), 1);
	client_close(&mute);
	client_close(&other);
}

static void a_client_that_reads_slowly_is_not_dropped(void **state)
{
	struct client c;

	(void)state;
	open_with("net.write_timeout=5s", NULL);
	client_open(&c);
	client_put(&c, "x", 10000);
	transport_sim_take_only(c.sim, 0);
	client_ask(&c, 2, "x");
	for (int i = 0; i < 12; i++) {
		run_us(4 * SECOND_US);
		transport_sim_take_only(c.sim, 1000);
	}
	run();
	client_expect(&c, OP_END, 2);
	client_close(&c);
}

static void a_client_that_reads_slowly_while_it_waits_is_not_dropped_for_its_pings(void **state)
{
	struct client c;

	(void)state;
	open_with(NULL, NULL);
	http_sim_status(http_sim_rule(f.http, ""), 3600000, 200, "text/event-stream");
	client_open(&c);
	client_put(&c, "x", 10000);
	client_ask(&c, 2, "never");
	run();
	transport_sim_take_only(c.sim, 0);
	client_ask(&c, 3, "x");
	for (int i = 0; i < 6; i++) {
		run_us(9 * SECOND_US);
		transport_sim_take_only(c.sim, 2000);
	}
	run();
	client_expect(&c, OP_END, 3);
	client_expect_nothing(&c);
	transport_sim_take_only(c.sim, SIZE_MAX);
	run_us(16 * SECOND_US);
	client_expect(&c, OP_PING, 0); /* asked again, from the beginning */
	run_us(16 * SECOND_US);
	client_expect(&c, OP_PING, 0);
	run_us(16 * SECOND_US);
	assert_true(transport_sim_closed(c.sim));
	client_close(&c);
}

static void the_output_of_all_together_is_limited(void **state)
{
	struct client c[8];

	(void)state;
	open_with("net.output_limit=1MB", "net.high_water=1MB");
	for (int i = 0; i < 8; i++) {
		client_open(&c[i]);
		if (i == 0)
			client_put(&c[0], "x", 100000);
		transport_sim_take_only(c[i].sim, 0);
		for (uint64_t id = 2; id < 12; id++)
			client_ask(&c[i], id, "x");
		run();
	}
	assert_true(metric("net_output_bytes") < (1 << 20) + 8 * 110000);
	for (int i = 0; i < 8; i++)
		transport_sim_take_only(c[i].sim, SIZE_MAX);
	run();
	for (int i = 0; i < 8; i++) {
		for (uint64_t id = 2; id < 12; id++)
			client_expect(&c[i], OP_END, id);
		client_close(&c[i]);
	}
}

static void a_thousand_waiters_share_the_bytes_of_one_stream(void **state)
{
	char text[2001];
	struct client c;
	uint64_t id;

	(void)state;
	open_with("net.high_water=16MB", NULL);
	memset(text, 'y', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	http_sim_chat(http_sim_rule(f.http, ""), 100, 0, (const char *const[]){text, text, text, text, NULL}, "stop");
	client_open(&c);
	for (id = 2; id < 1002; id++)
		client_stream(&c, id, "same");
	run_us(SECOND_US);
	assert_int_equal(http_sim_counters(f.http).started, 1);
	for (size_t ends = 0; ends < 1000; ends += c.m.op == OP_END)
		assert_true(client_next(&c));
	client_close(&c);
}

/* ---- fairness and numbers */

static void many_small_frames_leave_turns_to_others(void **state)
{
	struct client greedy, other;
	uint64_t id;

	(void)state;
	open_with(NULL, NULL);
	client_open(&greedy);
	client_open(&other);
	for (id = 2; id < 2002; id++)
		client_ping(&greedy, id);
	client_ping(&other, 2);
	loop_sim_step(f.loop);
	loop_sim_step(f.loop);
	loop_sim_step(f.loop);
	client_expect(&other, OP_END, 2); /* long before the greedy one is through */
	assert_true(received(&greedy) < 1000 * 10);
	run();
	for (id = 2; id < 2002; id++)
		client_expect(&greedy, OP_END, id);
	assert_true(metric("net_yields_total") >= 2000 / CONN_FRAMES_PER_TURN_MAX - 1);
	client_close(&greedy);
	client_close(&other);
}

static void requests_in_flight_are_limited(void **state)
{
	struct client c;

	(void)state;
	open_with("net.inflight=2", NULL);
	http_sim_chat(http_sim_rule(f.http, ""), 100, 0, (const char *const[]){"x", NULL}, "stop");
	client_open(&c);
	client_ask(&c, 2, "a");
	client_ask(&c, 3, "b");
	client_ask(&c, 4, "c");
	run_us(SECOND_US);
	client_expect_error(&c, 4, ERR_OVERLOADED);
	assert_true(c.m.error.retry_after_ms > 0);
	client_expect(&c, OP_END, 2);
	client_expect(&c, OP_END, 3);
	client_ask(&c, 4, "c");
	run_us(SECOND_US);
	client_expect(&c, OP_END, 4);
	assert_int_equal(metric("net_requests_refused_total"), 1);
	client_close(&c);
}

static void connections_are_limited(void **state)
{
	struct client a, b, c;

	(void)state;
	open_with("net.connections=2", NULL);
	client_open(&a);
	client_open(&b);
	client_connect(&c, UNIX_ADDRESS);
	client_expect_error(&c, 0, ERR_OVERLOADED);
	assert_true(transport_sim_ended(c.sim));
	client_close(&c);
	client_close(&b);
	client_open(&c);
	assert_int_equal(metric("net_connections_refused_total"), 1);
	client_close(&a);
	client_close(&c);
}

static void half_frames_are_limited(void **state)
{
	static const uint8_t prefix[] = {PROTO_FRAME_MARK, 0, 0x80, 0, 0, 0x94, OP_QUERY, 42, 0};
	static const uint8_t zeros[1 << 16];
	struct client c;

	(void)state;
	open_with("net.input_limit=1MB", NULL);
	client_open(&c);
	transport_sim_send(c.sim, slice_of(prefix, sizeof prefix));
	for (size_t sent = sizeof prefix - PROTO_FRAME_PREFIX, n; sent < 0x800000; sent += n) {
		n = 0x800000 - sent < sizeof zeros ? 0x800000 - sent : sizeof zeros;
		transport_sim_send(c.sim, slice_of(zeros, n));
		run();
		assert_true(metric("net_input_bytes") < 4u << 20);
	}
	client_ping(&c, 2);
	run();
	client_expect_error(&c, 42, ERR_OVERLOADED);
	client_expect(&c, OP_END, 2);
	assert_int_equal(metric("net_input_refused_total"), 1);
	client_close(&c);
}

/* ---- time */

static void a_connection_without_hello_ends_after_5_s(void **state)
{
	struct client c;

	(void)state;
	open_with(NULL, NULL);
	client_connect(&c, TCP_ADDRESS);
	run_us(4 * SECOND_US);
	assert_false(transport_sim_ended(c.sim));
	run_us(SECOND_US);
	client_expect_error(&c, 0, ERR_TIMEOUT);
	assert_true(transport_sim_ended(c.sim));
	run_us(2 * SECOND_US);
	assert_true(transport_sim_closed(c.sim)); /* though the client never closes */
	assert_int_equal(metric("net_hello_timeouts_total"), 1);
	client_close(&c);
}

static void a_connection_without_requests_ends_after_idle_timeout(void **state)
{
	struct client c;

	(void)state;
	open_with("net.idle_timeout=60s", NULL);
	client_open(&c);
	run_us(50 * SECOND_US);
	client_ping(&c, 2);
	run_us(50 * SECOND_US);
	client_expect(&c, OP_END, 2);
	client_expect_nothing(&c);
	run_us(15 * SECOND_US);
	client_expect(&c, OP_GOAWAY, 0);
	assert_int_equal(c.m.goaway.last_id, 2);
	assert_true(transport_sim_closed(c.sim));
	assert_int_equal(metric("net_idle_timeouts_total"), 1);
	client_close(&c);
}

static void half_a_frame_ends_the_connection_after_frame_timeout(void **state)
{
	struct client c;

	(void)state;
	open_with("net.frame_timeout=10s", NULL);
	client_open(&c);
	for (int i = 0; i < 9; i++) {
		transport_sim_send(c.sim, slice_of(&"\xce\0\0\1\0\x94\x10\7\0"[i], 1)); /* slow steps do not help */
		run_us(SECOND_US);
	}
	assert_false(transport_sim_ended(c.sim));
	run_us(2 * SECOND_US);
	client_expect_error(&c, 0, ERR_TIMEOUT);
	client_close(&c);
}

static void a_client_that_waits_is_pinged_and_two_unanswered_end_it(void **state)
{
	struct client c;

	(void)state;
	open_with(NULL, NULL);
	http_sim_status(http_sim_rule(f.http, ""), 3600000, 200, "text/event-stream");
	client_open(&c);
	client_ask(&c, 2, "never");
	run_us(16 * SECOND_US);
	client_expect(&c, OP_PING, 0);
	client_send(&c, &(struct message){.op = OP_PING, .flags = PROTO_FLAG_ACK});
	run_us(15 * SECOND_US);
	client_expect(&c, OP_PING, 0);
	run_us(15 * SECOND_US);
	client_expect(&c, OP_PING, 0);
	assert_false(transport_sim_closed(c.sim));
	run_us(15 * SECOND_US);
	client_expect_nothing(&c);
	assert_true(transport_sim_closed(c.sim));
	assert_int_equal(metric("net_ping_timeouts_total"), 1);
	assert_int_equal(metric("net_requests"), 0);
	client_close(&c);
}

/* ---- leaving */

static void a_client_that_goes_takes_its_requests_along(void **state)
{
	struct message forget = question(OP_INVALIDATE, 9, "a");
	struct client c;

	(void)state;
	open_with(NULL, NULL);
	http_sim_chat(http_sim_rule(f.http, ""), 5000, 0, (const char *const[]){"x", NULL}, "stop");
	for (int how = 0; how < 3; how++) {
		client_open(&c);
		client_ask(&c, 2, "a");
		client_ask(&c, 3, "b");
		client_send(&c, &forget); /* goes on without its client */
		if (how == 0)
			transport_sim_end(c.sim);
		else if (how == 1)
			transport_sim_reset(c.sim);
		client_close(&c);
		assert_int_equal(metric("net_connections"), 0);
		assert_int_equal(metric("net_requests"), 0);
		assert_int_equal(metric("engine_waiters"), 0);
	}
}

static void what_was_answered_before_a_half_close_is_sent(void **state)
{
	struct client c;

	(void)state;
	open_with(NULL, NULL);
	client_open(&c);
	client_ping(&c, 2);
	transport_sim_end(c.sim);
	run();
	client_expect(&c, OP_END, 2);
	assert_true(transport_sim_closed(c.sim));
	client_close(&c);
}

static void a_clients_goaway_ends_the_connection_after_its_last_request(void **state)
{
	struct client c;

	(void)state;
	open_with(NULL, NULL);
	http_sim_chat(http_sim_rule(f.http, ""), 1000, 0, (const char *const[]){"x", NULL}, "stop");
	client_open(&c);
	client_ask(&c, 2, "a");
	client_send(&c, &(struct message){.op = OP_GOAWAY});
	client_ping(&c, 3);
	run();
	client_expect_error(&c, 3, ERR_SHUTTING_DOWN);
	assert_false(transport_sim_ended(c.sim));
	run_us(2 * SECOND_US);
	client_expect(&c, OP_END, 2);
	assert_true(transport_sim_ended(c.sim));
	client_close(&c);
}

static void a_drain_lets_requests_finish_and_takes_no_more(void **state)
{
	struct client busy, idle, silent;

	(void)state;
	open_with(NULL, NULL);
	http_sim_chat(http_sim_rule(f.http, ""), 1000, 0, (const char *const[]){"x", NULL}, "stop");
	client_open(&busy);
	client_open(&idle);
	client_connect(&silent, UNIX_ADDRESS);
	client_ask(&busy, 2, "a");
	run();
	net_drain(f.net, 5000, set_true, &f.drained);
	client_ask(&busy, 3, "b");
	run();
	client_expect(&busy, OP_GOAWAY, 0);
	assert_int_equal(busy.m.goaway.last_id, 2);
	assert_int_equal(busy.m.goaway.grace_ms, 5000);
	client_expect_error(&busy, 3, ERR_SHUTTING_DOWN);
	client_expect(&idle, OP_GOAWAY, 0);
	assert_true(transport_sim_ended(idle.sim) && transport_sim_ended(silent.sim));
	assert_false(transport_sim_listening(UNIX_ADDRESS));
	assert_false(f.drained);
	run_us(2 * SECOND_US);
	client_expect(&busy, OP_END, 2);
	run_us(3 * SECOND_US);
	assert_true(f.drained);
	client_close(&busy);
	client_close(&idle);
	client_close(&silent);
}

static void bad_settings_are_refused_by_name(void **state)
{
	static const char *const bad[][2] = {
		{"listen=tcp://0.0.0.0:7411", "insecure"},
		{"listen=unix:/x,tcp://[::]:7411", "insecure"},
		{"listen=tls://localhost:1", "listen tls://localhost:1: TLS"},
		{"net.low_water=2MB", "net.low_water"},
		{"token_file=/dev/null", "/dev/null"},
	};
	struct net *n = NULL;
	char error[512];

	(void)state;
	open_with(NULL, NULL);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct daemon_options values;
		struct options *o = options_new();
		char token[128];

		daemon_options_add(o, &values);
		snprintf(token, sizeof token, "token_file=%s", f.token_path);
		assert_int_equal(options_set(o, token, error, sizeof error), 0);
		assert_int_equal(options_set(o, bad[i][0], error, sizeof error), 0);
		if (strncmp(bad[i][0], "token", 5) != 0) /* what needs no file to be opened is told by --check-config */
			assert_int_equal(net_check(&values.net, error, sizeof error), -1);
		assert_int_equal(net_open(&n, f.loop, f.engine, &f.metrics, &values.net, "x", error, sizeof error), -1);
		assert_non_null(strstr(error, bad[i][1]));
		options_free(o);
	}
	assert_null(n);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_teardown(name, fixture_close)
	const struct CMUnitTest tests[] = {
		CASE(a_client_that_does_not_read_is_not_read_either),
		CASE(large_answers_take_turns_and_keep_below_high_water),
		CASE(a_client_that_never_reads_is_dropped_and_only_it),
		CASE(a_client_that_reads_slowly_is_not_dropped),
		CASE(a_client_that_reads_slowly_while_it_waits_is_not_dropped_for_its_pings),
		CASE(the_output_of_all_together_is_limited),
		CASE(a_thousand_waiters_share_the_bytes_of_one_stream),
		CASE(many_small_frames_leave_turns_to_others),
		CASE(requests_in_flight_are_limited),
		CASE(connections_are_limited),
		CASE(half_frames_are_limited),
		CASE(a_connection_without_hello_ends_after_5_s),
		CASE(a_connection_without_requests_ends_after_idle_timeout),
		CASE(half_a_frame_ends_the_connection_after_frame_timeout),
		CASE(a_client_that_waits_is_pinged_and_two_unanswered_end_it),
		CASE(a_client_that_goes_takes_its_requests_along),
		CASE(what_was_answered_before_a_half_close_is_sent),
		CASE(a_clients_goaway_ends_the_connection_after_its_last_request),
		CASE(a_drain_lets_requests_finish_and_takes_no_more),
		CASE(bad_settings_are_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
