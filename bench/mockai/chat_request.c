#include "bench/mockai/chat_request.h"

#include <stdio.h>
#include <string.h>

#include "bench/mockai/random.h"

#define QUESTION_BYTES_MAX REQUEST_BODY_BYTES_MAX

static bool refuse(struct http_error *e, const char *param, const char *message)
{
	*e = (struct http_error){.status = 400, .param = param};
	(void)snprintf(e->message, sizeof(e->message), "%s", message);
	return false;
}

static void text_note(struct chat_request *q, const json_t *text, bool is_question)
{
	q->hash = random_hash(q->hash, json_string_value(text), json_string_length(text));
	q->prompt_bytes += json_string_length(text);
	if (is_question)
		buffer_append(&q->question, json_string_value(text), json_string_length(text));
}

/* Content is a string, or a list of parts of which those with a text count, or null beside tool calls. */
static bool content_read(struct chat_request *q, const json_t *content, bool is_question)
{
	const json_t *part;
	size_t i;

	if (json_is_string(content)) {
		text_note(q, content, is_question);
		return true;
	}
	if (content == NULL || json_is_null(content))
		return true;
	if (!json_is_array(content))
		return false;
	json_array_foreach(content, i, part)
	{
		const json_t *text = json_object_get(part, "text");

		if (json_is_string(text))
			text_note(q, text, is_question);
	}
	return true;
}

static bool messages_read(struct chat_request *q, const json_t *messages, struct http_error *e)
{
	const json_t *message;
	size_t i, last_user = SIZE_MAX;

	if (!json_is_array(messages) || json_array_size(messages) == 0)
		return refuse(e, "messages", "'messages' must be a list with at least one message.");
	json_array_foreach(messages, i, message)
	{
		const char *role = json_string_value(json_object_get(message, "role"));

		if (role == NULL)
			return refuse(e, "messages", "Each message is an object with a 'role'.");
		if (strcmp(role, "user") == 0)
			last_user = i;
	}
	json_array_foreach(messages, i, message)
	{
		const json_t *role = json_object_get(message, "role");

		q->hash = random_hash(q->hash, json_string_value(role), json_string_length(role) + 1);
		if (!content_read(q, json_object_get(message, "content"), i == last_user))
			return refuse(e, "messages", "'content' must be a string or a list of parts.");
	}
	return true;
}

static bool model_read(struct chat_request *q, const char *deployment, struct http_error *e)
{
	const char *model = json_string_value(json_object_get(q->root, "model"));

	if (model == NULL || *model == '\0')
		model = deployment;
	if (model == NULL || *model == '\0')
		return refuse(e, "model", "you must provide a model parameter");
	if (strlen(model) >= sizeof(q->model))
		return refuse(e, "model", "The name of the model is too long.");
	(void)snprintf(q->model, sizeof(q->model), "%s", model);
	q->hash = random_hash(q->hash, model, strlen(model) + 1);
	return true;
}

static bool options_read(struct chat_request *q, struct http_error *e)
{
	const json_t *root = q->root;
	const json_t *n = json_object_get(root, "n");
	const json_t *limit = json_object_get(root, "max_completion_tokens");
	json_int_t choices = n == NULL || json_is_null(n) ? 1 : json_integer_value(n);

	if (choices < 1 || choices > CHAT_CHOICES_MAX)
		return refuse(e, "n", "'n' must be a whole number from 1 to 8.");
	if (limit == NULL || json_is_null(limit))
		limit = json_object_get(root, "max_tokens");
	q->max_tokens = limit == NULL || json_is_null(limit) ? -1 : json_integer_value(limit);
	if (limit != NULL && !json_is_null(limit) && q->max_tokens < 1)
		return refuse(e, "max_tokens", "'max_tokens' must be a positive whole number.");
	q->choices = (int)choices;
	q->stream = json_is_true(json_object_get(root, "stream"));
	q->include_usage = json_is_true(json_object_get(json_object_get(root, "stream_options"), "include_usage"));
	q->logprobs = json_is_true(json_object_get(root, "logprobs"));
	q->tools = json_object_get(root, "tools");
	q->tool_choice = json_object_get(root, "tool_choice");
	q->response_format = json_object_get(root, "response_format");
	return true;
}

bool chat_request_parse(struct chat_request *q, const char *body, size_t length, const char *deployment,
			struct http_error *ret_error)
{
	json_error_t error;

	*q = (struct chat_request){.hash = RANDOM_HASH_START, .azure = deployment != NULL};
	buffer_init(&q->question, QUESTION_BYTES_MAX);
	q->root = json_loadb(body != NULL ? body : "", length, JSON_ALLOW_NUL, &error);
	if (!json_is_object(q->root))
		return refuse(ret_error, NULL, "We could not parse the JSON body of your request.");
	return model_read(q, deployment, ret_error) && options_read(q, ret_error) &&
	       messages_read(q, json_object_get(q->root, "messages"), ret_error);
}

void chat_request_free(struct chat_request *q)
{
	buffer_free(&q->question);
	json_decref(q->root);
	q->root = NULL;
}
