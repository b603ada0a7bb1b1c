/* chat body: the members are written one after the other, each as a jansson tree of its own, so that no tree of the
 * whole is in memory. */
#include "server/upstream/chat_body.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

struct body_writer {
	struct buf *out;
	struct fault *fault;
	bool first; /* no member yet */
};

/* Where a value stands, for the fault that names it; built on the stack on the way down. */
struct body_path {
	const struct body_path *up; /* NULL: the root */
	struct slice key;	    /* p NULL: an array's element */
	uint32_t index;
};

static size_t body_path_write(const struct body_path *path, char *ret, size_t size)
{
	size_t n = path->up != NULL ? body_path_write(path->up, ret, size) : 0;
	int added = path->key.p == NULL
			    ? snprintf(ret + n, size - n, "[%" PRIu32 "]", path->index)
			    : snprintf(ret + n, size - n, "%s%.*s", n > 0 ? "." : "",
				       (int)(path->key.n < size ? path->key.n : size), (const char *)path->key.p);

	n += (size_t)added;
	return n < size ? n : size - 1;
}

static int body_fault(struct fault *fault, const struct body_path *path, const char *text)
{
	char field[sizeof(fault->field)] = "";

	body_path_write(path, field, sizeof(field));
	return fault_set(fault, ERR_INVALID, field, "%s", text);
}

static int body_no_memory(struct fault *fault)
{
	return fault_set(fault, ERR_NO_MEMORY, "", "no memory for the request to the LLM");
}

/* ---- msgpack → jansson. NULL: *fault is set. */

static json_t *body_json(const msgpack_object *o, const struct body_path *path, struct fault *fault);

static json_t *body_json_array(const msgpack_object_array *a, const struct body_path *path, struct fault *fault)
{
	json_t *array = json_array();

	if (array == NULL)
		body_no_memory(fault);
	for (uint32_t i = 0; array != NULL && i < a->size; i++) {
		json_t *item = body_json(&a->ptr[i], &(struct body_path){.up = path, .index = i}, fault);

		if (item == NULL || json_array_append_new(array, item) != 0) {
			if (item != NULL)
				body_no_memory(fault);
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *body_json_map(const msgpack_object_map *m, const struct body_path *path, struct fault *fault)
{
	json_t *object = json_object();

	if (object == NULL)
		body_no_memory(fault);
	for (uint32_t i = 0; object != NULL && i < m->size; i++) {
		const msgpack_object *key = &m->ptr[i].key;
		json_t *value;

		if (key->type != MSGPACK_OBJECT_STR) {
			body_fault(fault, path, "has a key that is not a string");
			json_decref(object);
			return NULL;
		}
		value = body_json(&m->ptr[i].val,
				  &(struct body_path){.up = path, .key = slice_of(key->via.str.ptr, key->via.str.size)},
				  fault);
		if (value == NULL || json_object_setn_new(object, key->via.str.ptr, key->via.str.size, value) != 0) {
			if (value != NULL)
				body_fault(fault, path, "has a key that is not UTF-8");
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

static json_t *body_json(const msgpack_object *o, const struct body_path *path, struct fault *fault)
{
	json_t *value = NULL;
	const char *why = "cannot be written as JSON";

	switch (o->type) {
	case MSGPACK_OBJECT_NIL:
		value = json_null();
		break;
	case MSGPACK_OBJECT_BOOLEAN:
		value = json_boolean(o->via.boolean);
		break;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		if (o->via.u64 <= INT64_MAX)
			value = json_integer((json_int_t)o->via.u64);
		why = "is above 2^63-1";
		break;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		value = json_integer(o->via.i64);
		break;
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		value = json_real(o->via.f64);
		why = "is not a finite number";
		break;
	case MSGPACK_OBJECT_STR:
		value = json_stringn(o->via.str.ptr, o->via.str.size);
		why = "is not UTF-8";
		break;
	case MSGPACK_OBJECT_ARRAY:
		return body_json_array(&o->via.array, path, fault);
	case MSGPACK_OBJECT_MAP:
		return body_json_map(&o->via.map, path, fault);
	case MSGPACK_OBJECT_BIN:
	case MSGPACK_OBJECT_EXT:
		why = "is bytes: JSON has only text";
		break;
	}
	if (value == NULL)
		body_fault(fault, path, why);
	return value;
}

/* ---- the members */

static int body_on_dump(const char *p, size_t n, void *owner) { return buf_append(owner, p, n) ? 0 : -1; }

/* Takes the tree. */
static int body_dump(struct body_writer *w, json_t *tree, size_t flags)
{
	int rc = json_dump_callback(tree, body_on_dump, w->out, JSON_COMPACT | JSON_ENCODE_ANY | flags);

	json_decref(tree);
	return rc == 0 ? 0 : body_no_memory(w->fault);
}

static int body_name(struct body_writer *w, struct slice name)
{
	json_t *tree = json_stringn((const char *)name.p, name.n);

	if (tree == NULL)
		return fault_set(w->fault, ERR_INVALID, "params", "has a key that is not UTF-8");
	if (!buf_append_str(w->out, w->first ? "{" : ","))
		return json_decref(tree), body_no_memory(w->fault);
	w->first = false;
	if (body_dump(w, tree, 0) != 0)
		return -1;
	return buf_append_str(w->out, ":") ? 0 : body_no_memory(w->fault);
}

static int body_member(struct body_writer *w, struct slice name, const msgpack_object *value,
		       const struct body_path *path, size_t flags)
{
	json_t *tree = body_json(value, path, w->fault);

	if (tree == NULL)
		return -1;
	if (body_name(w, name) != 0)
		return json_decref(tree), -1;
	return body_dump(w, tree, flags);
}

static int body_root(struct body_writer *w, const char *name, const msgpack_object *value, size_t flags)
{
	return body_member(w, slice_str(name), value, &(struct body_path){.key = slice_str(name)}, flags);
}

static int body_string(struct body_writer *w, const char *name, struct slice text)
{
	const msgpack_object o = {.type = MSGPACK_OBJECT_STR,
				  .via.str = {(uint32_t)text.n, text.n > 0 ? (const char *)text.p : ""}};

	return body_root(w, name, &o, 0);
}

static int body_message(struct body_writer *w, const char *role, const char *field, struct slice text)
{
	json_t *content = json_stringn(text.n > 0 ? (const char *)text.p : "", text.n);
	json_t *message;

	if (content == NULL)
		return body_fault(w->fault, &(struct body_path){.key = slice_str(field)}, "is not UTF-8");
	message = json_pack("{s:s, s:o}", "role", role, "content", content);
	return message == NULL ? body_no_memory(w->fault) : body_dump(w, message, 0);
}

/* prompt and system are short for one or two messages. */
static int body_prompt(struct body_writer *w, const struct request_body *r)
{
	if (body_name(w, slice_str("messages")) != 0)
		return -1;
	if (!buf_append_str(w->out, "["))
		return body_no_memory(w->fault);
	if (MESSAGE_HAS(r, REQUEST, system)) {
		if (body_message(w, "system", "system", r->system) != 0)
			return -1;
		if (!buf_append_str(w->out, ","))
			return body_no_memory(w->fault);
	}
	if (body_message(w, "user", "prompt", r->prompt) != 0)
		return -1;
	return buf_append_str(w->out, "]") ? 0 : body_no_memory(w->fault);
}

static bool body_is_own(struct slice key)
{
	return slice_is(key, "model") || slice_is(key, "messages") || slice_is(key, "tools");
}

/* How an answer is carried is decided here, not by the client: it gets its own form of the answer in either case. */
static bool body_is_carriage(struct slice key) { return slice_is(key, "stream") || slice_is(key, "stream_options"); }

static bool body_is_above_one(const msgpack_object *n)
{
	return (n->type == MSGPACK_OBJECT_POSITIVE_INTEGER && n->via.u64 > 1) ||
	       ((n->type == MSGPACK_OBJECT_FLOAT32 || n->type == MSGPACK_OBJECT_FLOAT64) && n->via.f64 > 1);
}

static int body_params(struct body_writer *w, const msgpack_object_map *params)
{
	const struct body_path root = {.key = slice_str("params")};

	for (uint32_t i = 0; i < params->size; i++) {
		const msgpack_object_kv *kv = &params->ptr[i];
		struct body_path path = {.up = &root};

		if (kv->key.type != MSGPACK_OBJECT_STR)
			return body_fault(w->fault, &root, "has a key that is not a string");
		path.key = slice_of(kv->key.via.str.ptr, kv->key.via.str.size);
		if (kv->val.type == MSGPACK_OBJECT_NIL || body_is_carriage(path.key))
			continue;
		if (body_is_own(path.key))
			return body_fault(w->fault, &path, "has a key of its own in the request");
		if (slice_is(path.key, "n") && body_is_above_one(&kv->val))
			return body_fault(w->fault, &path, "only one choice is supported");
		if (body_member(w, path.key, &kv->val, &path, 0) != 0)
			return -1;
	}
	return 0;
}

static int body_write(struct body_writer *w, const struct request_body *r, struct slice model, bool stream)
{
	const char *tail = stream ? ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}" : "}";

	if (body_string(w, "model", model) != 0)
		return -1;
	if ((r->messages != NULL ? body_root(w, "messages", r->messages, 0) : body_prompt(w, r)) != 0)
		return -1;
	/* Providers refuse an empty array where no array is meant. */
	if (r->tools != NULL && r->tools->via.array.size > 0 && body_root(w, "tools", r->tools, JSON_SORT_KEYS) != 0)
		return -1;
	if (r->params != NULL && body_params(w, &r->params->via.map) != 0)
		return -1;
	return buf_append_str(w->out, tail) ? 0 : body_no_memory(w->fault);
}

int chat_body_build(struct buf *out, struct slice frame, struct slice model, bool stream, struct fault *fault)
{
	struct body_writer w = {.out = out, .fault = fault, .first = true};
	struct message_decoder decoder;
	struct message m;
	int rc;

	if (message_decoder_init(&decoder) != 0)
		return body_no_memory(fault);
	rc = message_decode(&decoder, frame, FROM_C, &m, fault);
	if (rc == 0)
		rc = body_write(&w, &m.request, model, stream);
	message_decoder_free(&decoder);
	return rc;
}
