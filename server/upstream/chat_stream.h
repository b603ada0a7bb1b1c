/* chat_stream: a streamed answer: server-sent events → JSON → chat_answer. Pure: fed with pieces of any size. */
#ifndef UPSTREAM_CHAT_STREAM_H
#define UPSTREAM_CHAT_STREAM_H

#include "server/upstream/chat_answer.h"
#include "server/upstream/sse.h"

struct chat_stream {
	struct sse sse;
	struct chat_answer *answer; /* (borrowed) */
	enum chat_status status;    /* the first that was not OK; nothing is taken after that */
	bool done;		    /* [DONE] was there; what follows is not looked at */
};

void chat_stream_init(struct chat_stream *s, struct chat_answer *answer);
void chat_stream_free(struct chat_stream *s);
__attribute__((warn_unused_result)) enum chat_status chat_stream_feed(struct chat_stream *s, struct slice piece);

/* True if the provider said that the answer is finished. clean: the response ended in good order, which stands in for a
 * missing [DONE]. */
bool chat_stream_is_whole(const struct chat_stream *s, bool clean);

#endif
