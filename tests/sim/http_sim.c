/* http_sim: each transfer walks through the steps of its rule; one deadline stands for the next step or for the timeout
 * that comes before it. */
#include "tests/sim/http_sim.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum step_kind {
	STEP_HEAD,
	STEP_PIECE,
	STEP_END
};

struct step {
	enum step_kind kind;
	uint64_t after_us;
	unsigned status;
	char content_type[64];
	struct slice bytes; /* owned */
	enum http_sim_ending ending;
};

struct http_sim_rule {
	char *match;
	unsigned uses, uses_max;
	uint64_t retry_after_ms;
	struct step *steps;
	size_t count;
	TAILQ_ENTRY(http_sim_rule) link;
};

struct sim_transfer {
	struct http *http;
	struct http_transfer *transfer; /* NULL: cancelled */
	const struct http_sim_rule *rule;
	size_t next;
	bool headed, stepping;
	uint64_t started_us, last_us;
	uint64_t first_byte_us, idle_us, total_us; /* limits; 0: none */
	enum http_outcome timeout;		   /* what the deadline means: HTTP_TIMEOUT, else the next step */
	struct deadline deadline;
};

struct http {
	struct loop *loop;
	TAILQ_HEAD(, http_sim_rule) rules;
	unsigned refuse;
	struct http_sim_counters counters;
	char *last_url, *last_body;
	char *last_headers[HTTP_HEADERS_MAX];
	size_t last_headers_count;
	struct http_metrics metrics;
};

static void *sim_must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

/* ---- rules */

struct http_sim_rule *http_sim_rule(struct http *h, const char *match)
{
	struct http_sim_rule *r = sim_must(calloc(1, sizeof(*r)));

	r->match = sim_must(strdup(match));
	r->uses_max = UINT32_MAX;
	TAILQ_INSERT_TAIL(&h->rules, r, link);
	return r;
}

static struct step *rule_add(struct http_sim_rule *r, enum step_kind kind, uint64_t after_ms)
{
	r->steps = sim_must(realloc(r->steps, (r->count + 1) * sizeof(*r->steps)));
	r->steps[r->count] = (struct step){.kind = kind, .after_us = after_ms * 1000};
	return &r->steps[r->count++];
}

void http_sim_times(struct http_sim_rule *r, unsigned times) { r->uses_max = times; }

void http_sim_retry_after(struct http_sim_rule *r, uint64_t ms) { r->retry_after_ms = ms; }

void http_sim_status(struct http_sim_rule *r, uint64_t after_ms, unsigned status, const char *content_type)
{
	struct step *s = rule_add(r, STEP_HEAD, after_ms);

	s->status = status;
	snprintf(s->content_type, sizeof(s->content_type), "%s", content_type);
}

void http_sim_bytes(struct http_sim_rule *r, uint64_t after_ms, struct slice bytes)
{
	uint8_t *copy = sim_must(malloc(bytes.n > 0 ? bytes.n : 1));

	memcpy(copy, bytes.p, bytes.n);
	rule_add(r, STEP_PIECE, after_ms)->bytes = slice_of(copy, bytes.n);
}

void http_sim_piece(struct http_sim_rule *r, uint64_t after_ms, const char *text)
{
	http_sim_bytes(r, after_ms, slice_str(text));
}

void http_sim_end(struct http_sim_rule *r, uint64_t after_ms, enum http_sim_ending ending)
{
	rule_add(r, STEP_END, after_ms)->ending = ending;
}

void http_sim_chat_head(struct http_sim_rule *r, uint64_t after_ms)
{
	http_sim_status(r, after_ms, 200, "text/event-stream");
}

static void rule_event(struct http_sim_rule *r, uint64_t after_ms, const char *before, const char *text,
		       const char *behind)
{
	char *event;

	if (asprintf(&event, "data: %s%s%s\n\n", before, text, behind) < 0)
		abort();
	http_sim_piece(r, after_ms, event);
	free(event);
}

void http_sim_chat_text(struct http_sim_rule *r, uint64_t after_ms, const char *text)
{
	rule_event(r, after_ms, "{\"model\":\"sim-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"", text,
		   "\"},\"finish_reason\":null}]}");
}

void http_sim_chat_end(struct http_sim_rule *r, uint64_t after_ms, const char *finish_reason)
{
	rule_event(r, after_ms, "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"", finish_reason, "\"}]}");
	http_sim_piece(r, 0, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}\n\n");
	http_sim_piece(r, 0, "data: [DONE]\n\n");
	http_sim_end(r, 0, HTTP_SIM_CLEAN);
}

void http_sim_chat(struct http_sim_rule *r, uint64_t latency_ms, uint64_t pace_ms, const char *const *texts,
		   const char *finish_reason)
{
	http_sim_chat_head(r, latency_ms);
	for (; *texts != NULL; texts++)
		http_sim_chat_text(r, pace_ms, *texts);
	http_sim_chat_end(r, 0, finish_reason);
}

void http_sim_refuse_starts(struct http *h, unsigned times) { h->refuse = times; }

struct http_sim_counters http_sim_counters(const struct http *h) { return h->counters; }

unsigned http_sim_uses(const struct http_sim_rule *r) { return r->uses; }

const char *http_sim_last_body(const struct http *h) { return h->last_body; }

const char *http_sim_last_url(const struct http *h) { return h->last_url; }

bool http_sim_last_has_header(const struct http *h, const char *line)
{
	for (size_t i = 0; i < h->last_headers_count; i++) {
		if (strcmp(h->last_headers[i], line) == 0)
			return true;
	}
	return false;
}

/* ---- a transfer */

static void sim_on_deadline(struct deadline *d);

static void sim_count_end(struct http *h)
{
	h->counters.running--;
	h->metrics.http_in_flight--;
}

static void sim_end(struct sim_transfer *x, enum http_outcome outcome, const char *error)
{
	struct http_transfer *t = x->transfer;
	struct http *h = x->http;

	t->outcome = outcome;
	snprintf(t->error, sizeof(t->error), "%s", error);
	t->impl = NULL;
	h->counters.done++;
	if (outcome == HTTP_UNREACHED || outcome == HTTP_BROKEN || outcome == HTTP_TIMEOUT)
		h->metrics.http_failures_total++;
	sim_count_end(h);
	free(x);
	t->done(t);
}

/* The next step, or the timeout that comes before it; nothing if neither ever comes. */
static void sim_wait(struct sim_transfer *x)
{
	const struct step *s = x->next < x->rule->count ? &x->rule->steps[x->next] : NULL;
	bool hangs = s == NULL || (s->kind == STEP_END && s->ending == HTTP_SIM_HANG);
	uint64_t now_us = loop_now_us(x->http->loop);
	uint64_t at_us = hangs ? UINT64_MAX : x->last_us + s->after_us;
	uint64_t quiet_us = x->headed ? x->idle_us : x->first_byte_us;
	uint64_t limit_us = quiet_us != 0 ? (x->headed ? x->last_us : x->started_us) + quiet_us : UINT64_MAX;

	if (x->total_us != 0 && x->started_us + x->total_us < limit_us)
		limit_us = x->started_us + x->total_us;
	x->timeout = limit_us < at_us ? HTTP_TIMEOUT : HTTP_DONE;
	if (limit_us < at_us)
		at_us = limit_us;
	if (at_us != UINT64_MAX)
		loop_arm(x->http->loop, &x->deadline, at_us > now_us ? at_us - now_us : 0, sim_on_deadline);
}

static void sim_head(struct sim_transfer *x, const struct step *s)
{
	struct http_transfer *t = x->transfer;

	x->headed = true;
	t->status = s->status;
	snprintf(t->content_type, sizeof(t->content_type), "%s", s->content_type);
	t->retry_after_ms = x->rule->retry_after_ms;
	if (t->head != NULL)
		t->head(t);
}

static void sim_finish(struct sim_transfer *x, const struct step *s)
{
	if (s->ending == HTTP_SIM_CLEAN)
		sim_end(x, HTTP_DONE, "");
	else if (s->ending == HTTP_SIM_UNREACHED)
		sim_end(x, HTTP_UNREACHED, "connection refused");
	else
		sim_end(x, HTTP_BROKEN, "connection reset");
}

static void sim_step(struct sim_transfer *x)
{
	const struct step *s = &x->rule->steps[x->next++];
	bool more = true;

	x->last_us = loop_now_us(x->http->loop);
	if (s->kind == STEP_END) {
		sim_finish(x, s);
		return;
	}
	x->stepping = true;
	if (s->kind == STEP_HEAD) {
		sim_head(x, s);
	} else {
		x->http->metrics.http_received_bytes_total += s->bytes.n;
		more = x->transfer->data(x->transfer, s->bytes);
	}
	x->stepping = false;
	if (x->transfer == NULL)
		free(x);
	else if (!more)
		sim_end(x, HTTP_REFUSED, "");
	else
		sim_wait(x);
}

static void sim_on_deadline(struct deadline *d)
{
	struct sim_transfer *x = (struct sim_transfer *)((char *)d - offsetof(struct sim_transfer, deadline));

	if (x->timeout == HTTP_TIMEOUT)
		sim_end(x, HTTP_TIMEOUT, "timeout");
	else
		sim_step(x);
}

static struct http_sim_rule *sim_find_rule(struct http *h)
{
	struct http_sim_rule *r;

	TAILQ_FOREACH (r, &h->rules, link) {
		if (r->uses < r->uses_max &&
		    (strstr(h->last_url, r->match) != NULL || strstr(h->last_body, r->match) != NULL))
			return r;
	}
	fprintf(stderr, "http_sim: no rule for %s %s\n", h->last_url, h->last_body);
	abort();
}

static void sim_forget_last(struct http *h)
{
	free(h->last_url);
	free(h->last_body);
	for (size_t i = 0; i < h->last_headers_count; i++)
		free(h->last_headers[i]);
}

static void sim_note_last(struct http *h, const struct http_request *request)
{
	sim_forget_last(h);
	h->last_url = sim_must(strdup(request->url));
	h->last_body = sim_must(calloc(1, request->body.n + 1));
	memcpy(h->last_body, request->body.n > 0 ? (const char *)request->body.p : "", request->body.n);
	h->last_headers_count = request->headers_count;
	for (size_t i = 0; i < request->headers_count; i++)
		h->last_headers[i] = sim_must(strdup(request->headers[i]));
}

int http_start(struct http *h, struct http_transfer *t, const struct http_request *request)
{
	struct sim_transfer *x;
	struct http_sim_rule *r;

	assert(t->data != NULL && t->done != NULL && request->headers_count <= HTTP_HEADERS_MAX);
	if (h->refuse > 0) {
		h->refuse--;
		return -1;
	}
	sim_note_last(h, request);
	r = sim_find_rule(h);
	r->uses++;
	x = sim_must(calloc(1, sizeof(*x)));
	x->http = h;
	x->transfer = t;
	x->rule = r;
	x->started_us = x->last_us = loop_now_us(h->loop);
	x->first_byte_us = request->first_byte_timeout_ms * 1000;
	x->idle_us = request->idle_timeout_ms * 1000;
	x->total_us = request->total_timeout_ms * 1000;
	t->outcome = HTTP_DONE;
	t->status = 0;
	t->content_type[0] = t->error[0] = '\0';
	t->retry_after_ms = 0;
	t->impl = x;
	h->counters.started++;
	h->counters.running++;
	if (h->counters.running > h->counters.running_max)
		h->counters.running_max = h->counters.running;
	h->metrics.http_transfers_total++;
	h->metrics.http_in_flight++;
	sim_wait(x);
	return 0;
}

void http_cancel(struct http_transfer *t)
{
	struct sim_transfer *x = t->impl;

	assert(x != NULL && x->transfer == t);
	t->impl = NULL;
	x->transfer = NULL;
	x->http->counters.cancelled++;
	sim_count_end(x->http);
	loop_disarm(x->http->loop, &x->deadline);
	if (!x->stepping)
		free(x);
}

/* ---- the whole */

struct http *http_new(struct loop *l)
{
	struct http *h = sim_must(calloc(1, sizeof(*h)));

	h->loop = l;
	TAILQ_INIT(&h->rules);
	return h;
}

static void rule_free(struct http_sim_rule *r)
{
	for (size_t i = 0; i < r->count; i++)
		free((void *)(uintptr_t)r->steps[i].bytes.p);
	free(r->steps);
	free(r->match);
	free(r);
}

void http_free(struct http *h)
{
	struct http_sim_rule *r;

	if (h == NULL)
		return;
	assert(h->counters.running == 0);
	while ((r = TAILQ_FIRST(&h->rules)) != NULL) {
		TAILQ_REMOVE(&h->rules, r, link);
		rule_free(r);
	}
	sim_forget_last(h);
	free(h);
}

struct http_metrics *http_metrics(struct http *h) { return &h->metrics; }
