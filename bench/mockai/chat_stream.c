/* The answer as server-sent events.
 *
 *      role ─ reasoning... ─ content... | refusal... | tool calls... ─ finish ─ usage ─ [DONE]
 *
 * Each piece is a step of the script; the first shares its step with the role, the last with all that follows. Half-way
 * (by bytes) the faults that strike in mid-stream get their chance. */
#include <assert.h>
#include <string.h>

#include "bench/mockai/chat_reply.h"
#include "bench/mockai/utf8.h"

struct stream {
	struct script *script;
	const struct chat_reply *reply;
	struct buffer event;  /* the event that is being written */
	struct buffer prefix; /* of every chunk, up to the choices */
	const char *eol;
	size_t bytes; /* of pieces, written so far */
	size_t bytes_total;
	bool piece_seen;
	bool half_seen;
	bool ended; /* a fault has ended the stream: nothing more is written */
};

static bool stream_has(const struct stream *st, enum fault fault) { return fault_on(st->reply->faults, fault); }

static void event_begin(struct stream *st)
{
	buffer_clear(&st->event);
	if (stream_has(st, FAULT_COMMENTS))
		buffer_printf(&st->event, ": keep-alive%s%s:%s%s", st->eol, st->eol, st->eol, st->eol);
	buffer_text(&st->event, "data: ");
}

static void event_end(struct stream *st)
{
	if (st->ended)
		return;
	buffer_text(&st->event, st->eol);
	buffer_text(&st->event, st->eol);
	script_body(st->script, st->event.data, st->event.length);
}

/* The beginning of a chunk for one choice, up to the delta. */
static void chunk_begin(struct stream *st, int choice)
{
	event_begin(st);
	buffer_append(&st->event, st->prefix.data, st->prefix.length);
	buffer_printf(&st->event, "[{\"index\":%d,\"delta\":", choice);
}

/* From behind the delta to the end. `finish`: JSON. */
static void chunk_end(struct stream *st, const char *finish)
{
	const struct chat_request *q = st->reply->chat;

	buffer_printf(&st->event, ",\"logprobs\":%s,\"finish_reason\":%s}]", q->logprobs ? CHAT_LOGPROBS_JSON : "null",
		      finish);
	buffer_text(&st->event, q->include_usage ? ",\"usage\":null}" : "}");
	event_end(st);
}

/* Half of the bytes are out: the faults of the middle. */
static void stream_half(struct stream *st)
{
	st->half_seen = true;
	if (stream_has(st, FAULT_MALFORMED_SSE)) {
		event_begin(st);
		buffer_text(&st->event, "{\"id\":\"chatcmpl-broken\",\"choices\":[{\"delta\":{\"content\":\"bro");
		event_end(st);
	}
	if (stream_has(st, FAULT_ERROR_IN_STREAM)) {
		event_begin(st);
		buffer_text(&st->event, CHAT_ERROR_JSON);
		event_end(st);
		st->ended = true;
	} else if (stream_has(st, FAULT_HALF_EVENT)) {
		event_begin(st);
		buffer_append(&st->event, st->prefix.data, st->prefix.length / 2);
		script_body(st->script, st->event.data, st->event.length);
		st->ended = true;
	}
}

/* Before each piece: the one before it was a step, except that the first shares its step with the role. */
static void piece_begin(struct stream *st, size_t bytes)
{
	if (!st->half_seen && st->piece_seen && st->bytes * 2 >= st->bytes_total) {
		script_step(st->script);
		stream_half(st);
	}
	if (st->piece_seen)
		script_step(st->script);
	st->piece_seen = true;
	st->bytes += bytes;
}

static void stream_text(struct stream *st, int choice, const char *field, const struct buffer *text)
{
	for (size_t at = 0, size; at < text->length && !st->ended; at += size) {
		size = utf8_piece(text->data + at, text->length - at, st->reply->settings->piece_bytes);
		piece_begin(st, size);
		chunk_begin(st, choice);
		buffer_printf(&st->event, "{\"%s\":", field);
		buffer_json_string(&st->event, text->data + at, size);
		buffer_byte(&st->event, '}');
		chunk_end(st, "null");
	}
}

static void stream_call_open(struct stream *st, int choice, size_t i)
{
	const struct tool_call *call = &st->reply->answer->call[i];

	piece_begin(st, 0);
	chunk_begin(st, choice);
	buffer_printf(&st->event,
		      "{\"tool_calls\":[{\"index\":%zu,\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":", i,
		      call->id);
	buffer_json_string(&st->event, call->name, strlen(call->name));
	buffer_text(&st->event, ",\"arguments\":\"\"}}]}");
	chunk_end(st, "null");
}

/* Returns how much of the arguments was written. */
static size_t stream_call_piece(struct stream *st, int choice, size_t i, size_t at)
{
	const struct buffer *arguments = &st->reply->answer->call[i].arguments;
	size_t size = utf8_piece(arguments->data + at, arguments->length - at, st->reply->settings->piece_bytes);

	piece_begin(st, size);
	chunk_begin(st, choice);
	buffer_printf(&st->event, "{\"tool_calls\":[{\"index\":%zu,\"function\":{\"arguments\":", i);
	buffer_json_string(&st->event, arguments->data + at, size);
	buffer_text(&st->event, "}}]}");
	chunk_end(st, "null");
	return size;
}

/* All calls are opened, then their arguments come in turn. */
static void stream_calls(struct stream *st, int choice)
{
	const struct answer *a = st->reply->answer;
	size_t at[ANSWER_CALLS_MAX] = {0};
	bool more = true;

	for (size_t i = 0; i < a->call_count; i++)
		stream_call_open(st, choice, i);
	while (more && !st->ended) {
		more = false;
		for (size_t i = 0; i < a->call_count; i++) {
			if (at[i] == a->call[i].arguments.length)
				continue;
			at[i] += stream_call_piece(st, choice, i, at[i]);
			more = true;
		}
	}
}

static void stream_choice(struct stream *st, int choice)
{
	const struct answer *a = st->reply->answer;

	chunk_begin(st, choice);
	buffer_printf(&st->event, "{\"role\":\"assistant\",\"content\":%s,\"refusal\":null}",
		      a->call_count > 0 || a->refusal ? "null" : "\"\"");
	chunk_end(st, "null");
	stream_text(st, choice, "reasoning_content", &a->reasoning);
	if (a->call_count > 0)
		stream_calls(st, choice);
	else
		stream_text(st, choice, a->refusal ? "refusal" : "content", &a->text);
}

static void stream_finish(struct stream *st)
{
	const struct answer *a = st->reply->answer;
	char finish[32] = "null";

	if (!st->half_seen)
		stream_half(st);
	for (int i = 0; i < st->reply->chat->choices && a->finish != NULL && !st->ended; i++) {
		(void)snprintf(finish, sizeof(finish), "\"%s\"", a->finish);
		chunk_begin(st, i);
		buffer_text(&st->event, "{}");
		chunk_end(st, finish);
	}
	if (st->reply->chat->include_usage && a->usage && !st->ended) {
		event_begin(st);
		buffer_append(&st->event, st->prefix.data, st->prefix.length);
		buffer_text(&st->event, "[],\"usage\":");
		answer_write_usage(a, &st->event);
		buffer_byte(&st->event, '}');
		event_end(st);
	}
	if (!stream_has(st, FAULT_NO_DONE) && !st->ended) {
		event_begin(st);
		buffer_text(&st->event, "[DONE]");
		event_end(st);
	}
}

/* Azure says first what it thought of the prompt, in a chunk without choices. */
static void stream_azure(struct stream *st)
{
	event_begin(st);
	buffer_text(&st->event, "{\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\","
				"\"prompt_filter_results\":[{\"prompt_index\":0,\"content_filter_results\":{}}]}");
	event_end(st);
}

static void stream_init(struct stream *st, struct script *s, const struct chat_reply *reply)
{
	const struct answer *a = reply->answer;

	*st = (struct stream){.script = s, .reply = reply, .eol = fault_on(reply->faults, FAULT_CRLF) ? "\r\n" : "\n"};
	buffer_init(&st->event, SCRIPT_BYTES_MAX);
	buffer_init(&st->prefix, 4096);
	buffer_printf(&st->prefix,
		      "{\"id\":\"%s\",\"object\":\"chat.completion.chunk\",\"created\":%lld,\"model\":", a->id,
		      (long long)a->created);
	buffer_json_string(&st->prefix, reply->chat->model, strlen(reply->chat->model));
	buffer_text(&st->prefix, ",\"system_fingerprint\":\"fp_mockai\",\"choices\":");
	st->bytes_total = a->reasoning.length;
	if (a->call_count == 0)
		st->bytes_total += a->text.length;
	for (size_t i = 0; i < a->call_count; i++)
		st->bytes_total += a->call[i].arguments.length;
	st->bytes_total *= (size_t)reply->chat->choices;
}

void chat_reply_stream(struct script *s, const struct chat_reply *reply)
{
	struct stream st;

	stream_init(&st, s, reply);
	http_head(s, reply->request, 200, "text/event-stream; charset=utf-8",
		  fault_on(reply->faults, FAULT_UNKNOWN_LENGTH) ? HTTP_LENGTH_UNKNOWN : HTTP_LENGTH_CHUNKED, 0,
		  "Cache-Control: no-cache\r\n");
	if (reply->chat->azure)
		stream_azure(&st);
	if (fault_on(reply->faults, FAULT_NO_NEWLINE)) {
		chunk_begin(&st, 0);
		buffer_text(&st.event, "{\"content\":\"");
		script_body(s, st.event.data, st.event.length);
		script_filler(s, (uint64_t)reply->faults->value[FAULT_NO_NEWLINE]);
	} else {
		for (int i = 0; i < reply->chat->choices && !st.ended; i++)
			stream_choice(&st, i);
		stream_finish(&st);
	}
	script_body_end(s);
	buffer_free(&st.event);
	buffer_free(&st.prefix);
}
