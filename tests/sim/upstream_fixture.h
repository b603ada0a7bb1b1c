/* upstream_fixture: calls of LLMs over the fakes of HTTP and loop, and how to ask, to run and to look at what came. */
#ifndef SIM_UPSTREAM_FIXTURE_H
#define SIM_UPSTREAM_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>

#include "server/upstream/upstream.h"
#include "tests/sim/http_sim.h"
#include "tests/sim/loop_sim.h"

#define CALLS	   40
#define MS	   1000
#define LONG_BYTES 50000 /* a prompt or answer that goes through the pool */

struct fixture_call {
	struct upstream_call call; /* first: a call is its fixture_call */
	bool started, ended;
	unsigned pieces, stop_after, cancel_after; /* 0: never */
	char text[256];				   /* pieces with "|" behind each; what fits */
	size_t bytes;
	struct upstream_result result;
	char finish_reason[32], model[32];
	uint64_t ended_us;
};

struct fixture {
	struct loop *loop;
	struct http *http;
	struct options *options;
	struct upstream_set_options *set;
	struct upstreams *upstreams;
	struct upstream *upstream;
	struct buf frame;
	struct fixture_call calls[CALLS];
	uint64_t began_us;
	struct fault fault;
	uint64_t retry_after_ms;
};

static struct fixture f;

/* ---- helpers */

static inline void configure(const char *assignment)
{
	char error[300];

	assert_int_equal(options_set(f.options, assignment, error, sizeof(error)), 0);
}

static inline int setup(void **state)
{
	(void)state;
	f = (struct fixture){.loop = loop_new(), .options = options_new(), .set = calloc(1, sizeof(*f.set))};
	assert_non_null(f.loop);
	assert_non_null(f.options);
	f.http = http_new(f.loop);
	buf_init(&f.frame, FRAME_BYTES_MAX, NULL);
	upstream_options_add(f.options, f.set);
	configure("upstreams[0].name=sim");
	configure("upstreams[0].base_url=http://sim/v1");
	f.began_us = loop_now_us(f.loop);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	loop_sim_run_for(f.loop, 60000 * MS); /* whoever was cancelled lets go */
	upstreams_free(f.upstreams);
	assert_int_equal(http_sim_counters(f.http).running, 0);
	http_free(f.http);
	options_free(f.options);
	free(f.set);
	buf_free(&f.frame);
	loop_free(f.loop);
	return 0;
}

/* With the options as they are now. */
static inline void open_upstream(void)
{
	char error[300];

	assert_int_equal(upstreams_new(&f.upstreams, f.loop, f.http, f.set, error, sizeof(error)), 0);
	f.upstream = upstreams_route(f.upstreams, slice_str("m"));
	assert_non_null(f.upstream);
}

static inline void ask(const char *prompt, size_t n, bool two_choices)
{
	struct message m = {.op = OP_QUERY, .id = 1};
	msgpack_object_kv kv = {.key = {.type = MSGPACK_OBJECT_STR, .via.str = {1, "n"}},
				.val = {.type = MSGPACK_OBJECT_POSITIVE_INTEGER, .via.u64 = 2}};
	msgpack_object params = {.type = MSGPACK_OBJECT_MAP, .via.map = {1, &kv}};

	MESSAGE_SET(&m.request, REQUEST, prompt, slice_of(prompt, n));
	if (two_choices)
		MESSAGE_SET(&m.request, REQUEST, params, &params);
	buf_free(&f.frame);
	assert_true(message_encode(&f.frame, &m));
}

static inline void ask_long(void)
{
	char *prompt = malloc(LONG_BYTES);

	memset(prompt, 'p', LONG_BYTES);
	ask(prompt, LONG_BYTES, false);
	free(prompt);
}

static inline bool on_piece(struct upstream_call *call, enum proto_segment kind, unsigned index, struct slice data)
{
	struct fixture_call *c = (struct fixture_call *)call;
	size_t n = strlen(c->text);

	(void)kind;
	(void)index;
	assert_true(c->started && !c->ended);
	c->pieces++;
	c->bytes += data.n;
	snprintf(c->text + n, sizeof(c->text) - n, "%.*s|", (int)data.n, (const char *)data.p);
	if (c->pieces == c->cancel_after) {
		upstream_cancel(call);
		c->ended = true;
	}
	return c->pieces != c->stop_after;
}

static inline void on_end(struct upstream_call *call, const struct upstream_result *result)
{
	struct fixture_call *c = (struct fixture_call *)call;

	assert_true(c->started && !c->ended);
	c->ended = true;
	c->result = *result;
	c->ended_us = loop_now_us(f.loop);
	snprintf(c->finish_reason, sizeof(c->finish_reason), "%.*s", (int)result->finish_reason.n,
		 (const char *)result->finish_reason.p);
	snprintf(c->model, sizeof(c->model), "%.*s", (int)result->model.n, (const char *)result->model.p);
}

static inline int try_start(int i, uint64_t patience_ms)
{
	struct fixture_call *c = &f.calls[i];
	const struct upstream_request request = {
		.frame = slice_of(f.frame.p + PROTO_FRAME_PREFIX, f.frame.n - PROTO_FRAME_PREFIX),
		.model = slice_str("m"),
		.deadline_us = patience_ms == 0 ? 0 : loop_now_us(f.loop) + patience_ms * MS,
	};
	int rc;

	if (f.upstream == NULL)
		open_upstream();
	c->call.piece = on_piece;
	c->call.end = on_end;
	rc = upstream_start(f.upstream, &c->call, &request, &f.fault, &f.retry_after_ms);
	c->started = rc == 0;
	return rc;
}

static inline struct fixture_call *start(int i, uint64_t patience_ms)
{
	if (f.frame.n == 0)
		ask("Q", 1, false);
	assert_int_equal(try_start(i, patience_ms), 0);
	return &f.calls[i];
}

static inline void cancel(struct fixture_call *c)
{
	upstream_cancel(&c->call);
	c->ended = true;
}

static inline void run_ms(uint64_t ms) { loop_sim_run_for(f.loop, ms * MS); }

static inline uint64_t metric(const char *name);

static struct {
	const char *name;
	uint64_t value;
	bool found;
} wanted;

static inline void on_metric(void *owner, const struct metric *m, uint64_t value)
{
	(void)owner;
	if (strcmp(m->name, wanted.name) == 0) {
		wanted.value = value;
		wanted.found = true;
	}
}

static inline uint64_t metric(const char *name)
{
	struct metrics m = {0};

	wanted.name = name;
	wanted.found = false;
	upstream_metrics_add(f.upstreams, &m);
	metrics_walk(&m, on_metric, NULL);
	assert_true(wanted.found);
	return wanted.value;
}

static inline void expect_ok(const struct fixture_call *c, const char *text)
{
	assert_true(c->ended);
	assert_int_equal(c->result.code, ERR_NONE);
	assert_string_equal(c->text, text);
}

static inline void expect_error(const struct fixture_call *c, enum proto_error code, const char *part)
{
	assert_true(c->ended);
	assert_int_equal(c->result.code, code);
	if (strstr(c->result.message, part) == NULL)
		print_error("%s\n", c->result.message);
	assert_non_null(strstr(c->result.message, part));
}

static inline struct http_sim_rule *answers(uint64_t latency_ms, uint64_t pace_ms)
{
	static const char *const texts[] = {"Hel", "lo", NULL};
	struct http_sim_rule *r = http_sim_rule(f.http, "");

	http_sim_chat(r, latency_ms, pace_ms, texts, "stop");
	return r;
}

static inline struct http_sim_rule *fails(unsigned status, const char *body)
{
	struct http_sim_rule *r = http_sim_rule(f.http, "");

	http_sim_status(r, 10, status, "application/json");
	http_sim_piece(r, 0, body);
	http_sim_end(r, 0, HTTP_SIM_CLEAN);
	return r;
}

/* Head and one piece of a chat answer; the caller says how it goes on. */
static inline struct http_sim_rule *begins(void)
{
	struct http_sim_rule *r = http_sim_rule(f.http, "");

	http_sim_chat_head(r, 10);
	http_sim_chat_text(r, 10, "Hel");
	return r;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
