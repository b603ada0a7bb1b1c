/* flight list: the flights that newcomers find, by exact key; those with one key stand beside each other. */
#include <assert.h>

#include "server/engine/engine_internal.h"

void flight_list(struct flight *f)
{
	struct engine *e = f->engine;
	struct flight *first = (struct flight *)map_find(&e->flights, f->node.key);

	if (first == NULL) {
		map_insert(&e->flights, &f->node);
	} else {
		f->beside = first->beside;
		first->beside = f;
	}
	f->listed = true;
}

void flight_unlist(struct flight *f)
{
	struct engine *e = f->engine;
	struct flight *first;

	if (!f->listed)
		return;
	first = (struct flight *)map_find(&e->flights, f->node.key);
	assert(first != NULL);
	if (first == f) {
		map_remove(&e->flights, &f->node);
		if (f->beside != NULL)
			map_insert(&e->flights, &f->beside->node);
	} else {
		while (first->beside != f)
			first = first->beside;
		first->beside = f->beside;
	}
	f->beside = NULL;
	f->listed = false;
}

/* Does the flight give all that this request asks for? What comes from the LLM is as fresh as can be. */
static bool flight_gives(const struct flight *f, const struct plan *plan, const struct query *q)
{
	if (f->no_cache)
		return q->op != OP_LOOKUP; /* it does not read what a LOOKUP is about */
	return !plan->no_cache && (f->state >= FLIGHT_LLM || f->max_age_ms <= plan->max_age_ms);
}

struct flight *flight_find(struct engine *e, const struct plan *plan, const struct query *q)
{
	struct flight *f, *beside;

	for (f = (struct flight *)map_find(&e->flights, plan->key); f != NULL; f = beside) {
		beside = f->beside;
		if (!freshness_alive(&e->freshness, f->begun, f->tags, POLICY_TAGS))
			flight_unlist(f); /* for good: a chain of them would be walked by every newcomer */
		else if (q->arrived_us - f->started_us <= e->options->joinable_ms * 1000 && flight_gives(f, plan, q))
			return f;
	}
	return NULL;
}
