/* What pc_answer hides. Private to answer.c and answer_access.c. */
#ifndef CLIENT_ANSWER_INTERNAL_H
#define CLIENT_ANSWER_INTERNAL_H

#include "client/answer.h"

struct answer_number {
	const char *name;
	double value;
};

/* One block of memory holds it and all that its pointers point to. */
struct pc_answer {
	struct mem mem; /* a copy: answers outlive their handle */
	struct pc_segment *segments;
	struct answer_number *stages;
	struct answer_number *stats;
	size_t segment_count;
	size_t stage_count;
	size_t stat_count;
	size_t text_len;
	const char *text;
	const char *model;
	const char *upstream;
	const char *finish_reason;
	const char *entry;
	uint64_t has; /* bits of end_body */
	uint64_t source;
	uint64_t reason;
	uint64_t prompt_tokens;
	uint64_t completion_tokens;
	uint64_t cached_tokens;
	uint64_t tokens_saved;
	uint64_t cost_saved_nusd;
	uint64_t age_ms;
	uint64_t latency_us;
	uint64_t as_of;
	uint64_t removed;
	double similarity;
	double confidence;
	bool stored;
};

#endif
