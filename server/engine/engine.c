#include <assert.h>
#include <stdlib.h>

#include "server/engine/engine_internal.h"
#include "server/engine/payload.h"
#include "server/engine/price.h"
#include "server/engine/quality.h"

/* The wall clock may jump. A little before its storing counts as age 0; an entry from farther in the future was stored
 * under a clock that was wrong, and would live for as long as that was ahead. */
#define CLOCK_SLACK_US UINT64_C(60000000)

static bool entry_expired(const struct entry *entry, uint64_t wall_us)
{
	return wall_us >= entry->expires_us || entry->stored_us > wall_us + CLOCK_SLACK_US ||
	       entry->policy_revision != POLICY_REVISION;
}

static uint64_t entry_age_us(const struct entry *entry, uint64_t wall_us)
{
	return wall_us > entry->stored_us ? wall_us - entry->stored_us : 0;
}

/* A key as a tag of its own. */
static struct tag key_tag(const uint8_t key[ENTRY_KEY_BYTES])
{
	struct tag tag;

	memcpy(tag.id, key, ENTRY_TAG_BYTES);
	return tag;
}

static bool entry_alive(struct engine *e, const struct entry *entry)
{
	struct tag key = key_tag(entry->node.key);

	return freshness_alive(&e->freshness, entry->begun, entry->tags, entry->tags_count) &&
	       (e->key_epochs == 0 || freshness_alive(&e->freshness, entry->begun, &key, 1));
}

enum entry_verdict engine_judge(struct engine *e, const struct entry *entry, uint64_t max_age_ms)
{
	uint64_t wall_us = loop_wall_us(e->loop);

	if (!entry_alive(e, entry)) {
		e->metrics.engine_invalidated_total++;
		return ENTRY_INVALIDATED;
	}
	if (entry_expired(entry, wall_us)) {
		e->metrics.engine_expired_total++;
		return ENTRY_EXPIRED;
	}
	if (max_age_ms != UINT64_MAX && entry_age_us(entry, wall_us) / 1000 > max_age_ms) {
		e->metrics.engine_expired_total++;
		return ENTRY_TOO_OLD;
	}
	return ENTRY_FRESH;
}

void engine_hit_outcome(struct engine *e, const struct entry *entry, struct query_outcome *ret)
{
	ret->stored = true;
	ret->reason = REASON_ALREADY;
	ret->age_ms = entry_age_us(entry, loop_wall_us(e->loop)) / 1000;
	ret->tokens_saved = entry->saves_tokens;
	ret->cost_saved_nusd = entry->saves_nusd;
}

struct entry *engine_entry(struct engine *e, const uint8_t key[ENTRY_KEY_BYTES], uint64_t begun, uint64_t ttl_ms,
			   const struct tag *tags, const struct entry_worth *worth, struct slice payload)
{
	uint64_t wall_us = loop_wall_us(e->loop);
	struct entry_parts parts = {
		.begun = begun,
		.stored_us = wall_us,
		.expires_us = wall_us + ttl_ms * 1000,
		.policy_revision = POLICY_REVISION,
		.saves_nusd = worth->nusd,
		.saves_us = worth->us,
		.saves_tokens = worth->tokens,
		.tags = tags,
		.tags_count = POLICY_TAGS,
		.payload = payload,
	};

	memcpy(parts.key, key, ENTRY_KEY_BYTES);
	return entry_new(&parts);
}

uint64_t engine_as_of(struct engine *e) { return freshness_as_of(&e->freshness, loop_wall_us(e->loop)); }

/* ---- what the store asks and tells */

static void engine_on_epoch(void *owner, const struct tag *tag, uint64_t stamp)
{
	struct engine *e = owner;

	freshness_invalidate(&e->freshness, tag, stamp);
}

static void engine_on_stamp(void *owner, uint64_t stamp)
{
	struct engine *e = owner;

	freshness_seen(&e->freshness, stamp);
}

static bool engine_on_alive(void *owner, const struct entry *entry)
{
	struct engine *e = owner;

	return !entry_expired(entry, loop_wall_us(e->loop)) && entry_alive(e, entry);
}

static bool engine_on_sound(void *owner, const struct entry *entry)
{
	struct engine *e = owner;
	bool sound = payload_is_sound(&e->decoder, entry_payload(entry));

	e->metrics.engine_damaged_total += !sound;
	return sound;
}

struct durable_events engine_store_events(struct engine *e)
{
	return (struct durable_events){
		.epoch = engine_on_epoch,
		.stamp = engine_on_stamp,
		.alive = engine_on_alive,
		.sound = engine_on_sound,
		.owner = e,
	};
}

void engine_set_store(struct engine *e, struct store *s) { e->store = s; }

/* ---- life */

struct engine *engine_new(struct loop *l, struct upstreams *u, const struct engine_options *options)
{
	struct engine *e = calloc(1, sizeof *e);
	uint64_t seed;

	if (e == NULL)
		return NULL;
	random_bytes(&seed, sizeof seed);
	random_seed(&e->random, seed);
	e->loop = l;
	e->upstreams = u;
	e->options = options;
	TAILQ_INIT(&e->all_flights);
	e->digester = digester_new();
	if (e->digester == NULL)
		goto no_digester;
	if (message_decoder_init(&e->decoder) < 0)
		goto no_decoder;
	if (freshness_init(&e->freshness) < 0)
		goto no_freshness;
	if (map_init(&e->flights) < 0)
		goto no_flights;
	return e;

no_flights:
	freshness_free(&e->freshness);
no_freshness:
	message_decoder_free(&e->decoder);
no_decoder:
	digester_free(e->digester);
no_digester:
	free(e);
	return NULL;
}

void engine_free(struct engine *e)
{
	if (e == NULL)
		return;
	assert(e->flights_count == 0 && e->waiters_count == 0 && e->invalidations_count == 0);
	loop_undefer(e->loop, &e->drained_task);
	map_free(&e->flights);
	freshness_free(&e->freshness);
	message_decoder_free(&e->decoder);
	digester_free(e->digester);
	free(e);
}

/* ---- flights */

int engine_admit_flight(const struct engine *e, size_t bytes, struct fault *fault)
{
	const struct engine_options *o = e->options;

	if (e->flights_count >= o->flights_max)
		return fault_set(fault, ERR_OVERLOADED, "",
				 "%zu different questions are in work already (flight.limit)", e->flights_count);
	if (e->flights_count > 0 && e->flights_bytes + bytes > o->flights_bytes_max)
		return fault_set(fault, ERR_OVERLOADED, "", "the questions in work have %llu bytes (flight.memory)",
				 (unsigned long long)e->flights_bytes);
	return 0;
}

/* ---- leaving */

static void engine_tell_drained(struct loop_task *t)
{
	struct engine *e = (struct engine *)((char *)t - offsetof(struct engine, drained_task));
	void (*drained)(void *owner) = e->drained;

	e->drained = NULL;
	drained(e->drained_owner);
}

static void engine_check_drained(struct engine *e)
{
	if (e->drained != NULL && e->flights_count == 0 && e->invalidations_count == 0)
		loop_defer(e->loop, &e->drained_task, engine_tell_drained);
}

void engine_flight_gone(struct engine *e) { engine_check_drained(e); }

void engine_drain(struct engine *e, void (*drained)(void *owner), void *owner)
{
	e->draining = true;
	e->drained = drained;
	e->drained_owner = owner;
	engine_check_drained(e);
}

void engine_abort(struct engine *e)
{
	struct flight *f;

	TAILQ_FOREACH (f, &e->all_flights, link)
		flight_abort(f); /* frees later, so that the walk is safe */
}

/* ---- PUT */

static int put_payload(struct buf *out, const struct plan *plan, const struct request_body *r,
		       struct slice finish_reason, struct fault *fault)
{
	struct end_body end = {0};

	MESSAGE_SET(&end, END, finish_reason, finish_reason);
	MESSAGE_SET(&end, END, model, plan->model);
	if (MESSAGE_HAS(r, REQUEST, prompt_tokens))
		MESSAGE_SET(&end, END, prompt_tokens, r->prompt_tokens);
	if (MESSAGE_HAS(r, REQUEST, completion_tokens))
		MESSAGE_SET(&end, END, completion_tokens, r->completion_tokens);
	MESSAGE_SET(&end, END, entry, slice_of(plan->key, sizeof plan->key));
	return payload_from_put(out, &end, r, fault);
}

static struct entry *put_entry(struct engine *e, const struct plan *plan, const struct request_body *r,
			       struct slice payload)
{
	const struct entry_worth worth = {
		.tokens = r->prompt_tokens + r->completion_tokens,
		.nusd = price_of(e->options, plan->model, r->prompt_tokens, r->completion_tokens),
	};
	struct tag tags[POLICY_TAGS];

	if (policy_tags(e->digester, plan, tags) < 0)
		return NULL;
	return engine_entry(e, plan->key, freshness_stamp(&e->freshness, loop_wall_us(e->loop)), plan->ttl_ms, tags,
			    &worth, payload);
}

int engine_put(struct engine *e, const struct message *m, struct query_outcome *ret_outcome,
	       uint8_t ret_entry[ENTRY_KEY_BYTES], struct fault *fault)
{
	const struct request_body *r = &m->request;
	struct slice finish_reason = MESSAGE_HAS(r, REQUEST, finish_reason) ? r->finish_reason : slice_str("stop");
	struct query_outcome o = {0};
	struct entry *entry = NULL;
	struct buf payload;
	struct plan plan;
	int rc = -1;

	if (policy_plan(e->digester, e->upstreams, e->options, r, &plan, fault) < 0)
		return -1;
	buf_init(&payload, ENTRY_PAYLOAD_BYTES_MAX, NULL);
	if (put_payload(&payload, &plan, r, finish_reason, fault) < 0)
		goto out;
	e->metrics.engine_puts_total++;
	o.reason = quality_check_put(r, finish_reason);
	if (o.reason == REASON_STORED) {
		entry = put_entry(e, &plan, r, buf_slice(&payload));
		if (entry == NULL) {
			fault_set(fault, ERR_NO_MEMORY, "", "there is no memory for the entry");
			goto out;
		}
		o.stored = store_write(e->store, entry);
		o.reason = o.stored ? REASON_STORED : REASON_TOO_LARGE;
		e->metrics.engine_stored_total += o.stored;
		e->metrics.engine_unstored_other_total += !o.stored;
	}
	o.as_of = engine_as_of(e);
	*ret_outcome = o;
	memcpy(ret_entry, plan.key, ENTRY_KEY_BYTES);
	rc = 0;
out:
	entry_unref(entry);
	buf_free(&payload);
	return rc;
}

/* ---- INVALIDATE */

/* The row is on disk still, and a read would find it: until the restart that the client is warned of, an epoch of the
 * key's own keeps it from being served. */
static void invalidation_hold(struct engine *e, const struct invalidation *i)
{
	struct tag tag = key_tag(i->key);

	freshness_invalidate(&e->freshness, &tag, i->stamp);
	e->key_epochs++;
}

static void invalidation_durable(struct durable_ack *a)
{
	struct invalidation *i = (struct invalidation *)((char *)a - offsetof(struct invalidation, ack));
	struct engine *e = i->engine;

	if (a->status != DURABLE_OK && i->counted)
		invalidation_hold(e, i);
	if (a->status != DURABLE_OK)
		fault_set(&i->fault, ERR_STORE_FAILED, "",
			  "it is in force, but the durable store did not take it: after a restart the old answer may "
			  "come back; try again");
	if (i->counted)
		i->removed = a->existed;
	e->invalidations_count--;
	engine_check_drained(e);
	i->done(i);
}

static int invalidate_request(struct engine *e, struct invalidation *i, const struct request_body *r,
			      struct fault *fault)
{
	struct flight *f, *beside;
	struct plan plan;

	if (policy_plan(e->digester, e->upstreams, e->options, r, &plan, fault) < 0)
		return -1;
	for (f = (struct flight *)map_find(&e->flights, plan.key); f != NULL; f = beside) {
		beside = f->beside;
		flight_doom(f);
	}
	i->counted = true;
	i->stamp = freshness_stamp(&e->freshness, loop_wall_us(e->loop));
	memcpy(i->key, plan.key, sizeof i->key);
	store_remove(e->store, plan.key, &i->ack);
	return 0;
}

static int invalidate_namespace(struct engine *e, struct invalidation *i, const struct request_body *r,
				struct fault *fault)
{
	uint64_t stamp = freshness_stamp(&e->freshness, loop_wall_us(e->loop));
	struct tag tag;

	if (MESSAGE_HAS(r, REQUEST, namespace) && r->namespace.n == 0)
		return fault_set(fault, ERR_INVALID, "namespace",
				 "namespace is empty: leave it out to mean the namespace default");
	if (policy_tag(e->digester, TAG_NAMESPACE, policy_namespace(r), &tag) < 0)
		return fault_set(fault, ERR_NO_MEMORY, "", "there is no memory for the invalidation");
	freshness_invalidate(&e->freshness, &tag, stamp);
	store_epoch(e->store, &tag, stamp, &i->ack);
	store_reclaim(e->store);
	return 0;
}

int engine_invalidate(struct engine *e, struct invalidation *i, const struct message *m, struct fault *fault)
{
	const struct request_body *r = &m->request;
	int rc;

	assert(i->done != NULL);
	i->engine = e;
	i->ack.done = invalidation_durable;
	switch (MESSAGE_HAS(r, REQUEST, target) ? r->target : TARGET_REQUEST) {
	case TARGET_REQUEST:
		rc = invalidate_request(e, i, r, fault);
		break;
	case TARGET_NAMESPACE:
		rc = invalidate_namespace(e, i, r, fault);
		break;
	default:
		return fault_set(fault, ERR_INVALID, "target",
				 "target is one of the numbers of PROTO_TARGETS, and is %llu",
				 (unsigned long long)r->target);
	}
	if (rc < 0)
		return -1;
	e->metrics.engine_invalidations_total++;
	e->invalidations_count++;
	i->as_of = engine_as_of(e);
	return 0;
}
