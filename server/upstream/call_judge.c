/* call judge: what an attempt was worth: the response's status, what was read of it and how the transfer ended → our
 * error, a sentence, and whether another attempt makes sense. What a client has seen in part is never tried again:
 * INTERRUPTED. */
#include <stdio.h>
#include <strings.h>

#include "server/upstream/call_internal.h"
#include "server/upstream/text.h"

#define JUDGE_SECRET_BYTES_MIN 8

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

/* Does the provider quote a header of ours? One of them holds the key, and clients read the provider's words. The first
 * one is the content's type. */
static bool judge_quotes_header(const struct call *c)
{
	for (size_t i = 1; i < c->up->headers_count; i++) {
		const char *value = strchr(c->up->headers[i], ':') + 1;

		value += strspn(value, " ");
		if (strncasecmp(value, "Bearer ", strlen("Bearer ")) == 0)
			value += strlen("Bearer ");
		if (strlen(value) >= JUDGE_SECRET_BYTES_MIN &&
		    memmem(c->response.p, c->response.n, value, strlen(value)) != NULL)
			return true;
	}
	return false;
}

static void judge_refusal(const struct call *c, struct chat_error *v)
{
	struct chat_error wordless;

	chat_error_read(v, c->transfer.status, buf_slice(&c->response));
	if (c->response.n == 0 || !judge_quotes_header(c))
		return;
	chat_error_read(&wordless, c->transfer.status, slice_of(NULL, 0));
	memcpy(v->message, wordless.message, sizeof(v->message));
}

void call_judge(struct call *c, struct chat_error *v)
{
	const struct http_transfer *t = &c->transfer;
	char text[160];

	*v = (struct chat_error){.code = ERR_NONE};
	if (t->status >= 300) {
		judge_refusal(c, v);
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
