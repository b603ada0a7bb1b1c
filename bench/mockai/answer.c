#include "bench/mockai/answer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench/mockai/random.h"
#include "bench/mockai/schema.h"
#include "bench/mockai/utf8.h"

#define ECHO_BYTES_MAX	 200u /* of the question in the answer */
#define BYTES_PER_TOKEN	 4
#define FILLER_SENTENCES 3u

static const char *const sentences[] = {
	"The short form is that it depends on what you measure first.",
	"A careful look at the numbers shows the same picture each time.",
	"Most teams begin with the simplest thing that could work.",
	"There are three parts to this, and the second one matters most.",
	"In practice the first request is slow and the later ones are not.",
	"It helps to write down what is expected before anything is changed.",
	"The usual mistake is to treat the symptom and leave the cause.",
	"Nothing here needs more than the tools that are at hand.",
	"The limits are set by the slowest part, so begin there.",
	"This holds for small systems as well as for large ones.",
	"Keep the old way until the new one has carried a full day of work.",
	"When both values agree, the rest follows without further steps.",
	"The documents say less about this than one would wish.",
	"A second opinion costs little and has saved many an evening.",
	"Two of the options are equal; choose the one that is easier to undo.",
	"With that in place, the remaining steps are the same as before.",
};

static size_t tokens_of(size_t bytes) { return (bytes + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN; }

static void text_write(struct buffer *b, const struct buffer *question, struct random *random, size_t bytes)
{
	size_t count = 0, least = FILLER_SENTENCES + random_next(random) % 3;

	buffer_text(b, "Answer to \"");
	buffer_append(b, question->data, utf8_cut(question->data, question->length, ECHO_BYTES_MAX));
	buffer_text(b, "\".");
	while (bytes > 0 ? b->length < bytes : count < least) {
		buffer_byte(b, ' ');
		buffer_text(b, sentences[random_next(random) % (sizeof(sentences) / sizeof(sentences[0]))]);
		count++;
	}
	if (bytes > 0 && b->length > bytes) {
		size_t cut = utf8_cut(b->data, b->length, bytes);

		memset(b->data + cut, '.', bytes - cut); /* where a character had to go */
		b->length = bytes;
	}
}

static void text_shorten(struct answer *a, size_t bytes, const char *finish)
{
	a->text.length = utf8_cut(a->text.data, a->text.length, bytes);
	a->finish = finish;
}

/* The text as JSON, if the request wants it so. */
static void text_structure(struct answer *a, const struct chat_request *q)
{
	const char *type = json_string_value(json_object_get(q->response_format, "type"));
	struct buffer plain = a->text;

	if (type == NULL || (strcmp(type, "json_object") != 0 && strcmp(type, "json_schema") != 0))
		return;
	buffer_init(&a->text, plain.limit);
	if (strcmp(type, "json_schema") == 0) {
		const json_t *schema = json_object_get(json_object_get(q->response_format, "json_schema"), "schema");

		schema_write_example(&a->text, schema, plain.data, plain.length);
	} else {
		buffer_text(&a->text, "{\"answer\": ");
		buffer_json_string(&a->text, plain.data, plain.length);
		buffer_byte(&a->text, '}');
	}
	buffer_free(&plain);
}

/* The tool that the request insists on, or its number `i`, or NULL. */
static const json_t *tool_find(const struct chat_request *q, size_t i)
{
	const json_t *wanted = json_object_get(json_object_get(q->tool_choice, "function"), "name");
	size_t count = json_array_size(q->tools), at;
	const json_t *tool;

	if (count == 0)
		return NULL;
	json_array_foreach(q->tools, at, tool)
	{
		const json_t *function = json_object_get(tool, "function");

		if (json_is_string(wanted) && json_equal(wanted, json_object_get(function, "name")))
			return function;
	}
	return json_object_get(json_array_get(q->tools, i < count ? i : count - 1), "function");
}

static void call_add(struct answer *a, const struct chat_request *q, struct random *random)
{
	static const char *const cities[ANSWER_CALLS_MAX] = {"Paris", "Reykjavík"};
	size_t i = a->call_count++;
	struct tool_call *call = &a->call[i];
	const json_t *function = tool_find(q, i), *parameters = json_object_get(function, "parameters");
	const char *name = json_string_value(json_object_get(function, "name"));

	(void)snprintf(call->id, sizeof(call->id), "call_%016llx", (unsigned long long)random_next(random));
	(void)snprintf(call->name, sizeof(call->name), "%s", name != NULL ? name : "get_weather");
	buffer_init(&call->arguments, REQUEST_BODY_BYTES_MAX);
	if (json_is_object(parameters))
		schema_write_example(&call->arguments, parameters, cities[i], strlen(cities[i]));
	else
		buffer_printf(&call->arguments, "{\"city\":\"%s\"}", cities[i]);
	a->finish = "tool_calls";
}

static bool tool_required(const struct chat_request *q)
{
	const char *choice = json_string_value(q->tool_choice);

	return json_array_size(q->tools) > 0 &&
	       (json_is_object(q->tool_choice) || (choice != NULL && strcmp(choice, "required") == 0));
}

static void content_make(struct answer *a, const struct chat_request *q, const struct buffer *question,
			 const struct settings *settings, const struct fault_set *faults, struct random *random)
{
	a->finish = "stop";
	if (fault_on(faults, FAULT_TOOL_CALL) || fault_on(faults, FAULT_TOOL_CALLS_2) || tool_required(q)) {
		call_add(a, q, random);
		if (fault_on(faults, FAULT_TOOL_CALLS_2))
			call_add(a, q, random);
		return;
	}
	if (fault_on(faults, FAULT_EMPTY))
		return;
	if (fault_on(faults, FAULT_REFUSAL)) {
		a->refusal = true;
		buffer_text(&a->text, "I'm sorry, I can't assist with that request.");
		return;
	}
	text_write(&a->text, question, random, settings->answer_bytes);
	if (!fault_on(faults, FAULT_NOT_JSON))
		text_structure(a, q);
	if (q->max_tokens >= 0 && (uint64_t)q->max_tokens * BYTES_PER_TOKEN < a->text.length)
		text_shorten(a, (size_t)q->max_tokens * BYTES_PER_TOKEN, "length");
	if (fault_on(faults, FAULT_LENGTH))
		text_shorten(a, a->text.length / 2, "length");
	if (fault_on(faults, FAULT_CONTENT_FILTER))
		text_shorten(a, a->text.length / 2, "content_filter");
}

void answer_init(struct answer *a, const struct chat_request *q, const struct buffer *question,
		 const struct settings *settings, const struct fault_set *faults)
{
	static uint64_t serial; /* ids are fresh each time, as those of a provider are */
	struct random random = {random_mix(q->hash ^ random_mix(settings->seed))};
	size_t bytes;

	*a = (struct answer){.created = (int64_t)time(NULL)};
	buffer_init(&a->text, (size_t)SETTINGS_ANSWER_BYTES_MAX * 2);
	buffer_init(&a->reasoning, 4096);
	(void)snprintf(a->id, sizeof(a->id), "chatcmpl-%08llx%016llx", (unsigned long long)++serial,
		       (unsigned long long)random_next(&random));
	if (fault_on(faults, FAULT_REASONING))
		buffer_text(&a->reasoning,
			    "First I look at what is asked. Then I recall what I know. Now I can answer.");
	content_make(a, q, question, settings, faults, &random);
	if (fault_on(faults, FAULT_NO_FINISH))
		a->finish = NULL;
	bytes = a->text.length + a->reasoning.length;
	for (size_t i = 0; i < a->call_count; i++)
		bytes += a->call[i].arguments.length;
	a->prompt_tokens = tokens_of(q->prompt_bytes) + 3;
	a->completion_tokens = tokens_of(bytes) * (size_t)q->choices;
	a->usage = !fault_on(faults, FAULT_NO_USAGE);
	if (fault_on(faults, FAULT_CACHED_TOKENS)) {
		size_t cached = (size_t)faults->value[FAULT_CACHED_TOKENS];

		a->cached_tokens = cached < a->prompt_tokens ? cached : a->prompt_tokens;
	}
}

void answer_free(struct answer *a)
{
	buffer_free(&a->text);
	buffer_free(&a->reasoning);
	for (size_t i = 0; i < a->call_count; i++)
		buffer_free(&a->call[i].arguments);
	a->call_count = 0;
}

void answer_write_usage(const struct answer *a, struct buffer *b)
{
	buffer_printf(b,
		      "{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,\"total_tokens\":%zu,"
		      "\"prompt_tokens_details\":{\"cached_tokens\":%zu,\"audio_tokens\":0},"
		      "\"completion_tokens_details\":{\"reasoning_tokens\":%zu,\"audio_tokens\":0}}",
		      a->prompt_tokens, a->completion_tokens, a->prompt_tokens + a->completion_tokens, a->cached_tokens,
		      tokens_of(a->reasoning.length));
}
