/* call judge: what an attempt was worth: the response's status, what was read of it and how the transfer ended → our
 * error, a sentence, and whether another attempt makes sense. What a client has seen in part is never tried again:
 * INTERRUPTED. */
#include <stdio.h>

#include "server/upstream/call_internal.h"
#include "server/upstream/text.h"

static void judge(struct chat_error *v, enum proto_error code, bool retry, const char *message)
{
	*v = (struct chat_error){.code = code, .retry = retry};
	text_copy(v->message, sizeof(v->message), slice_str(message));
}

static void judge_status(const struct call *c, struct chat_error *v)
{
	char text[160];

	switch (c->status) {
	case CHAT_OK:
		break;
	case CHAT_STOPPED:
	case CHAT_TOO_LARGE:
		judge(v, ERR_TOO_LARGE, false, "the answer is over the server's limit");
		break;
	case CHAT_MALFORMED:
		judge(v, ERR_UPSTREAM_FAILED, true, "the provider's response is not what the API promises");
		break;
	case CHAT_REPORTED:
		snprintf(text, sizeof(text), "the provider reported an error in place of an answer%s%s",
			 c->answer.error[0] != '\0' ? ": " : "", c->answer.error);
		judge(v, strncmp(c->answer.error, "rate_limit", 10) == 0 ? ERR_RATE_LIMITED : ERR_UPSTREAM_FAILED, true,
		      text);
		break;
	case CHAT_NO_MEMORY:
		judge(v, ERR_NO_MEMORY, false, "no memory for the LLM's answer");
		break;
	}
}

static void judge_outcome(const struct call *c, struct chat_error *v)
{
	const struct http_transfer *t = &c->transfer;
	char text[sizeof(t->error) + 64];

	if (t->outcome == HTTP_UNREACHED)
		snprintf(text, sizeof(text), "the provider cannot be reached: %s", t->error);
	else if (t->outcome == HTTP_DONE)
		snprintf(text, sizeof(text), "the stream ended before the answer did");
	else
		snprintf(text, sizeof(text), "the provider's response failed: %s", t->error);
	judge(v, ERR_UPSTREAM_FAILED, true, text);
}

void call_judge(struct call *c, struct chat_error *v)
{
	const struct http_transfer *t = &c->transfer;
	char text[160];

	*v = (struct chat_error){.code = ERR_NONE};
	if (t->status >= 300) {
		chat_error_read(v, t->status, buf_slice(&c->response));
	} else if (c->kind == RESPONSE_FOREIGN) {
		snprintf(text, sizeof(text),
			 "the provider answered %s where JSON or an event stream was expected; check base_url",
			 t->content_type);
		judge(v, ERR_UPSTREAM_FAILED, true, text);
	} else if (c->status != CHAT_OK) {
		judge_status(c, v);
	} else if (c->kind == RESPONSE_STREAM
			   ? !chat_stream_is_whole(&c->stream, t->status != 0 && t->outcome == HTTP_DONE)
			   : t->outcome != HTTP_DONE) {
		judge_outcome(c, v);
	} else {
		c->status = chat_answer_finish(&c->answer);
		judge_status(c, v);
	}
	if (c->kind == RESPONSE_FOREIGN || c->status == CHAT_MALFORMED)
		c->up->set->metrics.upstream_malformed_total++;
	if (c->answer.pieces > 0 && (v->code == ERR_UPSTREAM_FAILED || v->code == ERR_RATE_LIMITED))
		v->code = ERR_INTERRUPTED;
}
