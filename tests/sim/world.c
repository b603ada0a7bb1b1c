#include "tests/sim/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/frame.h"
#include "server/engine/payload.h"

static void options_open(struct world *w, const char *const *settings)
{
	static const char *const provider[] = {"upstreams[0].name=sim", "upstreams[0].base_url=http://sim/v1",
					       "upstreams[0].models=gpt-*", NULL};
	char error[256];

	w->options = options_new();
	engine_options_add(w->options, &w->engine_options);
	upstream_options_add(w->options, &w->upstream_options);
	for (const char *const *s = provider; *s != NULL; s++)
		assert_int_equal(options_set(w->options, *s, error, sizeof error), 0);
	for (const char *const *s = settings; s != NULL && *s != NULL; s++)
		if (options_set(w->options, *s, error, sizeof error) < 0)
			fail_msg("%s", error);
	assert_int_equal(options_finish(w->options, error, sizeof error), 0);
}

static void store_open_sim(struct world *w, struct durable_sim_disk *disk)
{
	struct durable_events events = engine_store_events(w->engine);
	struct durable durable = {0};

	if (disk != NULL)
		w->durable = durable_sim_open(&durable, w->loop, disk, &events);
	w->store = store_new(w->loop, 16 << 20, durable, &events);
	engine_set_store(w->engine, w->store);
}

void world_open(struct world *w, struct durable_sim_disk *disk, const char *const *settings)
{
	char error[256];

	memset(w, 0, sizeof *w);
	w->loop = loop_new();
	loop_sim_set_wall_us(w->loop, WORLD_WALL_US);
	options_open(w, settings);
	w->http = http_new(w->loop);
	assert_int_equal(upstreams_new(&w->upstreams, w->loop, w->http, &w->upstream_options, error, sizeof error), 0);
	w->engine = engine_new(w->loop, w->upstreams, &w->engine_options);
	store_open_sim(w, disk);
	assert_int_equal(message_decoder_init(&w->decoder), 0);
}

static void note_closed(void *owner) { ((struct world *)owner)->closed = true; }

void world_close(struct world *w)
{
	for (size_t i = 0; i < w->clients_count; i++) {
		struct client *c = w->clients[i];

		if (c->q.state == QUERY_WAITING || c->q.state == QUERY_ANSWERING)
			query_cancel(&c->q);
		query_release(&c->q);
		free(c);
	}
	engine_abort(w->engine);
	loop_run(w->loop);
	store_close(w->store, note_closed, w);
	loop_run(w->loop);
	assert_true(w->closed);
	assert_int_equal(http_sim_counters(w->http).running, 0);
	engine_free(w->engine);
	upstreams_free(w->upstreams);
	http_free(w->http);
	options_free(w->options);
	message_decoder_free(&w->decoder);
	loop_free(w->loop);
}

void world_run_ms(struct world *w, uint64_t ms) { loop_sim_run_for(w->loop, ms * 1000); }

static void take_pieces(struct client *c)
{
	struct answer_piece p;
	size_t n = strlen(c->text);

	while (c->q.answer != NULL && answer_read(c->q.answer, &c->q.reader, sizeof c->text, &p)) {
		assert_true(n + p.data.n < sizeof c->text);
		if (p.kind != SEGMENT_TEXT)
			continue;
		memcpy(c->text + n, p.data.p, p.data.n);
		n += p.data.n;
		c->text[n] = '\0';
	}
}

static void client_ready(struct query *q)
{
	struct client *c = (struct client *)q;

	assert_false(c->gone);
	c->readies++;
	if (!c->slow && q->outcome.fault.code == ERR_NONE)
		take_pieces(c);
	if (q->state == QUERY_ENDED)
		c->ended_us = loop_now_us(c->world->loop);
}

static void frame_decode(struct world *w, const struct buf *frame, struct message *ret)
{
	struct frame_result r = frame_next(buf_slice(frame), 1 << 20);
	struct fault fault;

	assert_int_equal(r.status, FRAME_READY);
	if (message_decode(&w->decoder, r.frame, FROM_C, ret, &fault) < 0)
		fail_msg("%s", fault.message);
}

static void frame_make(struct world *w, struct message *m, struct buf *frame, struct message *ret)
{
	buf_init(frame, 1 << 20, NULL);
	m->id = 1;
	assert_true(message_encode(frame, m));
	frame_decode(w, frame, ret);
}

static void ask_set(struct message *m, const char *question, unsigned how)
{
	MESSAGE_SET(&m->request, REQUEST, prompt, slice_str(question));
	MESSAGE_SET(&m->request, REQUEST, model, slice_str("gpt-4o-mini"));
	if (how & ASK_NO_CACHE)
		MESSAGE_SET(&m->request, REQUEST, no_cache, true);
	if (how & ASK_NO_STORE)
		MESSAGE_SET(&m->request, REQUEST, no_store, true);
}

struct client *world_ask_with(struct world *w, const char *question, unsigned how, uint64_t timeout_ms,
			      uint64_t max_age_ms, uint64_t ttl_ms)
{
	struct message m = {.op = how & ASK_LOOKUP ? OP_LOOKUP : OP_QUERY}, decoded;
	struct client *c = calloc(1, sizeof *c);
	struct buf frame;

	assert_true(w->clients_count < WORLD_CLIENTS_MAX);
	w->clients[w->clients_count++] = c;
	c->world = w;
	c->slow = how & ASK_SLOW;
	c->q.ready = client_ready;
	c->q.stream = how & ASK_STREAM;
	ask_set(&m, question, how);
	if (timeout_ms != UINT64_MAX)
		MESSAGE_SET(&m.request, REQUEST, timeout_ms, timeout_ms);
	if (max_age_ms != UINT64_MAX)
		MESSAGE_SET(&m.request, REQUEST, max_age_ms, max_age_ms);
	if (ttl_ms != UINT64_MAX)
		MESSAGE_SET(&m.request, REQUEST, ttl_ms, ttl_ms);
	frame_make(w, &m, &frame, &decoded);
	c->refused = engine_query(w->engine, &c->q, &decoded,
				  slice_of(frame.p + PROTO_FRAME_PREFIX, frame.n - PROTO_FRAME_PREFIX));
	assert_int_equal(c->readies, 0); /* never before engine_query has returned */
	buf_free(&frame);
	return c;
}

struct client *world_ask(struct world *w, const char *question, unsigned how)
{
	return world_ask_with(w, question, how, UINT64_MAX, UINT64_MAX, UINT64_MAX);
}

void client_read(struct client *c) { take_pieces(c); }

void client_leave(struct client *c)
{
	query_cancel(&c->q);
	c->gone = true;
}

bool client_ended(const struct client *c) { return c->q.state == QUERY_ENDED && !c->gone; }
enum proto_error client_error(const struct client *c) { return c->q.outcome.fault.code; }

const char *client_answer(struct client *c)
{
	struct answer_reader r = {0};
	struct answer_piece p;
	struct answer *a;
	size_t n = 0;

	assert_true(client_ended(c));
	if (c->q.stream && c->q.answer != NULL)
		return c->text;
	assert_non_null(c->q.entry);
	a = payload_answer(&c->world->decoder, entry_payload(c->q.entry), c->q.mint);
	assert_non_null(a);
	while (answer_read(a, &r, SIZE_MAX, &p)) {
		memcpy(c->text + n, p.data.p, p.data.n);
		n += p.data.n;
	}
	c->text[n] = '\0';
	answer_unref(a);
	return c->text;
}

static void invalidation_done(struct invalidation *i) { i->done = NULL; }

struct invalidation *world_invalidate_start(struct world *w, enum proto_target target, const char *question,
					    struct invalidation *i)
{
	struct message m = {.op = OP_INVALIDATE}, decoded;
	struct fault fault;
	struct buf frame;

	*i = (struct invalidation){.done = invalidation_done};
	MESSAGE_SET(&m.request, REQUEST, target, target);
	if (target == TARGET_REQUEST)
		ask_set(&m, question, 0);
	frame_make(w, &m, &frame, &decoded);
	assert_int_equal(engine_invalidate(w->engine, i, &decoded, &fault), 0);
	assert_non_null(i->done); /* not before the return */
	buf_free(&frame);
	return i;
}

struct fault world_invalidate(struct world *w, enum proto_target target, const char *question)
{
	struct invalidation i;

	world_invalidate_start(w, target, question, &i);
	for (int ms = 0; i.done != NULL && ms < 10000; ms++)
		world_run_ms(w, 1);
	assert_null(i.done);
	return i.fault;
}

struct metric_search {
	const char *name;
	uint64_t value;
	bool found;
};

static void metric_look(void *owner, const struct metric *metric, uint64_t value)
{
	struct metric_search *s = owner;

	if (strcmp(metric->name, s->name) == 0) {
		s->value = value;
		s->found = true;
	}
}

uint64_t world_metric(struct world *w, const char *name)
{
	struct metric_search s = {.name = name};
	struct metrics m = {0};

	engine_metrics_add(w->engine, &m);
	upstream_metrics_add(w->upstreams, &m);
	store_metrics_add(w->store, &m);
	metrics_walk(&m, metric_look, &s);
	if (!s.found)
		fail_msg("no metric %s", name);
	return s.value;
}
