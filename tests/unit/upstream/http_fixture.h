/* http_fixture: transfers between http_curl and a scripted server on the same loop. */
#ifndef UNIT_UPSTREAM_HTTP_FIXTURE_H
#define UNIT_UPSTREAM_HTTP_FIXTURE_H

#include "server/upstream/http_internal.h"
#include "tests/unit/upstream/scripted_server.h"

struct fixture_transfer {
	struct http_transfer t; /* first: a transfer is its fixture_transfer */
	bool started, ended;
	unsigned heads;
	size_t bytes;
	char text[128];	  /* the body's beginning */
	size_t refuse_at; /* says no when so many bytes are there; 0: never */
	bool cancel_in_head, cancel_in_data, again_in_done;
	struct fixture_transfer *cancel_other; /* in data */
	uint8_t *other_body;		       /* freed right after that */
};

struct fixture {
	struct loop *loop;
	struct http *http;
	struct scripted_server server;
	struct fixture_transfer one, two;
	struct fixture_transfer *many;
	uint64_t turn_us; /* this turn's data, and the most of any turn */
	size_t turn_bytes, turn_bytes_most;
	unsigned running; /* the loop stops when none is left */
	struct http_request request;
	char url[64];
};

static struct fixture f;

#define WHOLE "HTTP/1.1 200 OK\r\nContent-Type: Application/JSON; charset=utf-8\r\nContent-Length: 5\r\n\r\nhello"

/* ---- helpers */

static inline void reply(const char *text, enum script_after after)
{
	f.server.script = (struct script){.first = slice_str(text), .after = after};
}

static inline void reply_slowly(const char *first, uint64_t pause_ms, const char *second)
{
	f.server.script = (struct script){.first = slice_str(first), .second = slice_str(second), .pause_ms = pause_ms};
}

static inline int setup(void **state)
{
	(void)state;
	f = (struct fixture){.loop = loop_new()};
	assert_non_null(f.loop);
	f.http = http_new(f.loop);
	assert_non_null(f.http);
	scripted_server_open(&f.server, f.loop);
	reply(WHOLE, SCRIPT_KEEP);
	snprintf(f.url, sizeof(f.url), "http://127.0.0.1:%u/v1", f.server.port);
	f.request = (struct http_request){
		.url = f.url,
		.connect_timeout_ms = 5000,
		.first_byte_timeout_ms = 20000,
		.idle_timeout_ms = 20000,
		.total_timeout_ms = 60000,
	};
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	http_free(f.http);
	scripted_server_close(&f.server);
	loop_run(f.loop);
	assert_int_equal(f.server.open, 0);
	loop_free(f.loop);
	free(f.many);
	return 0;
}

static inline void gone(struct fixture_transfer *x)
{
	assert_true(x->started && !x->ended);
	x->ended = true;
	if (--f.running == 0)
		loop_stop(f.loop);
}

static inline void on_head(struct http_transfer *t)
{
	struct fixture_transfer *x = (struct fixture_transfer *)t;

	assert_true(x->started && !x->ended);
	x->heads++;
	if (x->cancel_in_head) {
		http_cancel(t);
		gone(x);
	}
}

static inline void count_turn_bytes(size_t n)
{
	if (f.turn_us != loop_now_us(f.loop))
		f.turn_bytes = 0;
	f.turn_us = loop_now_us(f.loop);
	f.turn_bytes += n;
	if (f.turn_bytes > f.turn_bytes_most)
		f.turn_bytes_most = f.turn_bytes;
}

static inline bool on_data(struct http_transfer *t, struct slice piece)
{
	struct fixture_transfer *x = (struct fixture_transfer *)t;
	size_t room = sizeof(x->text) - 1 - (x->bytes < sizeof(x->text) ? x->bytes : sizeof(x->text) - 1);

	assert_true(x->started && !x->ended && x->heads == 1);
	count_turn_bytes(piece.n);
	memcpy(x->text + sizeof(x->text) - 1 - room, piece.p, piece.n < room ? piece.n : room);
	x->bytes += piece.n;
	if (x->cancel_other != NULL && !x->cancel_other->ended) {
		http_cancel(&x->cancel_other->t);
		gone(x->cancel_other);
		free(x->other_body);
	}
	if (x->cancel_in_data) {
		http_cancel(t);
		gone(x);
	}
	return x->refuse_at == 0 || x->bytes < x->refuse_at;
}

static inline void start(struct fixture_transfer *x);

static inline void on_done(struct http_transfer *t)
{
	struct fixture_transfer *x = (struct fixture_transfer *)t;

	if (x->again_in_done) {
		x->again_in_done = false;
		f.running--;
		start(x);
		return;
	}
	gone(x);
}

static inline void start(struct fixture_transfer *x)
{
	x->t = (struct http_transfer){.head = on_head, .data = on_data, .done = on_done};
	x->started = x->ended = false;
	x->heads = 0;
	x->bytes = 0;
	assert_int_equal(http_start(f.http, &x->t, &f.request), 0);
	x->started = true;
	f.running++;
}

static inline void run(void)
{
	if (f.running > 0)
		loop_run(f.loop);
}

static inline void fetch(void)
{
	memset(f.one.text, 0, sizeof(f.one.text));
	start(&f.one);
	run();
}

static inline void expect(enum http_outcome outcome)
{
	assert_true(f.one.ended);
	if (f.one.t.outcome != outcome)
		print_error("outcome %d: %s\n", f.one.t.outcome, f.one.t.error);
	assert_int_equal(f.one.t.outcome, outcome);
	assert_int_equal(http_metrics(f.http)->http_in_flight, 0);
}

static inline void expect_failed(const char *text, enum script_after after, enum http_outcome outcome)
{
	uint64_t failures = http_metrics(f.http)->http_failures_total;

	reply(text, after);
	fetch();
	expect(outcome);
	assert_true(f.one.t.error[0] != '\0');
	assert_int_equal(http_metrics(f.http)->http_failures_total, failures + 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
