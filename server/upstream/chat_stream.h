/* chat_stream: a streamed answer: server-sent events → JSON → chat_answer. Pure: fed with pieces of any size.
 *
 *      pieces ──> sse ──> event ──> JSON ──> chat_answer
 *                           └─ longer than CHAT_POOL_BYTES: held ──> parsed in the pool ──> chat_stream_resume
 *
 * While an event is held, what comes behind it waits in `backlog`. */
#ifndef UPSTREAM_CHAT_STREAM_H
#define UPSTREAM_CHAT_STREAM_H

#include "server/upstream/chat_answer.h"
#include "server/upstream/sse.h"

struct chat_stream {
	struct sse sse;
	struct chat_answer *answer; /* (borrowed) */
	enum chat_status status;    /* the first that was not OK; nothing is taken after that */
	bool done;		    /* [DONE] was there; what follows is not looked at */
	struct buf held;	    /* an event that is too long to be parsed on the loop; empty: none */
	struct buf backlog;	    /* what came behind it */
};

void chat_stream_init(struct chat_stream *s, struct chat_answer *answer);
void chat_stream_free(struct chat_stream *s);
__attribute__((warn_unused_result)) enum chat_status chat_stream_feed(struct chat_stream *s, struct slice piece);

/* True: parse `held` with chat_json_parse, then resume. It does not move or change until then. */
static inline bool chat_stream_is_held(const struct chat_stream *s) { return s->held.n > 0; }

/* The held event as a tree (borrowed), or NULL and why there is none. Goes on with what came behind it, and may hold
 * the next one. */
__attribute__((warn_unused_result)) enum chat_status chat_stream_resume(struct chat_stream *s, const json_t *tree,
									enum chat_status parsed);

/* True if the provider said that the answer is finished. clean: the response ended in good order, which stands in for a
 * missing [DONE]. */
bool chat_stream_is_whole(const struct chat_stream *s, bool clean);

#endif
