/* The answer as one JSON body. */
#include "bench/mockai/chat_reply.h"

#include <string.h>

static void calls_write(struct buffer *b, const struct answer *a)
{
	buffer_text(b, ",\"tool_calls\":[");
	for (size_t i = 0; i < a->call_count; i++) {
		const struct tool_call *call = &a->call[i];

		buffer_printf(b, "%s{\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":", i > 0 ? "," : "",
			      call->id);
		buffer_json_string(b, call->name, strlen(call->name));
		buffer_text(b, ",\"arguments\":");
		buffer_json_string(b, call->arguments.data, call->arguments.length);
		buffer_text(b, "}}");
	}
	buffer_byte(b, ']');
}

static void message_write(struct buffer *b, const struct answer *a)
{
	buffer_text(b, "{\"role\":\"assistant\",\"content\":");
	if (a->refusal || a->call_count > 0)
		buffer_text(b, "null");
	else
		buffer_json_string(b, a->text.data, a->text.length);
	buffer_text(b, ",\"refusal\":");
	if (a->refusal)
		buffer_json_string(b, a->text.data, a->text.length);
	else
		buffer_text(b, "null");
	if (a->reasoning.length > 0) {
		buffer_text(b, ",\"reasoning_content\":");
		buffer_json_string(b, a->reasoning.data, a->reasoning.length);
	}
	if (a->call_count > 0)
		calls_write(b, a);
	buffer_byte(b, '}');
}

static void body_write(struct buffer *b, const struct chat_reply *reply)
{
	const struct answer *a = reply->answer;
	const struct chat_request *q = reply->chat;

	buffer_printf(b, "{\"id\":\"%s\",\"object\":\"chat.completion\",\"created\":%lld,\"model\":", a->id,
		      (long long)a->created);
	buffer_json_string(b, q->model, strlen(q->model));
	buffer_text(b, ",\"choices\":[");
	for (int i = 0; i < q->choices; i++) {
		buffer_printf(b, "%s{\"index\":%d,\"message\":", i > 0 ? "," : "", i);
		message_write(b, a);
		buffer_printf(b, ",\"logprobs\":%s,\"finish_reason\":", q->logprobs ? CHAT_LOGPROBS_JSON : "null");
		if (a->finish != NULL)
			buffer_printf(b, "\"%s\"}", a->finish);
		else
			buffer_text(b, "null}");
	}
	buffer_byte(b, ']');
	if (a->usage) {
		buffer_text(b, ",\"usage\":");
		answer_write_usage(a, b);
	}
	buffer_text(b, ",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mockai\"}");
}

/* The faults of the body that keep the framing right. */
static void body_spoil(struct buffer *b, const struct fault_set *faults)
{
	if (fault_on(faults, FAULT_ERROR_IN_STREAM)) {
		buffer_clear(b);
		buffer_text(b, CHAT_ERROR_JSON);
	}
	if (fault_on(faults, FAULT_HALF_EVENT))
		b->length /= 2;
	if (fault_on(faults, FAULT_MALFORMED_SSE))
		memcpy(b->data, "}{", 2);
}

static void filler_reply(struct script *s, const struct request *r, uint64_t bytes)
{
	http_head(s, r, 200, "application/json", HTTP_LENGTH_KNOWN, (size_t)bytes, "");
	script_filler(s, bytes);
	script_body_end(s);
}

void chat_reply_json(struct script *s, const struct chat_reply *reply)
{
	bool unknown = fault_on(reply->faults, FAULT_UNKNOWN_LENGTH);
	struct buffer b;

	if (fault_on(reply->faults, FAULT_NO_NEWLINE)) {
		filler_reply(s, reply->request, (uint64_t)reply->faults->value[FAULT_NO_NEWLINE]);
		return;
	}
	buffer_init(&b, SCRIPT_BYTES_MAX);
	body_write(&b, reply);
	body_spoil(&b, reply->faults);
	http_head(s, reply->request, 200, "application/json", unknown ? HTTP_LENGTH_UNKNOWN : HTTP_LENGTH_KNOWN,
		  b.length, "");
	s->wire.overflow |= b.overflow;
	script_body(s, b.data, b.length);
	script_body_end(s);
	buffer_free(&b);
}
