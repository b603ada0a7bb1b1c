/* query: one client waiting for one answer. The outside (net/, scenarios) embeds it, starts it with engine_query, reads
 * pieces while it ANSWERs, and takes the outcome when it ENDED.
 *
 *      engine_query ──> QUERY_ENDED at once: an exact hit from memory, nothing was allocated
 *                   └─> QUERY_WAITING ──> QUERY_ANSWERING ──> QUERY_ENDED        ready() at each step, and at new pieces
 *                            ^   └───── cancel at any time ───────┘
 *                            └── from ANSWERING, when the answer broke off before this one had read any of it
 *
 * Law: a query that is WAITING or ANSWERING ends exactly once: by becoming ENDED (told by `ready`), or by query_cancel
 * returning. `ready` never comes before engine_query has returned, and only from the loop's deferred tasks: at most
 * once a turn for any number of pieces. A query may also be ENDED with a fault when engine_query returns 0 (no
 * upstream, a full queue): its `ready` is on its way unless it is released first. After ENDED or cancel the engine does
 * not touch it; query_release drops what it holds. */
#ifndef ENGINE_QUERY_H
#define ENGINE_QUERY_H

#include <sys/queue.h>

#include "proto/message.h"
#include "server/base/loop.h"
#include "server/engine/answer.h"
#include "server/store/entry.h"

enum query_state {
	QUERY_NEW,
	QUERY_WAITING,
	QUERY_ANSWERING,
	QUERY_ENDED
};

/* What is known at the end, beside the answer itself. */
struct query_outcome {
	enum proto_source source;
	bool stored;
	enum proto_reason reason;
	uint64_t age_ms; /* EXACT, STALE */
	uint64_t as_of;
	uint64_t tokens_saved, cost_saved_nusd;
	uint64_t stages_us[STAGE_COUNT]; /* 0: did not take place */
	/* When fault.code is not ERR_NONE the query failed, and the above means nothing. */
	struct fault fault;
	uint64_t retry_after_ms; /* 0: not said */
	unsigned upstream_status;
};

struct flight;
struct engine;

struct query {
	/* Set before the start. */
	void (*ready)(struct query *q);
	bool stream; /* wants pieces as they come: it becomes ANSWERING with the first one, others only with the last */

	/* Read by the owner. */
	enum query_state state;
	const struct answer
		*answer; /* ANSWERING: read with answer_read(q->answer, &q->reader, …); the query holds a reference */
	struct answer_reader reader;
	struct entry *
		entry; /* ENDED without fault, except a LOOKUP that missed (NULL): its payload is the END (engine/payload.h); holds a ref */
	struct query_outcome outcome;
	uint64_t mint; /* for payload_encode_end and payload_answer: not 0 when the answer is a replay */

	/* The engine's. */
	struct engine *engine;
	struct flight *flight;
	TAILQ_ENTRY(query) link;
	struct loop_task task;
	struct deadline patience;
	uint64_t arrived_us;
	uint64_t max_age_ms; /* UINT64_MAX: any */
	uint8_t op;	     /* OP_QUERY or OP_LOOKUP */
	bool leader;	     /* the flight was made for it: its source is llm, the others' joined */
};

/* Gives up a WAITING or ANSWERING query; `ready` will not come. Then release it. */
void query_cancel(struct query *q);

/* Drops entry and answer. For ENDED and cancelled queries; others assert. */
void query_release(struct query *q);

#endif
