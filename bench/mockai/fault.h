/* fault: what can go wrong on purpose. The table below is the whole list; names, defaults and --help come from it.
 *
 * A rule is `NAME[=VALUE][@PROBABILITY or #COUNT]`. Rules come from the command line, from POST /control, and from a
 * marker in the last user message; all that strike at once are in one fault set, so faults combine ([[fault:crlf]] with
 * [[fault:cut]]). Pure: no clock, no socket. */
#ifndef MOCKAI_FAULT_H
#define MOCKAI_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/mockai/random.h"

#define FAULT_RULES_MAX	 32
#define FAULT_TEXT_BYTES 64
#define FAULT_VALUE_MAX	 (INT64_C(2) << 30) /* 2 GB: no-newline */

/* id, name, value when none is given, what it does */
#define FAULTS(X)                                                                                                      \
	X(429, "429", 1, "rate limited; VALUE is Retry-After in seconds")                                              \
	X(429_DATE, "429-date", 1, "the same, Retry-After as an HTTP date")                                            \
	X(500, "500", 0, "server error")                                                                               \
	X(503, "503", 0, "overloaded; VALUE > 0 adds Retry-After")                                                     \
	X(401, "401", 0, "wrong API key")                                                                              \
	X(400, "400", 0, "bad request")                                                                                \
	X(STATUS, "status", 418, "an error with the status VALUE")                                                     \
	X(HTML, "html", 0, "200 with a page of text/html")                                                             \
	X(WRONG_TYPE, "wrong-type", 0, "JSON where a stream was asked for, a stream where it was not")                 \
	X(UNKNOWN_LENGTH, "unknown-length", 0, "neither length nor chunks: the body ends with the connection")         \
	X(CUT_BEFORE, "cut-before", 0, "closed before any byte")                                                       \
	X(CUT, "cut", 0, "closed after half the pieces, or in mid-body")                                               \
	X(RESET, "reset", 0, "as cut, with a TCP reset")                                                               \
	X(HANG, "hang", 0, "headers never come")                                                                       \
	X(HANG_MID, "hang-mid", 0, "stops half-way, the connection stays")                                             \
	X(SLOW_BYTES, "slow-bytes", 0, "one byte each VALUE ms (0: each pace, at least 1 ms)")                         \
	X(NO_NEWLINE, "no-newline", 67108864, "VALUE bytes without a newline (K, M, G; up to 2G)")                     \
	X(MALFORMED_SSE, "malformed-sse", 0, "half-way a data line that is not JSON; JSON bodies: not JSON")           \
	X(HALF_EVENT, "half-event", 0, "ends well-framed with half an event or half the JSON")                         \
	X(ERROR_IN_STREAM, "error-in-stream", 0, "half-way an event {\"error\": ...}, then the end")                   \
	X(NO_DONE, "no-done", 0, "the stream ends without data: [DONE]")                                               \
	X(NO_FINISH, "no-finish", 0, "no finish_reason")                                                               \
	X(NO_USAGE, "no-usage", 0, "no usage although it is due")                                                      \
	X(CRLF, "crlf", 0, "events with CRLF line ends")                                                               \
	X(COMMENTS, "comments", 0, "comment lines between the events")                                                 \
	X(LENGTH, "length", 0, "half the text, finish_reason length")                                                  \
	X(CONTENT_FILTER, "content-filter", 0, "half the text, finish_reason content_filter")                          \
	X(EMPTY, "empty", 0, "empty content, finish_reason stop")                                                      \
	X(REFUSAL, "refusal", 0, "a refusal in place of content")                                                      \
	X(REASONING, "reasoning", 0, "reasoning_content before the content")                                           \
	X(NOT_JSON, "not-json", 0, "plain text although response_format asks for JSON")                                \
	X(TOOL_CALL, "tool-call", 0, "a tool call, from the request's tools or get_weather")                           \
	X(TOOL_CALLS_2, "tool-calls-2", 0, "two parallel tool calls, interleaved when streamed")                       \
	X(CACHED_TOKENS, "cached-tokens", 1024, "usage says that VALUE prompt tokens were cached")

enum fault {
#define X(id, name, value, help) FAULT_##id,
	FAULTS(X)
#undef X
	FAULT_COUNT
};

struct fault_rule {
	enum fault fault;
	int64_t value;
	double probability;
	int64_t count; /* strikes left; -1: no end */
	char text[FAULT_TEXT_BYTES];
};

struct fault_rules {
	struct fault_rule rule[FAULT_RULES_MAX];
	size_t count;
};

/* The faults that strike one request. */
struct fault_set {
	uint64_t mask;
	int64_t value[FAULT_COUNT]; /* valid where the mask has the bit */
};

const char *fault_name(enum fault fault);
const char *fault_help(enum fault fault);

/* False: no such fault, or a value, probability or count that cannot be read; *ret_rule is untouched. */
bool fault_parse(const char *text, struct fault_rule *ret_rule);

/* False: the table is full. */
bool fault_rules_add(struct fault_rules *rules, const struct fault_rule *rule);

/* Draws every rule once, takes its strike off its count, and adds what strikes to *set. */
void fault_rules_draw(struct fault_rules *rules, struct random *random, struct fault_set *set);

void fault_set_add(struct fault_set *set, enum fault fault, int64_t value);

static inline bool fault_on(const struct fault_set *set, enum fault fault) { return (set->mask >> fault & 1) != 0; }

#endif
