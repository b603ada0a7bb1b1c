/* The whole daemon without sockets, disk, HTTP and time: real net, engine and memory store over the scenarios' doors,
 * and clients that say what a test wants. */
#ifndef UNIT_NET_FIXTURE_H
#define UNIT_NET_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/frame.h"
#include "server/base/log.h"
#include "server/net/daemon.h"
#include "server/net/net.h"
#include "tests/sim/http_sim.h"
#include "tests/sim/loop_sim.h"
#include "tests/sim/transport_sim.h"

#define UNIX_ADDRESS "unix:/sim"
#define TCP_ADDRESS  "tcp://127.0.0.1:7411"
#define TOKEN	     "0123456789abcdef0123456789abcdef"
#define SECOND_US    UINT64_C(1000000)

struct fixture {
	struct loop *loop;
	struct http *http;
	struct upstreams *upstreams;
	struct engine *engine;
	struct store *store;
	struct net *net;
	struct metrics metrics;
	struct options *options;
	struct daemon_options values;
	char token_path[64];
	bool drained, engine_drained, closed;
	size_t live; /* clients */
};

static struct fixture f;

static inline void fixture_set(const char *assignment)
{
	char error[512];

	if (options_set(f.options, assignment, error, sizeof error) < 0)
		fail_msg("%s", error);
}

static inline void fixture_write_token(void)
{
	int fd;

	strcpy(f.token_path, "/tmp/promptcached-test-XXXXXX");
	fd = mkstemp(f.token_path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, TOKEN "\n", strlen(TOKEN) + 1), strlen(TOKEN) + 1);
	close(fd);
}

/* settings: assignments, NULL at the end. */
static inline void fixture_open(const char *const *settings)
{
	char error[512], token[128];

	f = (struct fixture){.loop = loop_new(), .options = options_new()};
	assert_int_equal(log_open(f.loop, STDERR_FILENO, LOG_ERROR), 0);
	daemon_options_add(f.options, &f.values);
	fixture_write_token();
	snprintf(token, sizeof token, "token_file=%s", f.token_path);
	fixture_set(token);
	fixture_set("listen=" UNIX_ADDRESS "," TCP_ADDRESS);
	fixture_set("upstreams[0].name=sim");
	fixture_set("upstreams[0].base_url=http://sim/v1");
	for (; *settings != NULL; settings++)
		fixture_set(*settings);
	f.http = http_new(f.loop);
	assert_int_equal(upstreams_new(&f.upstreams, f.loop, f.http, &f.values.upstreams, error, sizeof error), 0);
	f.engine = engine_new(f.loop, f.upstreams, &f.values.engine);
	f.store = store_new(f.loop, 64u << 20, (struct durable){0}, &(struct durable_events){0});
	engine_set_store(f.engine, f.store);
	if (net_open(&f.net, f.loop, f.engine, &f.metrics, &f.values.net, "test/0", error, sizeof error) < 0)
		fail_msg("%s", error);
	net_metrics_add(f.net, &f.metrics);
	engine_metrics_add(f.engine, &f.metrics);
}

static inline void set_true(void *flag) { *(bool *)flag = true; }

static inline void run_us(uint64_t us) { loop_sim_run_for(f.loop, us); }
static inline void run(void) { run_us(1000); } /* everything that needs no time */

static inline int fixture_close(void **state)
{
	(void)state;
	assert_int_equal(f.live, 0);
	run();
	engine_drain(f.engine, set_true, &f.engine_drained);
	if (!f.drained)
		net_drain(f.net, 1000, set_true, &f.drained);
	engine_abort(f.engine);
	run_us(60 * SECOND_US);
	assert_true(f.drained && f.engine_drained);
	net_free(f.net);
	store_close(f.store, set_true, &f.closed);
	run_us(60 * SECOND_US);
	assert_true(f.closed);
	engine_free(f.engine);
	upstreams_free(f.upstreams);
	http_free(f.http);
	options_free(f.options);
	unlink(f.token_path);
	log_close();
	loop_free(f.loop);
	return 0;
}

static inline int fixture_plain(void **state)
{
	(void)state;
	fixture_open((const char *const[]){NULL});
	return 0;
}

/* ---- counters */

struct wanted {
	const char *name;
	uint64_t value;
	bool found;
};

static inline void metric_pick(void *owner, const struct metric *metric, uint64_t value)
{
	struct wanted *w = owner;

	if (strcmp(metric->name, w->name) == 0) {
		w->value = value;
		w->found = true;
	}
}

static inline uint64_t metric(const char *name)
{
	struct wanted w = {.name = name};

	metrics_walk(&f.metrics, metric_pick, &w);
	assert_true(w.found);
	return w.value;
}

/* ---- clients */

struct client {
	struct transport_sim_client *sim;
	struct message_decoder decoder;
	struct buf frame; /* the last message lives in it */
	struct message m;
};

static inline void client_send(struct client *c, const struct message *m)
{
	struct buf out;

	buf_init(&out, 64u << 20, NULL);
	assert_true(message_encode(&out, m));
	transport_sim_send(c->sim, buf_slice(&out));
	buf_free(&out);
}

static inline void client_connect(struct client *c, const char *address)
{
	*c = (struct client){.sim = transport_sim_connect(address)};
	assert_int_equal(message_decoder_init(&c->decoder), 0);
	buf_init(&c->frame, 64u << 20, NULL);
	f.live++;
	run();
}

static inline void client_close(struct client *c)
{
	transport_sim_free(c->sim);
	message_decoder_free(&c->decoder);
	buf_free(&c->frame);
	f.live--;
	run();
}

/* The next message that has come. False: there is none. */
static inline bool client_next(struct client *c)
{
	struct frame_result r = frame_next(transport_sim_received(c->sim), UINT32_MAX);
	struct fault fault;

	if (r.status != FRAME_READY)
		return false;
	c->frame.n = 0;
	assert_true(buf_append(&c->frame, r.frame.p, r.frame.n));
	transport_sim_consume(c->sim, r.taken);
	if (message_decode(&c->decoder, buf_slice(&c->frame), FROM_S, &c->m, &fault) < 0)
		fail_msg("the server sent what cannot be read: %s", fault.message);
	return true;
}

static inline const struct message *client_expect(struct client *c, enum proto_op op, uint64_t id)
{
	assert_true(client_next(c));
	if (c->m.op == OP_ERROR && op != OP_ERROR)
		fail_msg("ERROR %.*s", (int)c->m.error.message.n, (const char *)c->m.error.message.p);
	assert_int_equal(c->m.op, op);
	assert_int_equal(c->m.id, id);
	return &c->m;
}

static inline void client_expect_error(struct client *c, uint64_t id, enum proto_error code)
{
	assert_int_equal(client_expect(c, OP_ERROR, id)->error.code, code);
}

static inline void client_expect_nothing(struct client *c) { assert_false(client_next(c)); }

static inline struct message hello_message(void)
{
	struct message m = {.op = OP_HELLO, .id = 1};

	MESSAGE_SET(&m.hello, HELLO, version, PROTO_VERSION);
	MESSAGE_SET(&m.hello, HELLO, features, FEATURES_ALL);
	return m;
}

static inline void client_open(struct client *c)
{
	struct message m = hello_message();

	client_connect(c, UNIX_ADDRESS);
	client_send(c, &m);
	run();
	client_expect(c, OP_END, 1);
}

static inline void client_ping(struct client *c, uint64_t id)
{
	client_send(c, &(struct message){.op = OP_PING, .id = id});
}

static inline struct message question(enum proto_op op, uint64_t id, const char *prompt)
{
	struct message m = {.op = op, .id = id};

	MESSAGE_SET(&m.request, REQUEST, prompt, slice_str(prompt));
	return m;
}

static inline void client_ask(struct client *c, uint64_t id, const char *prompt)
{
	struct message m = question(OP_QUERY, id, prompt);

	client_send(c, &m);
}

static inline void client_stream(struct client *c, uint64_t id, const char *prompt)
{
	struct message m = question(OP_QUERY, id, prompt);

	MESSAGE_SET(&m.request, REQUEST, stream, true);
	client_send(c, &m);
}

/* Stores an answer of so many bytes. */
static inline void client_put(struct client *c, const char *prompt, size_t bytes)
{
	struct message m = question(OP_PUT, 4711, prompt);
	uint8_t *text = malloc(bytes);

	assert_non_null(text);
	memset(text, 'a', bytes);
	MESSAGE_SET(&m.request, REQUEST, answer, slice_of(text, bytes));
	client_send(c, &m);
	run();
	assert_true(client_expect(c, OP_END, 4711)->end.stored);
	free(text);
}

static inline size_t segments_bytes(const struct end_body *end)
{
	size_t total = 0;

	assert_true(MESSAGE_HAS(end, END, segments));
	for (uint32_t i = 0; i < end->segments->via.array.size; i++)
		total += end->segments->via.array.ptr[i].via.array.ptr[2].via.bin.size;
	return total;
}

#endif
