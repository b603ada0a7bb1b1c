#include "server/upstream/chat_stream.h"

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
}

void chat_stream_free(struct chat_stream *s) { sse_free(&s->sse); }

enum chat_status chat_stream_feed(struct chat_stream *s, struct slice piece)
{
	if (s->status != CHAT_OK)
		return s->status;
	switch (sse_feed(&s->sse, piece)) {
	case SSE_OK:
	case SSE_STOPPED: /* status says why */
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

bool chat_stream_is_whole(const struct chat_stream *s, bool clean)
{
	return s->status == CHAT_OK && s->answer->finished && (s->done || clean);
}
