#include "bench/mockai/stats.h"

#include <stdio.h>
#include <string.h>

#include "bench/mockai/utf8.h"

void stats_init(struct stats *s)
{
	*s = (struct stats){.by_prompt = json_object()};
	buffer_init(&s->last.target, REQUEST_TARGET_BYTES_MAX);
	buffer_init(&s->last.headers, REQUEST_HEADERS_BYTES_MAX);
	buffer_init(&s->last.body, STATS_BODY_BYTES_MAX);
}

void stats_free(struct stats *s)
{
	json_decref(s->by_prompt);
	s->by_prompt = NULL;
	buffer_free(&s->last.target);
	buffer_free(&s->last.headers);
	buffer_free(&s->last.body);
}

void stats_reset(struct stats *s)
{
	uint64_t in_flight = s->in_flight, open = s->connections_open;

	stats_free(s);
	stats_init(s);
	s->in_flight = s->in_flight_max = in_flight;
	s->connections_open = s->connections_open_max = open;
}

void stats_request(struct stats *s, const struct request *r)
{
	size_t kept = r->body.length < STATS_BODY_BYTES_MAX ? r->body.length : STATS_BODY_BYTES_MAX;

	s->requests++;
	buffer_clear(&s->last.target);
	buffer_clear(&s->last.headers);
	buffer_clear(&s->last.body);
	buffer_append(&s->last.target, r->target.data, r->target.length);
	buffer_append(&s->last.headers, r->headers.data, r->headers.length);
	buffer_append(&s->last.body, r->body.data, kept);
	s->last.body_bytes = r->body.length;
	(void)snprintf(s->last.method, sizeof(s->last.method), "%s",
		       http_method_str((enum http_method)r->parser.method));
	(void)snprintf(s->last.auth, sizeof(s->last.auth), "%s", r->auth);
}

void stats_begin(struct stats *s)
{
	s->in_flight++;
	if (s->in_flight > s->in_flight_max)
		s->in_flight_max = s->in_flight;
}

void stats_faults(struct stats *s, const struct fault_set *faults)
{
	for (size_t i = 0; i < FAULT_COUNT; i++)
		s->fault[i] += fault_on(faults, (enum fault)i);
}

uint64_t stats_prompt(struct stats *s, const char *prompt, size_t length)
{
	size_t cut = utf8_cut(prompt, length, STATS_PROMPT_BYTES);
	size_t key_length = strnlen(prompt, cut);
	json_t *calls = json_object_getn(s->by_prompt, prompt, key_length);

	if (calls != NULL) {
		json_integer_set(calls, json_integer_value(calls) + 1);
		return (uint64_t)json_integer_value(calls);
	}
	if (json_object_size(s->by_prompt) >= STATS_PROMPTS_MAX) {
		s->by_prompt_dropped++;
		return 0;
	}
	json_object_setn_new(s->by_prompt, prompt, key_length, json_integer(1));
	return 1;
}

/* Text that came from outside: bytes that are not UTF-8 become '?'. */
static json_t *text_json(const char *text, size_t length)
{
	json_t *json = json_stringn(length > 0 ? text : "", length);
	struct buffer b;

	if (json != NULL)
		return json;
	buffer_init(&b, length);
	for (size_t i = 0; i < length; i++)
		buffer_byte(&b, (char)((unsigned char)text[i] < 0x80 ? text[i] : '?'));
	json = json_stringn(b.data, b.length);
	buffer_free(&b);
	return json;
}

static json_t *headers_json(const struct buffer *headers)
{
	json_t *object = json_object();
	size_t at = 0;

	while (at < headers->length) {
		const char *name = headers->data + at;
		const char *value = name + strlen(name) + 1;

		json_object_set_new(object, name, text_json(value, strlen(value)));
		at = (size_t)(value - headers->data) + strlen(value) + 1;
	}
	return object;
}

static json_t *last_json(const struct stats *s)
{
	json_t *last;
	size_t kept = s->last.body.length;

	if (s->last.method[0] == '\0')
		return json_null();
	last = json_object();
	json_object_set_new(last, "method", json_string(s->last.method));
	json_object_set_new(last, "target", text_json(s->last.target.data, s->last.target.length));
	json_object_set_new(last, "auth", json_string(s->last.auth));
	json_object_set_new(last, "headers", headers_json(&s->last.headers));
	if (kept < s->last.body_bytes)
		kept = utf8_cut(s->last.body.data, s->last.body_bytes, kept);
	json_object_set_new(last, "body", text_json(s->last.body.data, kept));
	json_object_set_new(last, "body_bytes", json_integer((json_int_t)s->last.body_bytes));
	return last;
}

json_t *stats_json(const struct stats *s, bool brief)
{
	json_t *object = json_object(), *faults = json_object();

#define X(name) json_object_set_new(object, #name, json_integer((json_int_t)s->name));
	STATS_COUNTERS(X)
#undef X
	for (size_t i = 0; i < FAULT_COUNT; i++) {
		if (s->fault[i] > 0)
			json_object_set_new(faults, fault_name((enum fault)i), json_integer((json_int_t)s->fault[i]));
	}
	json_object_set_new(object, "faults", faults);
	if (brief)
		return object;
	json_object_set(object, "by_prompt", s->by_prompt);
	json_object_set_new(object, "last_request", last_json(s));
	return object;
}
