#include <assert.h>
#include <inttypes.h>

#include "server/engine/engine_internal.h"

static void query_tell(struct loop_task *t)
{
	struct query *q = (struct query *)((char *)t - offsetof(struct query, task));

	q->ready(q);
}

void query_progress(struct query *q)
{
	assert(q->state == QUERY_WAITING || q->state == QUERY_ANSWERING);
	q->state = QUERY_ANSWERING;
	loop_defer(q->engine->loop, &q->task, query_tell);
}

/* What the end means for the totals. */
static void outcome_count(struct engine_metrics *m, const struct query_outcome *o)
{
	switch (o->fault.code) {
	case ERR_NONE:
		break;
	case ERR_TIMEOUT:
		m->engine_timeouts_total++;
		return;
	case ERR_OVERLOADED:
		m->engine_overloaded_total++;
		return;
	default:
		m->engine_failed_total++;
		return;
	}
	switch (o->source) {
	case SOURCE_EXACT:
		m->engine_hits_exact_total++;
		break;
	case SOURCE_LLM:
		m->engine_llm_total++;
		break;
	case SOURCE_JOINED:
		m->engine_joined_total++;
		break;
	case SOURCE_NONE:
		m->engine_misses_total++;
		break;
	case SOURCE_SEMANTIC:
	case SOURCE_STALE:
		assert(false); /* nothing makes them yet */
	}
	m->engine_tokens_saved_total += o->tokens_saved;
	m->engine_cost_saved_nusd_total += o->cost_saved_nusd;
}

void query_end(struct query *q, const struct query_outcome *outcome, struct entry *entry)
{
	struct engine *e = q->engine;

	assert(q->state == QUERY_WAITING || q->state == QUERY_ANSWERING);
	assert(q->flight == NULL);
	loop_disarm(e->loop, &q->patience);
	q->outcome = *outcome;
	q->outcome.as_of = freshness_as_of(&e->freshness, loop_wall_us(e->loop));
	q->outcome.stages_us[STAGE_TOTAL] = loop_now_us(e->loop) - q->arrived_us;
	q->entry = entry != NULL ? entry_ref(entry) : NULL;
	q->mint = outcome->source == SOURCE_EXACT ? random_next(&e->random) | 1 : 0;
	q->state = QUERY_ENDED;
	outcome_count(&e->metrics, &q->outcome);
	loop_defer(e->loop, &q->task, query_tell);
}

static void query_patience_over(struct deadline *d)
{
	struct query *q = (struct query *)((char *)d - offsetof(struct query, patience));
	struct query_outcome outcome = {0};

	fault_set(&outcome.fault, ERR_TIMEOUT, "timeout_ms", "there was no whole answer after %" PRIu64 " ms",
		  (loop_now_us(q->engine->loop) - q->arrived_us) / 1000);
	flight_leave(q->flight, q);
	query_end(q, &outcome, NULL);
}

/* A hit in memory: answered in the same turn, nothing allocated. */
static void query_hit(struct engine *e, struct query *q, struct entry *entry)
{
	q->outcome.source = SOURCE_EXACT;
	engine_hit_outcome(e, entry, &q->outcome);
	q->outcome.as_of = freshness_as_of(&e->freshness, loop_wall_us(e->loop));
	q->outcome.stages_us[STAGE_TOTAL] =
		1 + loop_clock_us(e->loop) - q->arrived_us; /* 0 would say that it did not take place */
	q->entry = entry_ref(entry);
	q->mint = random_next(&e->random) | 1;
	q->state = QUERY_ENDED;
	e->metrics.engine_hits_memory_total++;
	e->metrics.engine_time_saved_us_total += entry->saves_us;
	outcome_count(&e->metrics, &q->outcome);
}

/* NULL: nothing in memory may be served. */
static struct entry *memory_hit(struct engine *e, const struct plan *plan)
{
	struct entry *entry;

	if (plan->no_cache)
		return NULL;
	entry = store_find(e->store, plan->key);
	if (entry == NULL)
		return NULL;
	switch (engine_judge(e, entry, plan->max_age_ms)) {
	case ENTRY_FRESH:
		return entry;
	case ENTRY_EXPIRED:
	case ENTRY_INVALIDATED:
		store_drop(e->store, plan->key);
		return NULL;
	case ENTRY_TOO_OLD:
		return NULL;
	}
	return NULL;
}

static void query_wait(struct engine *e, struct query *q, struct flight *f, const struct plan *plan,
		       uint64_t timeout_ms)
{
	q->state = QUERY_WAITING;
	q->max_age_ms = plan->max_age_ms;
	flight_join(f, q, plan);
	loop_arm(e->loop, &q->patience, timeout_ms * 1000, query_patience_over);
}

/* A LOOKUP that cannot be answered from what a flight may still read. */
static void query_miss(struct engine *e, struct query *q)
{
	struct query_outcome *o = &q->outcome;

	o->source = SOURCE_NONE;
	o->reason = REASON_MISS;
	o->as_of = freshness_as_of(&e->freshness, loop_wall_us(e->loop));
	q->state = QUERY_ENDED;
	outcome_count(&e->metrics, o);
}

static int query_fly(struct engine *e, struct query *q, const struct plan *plan, const struct request_body *r,
		     struct slice frame)
{
	uint64_t timeout_ms = r->timeout_ms > 0 ? r->timeout_ms : e->options->patience_ms;
	struct flight *f = flight_find(e, plan, q);
	bool is_new = f == NULL;

	if (q->op == OP_LOOKUP && (is_new ? !store_has_durable(e->store) : f->state > FLIGHT_EXACT)) {
		query_miss(e, q);
		return 0;
	}
	if (is_new) {
		f = flight_new(e, plan, frame, &q->outcome.fault);
		if (f == NULL)
			goto refused;
	} else if (f->waiters_count >= e->options->waiters_max) {
		fault_set(&q->outcome.fault, ERR_OVERLOADED, "",
			  "%zu clients wait for this answer already (flight.waiters)", f->waiters_count);
		goto refused;
	}
	q->leader = is_new;
	query_wait(e, q, f, plan, timeout_ms);
	if (is_new)
		flight_start(f);
	return 0;
refused:
	q->outcome.retry_after_ms = 1000;
	outcome_count(&e->metrics, &q->outcome);
	return -1;
}

int engine_query(struct engine *e, struct query *q, const struct message *m, struct slice frame)
{
	struct entry *entry;
	struct plan plan;

	assert(q->state == QUERY_NEW && q->ready != NULL);
	assert(m->op == OP_QUERY || m->op == OP_LOOKUP);
	if (e->draining) {
		fault_set(&q->outcome.fault, ERR_SHUTTING_DOWN, "", "the server is shutting down");
		q->outcome.retry_after_ms = 1000;
		return -1;
	}
	if (policy_plan(e->digester, e->upstreams, e->options, &m->request, &plan, &q->outcome.fault) < 0)
		return -1;
	e->metrics.engine_queries_total++;
	q->engine = e;
	q->op = (uint8_t)m->op;
	q->arrived_us = loop_now_us(e->loop);
	entry = memory_hit(e, &plan);
	if (entry != NULL) {
		query_hit(e, q, entry);
		return 0;
	}
	return query_fly(e, q, &plan, &m->request, frame);
}

void query_cancel(struct query *q)
{
	assert(q->state == QUERY_WAITING || q->state == QUERY_ANSWERING);
	q->engine->metrics.engine_cancelled_total++;
	loop_undefer(q->engine->loop, &q->task);
	loop_disarm(q->engine->loop, &q->patience);
	flight_leave(q->flight, q);
	q->state = QUERY_ENDED;
	fault_set(&q->outcome.fault, ERR_CANCELLED, "", "the client cancelled the request");
}

void query_release(struct query *q)
{
	assert(q->state == QUERY_NEW || q->state == QUERY_ENDED);
	if (q->engine != NULL)
		loop_undefer(q->engine->loop, &q->task);
	entry_unref(q->entry);
	q->entry = NULL;
	answer_unref((struct answer *)q->answer);
	q->answer = NULL;
}
