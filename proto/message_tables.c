/* message tables: what schema.h says about each operation and key, as data. */
#include "proto/message_internal.h"

/* Limits as constant expressions, by the words that stand in the schema's column `max`. */
#define MAX_0		       0
#define MAX_PROTO_DIGEST_BYTES PROTO_DIGEST_BYTES
enum {
#define X(name, value, text) MAX_##name = (value),
	PROTO_LIMITS(X)
#undef X
};

#define NEED_REQ true
#define NEED_OPT false

/* clang-format off */
#define FIELD(struct_name, number, field, type_name, need, max_value, in_ops) \
	{.name = #field, .max = (uint64_t)(max_value), .offset = offsetof(struct struct_name, field), .key = (number), \
	 .type = TYPE_##type_name, .in = (in_ops), .required = NEED_##need},

#define X(n, name, type, need, max, text) FIELD(hello_body, n, name, type, need, MAX_##max, 0xFF)
static const struct field_spec hello_fields[] = {PROTO_HELLO_KEYS(X)};
#undef X
#define X(n, name, type, need, max, text) FIELD(window_body, n, name, type, need, MAX_##max, 0xFF)
static const struct field_spec window_fields[] = {PROTO_WINDOW_KEYS(X)};
#undef X
#define X(n, name, type, need, max, text) FIELD(goaway_body, n, name, type, need, MAX_##max, 0xFF)
static const struct field_spec goaway_fields[] = {PROTO_GOAWAY_KEYS(X)};
#undef X
#define X(n, name, type, need, max, text) FIELD(head_body, n, name, type, need, MAX_##max, 0xFF)
static const struct field_spec head_fields[] = {PROTO_HEAD_KEYS(X)};
#undef X
#define X(n, name, type, need, max, text) FIELD(chunk_body, n, name, type, need, MAX_##max, 0xFF)
static const struct field_spec chunk_fields[] = {PROTO_CHUNK_KEYS(X)};
#undef X
#define X(n, name, type, need, max, text) FIELD(end_body, n, name, type, need, MAX_##max, 0xFF)
static const struct field_spec end_fields[] = {PROTO_END_KEYS(X)};
#undef X
#define X(n, name, type, need, max, text) FIELD(error_body, n, name, type, need, MAX_##max, 0xFF)
static const struct field_spec error_fields[] = {PROTO_ERROR_KEYS(X)};
#undef X
#define X(n, name, type, need, max, in, counts, text) FIELD(request_body, n, name, type, need, MAX_##max, in)
static const struct field_spec request_fields[] = {PROTO_REQUEST_KEYS(X)};
#undef X

/* A key that stands twice in the schema makes the compiler complain here. */
#define X(n, name, ...) [n] = 1 + HELLO_BIT_##name,
static const uint8_t hello_index[256] = {PROTO_HELLO_KEYS(X)};
#undef X
#define X(n, name, ...) [n] = 1 + WINDOW_BIT_##name,
static const uint8_t window_index[256] = {PROTO_WINDOW_KEYS(X)};
#undef X
#define X(n, name, ...) [n] = 1 + GOAWAY_BIT_##name,
static const uint8_t goaway_index[256] = {PROTO_GOAWAY_KEYS(X)};
#undef X
#define X(n, name, ...) [n] = 1 + HEAD_BIT_##name,
static const uint8_t head_index[256] = {PROTO_HEAD_KEYS(X)};
#undef X
#define X(n, name, ...) [n] = 1 + CHUNK_BIT_##name,
static const uint8_t chunk_index[256] = {PROTO_CHUNK_KEYS(X)};
#undef X
#define X(n, name, ...) [n] = 1 + END_BIT_##name,
static const uint8_t end_index[256] = {PROTO_END_KEYS(X)};
#undef X
#define X(n, name, ...) [n] = 1 + ERROR_BIT_##name,
static const uint8_t error_index[256] = {PROTO_ERROR_KEYS(X)};
#undef X
#define X(n, name, ...) [n] = 1 + REQUEST_BIT_##name,
static const uint8_t request_index[256] = {PROTO_REQUEST_KEYS(X)};
#undef X
static const uint8_t empty_index[256];

#define X(NAME, infix) \
	_Static_assert(sizeof(infix##_fields) / sizeof(infix##_fields[0]) <= 64, "`has` holds 64 bits"); \
	_Static_assert(offsetof(struct infix##_body, has) == 0, "message_has"); \
	static const struct body_spec body_##NAME = { \
		infix##_fields, sizeof(infix##_fields) / sizeof(infix##_fields[0]), sizeof(struct infix##_body), infix##_index};
PROTO_BODIES(X)
X(REQUEST, request)
#undef X
static const struct body_spec body_EMPTY = {.index = empty_index};

#define IN_QUERY	IN_Q
#define IN_LOOKUP	IN_L
#define IN_PUT		IN_P
#define IN_INVALIDATE	IN_I
#define IN_HELLO	0xFF
#define IN_PING		0xFF
#define IN_STATS	0xFF
#define IN_CANCEL	0xFF
#define IN_WINDOW	0xFF
#define IN_GOAWAY	0xFF
#define IN_HEAD		0xFF
#define IN_CHUNK	0xFF
#define IN_END		0xFF
#define IN_ERROR	0xFF

#define X(op, number, from_side, body_name, text) \
	[number] = {.name = #op, .body = &body_##body_name, .from = FROM_##from_side, .in = IN_##op},
static const struct op_spec ops[256] = {PROTO_OPS(X)};
#undef X
/* clang-format on */

const struct op_spec *op_spec_find(uint64_t op)
{
	return op < sizeof(ops) / sizeof(ops[0]) && ops[op].body != NULL ? &ops[op] : NULL;
}

const char *request_key_reserved(uint64_t key)
{
	switch (key) {
#define X(number, name, text)                                                                                          \
	case number:                                                                                                   \
		return #name;
		PROTO_REQUEST_KEYS_RESERVED(X)
#undef X
	default:
		return NULL;
	}
}
