/* http_curl: cancelling everywhere, and a thousand transfers at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/upstream/http_fixture.h"

#define MANY 1000

/* ---- cancelling */

static void cancel(struct fixture_transfer *x)
{
	http_cancel(&x->t);
	gone(x);
}

static void cancelled_before_it_began_nothing_is_sent(void **state)
{
	(void)state;
	start(&f.two);
	start(&f.one);
	cancel(&f.one);
	assert_int_equal(http_metrics(f.http)->http_in_flight, 1);
	run();
	assert_int_equal(f.server.requests, 1);
	assert_int_equal(f.two.t.outcome, HTTP_DONE);
}

struct later {
	struct deadline d;
	struct fixture_transfer *x;
};

static void on_later(struct deadline *d) { cancel(((struct later *)d)->x); }

static void cancelled_while_it_waits_its_connection_is_closed(void **state)
{
	struct later l = {.x = &f.one};

	(void)state;
	reply("", SCRIPT_KEEP);
	start(&f.one);
	loop_arm(f.loop, &l.d, 30000, on_later);
	run();
	assert_int_equal(f.one.heads, 0);
	reply(WHOLE, SCRIPT_KEEP);
	fetch();
	expect(HTTP_DONE);
	assert_int_equal(f.server.connections, 2);
	assert_int_equal(f.server.open, 1);
}

static void cancelled_in_its_head_or_data_nothing_more_comes(void **state)
{
	(void)state;
	reply_slowly("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", 20, "hello");
	f.one.cancel_in_head = true;
	fetch();
	assert_int_equal(f.one.bytes, 0);
	f.one.cancel_in_head = false;
	f.one.cancel_in_data = true;
	fetch();
	assert_int_equal(f.one.bytes, 5);
	f.one.cancel_in_data = false;
	fetch();
	expect(HTTP_DONE);
}

/* libcurl may still be about to send the other one's body. */
static void another_may_be_cancelled_in_data_and_its_body_is_gone_at_once(void **state)
{
	size_t n = 8u << 20;
	uint8_t *body = malloc(n);

	(void)state;
	memset(body, 'b', n);
	start(&f.one);
	f.request.body = slice_of(body, n);
	start(&f.two);
	f.one.cancel_other = &f.two;
	f.one.other_body = body;
	run();
	expect(HTTP_DONE);
	f.one.cancel_other = NULL;
	f.request.body = slice_of(NULL, 0);
	fetch();
	expect(HTTP_DONE);
}

/* ---- many */

static void a_thousand_at_once_are_spread_over_multis(void **state)
{
	(void)state;
	reply_slowly("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", 300, "hello");
	f.many = calloc(MANY, sizeof(*f.many));
	for (int i = 0; i < MANY; i++)
		start(&f.many[i]);
	assert_int_equal(http_metrics(f.http)->http_in_flight, MANY);
	run();
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(f.many[i].t.outcome, HTTP_DONE);
		assert_int_equal(f.many[i].bytes, 10);
	}
	assert_int_equal(f.server.requests, MANY);
	assert_int_equal(f.http->shards_count, (MANY + HTTP_SHARD_TRANSFERS - 1) / HTTP_SHARD_TRANSFERS);
	assert_int_equal(f.http->idle_count, HTTP_IDLE_HANDLES_MAX);
	assert_int_equal(http_metrics(f.http)->http_in_flight, 0);
	/* Their connections are kept, and the second thousand uses them. */
	f.server.connections = 0;
	for (int i = 0; i < MANY; i++)
		start(&f.many[i]);
	run();
	assert_true(f.server.connections < MANY / 10);
}

static void a_thousand_may_be_cancelled_at_once(void **state)
{
	(void)state;
	reply("", SCRIPT_KEEP);
	f.many = calloc(MANY, sizeof(*f.many));
	for (int i = 0; i < MANY; i++)
		start(&f.many[i]);
	f.request.first_byte_timeout_ms = 100;
	start(&f.one); /* times out */
	f.running = 1;
	loop_run(f.loop);
	for (int i = 0; i < MANY; i++)
		http_cancel(&f.many[i].t);
	assert_int_equal(http_metrics(f.http)->http_in_flight, MANY);
	http_free(f.http);
	f.http = http_new(f.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(cancelled_before_it_began_nothing_is_sent),
		CASE(cancelled_while_it_waits_its_connection_is_closed),
		CASE(cancelled_in_its_head_or_data_nothing_more_comes),
		CASE(another_may_be_cancelled_in_data_and_its_body_is_gone_at_once),
		CASE(a_thousand_at_once_are_spread_over_multis),
		CASE(a_thousand_may_be_cancelled_at_once),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
