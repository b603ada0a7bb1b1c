/* input: reading, and JSON to msgpack. */
#include "client/cli/input.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_BYTES_MAX 16777216 /* what a frame may carry */

/* ---- reading */

/* The whole of a file, ended by a NUL; NULL after saying why. */
static char *stream_read(FILE *file, const char *name, size_t *ret_n)
{
	size_t cap = 65536, n = 0;
	char *text = malloc(cap + 1);

	while (text != NULL) {
		n += fread(text + n, 1, cap - n, file);
		if (n < cap)
			break;

		char *more = cap < INPUT_BYTES_MAX ? realloc(text, 2 * cap + 1) : NULL;

		if (more == NULL) {
			free(text);
			cli_options_usage("%s: over %d bytes, or no memory", name, INPUT_BYTES_MAX);
			return NULL;
		}
		text = more;
		cap *= 2;
	}
	if (text == NULL || ferror(file)) {
		cli_options_usage("%s: %s", name, text == NULL ? "no memory" : strerror(errno));
		free(text);
		return NULL;
	}
	text[n] = '\0';
	*ret_n = n;
	return text;
}

static char *file_read(const char *name, size_t *ret_n)
{
	FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");
	char *text;

	if (file == NULL) {
		cli_options_usage("%s: %s", name, strerror(errno));
		return NULL;
	}
	text = stream_read(file, file == stdin ? "standard input" : name, ret_n);
	if (file != stdin)
		fclose(file);
	return text;
}

/* A text of the command line: itself, or standard input without the line feed that echo and editors put at its end, so
 * that both ways of asking are one question. */
static int text_read(const char *text, char **owned, const char **ret, size_t *ret_n)
{
	size_t n;

	if (strcmp(text, "-") != 0) {
		*ret = text;
		*ret_n = strlen(text);
		return 0;
	}
	*owned = file_read("-", &n);
	if (*owned == NULL)
		return EXIT_USAGE;
	if (n > 0 && (*owned)[n - 1] == '\n')
		(*owned)[--n] = '\0';
	*ret = *owned;
	*ret_n = n;
	return 0;
}

/* ---- JSON to msgpack */

static void json_value_pack(msgpack_packer *pk, const json_t *v);

static void text_pack(msgpack_packer *pk, const char *text, size_t n)
{
	msgpack_pack_str(pk, n);
	msgpack_pack_str_body(pk, text, n);
}

static void object_pack(msgpack_packer *pk, const json_t *v)
{
	const char *key;
	json_t *item;

	msgpack_pack_map(pk, json_object_size(v));
	/* jansson's iteration wants a pointer to something that could be changed; nothing is. */
	json_object_foreach((json_t *)(uintptr_t)v, key, item)
	{
		text_pack(pk, key, strlen(key));
		json_value_pack(pk, item);
	}
}

/* As deep as the value: jansson has bounded that when it read it. */
static void json_value_pack(msgpack_packer *pk, const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		object_pack(pk, v);
		break;
	case JSON_ARRAY:
		msgpack_pack_array(pk, json_array_size(v));
		for (size_t i = 0; i < json_array_size(v); i++)
			json_value_pack(pk, json_array_get(v, i));
		break;
	case JSON_STRING:
		text_pack(pk, json_string_value(v), json_string_length(v));
		break;
	case JSON_INTEGER:
		msgpack_pack_int64(pk, json_integer_value(v));
		break;
	case JSON_REAL:
		msgpack_pack_double(pk, json_real_value(v));
		break;
	case JSON_TRUE:
		msgpack_pack_true(pk);
		break;
	case JSON_FALSE:
		msgpack_pack_false(pk);
		break;
	case JSON_NULL:
		msgpack_pack_nil(pk);
		break;
	}
}

static void value_pack(msgpack_sbuffer *out, const json_t *v)
{
	msgpack_packer pk;

	msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
	json_value_pack(&pk, v);
}

/* ---- the body */

/* What is not model, messages, tools or about the transport is a parameter. An option on the command line wins. */
static int body_params(struct cli_input *in, const struct cli_options *o)
{
	static const char *const others[] = {"model", "messages", "tools", "stream", "stream_options"};
	const char *key;
	json_t *value;

	json_object_foreach(in->body, key, value)
	{
		bool is_param = json_object_get(o->params, key) == NULL;

		for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
			is_param = is_param && strcmp(key, others[i]) != 0;
		if (is_param && json_object_set(o->params, key, value) != 0)
			return cli_options_usage("%s: no memory", o->body);
	}
	return 0;
}

static int body_read(struct cli_input *in, const struct cli_options *o)
{
	json_error_t error;
	size_t n;
	char *text = file_read(o->body, &n);

	if (text == NULL)
		return EXIT_USAGE;
	in->body = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	free(text);
	if (in->body == NULL)
		return cli_options_usage("%s, line %d: %s", o->body, error.line, error.text);

	const json_t *model = json_object_get(in->body, "model"), *messages = json_object_get(in->body, "messages");
	const json_t *tools = json_object_get(in->body, "tools"), *stream = json_object_get(in->body, "stream");

	if (!json_is_array(messages) || json_array_size(messages) == 0)
		return cli_options_usage("%s: \"messages\" must be an array with at least one message", o->body);
	if (model != NULL && !json_is_string(model))
		return cli_options_usage("%s: \"model\" must be a string", o->body);
	if (tools != NULL && !json_is_array(tools))
		return cli_options_usage("%s: \"tools\" must be an array", o->body);
	if (in->query.model == NULL)
		in->query.model = json_string_value(model);
	in->stream = in->stream || (json_is_true(stream) && o->command == COMMAND_QUERY);
	value_pack(&in->messages, messages);
	in->query.messages_msgpack = in->messages.data;
	in->query.messages_msgpack_len = in->messages.size;
	if (tools != NULL) {
		value_pack(&in->tools, tools);
		in->query.tools_msgpack = in->tools.data;
		in->query.tools_msgpack_len = in->tools.size;
	}
	return body_params(in, o);
}

int cli_input_read(struct cli_input *in, const struct cli_options *o)
{
	int status = 0;

	*in = (struct cli_input){.query = PC_QUERY_INIT, .content = PC_CONTENT_INIT, .stream = o->stream};
	in->query.model = o->model;
	in->query.system = o->system;
	in->query.namespace_name = o->namespace_name;
	in->query.prompt_version = o->prompt_version;
	in->query.timeout_ms = (unsigned)o->timeout_ms;
	in->query.no_cache = o->no_cache;
	in->query.no_store = o->no_store;
	in->query.ttl_ms = o->ttl_ms;
	in->query.max_age_ms = o->max_age_ms;
	if (o->question != NULL)
		status = text_read(o->question, &in->question, &in->query.prompt, &in->query.prompt_len);
	if (status == 0 && o->body != NULL)
		status = body_read(in, o);
	if (status == 0 && o->answer != NULL) {
		in->has_content = true;
		status = text_read(o->answer, &in->answer, &in->content.text, &in->content.text_len);
	}
	if (status == 0 && json_object_size(o->params) > 0) {
		value_pack(&in->params, o->params);
		in->query.params_msgpack = in->params.data;
		in->query.params_msgpack_len = in->params.size;
	}
	return status;
}

void cli_input_free(struct cli_input *in)
{
	free(in->question);
	free(in->answer);
	json_decref(in->body);
	msgpack_sbuffer_destroy(&in->messages);
	msgpack_sbuffer_destroy(&in->tools);
	msgpack_sbuffer_destroy(&in->params);
}
