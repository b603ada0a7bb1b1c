#include "server/upstream/chat_answer.h"

#include <assert.h>
#include <stdlib.h>

#include "server/upstream/text.h"

void chat_answer_init(struct chat_answer *a,
		      bool (*piece)(void *owner, enum proto_segment kind, unsigned index, struct slice data),
		      void *owner)
{
	*a = (struct chat_answer){.piece = piece, .owner = owner};
}

void chat_answer_free(struct chat_answer *a)
{
	for (size_t i = 0; i < a->tool_calls_count; i++) {
		buf_free(&a->tool_calls[i].id);
		buf_free(&a->tool_calls[i].name);
		buf_free(&a->tool_calls[i].arguments);
	}
	free(a->tool_calls);
	a->tool_calls = NULL;
	a->tool_calls_count = 0;
}

static struct slice json_slice(const json_t *string)
{
	return slice_of(json_string_value(string), json_string_length(string));
}

static bool chat_answer_count(struct chat_answer *a, size_t n)
{
	if (n > ANSWER_BYTES_MAX - a->bytes)
		return false;
	a->bytes += n;
	return true;
}

/* apart: a segment of its own even behind one of the same kind. */
static enum chat_status chat_answer_deliver(struct chat_answer *a, enum proto_segment kind, bool apart,
					    struct slice data)
{
	if (a->pieces > 0 && (apart || kind != a->kind)) {
		if (a->index + 1 == SEGMENTS_MAX)
			return CHAT_TOO_LARGE;
		a->index++;
	}
	a->kind = kind;
	a->pieces++;
	return a->piece(a->owner, kind, a->index, data) ? CHAT_OK : CHAT_STOPPED;
}

static enum chat_status chat_answer_text(struct chat_answer *a, enum proto_segment kind, const json_t *string)
{
	struct slice data = json_slice(string);

	if (data.n == 0)
		return CHAT_OK;
	if (!chat_answer_count(a, data.n))
		return CHAT_TOO_LARGE;
	return chat_answer_deliver(a, kind, false, data);
}

/* A string, or an array of parts {"type": "text", "text": …}; parts of other types are not text and are left out. */
static enum chat_status chat_answer_content(struct chat_answer *a, const json_t *content)
{
	enum chat_status status = CHAT_OK;
	size_t i;
	json_t *part;

	if (content == NULL || json_is_null(content))
		return CHAT_OK;
	if (json_is_string(content))
		return chat_answer_text(a, SEGMENT_TEXT, content);
	if (!json_is_array(content))
		return CHAT_MALFORMED;
	json_array_foreach(content, i, part)
	{
		const json_t *text = json_object_get(part, "text");
		const json_t *refusal = json_object_get(part, "refusal");

		if (json_is_string(text))
			status = chat_answer_text(a, SEGMENT_TEXT, text);
		else if (json_is_string(refusal))
			status = chat_answer_text(a, SEGMENT_REFUSAL, refusal);
		if (status != CHAT_OK)
			break;
	}
	return status;
}

/* ---- tool calls */

static struct chat_tool_call *chat_answer_add_call(struct chat_answer *a, int64_t index)
{
	struct chat_tool_call *calls = realloc(a->tool_calls, (a->tool_calls_count + 1) * sizeof(*calls));

	if (calls == NULL)
		return NULL;
	a->tool_calls = calls;
	calls += a->tool_calls_count++;
	calls->index = index;
	buf_init(&calls->id, ANSWER_BYTES_MAX, NULL);
	buf_init(&calls->name, ANSWER_BYTES_MAX, NULL);
	buf_init(&calls->arguments, ANSWER_BYTES_MAX, NULL);
	return calls;
}

/* The call a fragment goes on with; NULL: it begins one. Providers that do not count (no index, or 0 for every call)
 * give each call an id of its own: another id is another call. */
static struct chat_tool_call *chat_answer_find_call(struct chat_answer *a, int64_t index, struct slice id)
{
	for (size_t i = a->tool_calls_count; i-- > 0;) {
		struct chat_tool_call *call = &a->tool_calls[i];

		if (call->index == index && (id.n == 0 || call->id.n == 0 || slice_eq(id, buf_slice(&call->id))))
			return call;
	}
	return NULL;
}

static enum chat_status chat_answer_gather(struct chat_answer *a, struct buf *b, struct slice data)
{
	if (!chat_answer_count(a, data.n))
		return CHAT_TOO_LARGE;
	return buf_append(b, data.p, data.n) ? CHAT_OK : CHAT_NO_MEMORY;
}

/* A string in pieces; some providers give the object itself, in one. */
static enum chat_status chat_answer_arguments(struct chat_answer *a, struct chat_tool_call *call,
					      const json_t *arguments)
{
	enum chat_status status;
	char *text;

	if (!json_is_object(arguments))
		return chat_answer_gather(a, &call->arguments, json_slice(arguments));
	text = json_dumps(arguments, JSON_COMPACT);
	if (text == NULL)
		return CHAT_NO_MEMORY;
	status = chat_answer_gather(a, &call->arguments, slice_str(text));
	free(text);
	return status;
}

static enum chat_status chat_answer_fragment(struct chat_answer *a, const json_t *fragment, int64_t index)
{
	const json_t *function = json_object_get(fragment, "function");
	struct slice id = json_slice(json_object_get(fragment, "id"));
	struct slice name = json_slice(json_object_get(function, "name"));
	struct chat_tool_call *call;
	enum chat_status status = CHAT_OK;

	if (!json_is_object(fragment))
		return CHAT_MALFORMED;
	call = chat_answer_find_call(a, index, id);
	if (call == NULL) {
		if (a->tool_calls_count == CHAT_TOOL_CALLS_MAX)
			return CHAT_TOO_LARGE;
		call = chat_answer_add_call(a, index);
		if (call == NULL)
			return CHAT_NO_MEMORY;
	}
	if (call->id.n == 0)
		status = chat_answer_gather(a, &call->id, id);
	/* A name comes whole and once; providers that repeat it in every fragment must not double it. */
	if (status == CHAT_OK && call->name.n == 0)
		status = chat_answer_gather(a, &call->name, name);
	return status == CHAT_OK ? chat_answer_arguments(a, call, json_object_get(function, "arguments")) : status;
}

/* whole: an array of calls, each in its place; else fragments that say where they belong. */
static enum chat_status chat_answer_fragments(struct chat_answer *a, const json_t *fragments, bool whole)
{
	size_t i;
	json_t *fragment;

	if (fragments == NULL || json_is_null(fragments))
		return CHAT_OK;
	if (!json_is_array(fragments))
		return CHAT_MALFORMED;
	json_array_foreach(fragments, i, fragment)
	{
		const json_t *place = json_object_get(fragment, "index");
		int64_t index = whole ? (int64_t)i : json_is_integer(place) ? json_integer_value(place) : -1;
		enum chat_status status = chat_answer_fragment(a, fragment, index);

		if (status != CHAT_OK)
			return status;
	}
	return CHAT_OK;
}

static json_t *json_of_buf(const struct buf *b) { return json_stringn(b->n > 0 ? (const char *)b->p : "", b->n); }

static enum chat_status chat_answer_deliver_call(struct chat_answer *a, const struct chat_tool_call *call)
{
	enum chat_status status = CHAT_NO_MEMORY;
	json_t *object = json_pack("{s:o, s:o, s:o}", "id", json_of_buf(&call->id), "name", json_of_buf(&call->name),
				   "arguments", json_of_buf(&call->arguments));
	char *text = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);

	if (text != NULL)
		status = chat_answer_deliver(a, SEGMENT_TOOL_CALL, true, slice_str(text));
	free(text);
	json_decref(object);
	return status;
}

enum chat_status chat_answer_finish(struct chat_answer *a)
{
	for (size_t i = 0; i < a->tool_calls_count; i++) {
		enum chat_status status = chat_answer_deliver_call(a, &a->tool_calls[i]);

		if (status != CHAT_OK)
			return status;
	}
	return CHAT_OK;
}

/* ---- one object */

static enum chat_status chat_answer_message(struct chat_answer *a, const json_t *message, bool whole)
{
	const json_t *reasoning = json_object_get(message, "reasoning_content");
	const json_t *refusal = json_object_get(message, "refusal");
	enum chat_status status = CHAT_OK;

	/* Two names of one thing; who sends both sends the same text twice. */
	if (!json_is_string(reasoning))
		reasoning = json_object_get(message, "reasoning");
	if (json_is_string(reasoning))
		status = chat_answer_text(a, SEGMENT_REASONING, reasoning);
	if (status == CHAT_OK)
		status = chat_answer_content(a, json_object_get(message, "content"));
	if (status == CHAT_OK && json_is_string(refusal))
		status = chat_answer_text(a, SEGMENT_REFUSAL, refusal);
	if (status == CHAT_OK)
		status = chat_answer_fragments(a, json_object_get(message, "tool_calls"), whole);
	return status;
}

static enum chat_status chat_answer_choice(struct chat_answer *a, const json_t *choice)
{
	const json_t *finish_reason = json_object_get(choice, "finish_reason");
	const json_t *message = json_object_get(choice, "delta");
	bool whole = message == NULL;
	enum chat_status status = CHAT_OK;

	if (whole)
		message = json_object_get(choice, "message");
	if (!json_is_object(choice) || (message != NULL && !json_is_object(message) && !json_is_null(message)))
		return CHAT_MALFORMED;
	a->chosen = true;
	if (json_is_object(message))
		status = chat_answer_message(a, message, whole);
	if (status == CHAT_OK && json_is_string(finish_reason) && json_string_length(finish_reason) > 0) {
		a->finished = true;
		text_copy(a->finish_reason, sizeof(a->finish_reason), json_slice(finish_reason));
	}
	return status;
}

static void chat_answer_tokens(uint64_t *ret, const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	if (json_is_integer(value) && json_integer_value(value) >= 0)
		*ret = (uint64_t)json_integer_value(value);
}

static void chat_answer_usage(struct chat_answer *a, const json_t *usage)
{
	chat_answer_tokens(&a->prompt_tokens, usage, "prompt_tokens");
	chat_answer_tokens(&a->completion_tokens, usage, "completion_tokens");
	chat_answer_tokens(&a->cached_tokens, usage, "prompt_cache_hit_tokens"); /* DeepSeek's name */
	chat_answer_tokens(&a->cached_tokens, json_object_get(usage, "prompt_tokens_details"), "cached_tokens");
}

/* Types and codes are words like "server_error"; anything else might hold what must not be repeated. */
static void chat_answer_note_error(struct chat_answer *a, const json_t *error)
{
	static const char *const names[] = {"code", "type"};

	for (size_t i = 0; i < 2 && a->error[0] == '\0'; i++) {
		struct slice word = json_slice(json_object_get(error, names[i]));

		if (text_is_word(word) && word.n < sizeof(a->error))
			text_copy(a->error, sizeof(a->error), word);
	}
}

enum chat_status chat_answer_take(struct chat_answer *a, const json_t *object)
{
	const json_t *choices = json_object_get(object, "choices");
	const json_t *error = json_object_get(object, "error");
	const json_t *model = json_object_get(object, "model");
	enum chat_status status = CHAT_OK;
	size_t i;
	json_t *choice;

	if (!json_is_object(object))
		return CHAT_MALFORMED;
	if (json_is_object(error) || json_is_string(error) ||
	    slice_is(json_slice(json_object_get(object, "object")), "error")) {
		chat_answer_note_error(a, json_is_object(error) ? error : object);
		return CHAT_REPORTED;
	}
	if (json_is_string(model) && a->model[0] == '\0')
		text_copy(a->model, sizeof(a->model), json_slice(model));
	if (json_is_object(json_object_get(object, "usage")))
		chat_answer_usage(a, json_object_get(object, "usage"));
	if (choices != NULL && !json_is_array(choices) && !json_is_null(choices))
		return CHAT_MALFORMED;
	json_array_foreach(choices, i, choice)
	{
		const json_t *index = json_object_get(choice, "index");

		if (json_is_integer(index) ? json_integer_value(index) == 0 : i == 0)
			status = chat_answer_choice(a, choice);
		if (status != CHAT_OK)
			break;
	}
	return status;
}
