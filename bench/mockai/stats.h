/* stats: what the provider was asked and what became of it. GET /stats shows it, POST /reset zeroes it.
 *
 * Only requests to the provider count; /stats, /control and /reset do not. Each one ends once: `answered` (the whole
 * answer was written, errors too), a fault that cut it, or `aborted_by_client` (the client left first). */
#ifndef MOCKAI_STATS_H
#define MOCKAI_STATS_H

#include <jansson.h>
#include <stdint.h>

#include "bench/mockai/fault.h"
#include "bench/mockai/request.h"

#define STATS_PROMPT_BYTES   80u    /* of the last user message: the key of by_prompt */
#define STATS_PROMPTS_MAX    10000u /* further prompts only count in by_prompt_dropped */
#define STATS_BODY_BYTES_MAX 65536u /* of the last request that is kept */

/* name: one plain counter */
#define STATS_COUNTERS(X)                                                                                              \
	X(requests)                                                                                                    \
	X(chat)                                                                                                        \
	X(chat_streamed)                                                                                               \
	X(embeddings)                                                                                                  \
	X(embeddings_inputs)                                                                                           \
	X(models)                                                                                                      \
	X(refused)                                                                                                     \
	X(in_flight)                                                                                                   \
	X(in_flight_max)                                                                                               \
	X(answered)                                                                                                    \
	X(aborted_by_client)                                                                                           \
	X(bytes)                                                                                                       \
	X(bytes_received)                                                                                              \
	X(connections)                                                                                                 \
	X(connections_open)                                                                                            \
	X(connections_open_max)                                                                                        \
	X(prompt_tokens)                                                                                               \
	X(completion_tokens)                                                                                           \
	X(by_prompt_dropped)

struct stats {
#define X(name) uint64_t name;
	STATS_COUNTERS(X)
#undef X
	uint64_t fault[FAULT_COUNT];
	json_t *by_prompt; /* owned: text -> calls */
	struct {
		char method[16];
		struct buffer target;
		struct buffer headers;
		struct buffer body;
		char auth[16];
		size_t body_bytes; /* of the whole body; `body` may be shorter */
	} last;
};

void stats_init(struct stats *s);
void stats_free(struct stats *s);

/* Zeroes the counters; what is open or in flight stays. */
void stats_reset(struct stats *s);

void stats_request(struct stats *s, const struct request *r);
void stats_begin(struct stats *s);
void stats_faults(struct stats *s, const struct fault_set *faults);

/* Counts a call with this prompt. Returns how many there were with this one; 0 when the table is full. */
uint64_t stats_prompt(struct stats *s, const char *prompt, size_t length);

/* The caller owns it. `brief`: without by_prompt and last_request, for polling under load. */
json_t *stats_json(const struct stats *s, bool brief);

#endif
