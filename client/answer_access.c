/* answer: what users ask of it. */
#include "client/answer_internal.h"

void pc_answer_free(struct pc_answer *a)
{
	if (a == NULL)
		return;

	struct mem mem = a->mem;

	mem_free(&mem, a);
}

const char *answer_source_name(uint64_t source)
{
	const char *name = proto_source_name(source);

	return name != NULL ? name : "unknown";
}

const char *pc_kind_name(int kind)
{
	const char *name = kind > 0 ? proto_segment_name((uint64_t)kind) : NULL;

	return name != NULL ? name : "unknown";
}

const char *pc_answer_text(const struct pc_answer *a) { return a->text; }
size_t pc_answer_text_len(const struct pc_answer *a) { return a->text_len; }
size_t pc_answer_segment_count(const struct pc_answer *a) { return a->segment_count; }

const struct pc_segment *pc_answer_segment(const struct pc_answer *a, size_t i)
{
	return i < a->segment_count ? &a->segments[i] : NULL;
}

const char *pc_answer_source(const struct pc_answer *a) { return answer_source_name(a->source); }

int pc_answer_hit(const struct pc_answer *a)
{
	return a->source == SOURCE_EXACT || a->source == SOURCE_SEMANTIC || a->source == SOURCE_STALE;
}

const char *pc_answer_model(const struct pc_answer *a) { return a->model; }
const char *pc_answer_upstream(const struct pc_answer *a) { return a->upstream; }
const char *pc_answer_finish_reason(const struct pc_answer *a) { return a->finish_reason; }
int pc_answer_stored(const struct pc_answer *a) { return a->stored; }

const char *pc_answer_reason(const struct pc_answer *a)
{
	const char *name = proto_reason_name(a->reason);

	return name != NULL ? name : "unknown";
}

const char *pc_answer_reason_text(const struct pc_answer *a)
{
	const char *text = proto_reason_text(a->reason);

	return text != NULL ? text : "a reason this version does not know";
}

uint64_t pc_answer_prompt_tokens(const struct pc_answer *a) { return a->prompt_tokens; }
uint64_t pc_answer_completion_tokens(const struct pc_answer *a) { return a->completion_tokens; }
uint64_t pc_answer_cached_tokens(const struct pc_answer *a) { return a->cached_tokens; }
uint64_t pc_answer_tokens_saved(const struct pc_answer *a) { return a->tokens_saved; }
double pc_answer_cost_saved_usd(const struct pc_answer *a) { return (double)a->cost_saved_nusd / 1e9; }
uint64_t pc_answer_age_ms(const struct pc_answer *a) { return a->age_ms; }
uint64_t pc_answer_latency_us(const struct pc_answer *a) { return a->latency_us; }
const char *pc_answer_entry(const struct pc_answer *a) { return a->entry; }
uint64_t pc_answer_as_of(const struct pc_answer *a) { return a->as_of; }
uint64_t pc_answer_removed(const struct pc_answer *a) { return a->removed; }

int pc_answer_similarity(const struct pc_answer *a, double *ret)
{
	if (!MESSAGE_HAS(a, END, similarity))
		return 0;
	*ret = a->similarity;
	return 1;
}

int pc_answer_confidence(const struct pc_answer *a, double *ret)
{
	if (!MESSAGE_HAS(a, END, confidence))
		return 0;
	*ret = a->confidence;
	return 1;
}

const char *pc_answer_stage(const struct pc_answer *a, size_t i, uint64_t *ret_us)
{
	if (i >= a->stage_count)
		return NULL;

	double us = a->stages[i].value;

	if (ret_us != NULL)
		*ret_us = us >= 0 && us < 1e18 ? (uint64_t)us : 0; /* a float may say anything */
	return a->stages[i].name;
}

const char *pc_answer_stat(const struct pc_answer *a, size_t i, double *ret)
{
	if (i >= a->stat_count)
		return NULL;
	if (ret != NULL)
		*ret = a->stats[i].value;
	return a->stats[i].name;
}
