/* A message as JSON text, the way Python's json.dumps writes it (separators "," and ":", ensure_ascii off), for
 * comparing with vectors that another implementation made. Bytes are {"$hex":"..."}; keys stand in the order of the
 * schema. */
#ifndef PROTO_TEST_JSON_TEXT_H
#define PROTO_TEST_JSON_TEXT_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/message_internal.h"
#include "tests/unit/proto/proto_test.h"

__attribute__((format(printf, 2, 3))) static inline void json_printf(struct buf *out, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, args);

	va_end(args);
	assert_true(n >= 0 && (size_t)n < sizeof(text));
	put(out, slice_of(text, (size_t)n));
}

static inline void json_str(struct buf *out, struct slice s)
{
	static const char named[] = "\"\\\n\r\t\b\f", letters[] = "\"\\nrtbf";

	json_printf(out, "\"");
	for (size_t i = 0; i < s.n; i++) {
		const char *name = s.p[i] != 0 ? strchr(named, s.p[i]) : NULL;

		if (name != NULL)
			json_printf(out, "\\%c", letters[name - named]);
		else if (s.p[i] < 0x20)
			json_printf(out, "\\u%04x", s.p[i]);
		else
			put(out, slice_of(s.p + i, 1));
	}
	json_printf(out, "\"");
}

static inline void json_hex(struct buf *out, struct slice s)
{
	json_printf(out, "{\"$hex\":\"");
	for (size_t i = 0; i < s.n; i++)
		json_printf(out, "%02x", s.p[i]);
	json_printf(out, "\"}");
}

/* The shortest digits that read back as the same number. */
static inline void json_float(struct buf *out, double v)
{
	char text[40];

	for (int digits = 1; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	json_printf(out, "%s%s", text, strpbrk(text, ".en") == NULL ? ".0" : "");
}

static inline void json_object(struct buf *out, const msgpack_object *o);

static inline void json_container(struct buf *out, const msgpack_object *o)
{
	bool is_map = o->type == MSGPACK_OBJECT_MAP;
	uint32_t n = is_map ? o->via.map.size : o->via.array.size;

	json_printf(out, is_map ? "{" : "[");
	for (uint32_t i = 0; i < n; i++) {
		if (i > 0)
			json_printf(out, ",");
		if (is_map) {
			json_object(out, &o->via.map.ptr[i].key);
			json_printf(out, ":");
		}
		json_object(out, is_map ? &o->via.map.ptr[i].val : &o->via.array.ptr[i]);
	}
	json_printf(out, is_map ? "}" : "]");
}

static inline void json_object(struct buf *out, const msgpack_object *o)
{
	switch (o->type) {
	case MSGPACK_OBJECT_NIL:
		json_printf(out, "null");
		break;
	case MSGPACK_OBJECT_BOOLEAN:
		json_printf(out, o->via.boolean ? "true" : "false");
		break;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		json_printf(out, "%" PRIu64, o->via.u64);
		break;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		json_printf(out, "%" PRId64, o->via.i64);
		break;
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		json_float(out, o->via.f64);
		break;
	case MSGPACK_OBJECT_STR:
		json_str(out, slice_of(o->via.str.ptr, o->via.str.size));
		break;
	case MSGPACK_OBJECT_BIN:
		json_hex(out, slice_of(o->via.bin.ptr, o->via.bin.size));
		break;
	case MSGPACK_OBJECT_ARRAY:
	case MSGPACK_OBJECT_MAP:
		json_container(out, o);
		break;
	case MSGPACK_OBJECT_EXT:
		fail_msg("JSON has no extensions");
	}
}

static inline void json_field(struct buf *out, const struct field_spec *field, const void *at)
{
	switch ((enum field_type)field->type) {
	case TYPE_UINT:
		json_printf(out, "%" PRIu64, *(const uint64_t *)at);
		break;
	case TYPE_BOOL:
		json_printf(out, *(const bool *)at ? "true" : "false");
		break;
	case TYPE_F64:
		json_float(out, *(const double *)at);
		break;
	case TYPE_STR:
		json_str(out, *(const struct slice *)at);
		break;
	case TYPE_BIN:
		json_hex(out, *(const struct slice *)at);
		break;
	case TYPE_ARRAY:
	case TYPE_MAP:
		json_object(out, *(const msgpack_object *const *)at);
		break;
	}
}

static inline void json_message(struct buf *out, const struct message *m)
{
	const struct op_spec *op = op_spec_find(m->op);
	const char *comma = "";

	json_printf(out, "{\"op\":\"%s\",\"id\":%" PRIu64 ",\"flags\":%" PRIu64 ",\"body\":{", op->name, m->id,
		    m->flags);
	for (size_t i = 0; i < op->body->count; i++) {
		const struct field_spec *field = &op->body->fields[i];

		if (!(m->hello.has >> i & 1))
			continue;
		json_printf(out, "%s\"%s\":", comma, field->name);
		json_field(out, field, (const uint8_t *)&m->hello + field->offset);
		comma = ",";
	}
	json_printf(out, "}}");
}

#endif
