/* chat_answer: what an answer consists of, gathered from the JSON of a provider, streamed or not: typed pieces for
 * whoever asked, and what is known at the end.
 *
 *      {"choices":[{"delta":{"content":"Hel"}}]}      ──> piece(TEXT, 0, "Hel")
 *      {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"ci"}}]}}]}   ──> gathered by index …
 *      chat_answer_finish                             ──> piece(TOOL_CALL, 1, {"id":…,"name":…,"arguments":…}), each call whole
 *
 * Only the first choice counts: requests for more (n > 1) are refused before they are sent. */
#ifndef UPSTREAM_CHAT_ANSWER_H
#define UPSTREAM_CHAT_ANSWER_H

#include <jansson.h>

#include "proto/schema.h"

#define CHAT_TOOL_CALLS_MAX 128 /* of one answer; more is CHAT_TOO_LARGE */

enum chat_status {
	CHAT_OK,
	CHAT_STOPPED,	/* piece returned false */
	CHAT_MALFORMED, /* not what the API promises */
	CHAT_REPORTED,	/* an error object in place of an answer: see error */
	CHAT_TOO_LARGE, /* ANSWER_BYTES_MAX, SEGMENTS_MAX, CHAT_TOOL_CALLS_MAX, CHAT_JSON_VALUES_MAX */
	CHAT_NO_MEMORY,
};

struct chat_tool_call {
	int64_t index; /* the provider's; -1: it gave none */
	struct buf id, name, arguments;
};

struct chat_answer {
	/* A piece of a segment, borrowed during the call; the index grows. False: stop. */
	bool (*piece)(void *owner, enum proto_segment kind, unsigned index, struct slice data);
	void *owner;

	size_t pieces;		 /* delivered so far */
	uint64_t bytes;		 /* delivered or gathered so far */
	unsigned index;		 /* of the segment that grows */
	enum proto_segment kind; /* its kind; of no meaning before the first piece */
	struct chat_tool_call *tool_calls;
	size_t tool_calls_count;

	bool chosen;		/* a choice was there */
	bool finished;		/* a finish_reason was there */
	char finish_reason[64]; /* "" until then */
	char model[256 + 1];	/* as the provider named it; "" if it did not */
	uint64_t prompt_tokens, completion_tokens, cached_tokens;
	char error[32]; /* CHAT_REPORTED: the provider's type or code, when it is a plain word, else "" */
};

void chat_answer_init(struct chat_answer *a,
		      bool (*piece)(void *owner, enum proto_segment kind, unsigned index, struct slice data),
		      void *owner);
void chat_answer_free(struct chat_answer *a);

/* One event of a stream, or the one object of an answer that was not streamed. */
__attribute__((warn_unused_result)) enum chat_status chat_answer_take(struct chat_answer *a, const json_t *object);

/* The provider has said everything: delivers the tool calls. */
__attribute__((warn_unused_result)) enum chat_status chat_answer_finish(struct chat_answer *a);

#endif
