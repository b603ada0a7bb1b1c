/* schema: names and texts by number. */
#include "proto/schema.h"

/* Names are written in upper case once, in the tables; the lower-case ones are made from them by the compiler. */
/* clang-format off */
#define NAME_CHARS 16
#define CHAR_AT(s, i) ((s)[(i) < sizeof(s) ? (i) : sizeof(s) - 1])
#define LOWER_AT(s, i) (char)(CHAR_AT(s, i) >= 'A' && CHAR_AT(s, i) <= 'Z' ? CHAR_AT(s, i) + 'a' - 'A' : CHAR_AT(s, i))
#define LOWER_4(s, i) LOWER_AT(s, i), LOWER_AT(s, (i) + 1), LOWER_AT(s, (i) + 2), LOWER_AT(s, (i) + 3)
#define LOWER(s) {LOWER_4(s, 0), LOWER_4(s, 4), LOWER_4(s, 8), LOWER_4(s, 12)}
/* clang-format on */

struct word {
	char name[NAME_CHARS];
	const char *text;
};

#define X(NAME, number, text_)                                                                                         \
	_Static_assert(sizeof(#NAME) <= NAME_CHARS, #NAME " is too long");                                             \
	_Static_assert((number) < 256, #NAME " does not fit the index");
PROTO_SOURCES(X)
PROTO_SEGMENTS(X)
PROTO_REASONS(X)
#undef X

#define X(NAME, number, text_) [number] = {LOWER(#NAME), text_},
static const struct word sources[] = {PROTO_SOURCES(X)};
static const struct word segments[] = {PROTO_SEGMENTS(X)};
static const struct word reasons[] = {PROTO_REASONS(X)};
#undef X

static const struct {
	const char *name;
	const char *text;
	bool retryable;
} errors[] = {
#define X(NAME, number, retryable_, text_) [number] = {#NAME, text_, retryable_},
	PROTO_ERRORS(X)
#undef X
};

static const char *const stages[] = {
#define X(NAME, key, text_) [STAGE_##NAME] = key,
	PROTO_STAGES(X)
#undef X
};

#define COUNT(table)	       (sizeof(table) / sizeof((table)[0]))
#define NAME_IN(table, number) ((number) < COUNT(table) && (table)[number].text != NULL ? (table)[number].name : NULL)
#define TEXT_IN(table, number) ((number) < COUNT(table) ? (table)[number].text : NULL)

const char *proto_op_name(uint64_t op)
{
	switch (op) {
#define X(NAME, number, ...)                                                                                           \
	case number:                                                                                                   \
		return #NAME;
		PROTO_OPS(X)
		PROTO_OPS_RESERVED(X)
#undef X
	default:
		return NULL;
	}
}

const char *proto_source_name(uint64_t source) { return NAME_IN(sources, source); }
const char *proto_segment_name(uint64_t kind) { return NAME_IN(segments, kind); }
const char *proto_reason_name(uint64_t reason) { return NAME_IN(reasons, reason); }
const char *proto_reason_text(uint64_t reason) { return TEXT_IN(reasons, reason); }
const char *proto_stage_name(enum proto_stage stage) { return (size_t)stage < COUNT(stages) ? stages[stage] : NULL; }
const char *proto_error_name(uint64_t code) { return NAME_IN(errors, code); }
const char *proto_error_text(uint64_t code) { return TEXT_IN(errors, code); }
bool proto_error_retryable(uint64_t code) { return code < COUNT(errors) && errors[code].retryable; }
