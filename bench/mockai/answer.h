/* answer: what the simulated model says. The same model, messages and seed give the same answer, streamed or not. */
#ifndef MOCKAI_ANSWER_H
#define MOCKAI_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/mockai/buffer.h"
#include "bench/mockai/chat_request.h"
#include "bench/mockai/fault.h"
#include "bench/mockai/settings.h"

#define ANSWER_CALLS_MAX 2

struct tool_call {
	char id[32];
	char name[128];
	struct buffer arguments;
};

struct answer {
	char id[40];
	int64_t created;
	struct buffer text;
	struct buffer reasoning;
	bool refusal;	    /* `text` is the refusal; the content is null */
	const char *finish; /* NULL: none is given */
	struct tool_call call[ANSWER_CALLS_MAX];
	size_t call_count; /* > 0: the content is null */
	size_t prompt_tokens;
	size_t completion_tokens;
	size_t cached_tokens;
	bool usage;
};

/* `question`: the last user message without markers. */
void answer_init(struct answer *a, const struct chat_request *q, const struct buffer *question,
		 const struct settings *settings, const struct fault_set *faults);
void answer_free(struct answer *a);

/* The usage object, {"prompt_tokens": ...}. */
void answer_write_usage(const struct answer *a, struct buffer *b);

#endif
