/* schema markdown: the tables of PROTOCOL.md, each between a mark with its name and a mark for its end. */
#include "proto/schema.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define LINE_BYTES_MAX 512

static bool line(struct buf *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool line(struct buf *out, const char *fmt, ...)
{
	char text[LINE_BYTES_MAX];
	va_list args;

	va_start(args, fmt);

	int n = vsnprintf(text, sizeof(text), fmt, args);

	va_end(args);
	return n >= 0 && (size_t)n < sizeof(text) && buf_append(out, text, (size_t)n) && buf_append(out, "\n", 1);
}

static bool table_begin(struct buf *out, const char *name, const char *titles)
{
	bool ok = line(out, "<!-- table %s -->", name) && line(out, "%s", titles);

	for (const char *c = titles; ok && *c != '\0'; c++) {
		if (*c == '|')
			ok = buf_append_str(out, c[1] == '\0' ? "|\n" : "|---");
	}
	return ok;
}

static bool table_end(struct buf *out, const char *name) { return line(out, "<!-- end %s -->", name); }

/* A limit for people: nothing for "none". */
struct limit_text {
	char str[24];
};

static struct limit_text limit_text(uint64_t limit)
{
	struct limit_text t = {""};

	if (limit > 0)
		(void)snprintf(t.str, sizeof(t.str), "%" PRIu64, limit);
	return t;
}

struct lower_text {
	char str[32];
};

static struct lower_text lower(const char *name)
{
	struct lower_text t = {""};

	for (size_t i = 0; name[i] != '\0' && i < sizeof(t.str) - 1; i++)
		t.str[i] = (char)tolower((unsigned char)name[i]);
	return t;
}

#define FROM_TEXT_C   "client"
#define FROM_TEXT_S   "server"
#define FROM_TEXT_B   "both"
#define NEED_TEXT_REQ "yes"
#define NEED_TEXT_OPT ""

static bool operations(struct buf *out)
{
	bool ok = table_begin(out, "operations", "| number | name | from | keys | meaning |");

#define X(name, number, from, body, text)                                                                              \
	ok = ok && line(out, "| 0x%02X | %s | %s | %s | %s |", number, #name, FROM_TEXT_##from, #body, text);
	PROTO_OPS(X)
#undef X
	ok = ok && table_end(out, "operations");
	ok = ok && table_begin(out, "operations-reserved", "| number | name | meaning |");
#define X(name, number, text) ok = ok && line(out, "| 0x%02X | %s | %s |", number, #name, text);
	PROTO_OPS_RESERVED(X)
#undef X
	return ok && table_end(out, "operations-reserved");
}

#define KEY_TITLES "| key | name | type | required | limit | meaning |"
#define X(number, name, type, need, max, text)                                                                         \
	ok = ok && line(out, "| 0x%02X | %s | %s | %s | %s | %s |", number, #name, #type, NEED_TEXT_##need,            \
			limit_text(max).str, text);

static bool keys_from_client(struct buf *out)
{
	bool ok = table_begin(out, "keys-HELLO", KEY_TITLES);

	PROTO_HELLO_KEYS(X)
	ok = ok && table_end(out, "keys-HELLO") && table_begin(out, "keys-WINDOW", KEY_TITLES);
	PROTO_WINDOW_KEYS(X)
	ok = ok && table_end(out, "keys-WINDOW") && table_begin(out, "keys-GOAWAY", KEY_TITLES);
	PROTO_GOAWAY_KEYS(X)
	return ok && table_end(out, "keys-GOAWAY");
}

static bool keys_from_server(struct buf *out)
{
	bool ok = table_begin(out, "keys-HEAD", KEY_TITLES);

	PROTO_HEAD_KEYS(X)
	ok = ok && table_end(out, "keys-HEAD") && table_begin(out, "keys-CHUNK", KEY_TITLES);
	PROTO_CHUNK_KEYS(X)
	ok = ok && table_end(out, "keys-CHUNK") && table_begin(out, "keys-END", KEY_TITLES);
	PROTO_END_KEYS(X)
	ok = ok && table_end(out, "keys-END") && table_begin(out, "keys-ERROR", KEY_TITLES);
	PROTO_ERROR_KEYS(X)
	return ok && table_end(out, "keys-ERROR");
}
#undef X

/* "Q L P I" with the letters of the operations that know the key. */
struct in_text {
	char str[8];
};

static struct in_text in_text(unsigned in)
{
	struct in_text t = {""};
	size_t n = 0;

	for (size_t i = 0; i < 4; i++) {
		if (!(in >> i & 1))
			continue;
		if (n > 0)
			t.str[n++] = ' ';
		t.str[n++] = "QLPI"[i];
	}
	return t;
}

static bool keys_of_request(struct buf *out)
{
	bool ok = table_begin(out, "keys-REQUEST", "| key | name | type | in | limit | counts for | meaning |");

#define X(number, name, type, need, max, in, counts, text)                                                             \
	ok = ok && line(out, "| 0x%02X | %s | %s | %s | %s | %s | %s |", number, #name, #type, in_text(in).str,        \
			limit_text(max).str, lower(#counts).str, text);
	PROTO_REQUEST_KEYS(X)
#undef X
	ok = ok && table_end(out, "keys-REQUEST");
	ok = ok && table_begin(out, "keys-REQUEST-reserved", "| key | name | meaning |");
#define X(number, name, text) ok = ok && line(out, "| 0x%02X | %s | %s |", number, #name, text);
	PROTO_REQUEST_KEYS_RESERVED(X)
#undef X
	return ok && table_end(out, "keys-REQUEST-reserved");
}

static bool vocabularies(struct buf *out)
{
	bool ok = true;

#define WORD_TITLES	      "| number | name | meaning |"
#define X(name, number, text) ok = ok && line(out, "| %d | %s | %s |", number, lower(#name).str, text);
	ok = ok && table_begin(out, "sources", WORD_TITLES);
	PROTO_SOURCES(X)
	ok = ok && table_end(out, "sources") && table_begin(out, "segments", WORD_TITLES);
	PROTO_SEGMENTS(X)
	ok = ok && table_end(out, "segments") && table_begin(out, "reasons", WORD_TITLES);
	PROTO_REASONS(X)
	ok = ok && table_end(out, "reasons") && table_begin(out, "targets", WORD_TITLES);
	PROTO_TARGETS(X)
	ok = ok && table_end(out, "targets") && table_begin(out, "features", "| bit | name | meaning |");
	PROTO_FEATURES(X)
#undef X
	ok = ok && table_end(out, "features") && table_begin(out, "stages", "| key | meaning |");
#define X(name, key, text) ok = ok && line(out, "| %s | %s |", key, text);
	PROTO_STAGES(X)
#undef X
	return ok && table_end(out, "stages");
}

static bool errors_and_limits(struct buf *out)
{
	bool ok = table_begin(out, "errors", "| number | name | retryable | meaning |");

#define X(name, number, retryable, text)                                                                               \
	ok = ok && line(out, "| %d | %s | %s | %s |", number, #name, (retryable) ? "yes" : "no", text);
	PROTO_ERRORS(X)
#undef X
	ok = ok && table_end(out, "errors") && table_begin(out, "limits", "| name | value | meaning |");
#define X(name, value, text) ok = ok && line(out, "| %s | %" PRIu64 " | %s |", #name, (uint64_t)(value), text);
	PROTO_LIMITS(X)
#undef X
	return ok && table_end(out, "limits");
}

bool proto_schema_markdown(struct buf *out)
{
	return operations(out) && keys_from_client(out) && keys_of_request(out) && keys_from_server(out) &&
	       vocabularies(out) && errors_and_limits(out);
}
