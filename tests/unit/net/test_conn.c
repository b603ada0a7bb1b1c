/* conn: what a peer says, and what it gets for it. */
#include "tests/unit/net/net_fixture.h"

#include "server/net/conn.h"

/* ---- HELLO */

static void hello_tells_version_features_and_limits(void **state)
{
	struct message m = hello_message();
	struct client c;

	(void)state;
	client_connect(&c, UNIX_ADDRESS);
	MESSAGE_SET(&m.hello, HELLO, version, 9);
	MESSAGE_SET(&m.hello, HELLO, features, FEATURE_STREAM | 0xff00);
	client_send(&c, &m);
	run();
	client_expect(&c, OP_END, 1);
	assert_int_equal(c.m.end.version, 1);
	assert_int_equal(c.m.end.features, FEATURE_STREAM);
	assert_int_equal(c.m.end.frame_max, FRAME_BYTES_MAX);
	assert_int_equal(c.m.end.inflight_max, 4096);
	assert_int_equal(c.m.end.ping_interval_ms, PING_INTERVAL_MS);
	assert_true(slice_is(c.m.end.server, "test/0"));
	client_close(&c);
}

static void version_0_is_refused_and_closed(void **state)
{
	struct message m = hello_message();
	struct client c;

	(void)state;
	client_connect(&c, UNIX_ADDRESS);
	MESSAGE_SET(&m.hello, HELLO, version, 0);
	client_send(&c, &m);
	run();
	client_expect_error(&c, 1, ERR_UNSUPPORTED);
	assert_true(transport_sim_ended(c.sim));
	client_close(&c);
}

static void a_request_before_hello_is_refused_and_closed(void **state)
{
	struct client c;

	(void)state;
	client_connect(&c, UNIX_ADDRESS);
	client_ask(&c, 5, "hello?");
	run();
	client_expect_error(&c, 5, ERR_UNAUTHENTICATED);
	assert_true(transport_sim_ended(c.sim));
	assert_int_equal(metric("net_unauthenticated_total"), 1);
	client_close(&c);
}

static void hello_needs_an_id(void **state)
{
	struct message m = hello_message();
	struct client c;

	(void)state;
	client_connect(&c, UNIX_ADDRESS);
	m.id = 0;
	client_send(&c, &m);
	run();
	client_expect_error(&c, 0, ERR_INVALID);
	assert_true(transport_sim_ended(c.sim));
	client_close(&c);
}

static void an_unknown_operation_before_hello_is_not_looked_at(void **state)
{
	struct client c;

	(void)state;
	client_connect(&c, UNIX_ADDRESS);
	transport_sim_send(c.sim, slice_of("\xce\0\0\0\x05\x94\x77\x07\0\xc1", 10));
	run();
	client_expect_error(&c, 7, ERR_UNAUTHENTICATED);
	assert_true(transport_sim_ended(c.sim));
	client_close(&c);
}

static void ping_is_answered_before_hello(void **state)
{
	struct client c;

	(void)state;
	client_connect(&c, UNIX_ADDRESS);
	client_ping(&c, 0);
	client_ping(&c, 3);
	run();
	assert_int_equal(client_expect(&c, OP_PING, 0)->flags, PROTO_FLAG_ACK);
	client_expect(&c, OP_END, 3);
	client_close(&c);
}

static void a_second_hello_is_an_error_and_the_connection_lives(void **state)
{
	struct message m = hello_message();
	struct client c;

	(void)state;
	client_open(&c);
	client_send(&c, &m);
	client_ping(&c, 2);
	run();
	client_expect_error(&c, 1, ERR_INVALID);
	client_expect(&c, OP_END, 2);
	client_close(&c);
}

static void before_hello_a_frame_has_4_kb(void **state)
{
	static const uint8_t prefix[] = {PROTO_FRAME_MARK, 0, 0, 0x10, 1, 0x94, OP_HELLO, 7, 0};
	static const uint8_t rest[32];
	struct client c;

	(void)state;
	client_connect(&c, UNIX_ADDRESS);
	transport_sim_send(c.sim, slice_of(prefix, sizeof prefix));
	transport_sim_send(c.sim, slice_of(rest, sizeof rest));
	run();
	client_expect_error(&c, 7, ERR_TOO_LARGE);
	assert_true(transport_sim_ended(c.sim));
	client_close(&c);
}

/* ---- who may come in */

static enum proto_error hello_with_token(const char *address, uid_t uid, const char *token)
{
	struct message m = hello_message();
	enum proto_error code;
	struct client c;

	client_connect(&c, address);
	transport_sim_set_uid(c.sim, uid);
	if (token != NULL)
		MESSAGE_SET(&m.hello, HELLO, token, slice_str(token));
	client_send(&c, &m);
	run();
	assert_true(client_next(&c));
	code = c.m.op == OP_END ? ERR_NONE : (enum proto_error)c.m.error.code;
	assert_int_equal(transport_sim_ended(c.sim), code != ERR_NONE);
	client_close(&c);
	return code;
}

static void tcp_asks_for_the_token(void **state)
{
	(void)state;
	assert_int_equal(hello_with_token(TCP_ADDRESS, 0, NULL), ERR_UNAUTHENTICATED);
	assert_int_equal(hello_with_token(TCP_ADDRESS, 0, "0123456789abcdef0123456789abcdeF"), ERR_UNAUTHENTICATED);
	assert_int_equal(hello_with_token(TCP_ADDRESS, 0, TOKEN), ERR_NONE);
	assert_int_equal(metric("net_unauthenticated_total"), 2);
}

static void a_unix_socket_knows_its_own(void **state)
{
	(void)state;
	assert_int_equal(hello_with_token(UNIX_ADDRESS, geteuid(), NULL), ERR_NONE);
	assert_int_equal(hello_with_token(UNIX_ADDRESS, geteuid(), "an old token"), ERR_NONE);
	assert_int_equal(hello_with_token(UNIX_ADDRESS, 0, NULL), ERR_NONE);
	assert_int_equal(hello_with_token(UNIX_ADDRESS, 12345, NULL), ERR_UNAUTHENTICATED);
	assert_int_equal(hello_with_token(UNIX_ADDRESS, 12345, TOKEN), ERR_NONE);
}

/* ---- form */

static void frames_behind_hello_are_served_with_one_write(void **state)
{
	struct message m = hello_message();
	struct client c;

	(void)state;
	client_connect(&c, UNIX_ADDRESS);
	client_send(&c, &m);
	for (uint64_t id = 2; id < 12; id++)
		client_ping(&c, id);
	run();
	for (uint64_t id = 1; id < 12; id++)
		client_expect(&c, OP_END, id);
	assert_int_equal(transport_sim_writes(c.sim), 1);
	client_close(&c);
}

static void a_frame_that_comes_byte_by_byte_is_served(void **state)
{
	struct message m = question(OP_PUT, 9, "slow");
	char text[600] = {0};
	struct client c;
	struct buf out;

	(void)state;
	client_open(&c);
	memset(text, 'x', sizeof text - 1);
	MESSAGE_SET(&m.request, REQUEST, answer, slice_str(text));
	buf_init(&out, 1 << 20, NULL);
	assert_true(message_encode(&out, &m));
	for (size_t i = 0; i < out.n; i++) {
		transport_sim_send(c.sim, slice_of(out.p + i, 1));
		run();
	}
	client_expect(&c, OP_END, 9);
	buf_free(&out);
	client_close(&c);
}

static void a_frame_cut_at_any_byte_leaves_nothing_behind(void **state)
{
	struct message m = question(OP_QUERY, 9, "cut");
	struct buf out;

	(void)state;
	buf_init(&out, 1 << 20, NULL);
	assert_true(message_encode(&out, &m));
	for (size_t i = 0; i < out.n; i++) {
		struct client c;

		client_open(&c);
		transport_sim_send(c.sim, slice_of(out.p, i));
		transport_sim_end(c.sim);
		run();
		client_expect_nothing(&c);
		assert_true(transport_sim_closed(c.sim));
		client_close(&c);
	}
	buf_free(&out);
	assert_int_equal(metric("net_connections"), 0);
}

static void another_protocol_gets_a_line_of_text(void **state)
{
	static const char *const said[] = {"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01", "hello\n"};
	struct client c;

	(void)state;
	for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
		struct slice got;

		client_connect(&c, TCP_ADDRESS);
		transport_sim_send(c.sim, slice_str(said[i]));
		run();
		got = transport_sim_received(c.sim);
		assert_memory_equal(got.p, "promptcached: ", 14);
		assert_int_equal(got.p[got.n - 1], '\n');
		assert_int_equal(memmem(got.p, got.n, "HTTP is not", 11) != NULL, i == 0);
		assert_true(transport_sim_ended(c.sim));
		client_close(&c);
	}
	assert_int_equal(metric("net_garbage_total"), 3);
}

static void a_frame_over_the_limit_is_skipped_by_counting(void **state)
{
	static const uint8_t prefix[] = {PROTO_FRAME_MARK, 1, 0, 0, 1, 0x94, OP_QUERY, 42, 0};
	size_t rest = 0x1000001 - (sizeof prefix - PROTO_FRAME_PREFIX);
	static const uint8_t zeros[1 << 16];
	struct client c;

	(void)state;
	client_open(&c);
	transport_sim_send(c.sim, slice_of(prefix, sizeof prefix));
	while (rest > 0) {
		size_t n = rest < sizeof zeros ? rest : sizeof zeros;

		transport_sim_send(c.sim, slice_of(zeros, n));
		rest -= n;
	}
	client_ping(&c, 2);
	run();
	client_expect_error(&c, 42, ERR_TOO_LARGE);
	client_expect(&c, OP_END, 2);
	assert_int_equal(metric("net_oversize_total"), 1);
	assert_int_equal(metric("net_input_bytes"), 0);
	client_close(&c);
}

static void a_malformed_frame_is_answered_and_the_connection_lives(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		uint64_t id;
		enum proto_error code;
	} bad[] = {
		{"\xce\0\0\0\0", 5, 0, ERR_PROTOCOL},					      /* empty */
		{"\xce\0\0\0\x05\x94\x10\x07\0\x81", 10, 7, ERR_PROTOCOL},		      /* ends inside a value */
		{"\xce\0\0\0\x05\x94\x77\x07\0\x80", 10, 7, ERR_UNSUPPORTED},		      /* unknown operation */
		{"\xce\0\0\0\x05\x94\x43\x07\0\x80", 10, 7, ERR_UNSUPPORTED},		      /* the server's own */
		{"\xce\0\0\0\x09\x94\x10\x07\0\x81\xcc\xf0\xc3\xc3", 14, 7, ERR_PROTOCOL},    /* bytes behind */
		{"\xce\0\0\0\x08\x94\x10\x07\0\x81\xcc\xf0\xc3", 13, 7, ERR_UNSUPPORTED},     /* must-understand key */
		{"\xce\0\0\0\x07\x94\x10\x07\0\x81\x02\xc3", 12, 7, ERR_INVALID},	      /* wrong type */
		{"\xce\0\0\0\x0b\x94\x10\x07\0\x81\x04\xdd\x10\0\0\0", 16, 7, ERR_TOO_LARGE}, /* claims 2^28 */
		{"\xce\0\0\0\x08\x94\x30\x07\0\x81\xcc\xf0\xc3", 13, 0,
		 ERR_UNSUPPORTED},						  /* CANCEL: 7 names a request */
		{"\xce\0\0\0\x05\x94\x31\x07\0\x80", 10, 0, ERR_INVALID},	  /* WINDOW without credit */
		{"\xce\0\0\0\x07\x94\x32\x07\0\x81\x01\xc3", 12, 0, ERR_INVALID}, /* GOAWAY */
	};
	struct client c;

	(void)state;
	client_open(&c);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		transport_sim_send(c.sim, slice_of(bad[i].bytes, bad[i].n));
		client_ping(&c, 100 + i);
		run();
		client_expect_error(&c, bad[i].id, bad[i].code);
		client_expect(&c, OP_END, 100 + i);
	}
	assert_int_equal(metric("net_malformed_total"), sizeof bad / sizeof *bad);
	client_close(&c);
}

static void an_id_in_flight_is_not_ended_by_errors_about_others(void **state)
{
	static const char window_without_credit[] = "\xce\0\0\0\x05\x94\x31\x07\0\x80";
	struct http_sim_rule *r = http_sim_rule(f.http, "");
	struct client c;

	(void)state;
	http_sim_chat(r, 1000, 0, (const char *const[]){"answer", NULL}, "stop");
	client_open(&c);
	client_ask(&c, 7, "first");
	client_ask(&c, 7, "second");
	transport_sim_send(c.sim, slice_of(window_without_credit, sizeof window_without_credit - 1));
	run();
	client_expect_error(&c, 0, ERR_DUPLICATE_ID);
	client_expect_error(&c, 0, ERR_INVALID);
	client_expect_nothing(&c);
	run_us(2 * SECOND_US);
	client_expect(&c, OP_END, 7);
	client_expect_nothing(&c);
	assert_int_equal(metric("net_duplicate_ids_total"), 1);
	assert_int_equal(metric("engine_queries_total"), 1);
	client_close(&c);
}

static void an_idle_connection_owns_less_than_1_kb(void **state)
{
	(void)state;
	/* libuv's poll handle and the stream around it are below 300 bytes. */
	assert_true(sizeof(struct conn) + 300 < 1024);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_plain, fixture_close)
	const struct CMUnitTest tests[] = {
		CASE(hello_tells_version_features_and_limits),
		CASE(version_0_is_refused_and_closed),
		CASE(a_request_before_hello_is_refused_and_closed),
		CASE(hello_needs_an_id),
		CASE(an_unknown_operation_before_hello_is_not_looked_at),
		CASE(ping_is_answered_before_hello),
		CASE(a_second_hello_is_an_error_and_the_connection_lives),
		CASE(before_hello_a_frame_has_4_kb),
		CASE(tcp_asks_for_the_token),
		CASE(a_unix_socket_knows_its_own),
		CASE(frames_behind_hello_are_served_with_one_write),
		CASE(a_frame_that_comes_byte_by_byte_is_served),
		CASE(a_frame_cut_at_any_byte_leaves_nothing_behind),
		CASE(another_protocol_gets_a_line_of_text),
		CASE(a_frame_over_the_limit_is_skipped_by_counting),
		CASE(a_malformed_frame_is_answered_and_the_connection_lives),
		CASE(an_id_in_flight_is_not_ended_by_errors_about_others),
		CASE(an_idle_connection_owns_less_than_1_kb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
