#include "bench/bench/load.h"

#include <stdio.h>

#include "bench/bench/memory.h"
#include "bench/mockai/random.h"

enum action {
	ACTION_QUERY,
	ACTION_LOOKUP,
	ACTION_PUT
};

/* A load under way, and one slot for each request that may be in flight. */
struct phase {
	struct load *load;
	struct tally *tally;
	enum action action;
	bool priming;	      /* each prompt of the working set once, in order */
	const char *put_text; /* ACTION_PUT: what is stored; settings.answer_bytes */
	struct slot *slots;
	size_t slot_count;
};

struct slot {
	struct phase *phase;
	struct pc_async *pc; /* (borrowed) */
	uint64_t started_ns;
};

static const char *prompt_next(struct phase *p)
{
	struct load *l = p->load;
	struct random r = {l->random};
	const char *prompt;

	if (p->priming)
		return prompts_get(l->prompts, l->pace->started - 1);
	if (l->settings->hit_ratio < 1 && random_unit(&r) >= l->settings->hit_ratio)
		prompt = prompts_fresh(l->prompts);
	else
		prompt = prompts_get(l->prompts, random_next(&r) % l->prompts->count);
	l->random = r.state;
	return prompt;
}

static int on_chunk(void *owner, const struct pc_chunk *chunk)
{
	(void)owner;
	(void)chunk;
	return 0;
}

static void slot_next(struct slot *s);

static void on_done(void *owner, int status, struct pc_answer *answer, const struct pc_failure *failure)
{
	struct slot *s = owner;
	struct phase *p = s->phase;
	char reason[TALLY_NAME_LENGTH];

	if (status != PC_OK && status != PC_MISS) {
		tally_failure(p->tally, failure->name);
	} else if (p->action == ACTION_PUT && !pc_answer_stored(answer)) {
		(void)snprintf(reason, sizeof(reason), "NOT_STORED: %s", pc_answer_reason(answer));
		tally_failure(p->tally, reason);
	} else {
		tally_answer(p->tally, p->action == ACTION_PUT ? "put" : pc_answer_source(answer),
			     uv_hrtime() - s->started_ns);
	}
	pc_answer_free(answer);
	slot_next(s);
	pace_end(p->load->pace);
}

/* Starts the slot's next request, if one may leave. One that cannot even start retires the slot: the connection is
 * gone, and a loop that tries again at once would only count how fast it fails. */
static void slot_next(struct slot *s)
{
	struct phase *p = s->phase;
	const struct settings *settings = p->load->settings;
	struct pc_query q = PC_QUERY_INIT;
	struct pc_content content = PC_CONTENT_INIT;
	int rc = PC_INVALID;

	if (!pace_start(p->load->pace))
		return;
	q.model = settings->model;
	q.prompt = prompt_next(p);
	q.prompt_len = p->load->prompts->size;
	q.timeout_ms = (unsigned)settings->timeout;
	s->started_ns = uv_hrtime();
	switch (p->action) {
	case ACTION_QUERY:
		rc = pc_async_query(s->pc, &q, settings->stream ? on_chunk : NULL, on_done, s, NULL);
		break;
	case ACTION_LOOKUP:
		rc = pc_async_lookup(s->pc, &q, on_done, s, NULL);
		break;
	case ACTION_PUT:
		content.text = p->put_text;
		content.text_len = settings->answer_bytes;
		content.prompt_tokens = settings->request_bytes / 4;
		content.completion_tokens = settings->answer_bytes / 4;
		rc = pc_async_put(s->pc, &q, &content, on_done, s, NULL);
		break;
	}
	if (rc != PC_OK) {
		tally_failure(p->tally, pc_async_error(s->pc)->name);
		pace_end(p->load->pace);
	}
}

static void phase_first(void *owner)
{
	struct phase *p = owner;

	for (size_t i = 0; i < p->slot_count; i++)
		slot_next(&p->slots[i]);
}

static uint64_t phase_run(struct phase *p, const char *name, struct pace_extent extent)
{
	const struct settings *s = p->load->settings;
	uint64_t elapsed_ns;

	p->slot_count = s->connections * s->depth;
	p->slots = memory_need(p->slot_count, sizeof(*p->slots));
	for (size_t i = 0; i < p->slot_count; i++)
		p->slots[i] = (struct slot){.phase = p, .pc = p->load->clients->pc[i / s->depth]};
	elapsed_ns = pace_run(p->load->pace, name, extent, phase_first, p);
	free(p->slots);
	return elapsed_ns;
}

void load_prime(struct load *l, struct tally *tally)
{
	const struct settings *s = l->settings;
	struct phase p = {.load = l, .tally = tally, .priming = true};
	char *text;

	if (s->prime == PRIME_NONE)
		return;
	text = memory_need(1, s->answer_bytes);
	prompts_write_text(text, s->answer_bytes, s->seed + 1);
	p.put_text = text;
	p.action = s->prime == PRIME_PUT ? ACTION_PUT : ACTION_QUERY;
	(void)phase_run(&p, "prime", (struct pace_extent){.requests = s->keys});
	free(text);
}

uint64_t load_run(struct load *l, struct pace_extent extent, struct tally *tally)
{
	struct phase p = {.load = l, .tally = tally};

	p.action = l->settings->operation == OPERATION_LOOKUP ? ACTION_LOOKUP : ACTION_QUERY;
	return phase_run(&p, "server", extent);
}
