/* message decode: shape, then the four parts of a frame, then each key by its table, then what is missing. */
#include "proto/frame.h"
#include "proto/message_internal.h"
#include "proto/shape.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

/* A request of a few keys fits; what a large one adds is given back by the next message. */
#define ZONE_CHUNK_BYTES 8192

int message_decoder_init(struct message_decoder *d)
{
	d->zone = msgpack_zone_new(ZONE_CHUNK_BYTES);
	return d->zone == NULL ? -1 : 0;
}

void message_decoder_free(struct message_decoder *d)
{
	if (d->zone != NULL)
		msgpack_zone_free(d->zone);
	d->zone = NULL;
}

static const char *object_type_name(const msgpack_object *o)
{
	switch (o->type) {
	case MSGPACK_OBJECT_NIL:
		return "nil";
	case MSGPACK_OBJECT_BOOLEAN:
		return "a boolean";
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		return "an unsigned integer";
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		return "a negative integer";
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		return "a float";
	case MSGPACK_OBJECT_STR:
		return "a string";
	case MSGPACK_OBJECT_ARRAY:
		return "an array";
	case MSGPACK_OBJECT_MAP:
		return "a map";
	case MSGPACK_OBJECT_BIN:
		return "bytes";
	case MSGPACK_OBJECT_EXT:
		return "an extension";
	}
	return "something unknown";
}

static const char *const type_names[] = {
	[TYPE_UINT] = "an unsigned integer",
	[TYPE_BOOL] = "a boolean",
	[TYPE_F64] = "a number",
	[TYPE_STR] = "a string",
	[TYPE_BIN] = "bytes",
	[TYPE_ARRAY] = "an array",
	[TYPE_MAP] = "a map",
};

static int fault_type(const struct field_spec *f, const msgpack_object *value, struct fault *fault)
{
	return fault_set(fault, ERR_INVALID, f->name, "%s must be %s and is %s", f->name, type_names[f->type],
			 object_type_name(value));
}

static int fault_max(const struct field_spec *f, uint64_t size, const char *unit, struct fault *fault)
{
	return fault_set(fault, ERR_TOO_LARGE, f->name, "%s has %" PRIu64 " %s, the limit is %" PRIu64, f->name, size,
			 unit, f->max);
}

static int uint_take(const struct field_spec *f, const msgpack_object *v, uint64_t *ret, struct fault *fault)
{
	if (v->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
		return fault_type(f, v, fault);
	if (f->max > 0 && v->via.u64 > f->max)
		return fault_set(fault, ERR_TOO_LARGE, f->name, "%s is %" PRIu64 ", the limit is %" PRIu64, f->name,
				 v->via.u64, f->max);
	*ret = v->via.u64;
	return 0;
}

static int float_take(const struct field_spec *f, const msgpack_object *v, double *ret, struct fault *fault)
{
	if (v->type == MSGPACK_OBJECT_FLOAT32 || v->type == MSGPACK_OBJECT_FLOAT64)
		*ret = v->via.f64;
	else if (v->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
		*ret = (double)v->via.u64;
	else if (v->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		*ret = (double)v->via.i64;
	else
		return fault_type(f, v, fault);
	return 0;
}

static int bytes_take(const struct field_spec *f, const msgpack_object *v, struct slice *ret, struct fault *fault)
{
	bool is_str = v->type == MSGPACK_OBJECT_STR;

	if (!is_str && !(f->type == TYPE_BIN && v->type == MSGPACK_OBJECT_BIN))
		return fault_type(f, v, fault);

	struct slice s = is_str ? slice_of(v->via.str.ptr, v->via.str.size) : slice_of(v->via.bin.ptr, v->via.bin.size);

	if (f->max > 0 && s.n > f->max)
		return fault_max(f, s.n, "bytes", fault);
	if (f->type == TYPE_STR && !slice_is_utf8(s))
		return fault_set(fault, ERR_INVALID, f->name, "%s is not well-formed UTF-8", f->name);
	*ret = s;
	return 0;
}

static int container_take(const struct field_spec *f, const msgpack_object *v, const msgpack_object **ret,
			  struct fault *fault)
{
	if (v->type != (f->type == TYPE_ARRAY ? MSGPACK_OBJECT_ARRAY : MSGPACK_OBJECT_MAP))
		return fault_type(f, v, fault);

	uint32_t size = f->type == TYPE_ARRAY ? v->via.array.size : v->via.map.size;

	if (f->max > 0 && size > f->max)
		return fault_max(f, size, "elements", fault);
	*ret = v;
	return 0;
}

static int field_take(const struct field_spec *f, const msgpack_object *v, uint8_t *body, struct fault *fault)
{
	void *at = body + f->offset;

	switch ((enum field_type)f->type) {
	case TYPE_UINT:
		return uint_take(f, v, at, fault);
	case TYPE_BOOL:
		if (v->type != MSGPACK_OBJECT_BOOLEAN)
			return fault_type(f, v, fault);
		*(bool *)at = v->via.boolean;
		return 0;
	case TYPE_F64:
		return float_take(f, v, at, fault);
	case TYPE_STR:
	case TYPE_BIN:
		return bytes_take(f, v, at, fault);
	case TYPE_ARRAY:
	case TYPE_MAP:
		return container_take(f, v, at, fault);
	}
	return -1;
}

/* A key that the operation does not know: skipped if it is low, else refused by name. */
static int unknown_key(const struct op_spec *op, const struct field_spec *elsewhere, uint64_t key, struct fault *fault)
{
	if (key < PROTO_MUST_UNDERSTAND)
		return 0;

	const char *name = elsewhere != NULL ? elsewhere->name : request_key_reserved(key);
	char field[64];

	if (name == NULL)
		(void)snprintf(field, sizeof(field), "0x%02" PRIx64, key);
	else
		(void)snprintf(field, sizeof(field), "0x%02" PRIx64 " (%s)", key, name);
	return fault_set(fault, ERR_UNSUPPORTED, field,
			 "key %s is not known in %s, and its number says that it must be", field, op->name);
}

static int missing_key(const struct body_spec *body, uint64_t has, struct fault *fault)
{
	for (size_t i = 0; i < body->count; i++) {
		if (body->fields[i].required && !(has >> i & 1))
			return fault_set(fault, ERR_INVALID, body->fields[i].name, "%s is missing",
					 body->fields[i].name);
	}
	return 0;
}

static int body_decode(const struct op_spec *op, const msgpack_object_map *map, struct message *m, struct fault *fault)
{
	const struct body_spec *body = op->body;
	uint64_t has = 0;

	if (body->size > 0)
		memset(&m->hello, 0, body->size);
	for (uint32_t i = 0; i < map->size; i++) {
		const msgpack_object_kv *kv = &map->ptr[i];

		if (kv->key.type != MSGPACK_OBJECT_POSITIVE_INTEGER)
			return fault_set(fault, ERR_INVALID, "body", "the keys of the body must be unsigned integers");

		uint64_t key = kv->key.via.u64;
		uint8_t number = key < 256 ? body->index[key] : 0;
		const struct field_spec *f = number > 0 ? &body->fields[number - 1] : NULL;

		if (f == NULL || !(f->in & op->in)) {
			if (unknown_key(op, f, key, fault) < 0)
				return -1;
			continue;
		}
		if (has >> (number - 1) & 1)
			return fault_set(fault, ERR_INVALID, f->name, "%s is given twice", f->name);
		if (field_take(f, &kv->val, (uint8_t *)&m->hello, fault) < 0)
			return -1;
		has |= UINT64_C(1) << (number - 1);
	}
	if (body->size > 0)
		m->hello.has = has;
	return missing_key(body, has, fault);
}

/* Requests need an id of their own: 0 speaks of the connection. */
static bool op_needs_id(uint64_t op)
{
	return op == OP_QUERY || op == OP_LOOKUP || op == OP_PUT || op == OP_INVALIDATE || op == OP_STATS;
}

static int op_check(uint64_t op, uint64_t id, enum proto_from from, const struct op_spec **ret, struct fault *fault)
{
	const struct op_spec *spec = op_spec_find(op);

	if (spec == NULL) {
		const char *name = proto_op_name(op);

		return fault_set(fault, ERR_UNSUPPORTED, "op",
				 "operation 0x%02" PRIx64 "%s%s is not known in version %d", op, name ? " " : "",
				 name ? name : "", PROTO_VERSION);
	}
	if (!(spec->from & from))
		return fault_set(fault, ERR_UNSUPPORTED, "op", "%s comes from the other side only", spec->name);
	if (id == 0 && op_needs_id(op))
		return fault_set(fault, ERR_INVALID, "id", "a %s needs an id from 1 on; 0 speaks of the connection",
				 spec->name);
	*ret = spec;
	return 0;
}

static int frame_unpack(struct message_decoder *d, struct slice frame, msgpack_object *ret, struct fault *fault)
{
	enum shape_status shape = shape_check(frame);
	size_t off = 0;

	if (shape != SHAPE_OK)
		return fault_set(fault, shape == SHAPE_DEEP || shape == SHAPE_MANY ? ERR_TOO_LARGE : ERR_PROTOCOL, "",
				 "the frame %s", shape_status_text(shape));
	msgpack_zone_clear(d->zone);

	/* After the shape check only memory can be lacking: DEPTH_MAX is below msgpack-c's own limit of 32. */
	msgpack_unpack_return rc = msgpack_unpack((const char *)frame.p, frame.n, &off, d->zone, ret);

	if (rc != MSGPACK_UNPACK_SUCCESS)
		return fault_set(fault, ERR_NO_MEMORY, "", "there is no memory to decode the frame");
	return 0;
}

int message_decode(struct message_decoder *d, struct slice frame, enum proto_from from, struct message *ret,
		   struct fault *fault)
{
	const struct op_spec *spec = NULL;
	msgpack_object o;
	uint64_t op = 0, id = 0;

	frame_peek(frame, &op, &id);
	ret->op = op <= UINT8_MAX ? (enum proto_op)op : 0;
	ret->id = id;
	ret->flags = 0;
	if (frame_unpack(d, frame, &o, fault) < 0)
		return -1;
	if (o.type != MSGPACK_OBJECT_ARRAY || o.via.array.size != 4)
		return fault_set(fault, ERR_PROTOCOL, "", "a frame must be an array of four: [op, id, flags, body]");

	const msgpack_object *part = o.via.array.ptr;

	for (size_t i = 0; i < 3; i++) {
		static const char *const names[] = {"op", "id", "flags"};

		if (part[i].type != MSGPACK_OBJECT_POSITIVE_INTEGER)
			return fault_set(fault, ERR_PROTOCOL, names[i], "%s must be an unsigned integer and is %s",
					 names[i], object_type_name(&part[i]));
	}
	ret->flags = part[2].via.u64;
	if (op_check(part[0].via.u64, part[1].via.u64, from, &spec, fault) < 0)
		return -1;
	if (part[3].type != MSGPACK_OBJECT_MAP)
		return fault_set(fault, ERR_PROTOCOL, "body", "the body must be a map and is %s",
				 object_type_name(&part[3]));
	return body_decode(spec, &part[3].via.map, ret, fault);
}

int message_decode_body(struct message_decoder *d, enum proto_op op, struct slice body, struct message *ret,
			struct fault *fault)
{
	const struct op_spec *spec = op_spec_find(op);
	msgpack_object o;

	assert(spec != NULL);
	*ret = (struct message){.op = op};
	if (frame_unpack(d, body, &o, fault) < 0)
		return -1;
	if (o.type != MSGPACK_OBJECT_MAP)
		return fault_set(fault, ERR_PROTOCOL, "body", "the body must be a map and is %s", object_type_name(&o));
	return body_decode(spec, &o.via.map, ret, fault);
}
