#include "bench/mockai/request.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define REQUEST_KEEP_BYTES 16384u /* buffers larger than this are given back between requests */

static struct request *request_of(http_parser *parser) { return parser->data; }

static bool header_is_secret(const char *name)
{
	static const char *const secrets[] = {"authorization", "api-key", "x-api-key", "proxy-authorization", "cookie"};

	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
		if (strcmp(name, secrets[i]) == 0)
			return true;
	}
	return false;
}

static void auth_note(struct request *r, const char *name, const char *value)
{
	if (strcmp(name, "authorization") == 0)
		(void)snprintf(r->auth, sizeof(r->auth), "%s",
			       strncasecmp(value, "bearer ", 7) == 0 ? "bearer" : "other");
	else if (strcmp(name, "api-key") == 0)
		(void)snprintf(r->auth, sizeof(r->auth), "api-key");
}

/* The header that was read is whole: keep it. */
static void header_end(struct request *r)
{
	const char *value = r->value.length > 0 ? r->value.data : "";

	if (r->name.length == 0)
		return;
	for (size_t i = 0; i < r->name.length; i++)
		r->name.data[i] = (char)tolower((unsigned char)r->name.data[i]);
	if (strcmp(r->name.data, "expect") == 0 && strcasecmp(value, "100-continue") == 0)
		r->expects = true;
	if (header_is_secret(r->name.data)) {
		auth_note(r, r->name.data, value);
	} else {
		buffer_append(&r->headers, r->name.data, r->name.length);
		buffer_byte(&r->headers, '\0');
		buffer_append(&r->headers, value, r->value.length);
		buffer_byte(&r->headers, '\0');
	}
	buffer_clear(&r->name);
	buffer_clear(&r->value);
	r->value_seen = false;
}

static int request_refuse(struct request *r, int status)
{
	r->state = REQUEST_BAD;
	r->status = status;
	return -1;
}

static int on_url(http_parser *parser, const char *at, size_t length)
{
	struct request *r = request_of(parser);

	buffer_append(&r->target, at, length);
	return r->target.overflow ? request_refuse(r, 414) : 0;
}

static int on_header_field(http_parser *parser, const char *at, size_t length)
{
	struct request *r = request_of(parser);

	if (r->value_seen)
		header_end(r);
	buffer_append(&r->name, at, length);
	return r->name.overflow || r->headers.overflow ? request_refuse(r, 431) : 0;
}

static int on_header_value(http_parser *parser, const char *at, size_t length)
{
	struct request *r = request_of(parser);

	r->value_seen = true;
	buffer_append(&r->value, at, length);
	return r->value.overflow ? request_refuse(r, 431) : 0;
}

static int on_headers_complete(http_parser *parser)
{
	struct request *r = request_of(parser);

	header_end(r);
	if (r->headers.overflow)
		return request_refuse(r, 431);
	if (parser->content_length != UINT64_MAX && parser->content_length > REQUEST_BODY_BYTES_MAX)
		return request_refuse(r, 413);
	r->wants_continue = r->expects && parser->http_minor > 0;
	return 0;
}

static int on_body(http_parser *parser, const char *at, size_t length)
{
	struct request *r = request_of(parser);

	r->wants_continue = false;
	buffer_append(&r->body, at, length);
	return r->body.overflow ? request_refuse(r, 413) : 0;
}

static int on_message_complete(http_parser *parser)
{
	struct request *r = request_of(parser);

	r->state = REQUEST_COMPLETE;
	r->wants_continue = false;
	r->keep_alive = http_should_keep_alive(parser) != 0 && !parser->upgrade;
	http_parser_pause(parser, 1);
	return 0;
}

void request_init(struct request *r)
{
	*r = (struct request){0};
	buffer_init(&r->target, REQUEST_TARGET_BYTES_MAX);
	buffer_init(&r->headers, REQUEST_HEADERS_BYTES_MAX);
	buffer_init(&r->body, REQUEST_BODY_BYTES_MAX);
	buffer_init(&r->name, REQUEST_HEADERS_BYTES_MAX);
	buffer_init(&r->value, REQUEST_HEADERS_BYTES_MAX);
	request_reset(r);
}

void request_free(struct request *r)
{
	buffer_free(&r->target);
	buffer_free(&r->headers);
	buffer_free(&r->body);
	buffer_free(&r->name);
	buffer_free(&r->value);
}

void request_reset(struct request *r)
{
	struct buffer *buffers[] = {&r->target, &r->headers, &r->body, &r->name, &r->value};

	for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) {
		buffer_clear(buffers[i]);
		buffer_shrink(buffers[i], REQUEST_KEEP_BYTES);
	}
	http_parser_init(&r->parser, HTTP_REQUEST);
	r->parser.data = r;
	r->state = REQUEST_READING;
	r->status = 0;
	r->auth[0] = '\0';
	r->value_seen = r->started = r->expects = r->wants_continue = r->keep_alive = false;
}

size_t request_feed(struct request *r, const char *data, size_t length)
{
	static const http_parser_settings callbacks = {
		.on_url = on_url,
		.on_header_field = on_header_field,
		.on_header_value = on_header_value,
		.on_headers_complete = on_headers_complete,
		.on_body = on_body,
		.on_message_complete = on_message_complete,
	};
	size_t taken;

	r->started = true;
	taken = http_parser_execute(&r->parser, &callbacks, data, length);
	if (r->state == REQUEST_READING && HTTP_PARSER_ERRNO(&r->parser) != HPE_OK)
		(void)request_refuse(r, HTTP_PARSER_ERRNO(&r->parser) == HPE_HEADER_OVERFLOW ? 431 : 400);
	return taken;
}

void request_path(const struct request *r, const char **ret_path, size_t *ret_length, const char **ret_query)
{
	const char *target = r->target.length > 0 ? r->target.data : "";
	size_t length = strcspn(target, "?");

	*ret_path = target;
	*ret_length = length;
	*ret_query = target[length] == '?' ? target + length + 1 : "";
}
