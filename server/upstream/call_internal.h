/* One call: shared by call.c (its way) and call_judge.c (what an attempt was worth). Nobody else includes it. */
#ifndef UPSTREAM_CALL_INTERNAL_H
#define UPSTREAM_CALL_INTERNAL_H

#include <sys/queue.h>

#include "server/upstream/chat_error.h"
#include "server/upstream/chat_stream.h"
#include "server/upstream/upstream_internal.h"

#define CALL_BIT(name) (1u << CALL_##name)

/* name, states that may follow */
#define CALL_STATES(X)                                                                                                 \
	X(WAITING, CALL_BIT(BUILDING) | CALL_BIT(ENDED))                                                               \
	X(BUILDING, CALL_BIT(SENDING) | CALL_BIT(ENDED))                                                               \
	X(SENDING, CALL_BIT(PARSING) | CALL_BIT(RESTING) | CALL_BIT(ENDED))                                            \
	X(PARSING, CALL_BIT(RESTING) | CALL_BIT(ENDED))                                                                \
	X(RESTING, CALL_BIT(WAITING) | CALL_BIT(ENDED))                                                                \
	X(ENDED, 0)

enum call_state {
#define X(name, next) CALL_##name,
	CALL_STATES(X)
#undef X
};

/* What a response is, as its head tells. */
enum response_kind {
	RESPONSE_STREAM,
	RESPONSE_WHOLE,
	RESPONSE_ERROR,
	RESPONSE_FOREIGN
};

struct call {
	enum call_state state;
	struct upstream *up;
	struct upstream_call *owner; /* (borrowed) NULL: it has ended */
	struct slice frame;	     /* (borrowed until it has ended) */
	char model[256 + 1];	     /* MODEL_BYTES_MAX */
	uint64_t deadline_us;
	struct deadline due;   /* the deadline */
	struct deadline pause; /* RESTING: the next attempt; SENDING: lingering after [DONE] */
	struct slot slot;

	struct pool_job job; /* BUILDING, PARSING; SENDING: a long event of a stream */
	bool job_running;
	struct buf frame_copy; /* the job's: the caller's frame may go before the job ends */
	struct buf body;
	struct fault body_fault;
	int body_rc;
	char *url;

	struct http_transfer transfer;
	bool transfer_running;
	enum response_kind kind;
	struct buf response; /* WHOLE, ERROR */
	enum chat_status status;
	enum chat_status parsed; /* the job's: why there is no tree */
	json_t *tree;
	struct chat_answer answer;
	struct chat_stream stream;

	unsigned attempts;
	uint64_t started_us, granted_us, sent_us, first_us; /* 0: not yet */
	struct loop_task release_task;
	TAILQ_ENTRY(call) link; /* in set->ended */
};

/* How the attempt ended; ERR_NONE: a whole answer. Delivers the tool calls of one, and may find the call cancelled in
 * that. */
void call_judge(struct call *c, struct chat_error *v);

#endif
