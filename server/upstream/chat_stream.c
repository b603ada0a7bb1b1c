#include "server/upstream/chat_stream.h"

#include <assert.h>

#include "server/upstream/chat_json.h"

static bool chat_stream_on_event(void *owner, struct slice data)
{
	struct chat_stream *s = owner;
	json_t *object;

	if (s->done || data.n == 0)
		return true;
	if (slice_is(data, "[DONE]")) {
		s->done = true;
		return true;
	}
	if (data.n > CHAT_POOL_BYTES) {
		s->held = s->sse.data; /* the event's bytes lie in it */
		s->sse.data = (struct buf){.max = s->held.max, .mem = s->held.mem};
		return false;
	}
	object = chat_json_parse(data, &s->status);
	if (object != NULL)
		s->status = chat_answer_take(s->answer, object);
	json_decref(object);
	return s->status == CHAT_OK;
}

void chat_stream_init(struct chat_stream *s, struct chat_answer *answer)
{
	*s = (struct chat_stream){.answer = answer};
	sse_init(&s->sse, chat_stream_on_event, s);
	buf_init(&s->backlog, CHAT_BODY_BYTES_MAX, NULL);
}

void chat_stream_free(struct chat_stream *s)
{
	sse_free(&s->sse);
	buf_free(&s->held);
	buf_free(&s->backlog);
}

static void chat_stream_put_off(struct chat_stream *s, struct slice piece)
{
	if (piece.n > s->backlog.max - s->backlog.n)
		s->status = CHAT_TOO_LARGE;
	else if (!buf_append(&s->backlog, piece.p, piece.n))
		s->status = CHAT_NO_MEMORY;
}

enum chat_status chat_stream_feed(struct chat_stream *s, struct slice piece)
{
	if (s->status == CHAT_OK && chat_stream_is_held(s))
		chat_stream_put_off(s, piece);
	if (s->status != CHAT_OK || chat_stream_is_held(s))
		return s->status;
	switch (sse_feed(&s->sse, piece)) {
	case SSE_OK:
		break;
	case SSE_STOPPED: /* for good, then status says why, or the event is held */
		if (chat_stream_is_held(s))
			chat_stream_put_off(s, s->sse.rest);
		break;
	case SSE_TOO_LONG:
		s->status = CHAT_MALFORMED;
		break;
	case SSE_NO_MEMORY:
		s->status = CHAT_NO_MEMORY;
		break;
	}
	return s->status;
}

enum chat_status chat_stream_resume(struct chat_stream *s, const json_t *tree, enum chat_status parsed)
{
	struct buf backlog = s->backlog;

	assert(chat_stream_is_held(s));
	buf_free(&s->held);
	buf_init(&s->backlog, CHAT_BODY_BYTES_MAX, NULL);
	if (s->status == CHAT_OK)
		s->status = tree != NULL ? chat_answer_take(s->answer, tree) : parsed;
	if (s->status == CHAT_OK)
		s->status = chat_stream_feed(s, buf_slice(&backlog));
	buf_free(&backlog);
	return s->status;
}

bool chat_stream_is_whole(const struct chat_stream *s, bool clean)
{
	return s->status == CHAT_OK && !chat_stream_is_held(s) && s->answer->finished && (s->done || clean);
}
