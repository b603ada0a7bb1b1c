#include "bench/mockai/http.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct {
	int status;
	const char *reason;
	const char *type; /* of the error object */
} statuses[] = {
	{200, "OK", ""},
	{400, "Bad Request", "invalid_request_error"},
	{401, "Unauthorized", "invalid_request_error"},
	{404, "Not Found", "invalid_request_error"},
	{405, "Method Not Allowed", "invalid_request_error"},
	{413, "Payload Too Large", "invalid_request_error"},
	{414, "URI Too Long", "invalid_request_error"},
	{418, "I'm a teapot", "invalid_request_error"},
	{429, "Too Many Requests", "requests"},
	{431, "Request Header Fields Too Large", "invalid_request_error"},
	{500, "Internal Server Error", "server_error"},
	{502, "Bad Gateway", "server_error"},
	{503, "Service Unavailable", "server_error"},
};

static size_t status_find(int status)
{
	size_t last = sizeof(statuses) / sizeof(statuses[0]) - 1;

	for (size_t i = 0; i < last; i++) {
		if (statuses[i].status == status)
			return i;
	}
	return last;
}

void http_head(struct script *s, const struct request *r, int status, const char *type, enum http_length how,
	       size_t length, const char *extra)
{
	static unsigned long long id; /* x-request-id: unique in this process is enough */
	bool old = r->parser.http_major < 1 || (r->parser.http_major == 1 && r->parser.http_minor == 0);
	bool keep = r->state == REQUEST_COMPLETE && r->keep_alive;

	if (how == HTTP_LENGTH_CHUNKED && old)
		how = HTTP_LENGTH_UNKNOWN;
	if (how == HTTP_LENGTH_UNKNOWN)
		keep = false;
	buffer_printf(&s->wire, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nx-request-id: req_%012llx\r\n", status,
		      statuses[status_find(status)].reason, type, ++id);
	if (how == HTTP_LENGTH_KNOWN)
		buffer_printf(&s->wire, "Content-Length: %zu\r\n", length);
	else if (how == HTTP_LENGTH_CHUNKED)
		buffer_text(&s->wire, "Transfer-Encoding: chunked\r\n");
	if (!keep)
		buffer_text(&s->wire, "Connection: close\r\n");
	else if (old)
		buffer_text(&s->wire, "Connection: keep-alive\r\n");
	buffer_text(&s->wire, extra);
	buffer_text(&s->wire, "\r\n");
	s->framing = how == HTTP_LENGTH_CHUNKED ? SCRIPT_CHUNKED : SCRIPT_PLAIN;
	s->ending = keep ? SCRIPT_KEEP : SCRIPT_CLOSE;
	script_head_end(s, s->first_byte_ms > 0);
}

void http_reply(struct script *s, const struct request *r, int status, const char *type, const char *body,
		size_t length, const char *extra)
{
	http_head(s, r, status, type, HTTP_LENGTH_KNOWN, length, extra);
	if (!request_is(r, HTTP_HEAD))
		script_body(s, body, length);
	script_body_end(s);
}

/* A field of the error object: a string, or null. */
static void field_write(struct buffer *b, const char *text)
{
	if (text == NULL)
		buffer_text(b, "null");
	else
		buffer_json_string(b, text, strlen(text));
}

void http_reply_error(struct script *s, const struct request *r, const struct http_error *e, const char *extra)
{
	struct buffer b;

	buffer_init(&b, 4096);
	buffer_text(&b, "{\"error\":{\"message\":");
	field_write(&b, e->message);
	buffer_text(&b, ",\"type\":");
	field_write(&b, e->type != NULL ? e->type : statuses[status_find(e->status)].type);
	buffer_text(&b, ",\"param\":");
	field_write(&b, e->param);
	buffer_text(&b, ",\"code\":");
	field_write(&b, e->code);
	buffer_text(&b, "}}");
	http_reply(s, r, e->status, "application/json", b.data, b.length, extra);
	buffer_free(&b);
}

static const char *retry_after(char text[96], int64_t seconds, bool as_date)
{
	time_t when = time(NULL) + seconds;
	struct tm tm;

	if (as_date && gmtime_r(&when, &tm) != NULL)
		(void)strftime(text, 96, "Retry-After: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
	else
		(void)snprintf(text, 96, "Retry-After: %lld\r\n", (long long)seconds);
	return text;
}

static void reply_429(struct script *s, const struct request *r, int64_t seconds, bool as_date)
{
	struct http_error e = {.status = 429,
			       .code = "rate_limit_exceeded",
			       .message = "Rate limit reached for requests. Please try again later."};
	char extra[96];

	http_reply_error(s, r, &e, retry_after(extra, seconds, as_date));
}

static void reply_503(struct script *s, const struct request *r, int64_t seconds)
{
	struct http_error e = {.status = 503, .message = "The engine is currently overloaded, please try again later"};
	char extra[96];

	http_reply_error(s, r, &e, seconds > 0 ? retry_after(extra, seconds, false) : "");
}

static void reply_status(struct script *s, const struct request *r, int status, const char *code, const char *message)
{
	struct http_error e = {.status = status, .code = code};

	(void)snprintf(e.message, sizeof(e.message), "%s", message);
	http_reply_error(s, r, &e, "");
}

bool http_reply_fault(struct script *s, const struct request *r, const struct fault_set *faults)
{
	static const char page[] = "<!DOCTYPE html>\n<html><head><title>Gateway</title></head>"
				   "<body><h1>Please sign in</h1></body></html>\n";

	if (fault_on(faults, FAULT_429))
		reply_429(s, r, faults->value[FAULT_429], false);
	else if (fault_on(faults, FAULT_429_DATE))
		reply_429(s, r, faults->value[FAULT_429_DATE], true);
	else if (fault_on(faults, FAULT_500))
		reply_status(s, r, 500, NULL,
			     "The server had an error while processing your request. Sorry about that!");
	else if (fault_on(faults, FAULT_503))
		reply_503(s, r, faults->value[FAULT_503]);
	else if (fault_on(faults, FAULT_401))
		reply_status(s, r, 401, "invalid_api_key", "Incorrect API key provided.");
	else if (fault_on(faults, FAULT_400))
		reply_status(s, r, 400, NULL, "This request was refused because the fault 400 was asked for.");
	else if (fault_on(faults, FAULT_STATUS))
		reply_status(s, r, (int)faults->value[FAULT_STATUS], NULL, "The fault status was asked for.");
	else if (fault_on(faults, FAULT_HTML))
		http_reply(s, r, 200, "text/html; charset=utf-8", page, sizeof(page) - 1, "");
	else
		return false;
	return true;
}

void http_break(struct script *s, const struct fault_set *faults)
{
	if (fault_on(faults, FAULT_SLOW_BYTES)) {
		s->by_byte = true;
		if (faults->value[FAULT_SLOW_BYTES] > 0 || s->pace.a_ms <= 0)
			s->pace = (struct latency){.kind = LATENCY_FIXED,
						   .a_ms = (double)faults->value[FAULT_SLOW_BYTES] > 1
								   ? (double)faults->value[FAULT_SLOW_BYTES]
								   : 1};
	}
	if (fault_on(faults, FAULT_CUT_BEFORE))
		script_drop(s, SCRIPT_CUT);
	else if (fault_on(faults, FAULT_HANG))
		script_drop(s, SCRIPT_HANG);
	else if (fault_on(faults, FAULT_CUT))
		script_halve(s, SCRIPT_CUT);
	else if (fault_on(faults, FAULT_RESET))
		script_halve(s, SCRIPT_RESET);
	else if (fault_on(faults, FAULT_HANG_MID))
		script_halve(s, SCRIPT_HANG);
}
