#include "server/engine/flight.h"

#include <assert.h>
#include <stdlib.h>

#include "server/base/log.h"
#include "server/engine/engine_internal.h"
#include "server/engine/payload.h"
#include "server/engine/price.h"
#include "server/engine/quality.h"

static const struct {
	const char *text;
	unsigned next;
} flight_states[] = {
#define X(name, text, next) {text, next},
	FLIGHT_STATES(X)
#undef X
};

static void flight_tick(struct flight *f);

/* The only place where a state changes, and where the journey can be followed (log.level: debug). */
static void flight_move(struct flight *f, enum flight_state to)
{
	const uint8_t *key = f->node.key;

	assert(flight_states[f->state].next & (1u << to));
	if (log_wants(LOG_DEBUG))
		log_event(LOG_DEBUG, "flight.moved", "entry=%02x%02x%02x%02x state=\"%s\" clients=%zu", key[0], key[1],
			  key[2], key[3], flight_states[to].text, f->waiters_count);
	f->state = to;
}

/* ---- life */

struct flight *flight_new(struct engine *e, const struct plan *plan, struct slice frame, struct fault *fault)
{
	struct flight *f;

	if (engine_admit_flight(e, frame.n, fault) < 0)
		return NULL;
	f = calloc(1, sizeof *f);
	if (f == NULL)
		goto no_memory;
	f->engine = e;
	buf_init(&f->frame, frame.n, NULL);
	if (!buf_append(&f->frame, frame.p, frame.n) || policy_tags(e->digester, plan, f->tags) < 0)
		goto no_memory;
	TAILQ_INIT(&f->waiters);
	memcpy(f->node.key, plan->key, sizeof plan->key);
	memcpy(f->model, plan->model.p, plan->model.n);
	f->begun = freshness_stamp(&e->freshness, loop_wall_us(e->loop));
	f->started_us = loop_now_us(e->loop);
	f->no_cache = plan->no_cache;
	f->max_age_ms = plan->max_age_ms;
	f->ttl_ms = plan->ttl_ms;
	f->upstream = plan->upstream;
	TAILQ_INSERT_TAIL(&e->all_flights, f, link);
	e->flights_count++;
	e->flights_bytes += f->frame.n;
	e->metrics.engine_flights_total++;
	flight_list(f);
	return f;

no_memory:
	if (f != NULL)
		buf_free(&f->frame);
	free(f);
	fault_set(fault, ERR_NO_MEMORY, "", "there is no memory for this request");
	return NULL;
}

static void flight_drop_answer(struct flight *f)
{
	if (f->answer != NULL)
		f->engine->answers_bytes -= f->answer->memory_bytes;
	answer_unref(f->answer);
	f->answer = NULL;
}

static void flight_free(struct loop_task *t)
{
	struct flight *f = (struct flight *)((char *)t - offsetof(struct flight, free_task));
	struct engine *e = f->engine;

	assert(!f->listed && !f->reading && !f->calling && f->waiters_count == 0);
	loop_undefer(e->loop, &f->progress_task);
	TAILQ_REMOVE(&e->all_flights, f, link);
	e->flights_count--;
	e->flights_bytes -= f->frame.n;
	flight_drop_answer(f);
	entry_unref(f->entry);
	buf_free(&f->frame);
	free(f);
	engine_flight_gone(e);
}

/* It has ended and nothing of it runs any more: freed when the call stack is empty. */
static void flight_retire(struct flight *f)
{
	if (!f->reading && !f->calling)
		loop_defer(f->engine->loop, &f->free_task, flight_free);
}

static bool flight_is_over(const struct flight *f) { return f->state == FLIGHT_DONE || f->state == FLIGHT_FAILED; }

/* ---- waiters */

static void waiter_follow(struct query *q, struct answer *a)
{
	if (q->answer == a)
		return;
	answer_unref((struct answer *)q->answer);
	q->answer = answer_ref(a);
	q->reader = (struct answer_reader){0};
}

/* Is there something of the answer for it to read as it comes? */
static bool waiter_has_news(const struct flight *f, const struct query *q)
{
	return q->stream && f->answer != NULL && f->answer->bytes > 0;
}

void flight_join(struct flight *f, struct query *q, const struct plan *plan)
{
	assert(!flight_is_over(f) && q->flight == NULL);
	q->flight = f;
	TAILQ_INSERT_TAIL(&f->waiters, q, link);
	f->waiters_count++;
	f->askers_count += q->op == OP_QUERY;
	f->engine->waiters_count++;
	f->led |= q->leader;
	f->no_store |= plan->no_store;
	if (plan->ttl_ms < f->ttl_ms)
		f->ttl_ms = plan->ttl_ms;
	if (waiter_has_news(f, q)) {
		waiter_follow(q, f->answer);
		query_progress(q);
	}
}

static void waiter_remove(struct flight *f, struct query *q)
{
	assert(q->flight == f);
	TAILQ_REMOVE(&f->waiters, q, link);
	f->waiters_count--;
	f->askers_count -= q->op == OP_QUERY;
	f->engine->waiters_count--;
	f->led &= !q->leader;
	q->flight = NULL;
}

/* The flight's outcome as this waiter's own: who it was made for, and what it saved the others. */
static struct query_outcome waiter_outcome(const struct flight *f, const struct query *q)
{
	struct query_outcome o = f->outcome;

	o.stages_us[STAGE_EXACT] = f->exact_us;
	if (o.source == SOURCE_LLM && !q->leader) {
		o.source = SOURCE_JOINED;
		o.tokens_saved = f->entry->saves_tokens;
		o.cost_saved_nusd = f->entry->saves_nusd;
	}
	return o;
}

static void waiters_end(struct flight *f)
{
	struct query *q = TAILQ_FIRST(&f->waiters);

	if (q != NULL && !f->led)
		q->leader = true; /* the one it was made for has left: the call counts as the next one's */
	while ((q = TAILQ_FIRST(&f->waiters)) != NULL) {
		struct query_outcome o = waiter_outcome(f, q);

		if (o.fault.code == ERR_NONE && waiter_has_news(f, q))
			waiter_follow(q, f->answer);
		waiter_remove(f, q);
		query_end(q, &o, f->entry);
	}
}

/* LOOKUPs want no call: what is not stored is a miss. */
static void lookups_miss(struct flight *f)
{
	struct query_outcome miss = {.source = SOURCE_NONE, .reason = REASON_MISS};
	struct query *q, *next;

	miss.stages_us[STAGE_EXACT] = f->exact_us;
	for (q = TAILQ_FIRST(&f->waiters); q != NULL; q = next) {
		next = TAILQ_NEXT(q, link);
		if (q->op != OP_LOOKUP)
			continue;
		waiter_remove(f, q);
		query_end(q, &miss, NULL);
	}
}

static void flight_finish(struct flight *f, enum flight_state state)
{
	flight_move(f, state);
	flight_unlist(f);
	if (f->calling)
		upstream_cancel(&f->call);
	f->calling = false;
	waiters_end(f);
	flight_retire(f);
}

static void flight_fail(struct flight *f, const struct fault *fault, uint64_t retry_after_ms, unsigned upstream_status)
{
	f->outcome.fault = *fault;
	f->outcome.retry_after_ms = retry_after_ms;
	f->outcome.upstream_status = upstream_status;
	flight_finish(f, FLIGHT_FAILED);
}

/* An answer that may be kept is worth its money also when nobody waits for it any more. */
static void flight_give_up_if_useless(struct flight *f)
{
	bool kept = f->engine->options->finish_abandoned && !f->no_store && !f->doomed;

	if (f->waiters_count == 0 && f->calling && !kept) /* a read ends by itself */
		flight_finish(f, FLIGHT_DONE);
}

void flight_leave(struct flight *f, struct query *q)
{
	waiter_remove(f, q);
	if (f->waiters_count > 0 || flight_is_over(f))
		return;
	f->engine->metrics.engine_flights_abandoned_total++;
	flight_give_up_if_useless(f);
}

void flight_doom(struct flight *f)
{
	f->doomed = true;
	flight_unlist(f);
	flight_give_up_if_useless(f);
}

void flight_abort(struct flight *f)
{
	struct fault fault;

	if (flight_is_over(f))
		return;
	f->aborted = true;
	fault_set(&fault, ERR_SHUTTING_DOWN, "", "the server is shutting down");
	flight_fail(f, &fault, 1000, 0);
}

/* ---- EXACT */

static void flight_hit(struct flight *f, struct entry *entry)
{
	f->entry = entry_ref(entry);
	f->outcome.source = SOURCE_EXACT;
	engine_hit_outcome(f->engine, entry, &f->outcome);
	f->engine->metrics.engine_time_saved_us_total += entry->saves_us * f->waiters_count;
	flight_finish(f, FLIGHT_DONE);
}

static void flight_read_done(struct durable_read *r)
{
	struct flight *f = (struct flight *)((char *)r - offsetof(struct flight, read));
	struct engine *e = f->engine;
	struct entry *entry = r->status == DURABLE_OK ? r->entry : NULL;

	f->reading = false;
	f->exact_us = loop_now_us(e->loop) - f->started_us;
	if (f->aborted) {
		entry_unref(entry);
		flight_retire(f);
		return;
	}
	assert(f->state == FLIGHT_EXACT);
	if (entry != NULL && !f->doomed && engine_judge(e, entry, f->max_age_ms) == ENTRY_FRESH) {
		flight_hit(f, entry);
		entry_unref(entry);
		return;
	}
	entry_unref(entry);
	flight_move(f, FLIGHT_EMBED);
	flight_tick(f);
}

static void flight_read(struct flight *f)
{
	flight_move(f, FLIGHT_EXACT);
	memcpy(f->read.key, f->node.key, sizeof f->read.key);
	f->read.done = flight_read_done;
	f->reading = true;
	store_read(f->engine->store, &f->read);
}

/* ---- LLM */

/* Once a turn for any number of pieces: there may be many readers. */
static void flight_tell_readers(struct loop_task *t)
{
	struct flight *f = (struct flight *)((char *)t - offsetof(struct flight, progress_task));
	struct query *q;

	TAILQ_FOREACH (q, &f->waiters, link) {
		if (waiter_has_news(f, q)) {
			waiter_follow(q, f->answer);
			query_progress(q);
		}
	}
}

static bool flight_piece(struct upstream_call *c, enum proto_segment kind, unsigned index, struct slice data)
{
	struct flight *f = (struct flight *)((char *)c - offsetof(struct flight, call));
	uint64_t before = f->answer->memory_bytes;
	bool appended = answer_append(f->answer, kind, index, data);

	assert(f->state == FLIGHT_LLM);
	f->engine->answers_bytes += f->answer->memory_bytes - before;
	if (!appended)
		return false;
	loop_defer(f->engine->loop, &f->progress_task, flight_tell_readers);
	return true;
}

/* Those who have seen part of an answer that broke off cannot be given another one: an error says how far they came. */
static void readers_interrupt(struct flight *f, const struct upstream_result *r)
{
	struct query_outcome o = f->outcome;
	struct query *q, *next;

	fault_set(&o.fault, ERR_INTERRUPTED, "", "the answer broke off: %s", r->message);
	o.upstream_status = r->http_status;
	for (q = TAILQ_FIRST(&f->waiters); q != NULL; q = next) {
		next = TAILQ_NEXT(q, link);
		if (q->answer != f->answer || q->reader.offset == 0)
			continue;
		waiter_remove(f, q);
		query_end(q, &o, NULL);
	}
}

/* The others wait again, for a new answer. */
static void readers_reset(struct flight *f)
{
	struct query *q;

	TAILQ_FOREACH (q, &f->waiters, link) {
		loop_undefer(f->engine->loop, &q->task);
		answer_unref((struct answer *)q->answer);
		q->answer = NULL;
		q->reader = (struct answer_reader){0};
		q->state = QUERY_WAITING;
	}
	flight_drop_answer(f);
}

static void flight_broke(struct flight *f, const struct upstream_result *r)
{
	bool began = f->answer->bytes > 0;
	struct fault fault;

	answer_finish(f->answer, ANSWER_FAILED);
	if (began)
		readers_interrupt(f, r);
	if (f->waiters_count == 0) {
		flight_finish(f, FLIGHT_DONE);
		return;
	}
	if (began && f->restarts < FLIGHT_RESTARTS_MAX && proto_error_retryable(r->code)) {
		f->restarts++;
		f->engine->metrics.engine_flights_restarted_total++;
		readers_reset(f);
		flight_tick(f);
		return;
	}
	/* Who is left has seen nothing: for them nothing was interrupted. */
	fault_set(&fault, r->code == ERR_INTERRUPTED ? ERR_UPSTREAM_FAILED : r->code, "", "%s", r->message);
	flight_fail(f, &fault, r->retry_after_ms, r->http_status);
}

/* ---- CHECK and STORE */

static struct entry *flight_make_entry(struct flight *f, const struct upstream_result *r)
{
	struct engine *e = f->engine;
	struct slice model = r->model.n > 0 ? r->model : slice_str(f->model);
	const struct entry_worth worth = {
		.tokens = r->prompt_tokens + r->completion_tokens,
		.nusd = price_of(e->options, slice_str(f->model), r->prompt_tokens, r->completion_tokens),
		.us = r->first_byte_us + r->total_us,
	};
	struct end_body end = {0};
	struct entry *entry = NULL;
	struct buf payload;

	MESSAGE_SET(&end, END, finish_reason, r->finish_reason);
	MESSAGE_SET(&end, END, model, model);
	MESSAGE_SET(&end, END, prompt_tokens, r->prompt_tokens);
	MESSAGE_SET(&end, END, completion_tokens, r->completion_tokens);
	if (r->cached_tokens > 0)
		MESSAGE_SET(&end, END, cached_tokens, r->cached_tokens);
	MESSAGE_SET(&end, END, entry, slice_of(f->node.key, sizeof f->node.key));
	MESSAGE_SET(&end, END, upstream, slice_str(upstream_name(f->upstream)));
	buf_init(&payload, ENTRY_PAYLOAD_BYTES_MAX, NULL);
	if (payload_from_answer(&payload, &end, f->answer))
		entry = engine_entry(e, f->node.key, f->begun, f->ttl_ms, f->tags, &worth, buf_slice(&payload));
	buf_free(&payload);
	return entry;
}

/* Why the answer is kept, or not. */
static enum proto_reason flight_check(struct flight *f, const struct upstream_result *r)
{
	enum proto_reason reason = quality_check(f->answer, r->finish_reason);
	struct engine_metrics *m = &f->engine->metrics;

	if (reason == REASON_UNFINISHED) {
		m->engine_unstored_unfinished_total++;
	} else if (reason == REASON_EMPTY) {
		m->engine_unstored_empty_total++;
	} else if (f->no_store) {
		m->engine_unstored_no_store_total++;
		reason = REASON_NO_STORE;
	} else if (f->doomed || !freshness_alive(&f->engine->freshness, f->begun, f->tags, POLICY_TAGS)) {
		m->engine_unstored_invalidated_total++;
		reason = REASON_INVALIDATED;
	}
	return reason;
}

static enum proto_reason flight_store(struct flight *f, enum proto_reason reason)
{
	if (reason != REASON_STORED)
		return reason;
	if (!store_write(f->engine->store, f->entry)) {
		f->engine->metrics.engine_unstored_other_total++;
		return REASON_TOO_LARGE;
	}
	f->engine->metrics.engine_stored_total++;
	return REASON_STORED;
}

static void flight_answered(struct flight *f, const struct upstream_result *r)
{
	enum proto_reason reason;
	struct fault fault;

	flight_move(f, FLIGHT_CHECK);
	answer_finish(f->answer, ANSWER_COMPLETE);
	f->entry = flight_make_entry(f, r);
	if (f->entry == NULL) {
		fault_set(&fault, ERR_NO_MEMORY, "", "there is no memory for the answer");
		flight_fail(f, &fault, 1000, 0);
		return;
	}
	reason = flight_check(f, r);
	flight_move(f, FLIGHT_STORE);
	reason = flight_store(f, reason); /* issued before anybody sees END */
	f->outcome.source = SOURCE_LLM;
	f->outcome.stored = reason == REASON_STORED;
	f->outcome.reason = reason;
	f->outcome.stages_us[STAGE_SLOT] = r->slot_us;
	f->outcome.stages_us[STAGE_FIRST_BYTE] = r->first_byte_us;
	f->outcome.stages_us[STAGE_LLM] = r->total_us;
	flight_finish(f, FLIGHT_DONE);
}

static void flight_call_end(struct upstream_call *c, const struct upstream_result *r)
{
	struct flight *f = (struct flight *)((char *)c - offsetof(struct flight, call));

	assert(f->state == FLIGHT_LLM);
	f->calling = false;
	if (r->code == ERR_NONE)
		flight_answered(f, r);
	else
		flight_broke(f, r);
}

static void flight_call(struct flight *f)
{
	struct engine *e = f->engine;
	struct upstream_request request = {
		.frame = buf_slice(&f->frame),
		.model = slice_str(f->model),
		.deadline_us = f->started_us + e->options->timeout_ms * 1000,
	};
	uint64_t retry_after_ms = 0;
	struct fault fault = {0};

	flight_move(f, FLIGHT_LLM);
	if (f->upstream == NULL) {
		if (upstreams_any(e->upstreams))
			fault_set(&fault, ERR_NO_UPSTREAM, "model",
				  "no upstream serves the model %s: see upstreams[].models", log_quote(f->model, -1));
		else
			fault_set(&fault, ERR_NO_UPSTREAM, "",
				  "the server has no upstream: start promptcached with OPENAI_API_KEY or "
				  "OPENAI_BASE_URL set, or give it upstreams");
		flight_fail(f, &fault, 0, 0);
		return;
	}
	f->answer = answer_new();
	if (f->answer == NULL) {
		fault_set(&fault, ERR_NO_MEMORY, "", "there is no memory for the answer");
		flight_fail(f, &fault, 1000, 0);
		return;
	}
	e->answers_bytes += f->answer->memory_bytes;
	f->call = (struct upstream_call){.piece = flight_piece, .end = flight_call_end};
	if (upstream_start(f->upstream, &f->call, &request, &fault, &retry_after_ms) < 0) {
		flight_fail(f, &fault, retry_after_ms, 0);
		return;
	}
	f->calling = true;
}

/* ---- the journey: runs until it waits */

static void flight_tick(struct flight *f)
{
	for (;;) {
		switch (f->state) {
		case FLIGHT_START:
			if (!f->no_cache && store_has_durable(f->engine->store)) {
				flight_read(f);
				return;
			}
			flight_move(f, FLIGHT_EMBED);
			break;
		case FLIGHT_EMBED: /* no embedder yet: passed through */
			flight_move(f, FLIGHT_SEMANTIC);
			break;
		case FLIGHT_SEMANTIC: /* no index yet: passed through */
			lookups_miss(f);
			if (f->askers_count == 0) {
				flight_finish(f, FLIGHT_DONE); /* nobody is left who wants the LLM called */
				return;
			}
			flight_call(f);
			return;
		case FLIGHT_LLM: /* again, after it broke half-way */
			flight_call(f);
			return;
		case FLIGHT_EXACT:
		case FLIGHT_CHECK:
		case FLIGHT_STORE:
		case FLIGHT_DONE:
		case FLIGHT_FAILED:
			assert(false);
			return;
		}
	}
}

void flight_start(struct flight *f)
{
	assert(f->state == FLIGHT_START && f->waiters_count > 0);
	flight_tick(f);
}
