/* canonical: one form for each value, so that equal requests hash alike. The rules stand in digest.h. */
#include "proto/canonical_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ORDER_ON_STACK	 16		    /* entries of a map that are sorted without asking for memory */
#define WHOLE_NUMBER_MAX 9007199254740992.0 /* 2^53: up to here each whole number has a double of its own */

struct canonical {
	struct buf_packer p;
	struct fault *fault;
};

/* Returns the length so far; recursion is as deep as the value, which is at most DEPTH_MAX. */
static size_t path_write(const struct value_path *path, char *ret, size_t size)
{
	size_t at = path->up != NULL ? path_write(path->up, ret, size) : 0;
	size_t left = size - at;
	int n;

	if (path->key.p == NULL)
		n = snprintf(ret + at, left, "[%u]", path->index);
	else
		n = snprintf(ret + at, left, "%s%.*s", path->up != NULL ? "." : "",
			     (int)(path->key.n < left ? path->key.n : left), (const char *)path->key.p);
	return n < 0 || (size_t)n >= left ? size - 1 : at + (size_t)n;
}

/* Writes "messages[3].content" to ret, cut at size. */
static void value_path_write(const struct value_path *path, char *ret, size_t size)
{
	ret[path_write(path, ret, size)] = '\0';
}

int fault_set_path(struct fault *fault, enum proto_error code, const struct value_path *path, const char *what)
{
	char field[sizeof(fault->field)];

	value_path_write(path, field, sizeof(field));
	return fault_set(fault, code, field, "%s %s", field, what);
}

static int value_append(struct canonical *c, const msgpack_object *v, const struct value_path *path, unsigned depth,
			bool without_nil);

static int float_append(struct canonical *c, double v, const struct value_path *path)
{
	if (!isfinite(v))
		return fault_set_path(c->fault, ERR_INVALID, path, "is not a finite number");
	if (v >= -WHOLE_NUMBER_MAX && v <= WHOLE_NUMBER_MAX && (double)(int64_t)v == v)
		msgpack_pack_int64(&c->p.packer, (int64_t)v);
	else
		msgpack_pack_double(&c->p.packer, v);
	return 0;
}

static int str_append(struct canonical *c, const msgpack_object_str *s, const struct value_path *path)
{
	if (!slice_is_utf8(slice_of(s->ptr, s->size)))
		return fault_set_path(c->fault, ERR_INVALID, path, "is not well-formed UTF-8");
	msgpack_pack_str(&c->p.packer, s->size);
	msgpack_pack_str_body(&c->p.packer, s->ptr, s->size);
	return 0;
}

static int array_append(struct canonical *c, const msgpack_object_array *a, const struct value_path *path,
			unsigned depth)
{
	msgpack_pack_array(&c->p.packer, a->size);
	for (uint32_t i = 0; i < a->size; i++) {
		const struct value_path element = {.up = path, .index = i};

		if (value_append(c, &a->ptr[i], &element, depth, false) < 0)
			return -1;
	}
	return 0;
}

static int key_compare(const msgpack_object_kv *a, const msgpack_object_kv *b)
{
	uint32_t na = a->key.via.str.size, nb = b->key.via.str.size, n = na < nb ? na : nb;
	int order = n > 0 ? memcmp(a->key.via.str.ptr, b->key.via.str.ptr, n) : 0;

	return order != 0 ? order : (na > nb) - (na < nb);
}

static int entry_compare(const void *a, const void *b)
{
	return key_compare(*(const msgpack_object_kv *const *)a, *(const msgpack_object_kv *const *)b);
}

/* The entries of a map in the order of their keys. -1: a key is not a string, not UTF-8 or stands twice. */
static int map_order(struct canonical *c, const msgpack_object_map *m, const struct value_path *path,
		     const msgpack_object_kv **order)
{
	bool sorted = true;

	if (m->size > MAP_KEYS_MAX) /* sorting 100,000 keys took 255 ms */
		return fault_set_path(c->fault, ERR_TOO_LARGE, path, "has more than 4096 keys");
	for (uint32_t i = 0; i < m->size; i++) {
		const msgpack_object_kv *kv = &m->ptr[i];

		if (kv->key.type != MSGPACK_OBJECT_STR)
			return fault_set_path(c->fault, ERR_INVALID, path, "has a key that is not a string");
		if (!slice_is_utf8(slice_of(kv->key.via.str.ptr, kv->key.via.str.size)))
			return fault_set_path(c->fault, ERR_INVALID, path, "has a key that is not well-formed UTF-8");
		sorted = sorted && (i == 0 || key_compare(order[i - 1], kv) < 0);
		order[i] = kv;
	}
	if (sorted)
		return 0;
	qsort(order, m->size, sizeof(*order), entry_compare);
	for (uint32_t i = 1; i < m->size; i++) {
		const msgpack_object_str *key = &order[i]->key.via.str;
		const struct value_path twice = {.up = path, .key = slice_of(key->size > 0 ? key->ptr : "", key->size)};

		if (key_compare(order[i - 1], order[i]) == 0)
			return fault_set_path(c->fault, ERR_INVALID, &twice, "is given twice");
	}
	return 0;
}

static uint32_t without_nil_entries(const msgpack_object_kv **order, uint32_t count)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < count; i++) {
		if (order[i]->val.type != MSGPACK_OBJECT_NIL)
			order[kept++] = order[i];
	}
	return kept;
}

static int map_append(struct canonical *c, const msgpack_object_map *m, const struct value_path *path, unsigned depth,
		      bool without_nil)
{
	const msgpack_object_kv *on_stack[ORDER_ON_STACK], **order = on_stack;
	uint32_t count = m->size;
	int rc;

	if (m->size > ORDER_ON_STACK) {
		order = mem_resize(c->p.out->mem, NULL, m->size * sizeof(*order));
		if (order == NULL)
			return fault_set_path(c->fault, ERR_NO_MEMORY, path, "needs memory that is not there");
	}
	rc = map_order(c, m, path, order);
	if (rc == 0 && without_nil)
		count = without_nil_entries(order, count);
	if (rc == 0)
		msgpack_pack_map(&c->p.packer, count);
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		const msgpack_object_str *key = &order[i]->key.via.str;
		const struct value_path entry = {.up = path, .key = slice_of(key->size > 0 ? key->ptr : "", key->size)};

		msgpack_pack_str(&c->p.packer, key->size);
		msgpack_pack_str_body(&c->p.packer, key->ptr, key->size);
		rc = value_append(c, &order[i]->val, &entry, depth, false);
	}
	if (order != on_stack)
		mem_free(c->p.out->mem, order);
	return rc;
}

static int value_append(struct canonical *c, const msgpack_object *v, const struct value_path *path, unsigned depth,
			bool without_nil)
{
	switch (v->type) {
	case MSGPACK_OBJECT_NIL:
		msgpack_pack_nil(&c->p.packer);
		return 0;
	case MSGPACK_OBJECT_BOOLEAN:
		v->via.boolean ? msgpack_pack_true(&c->p.packer) : msgpack_pack_false(&c->p.packer);
		return 0;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		msgpack_pack_uint64(&c->p.packer, v->via.u64);
		return 0;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		msgpack_pack_int64(&c->p.packer, v->via.i64);
		return 0;
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		return float_append(c, v->via.f64, path);
	case MSGPACK_OBJECT_STR:
		return str_append(c, &v->via.str, path);
	case MSGPACK_OBJECT_ARRAY:
	case MSGPACK_OBJECT_MAP:
		if (depth == DEPTH_MAX) /* never with what was decoded; a client may build anything */
			return fault_set_path(c->fault, ERR_TOO_LARGE, path, "is nested too deeply");
		return v->type == MSGPACK_OBJECT_ARRAY ? array_append(c, &v->via.array, path, depth + 1)
						       : map_append(c, &v->via.map, path, depth + 1, without_nil);
	case MSGPACK_OBJECT_BIN:
	case MSGPACK_OBJECT_EXT:
		break;
	}
	return fault_set_path(c->fault, ERR_INVALID, path, "is bytes or an extension, which JSON does not have");
}

int canonical_append_path(struct buf *out, const msgpack_object *value, const struct value_path *path, bool without_nil,
			  struct fault *fault)
{
	struct canonical c = {.fault = fault};
	size_t start = out->n;

	buf_packer_init(&c.p, out);

	int rc = value_append(&c, value, path, 0, without_nil);

	if (rc == 0 && c.p.failed)
		rc = fault_set_path(fault, ERR_NO_MEMORY, path, "needs memory that is not there");
	if (rc < 0)
		out->n = start;
	return rc;
}

int canonical_append(struct buf *out, const msgpack_object *value, const char *field, struct fault *fault)
{
	const struct value_path root = {.key = slice_str(field)};

	return canonical_append_path(out, value, &root, false, fault);
}
