/* request: the user's structures become the message's fields. */
#include "client/request.h"
#include "client/core.h"
#include "proto/shape.h"

#include <math.h>

#define ZONE_CHUNK_BYTES 2048

/* A program of an earlier version must not have padding where a later one has a field. */
#define ENDS_WITH(type, field)                                                                                         \
	_Static_assert(offsetof(struct type, field) + sizeof(((struct type *)0)->field) == sizeof(struct type),        \
		       "padding at the end of " #type)
ENDS_WITH(pc_options, output_max);
ENDS_WITH(pc_query, unused);
ENDS_WITH(pc_content, completion_tokens);
ENDS_WITH(pc_loop, closed);

/* What is being made, and where to say why it cannot be. */
struct builder {
	struct request *request;
	struct request_body *body;
	struct failure *failure;
};

bool request_copy_sized(void *to, size_t to_size, const void *from)
{
	size_t size;

	memcpy(&size, from, sizeof(size));
	if (size < sizeof(size))
		return false;
	for (size_t i = to_size; i < size; i++) {
		if (((const unsigned char *)from)[i] != 0)
			return false;
	}
	memset(to, 0, to_size);
	memcpy(to, from, size < to_size ? size : to_size);
	return true;
}

static int builder_no_memory(struct builder *b)
{
	return failure_set(b->failure, PC_NO_MEMORY, NULL, "no memory for the request");
}

static void *builder_alloc(struct builder *b, size_t size)
{
	struct request *r = b->request;

	if (r->zone == NULL)
		r->zone = msgpack_zone_new(ZONE_CHUNK_BYTES);
	return r->zone != NULL ? msgpack_zone_malloc(r->zone, size) : NULL;
}

static msgpack_object object_str(struct slice s)
{
	return (msgpack_object){.type = MSGPACK_OBJECT_STR,
				.via.str = {.size = (uint32_t)s.n, .ptr = (const char *)s.p}};
}

static msgpack_object object_uint(uint64_t n)
{
	return (msgpack_object){.type = MSGPACK_OBJECT_POSITIVE_INTEGER, .via.u64 = n};
}

/* ---- msgpack values that the user made */

static int value_set(struct builder *b, const char *field, const void *bytes, size_t n, msgpack_object_type type,
		     const msgpack_object **ret)
{
	enum shape_status shape = shape_check(slice_of(bytes, n));

	if (shape != SHAPE_OK)
		return failure_set(b->failure, PC_INVALID, field, "%s is not one msgpack value: %s", field,
				   shape_status_text(shape));

	msgpack_object *o = builder_alloc(b, sizeof(*o));
	size_t offset = 0;

	if (o == NULL)
		return builder_no_memory(b);
	if (msgpack_unpack(bytes, n, &offset, b->request->zone, o) != MSGPACK_UNPACK_SUCCESS)
		return builder_no_memory(b); /* the shape is known to be good */
	if (o->type != type)
		return failure_set(b->failure, PC_INVALID, field, "%s must be %s", field,
				   type == MSGPACK_OBJECT_ARRAY ? "an array" : "a map");
	*ret = o;
	return PC_OK;
}

/* ---- messages and parameters as structures */

static int messages_set(struct builder *b, const struct pc_message *messages, size_t count)
{
	if (count > MESSAGES_MAX)
		return failure_set(b->failure, PC_INVALID, "messages", "%zu messages; at most %llu", count,
				   (unsigned long long)MESSAGES_MAX);

	msgpack_object *array = builder_alloc(b, sizeof(*array));
	msgpack_object *items = builder_alloc(b, count * sizeof(*items));
	msgpack_object_kv *pairs = builder_alloc(b, 2 * count * sizeof(*pairs));

	if (array == NULL || items == NULL || pairs == NULL)
		return builder_no_memory(b);
	for (size_t i = 0; i < count; i++) {
		struct slice role = slice_str(messages[i].role), content = slice_str(messages[i].content);

		if (role.n == 0 || messages[i].content == NULL)
			return failure_set(b->failure, PC_INVALID, "messages", "message %zu has no role or no content",
					   i);
		if (role.n > NAME_BYTES_MAX || content.n > FRAME_BYTES_MAX)
			return failure_set(b->failure, PC_INVALID, "messages", "message %zu is too long", i);
		pairs[2 * i] = (msgpack_object_kv){object_str(slice_str("role")), object_str(role)};
		pairs[2 * i + 1] = (msgpack_object_kv){object_str(slice_str("content")), object_str(content)};
		items[i] = (msgpack_object){.type = MSGPACK_OBJECT_MAP, .via.map = {.size = 2, .ptr = &pairs[2 * i]}};
	}
	*array = (msgpack_object){.type = MSGPACK_OBJECT_ARRAY, .via.array = {.size = (uint32_t)count, .ptr = items}};
	MESSAGE_SET(b->body, REQUEST, messages, array);
	return PC_OK;
}

/* False: the value is none that JSON could carry. */
static bool param_object(const struct pc_param *p, msgpack_object *ret)
{
	switch (p->type) {
	case PC_PARAM_NUMBER:
		*ret = (msgpack_object){.type = MSGPACK_OBJECT_FLOAT64, .via.f64 = p->number};
		return isfinite(p->number);
	case PC_PARAM_INTEGER:
		*ret = object_uint((uint64_t)p->integer);
		if (p->integer < 0)
			*ret = (msgpack_object){.type = MSGPACK_OBJECT_NEGATIVE_INTEGER, .via.i64 = p->integer};
		return true;
	case PC_PARAM_BOOL:
		*ret = (msgpack_object){.type = MSGPACK_OBJECT_BOOLEAN, .via.boolean = p->integer != 0};
		return true;
	case PC_PARAM_STRING:
		*ret = object_str(slice_str(p->string));
		return p->string != NULL;
	}
	return false;
}

static int params_set(struct builder *b, const struct pc_param *params, size_t count)
{
	if (count > PARAMS_MAX)
		return failure_set(b->failure, PC_INVALID, "params", "%zu parameters; at most %llu", count,
				   (unsigned long long)PARAMS_MAX);

	msgpack_object *map = builder_alloc(b, sizeof(*map));
	msgpack_object_kv *pairs = builder_alloc(b, count * sizeof(*pairs));

	if (map == NULL || pairs == NULL)
		return builder_no_memory(b);
	for (size_t i = 0; i < count; i++) {
		struct slice name = slice_str(params[i].name);

		if (name.n == 0 || name.n > NAME_BYTES_MAX || !param_object(&params[i], &pairs[i].val))
			return failure_set(b->failure, PC_INVALID, "params",
					   "parameter %zu (%.64s) has no proper name or value", i,
					   params[i].name != NULL ? params[i].name : "");
		pairs[i].key = object_str(name);
	}
	*map = (msgpack_object){.type = MSGPACK_OBJECT_MAP, .via.map = {.size = (uint32_t)count, .ptr = pairs}};
	MESSAGE_SET(b->body, REQUEST, params, map);
	return PC_OK;
}

struct pc_param pc_param_number(const char *name, double value)
{
	return (struct pc_param){.name = name, .type = PC_PARAM_NUMBER, .number = value};
}

struct pc_param pc_param_integer(const char *name, int64_t value)
{
	return (struct pc_param){.name = name, .type = PC_PARAM_INTEGER, .integer = value};
}

struct pc_param pc_param_bool(const char *name, int value)
{
	return (struct pc_param){.name = name, .type = PC_PARAM_BOOL, .integer = value};
}

struct pc_param pc_param_string(const char *name, const char *value)
{
	return (struct pc_param){.name = name, .type = PC_PARAM_STRING, .string = value};
}

/* ---- the question */

static struct slice text_of(const char *text, size_t n)
{
	return text != NULL && n > 0 ? slice_of(text, n) : slice_str(text);
}

static int prompt_set(struct builder *b, const struct pc_query *q)
{
	struct slice prompt = text_of(q->prompt, q->prompt_len), system = text_of(q->system, q->system_len);

	if (prompt.n > FRAME_BYTES_MAX || system.n > FRAME_BYTES_MAX)
		return failure_set(b->failure, PC_INVALID, prompt.n > FRAME_BYTES_MAX ? "prompt" : "system",
				   "over %llu bytes", (unsigned long long)FRAME_BYTES_MAX);
	MESSAGE_SET(b->body, REQUEST, prompt, prompt);
	if (q->system != NULL)
		MESSAGE_SET(b->body, REQUEST, system, system);
	return PC_OK;
}

static int conversation_set(struct builder *b, const struct pc_query *q)
{
	int forms = (q->prompt != NULL) + (q->messages_count > 0) + (q->messages_msgpack_len > 0);

	if (forms != 1)
		return failure_set(b->failure, PC_INVALID, "prompt",
				   "%s of prompt, messages and messages_msgpack is needed",
				   forms == 0 ? "one" : "only one");
	if (q->system != NULL && q->prompt == NULL)
		return failure_set(b->failure, PC_INVALID, "system",
				   "system goes with prompt; with messages it is one of them");
	if (q->prompt != NULL)
		return prompt_set(b, q);
	if (q->messages_count > 0)
		return messages_set(b, q->messages, q->messages_count);
	return value_set(b, "messages", q->messages_msgpack, q->messages_msgpack_len, MSGPACK_OBJECT_ARRAY,
			 &b->body->messages);
}

static int name_set(struct builder *b, const char *field, const char *text, uint64_t max, struct slice *ret)
{
	struct slice s = slice_str(text);

	if (s.n > max)
		return failure_set(b->failure, PC_INVALID, field, "over %llu bytes", (unsigned long long)max);
	*ret = s;
	return PC_OK;
}

static int names_set(struct builder *b, const struct pc_query *q)
{
	struct slice model, space, version;
	int status;

	if ((status = name_set(b, "model", q->model, MODEL_BYTES_MAX, &model)) != PC_OK ||
	    (status = name_set(b, "namespace", q->namespace_name, NAMESPACE_BYTES_MAX, &space)) != PC_OK ||
	    (status = name_set(b, "prompt_version", q->prompt_version, NAME_BYTES_MAX, &version)) != PC_OK)
		return status;
	if (q->model != NULL)
		MESSAGE_SET(b->body, REQUEST, model, model);
	if (q->namespace_name != NULL)
		MESSAGE_SET(b->body, REQUEST, namespace, space);
	if (q->prompt_version != NULL)
		MESSAGE_SET(b->body, REQUEST, prompt_version, version);
	return PC_OK;
}

static int extras_set(struct builder *b, const struct pc_query *q)
{
	int status = PC_OK;

	if (q->params_count > 0 && q->params_msgpack_len > 0)
		return failure_set(b->failure, PC_INVALID, "params", "only one of params and params_msgpack is taken");
	if (q->tools_msgpack_len > 0) {
		status = value_set(b, "tools", q->tools_msgpack, q->tools_msgpack_len, MSGPACK_OBJECT_ARRAY,
				   &b->body->tools);
		b->body->has |= UINT64_C(1) << REQUEST_BIT_tools;
	}
	if (status == PC_OK && q->params_count > 0)
		return params_set(b, q->params, q->params_count);
	if (status == PC_OK && q->params_msgpack_len > 0) {
		status = value_set(b, "params", q->params_msgpack, q->params_msgpack_len, MSGPACK_OBJECT_MAP,
				   &b->body->params);
		b->body->has |= UINT64_C(1) << REQUEST_BIT_params;
	}
	return status;
}

static int question_set(struct builder *b, const struct pc_query *q)
{
	int status = names_set(b, q);

	if (status == PC_OK)
		status = conversation_set(b, q);
	if (status == PC_OK && q->messages_msgpack_len > 0)
		b->body->has |= UINT64_C(1) << REQUEST_BIT_messages;
	return status == PC_OK ? extras_set(b, q) : status;
}

/* ---- what goes beside it */

/* A key goes only with the operations that know it; a wish that contradicts the operation is refused rather than
 * dropped. */
static int wishes_set(struct builder *b, const struct ask *ask, const struct pc_query *q)
{
	bool asks = ask->op == OP_QUERY || ask->op == OP_LOOKUP;

	if (q->no_cache && ask->op == OP_LOOKUP)
		return failure_set(b->failure, PC_INVALID, "no_cache", "a lookup does nothing but read the cache");
	if (q->no_store && ask->op == OP_PUT)
		return failure_set(b->failure, PC_INVALID, "no_store", "a put does nothing but store");
	if (q->ttl_ms > TTL_MS_MAX)
		return failure_set(b->failure, PC_INVALID, "ttl_ms", "at most %llu ms", (unsigned long long)TTL_MS_MAX);
	if (q->no_cache && ask->op == OP_QUERY)
		MESSAGE_SET(b->body, REQUEST, no_cache, true);
	if (q->no_store && ask->op == OP_QUERY)
		MESSAGE_SET(b->body, REQUEST, no_store, true);
	if (q->max_age_ms > 0 && asks)
		MESSAGE_SET(b->body, REQUEST, max_age_ms, q->max_age_ms);
	if (q->ttl_ms > 0 && (ask->op == OP_QUERY || ask->op == OP_PUT))
		MESSAGE_SET(b->body, REQUEST, ttl_ms, q->ttl_ms);
	if (asks)
		MESSAGE_SET(b->body, REQUEST, timeout_ms, b->request->timeout_ms);
	if (ask->stream) {
		b->request->window = q->window_bytes > 0 ? q->window_bytes : CORE_WINDOW_DEFAULT;
		MESSAGE_SET(b->body, REQUEST, stream, true);
		MESSAGE_SET(b->body, REQUEST, window, b->request->window);
	}
	return PC_OK;
}

static int segments_set(struct builder *b, const struct pc_segment *segments, size_t count)
{
	if (count > SEGMENTS_MAX)
		return failure_set(b->failure, PC_INVALID, "segments", "%zu segments; at most %llu", count,
				   (unsigned long long)SEGMENTS_MAX);

	msgpack_object *array = builder_alloc(b, sizeof(*array));
	msgpack_object *items = builder_alloc(b, count * sizeof(*items));
	msgpack_object *parts = builder_alloc(b, 3 * count * sizeof(*parts));

	if (array == NULL || items == NULL || parts == NULL)
		return builder_no_memory(b);
	for (size_t i = 0; i < count; i++) {
		if (segments[i].kind < 1 || segments[i].len > ANSWER_BYTES_MAX)
			return failure_set(b->failure, PC_INVALID, "segments",
					   "segment %zu has no proper kind or is too long", i);
		parts[3 * i] = object_uint((uint64_t)segments[i].kind);
		parts[3 * i + 1] = object_uint(i);
		parts[3 * i + 2] =
			(msgpack_object){.type = MSGPACK_OBJECT_BIN,
					 .via.bin = {.size = (uint32_t)segments[i].len, .ptr = segments[i].data}};
		items[i] =
			(msgpack_object){.type = MSGPACK_OBJECT_ARRAY, .via.array = {.size = 3, .ptr = &parts[3 * i]}};
	}
	*array = (msgpack_object){.type = MSGPACK_OBJECT_ARRAY, .via.array = {.size = (uint32_t)count, .ptr = items}};
	MESSAGE_SET(b->body, REQUEST, segments, array);
	return PC_OK;
}

static int content_set(struct builder *b, const struct pc_content *from)
{
	struct pc_content c;

	if (from == NULL || !request_copy_sized(&c, sizeof(c), from))
		return failure_set(b->failure, PC_INVALID, "content", "no content, or not set up with PC_CONTENT_INIT");

	struct slice text = text_of(c.text, c.text_len), finish;
	int status = name_set(b, "finish_reason", c.finish_reason, NAME_BYTES_MAX, &finish);

	if (status != PC_OK)
		return status;
	if ((c.text != NULL) == (c.segments_count > 0))
		return failure_set(b->failure, PC_INVALID, "answer",
				   "one of text and segments is needed, and only one");
	if (text.n > ANSWER_BYTES_MAX)
		return failure_set(b->failure, PC_INVALID, "answer", "over %llu bytes",
				   (unsigned long long)ANSWER_BYTES_MAX);
	if (c.finish_reason != NULL)
		MESSAGE_SET(b->body, REQUEST, finish_reason, finish);
	if (c.prompt_tokens > 0)
		MESSAGE_SET(b->body, REQUEST, prompt_tokens, c.prompt_tokens);
	if (c.completion_tokens > 0)
		MESSAGE_SET(b->body, REQUEST, completion_tokens, c.completion_tokens);
	if (c.text == NULL)
		return segments_set(b, c.segments, c.segments_count);
	MESSAGE_SET(b->body, REQUEST, answer, text);
	return PC_OK;
}

static int timeout_set(struct builder *b, const struct ask *ask, unsigned timeout_ms)
{
	if (timeout_ms > PC_TIMEOUT_MS_MAX)
		return failure_set(b->failure, PC_INVALID, "timeout_ms", "at most %d ms", PC_TIMEOUT_MS_MAX);
	b->request->timeout_ms = timeout_ms;
	if (timeout_ms == 0)
		b->request->timeout_ms = ask->op == OP_QUERY ? PC_QUERY_TIMEOUT_MS : PC_CALL_TIMEOUT_MS;
	return PC_OK;
}

static int request_fill(struct builder *b, const struct ask *ask)
{
	struct pc_query q;

	if (ask->op == OP_STATS || ask->op == OP_PING)
		return timeout_set(b, ask, ask->timeout_ms);
	if (ask->query == NULL || !request_copy_sized(&q, sizeof(q), ask->query) || q.unused != 0)
		return failure_set(b->failure, PC_INVALID, "query", "no query, or not set up with PC_QUERY_INIT");

	int status = timeout_set(b, ask, q.timeout_ms);

	if (status == PC_OK && ask->op == OP_INVALIDATE && ask->target == PC_FORGET_NAMESPACE) {
		struct pc_query only = {.namespace_name = q.namespace_name};

		MESSAGE_SET(b->body, REQUEST, target, TARGET_NAMESPACE);
		return names_set(b, &only);
	}
	if (status == PC_OK)
		status = question_set(b, &q);
	if (status == PC_OK)
		status = wishes_set(b, ask, &q);
	if (status == PC_OK && ask->op == OP_PUT)
		status = content_set(b, ask->content);
	return status;
}

int request_make(const struct ask *ask, struct request *ret, struct failure *failure)
{
	struct request r = {.message.op = ask->op};
	struct builder b = {.request = &r, .body = &r.message.request, .failure = failure};
	int status = request_fill(&b, ask);

	if (status != PC_OK) {
		request_free(&r);
		return status;
	}
	*ret = r;
	return PC_OK;
}

void request_free(struct request *r)
{
	if (r->zone != NULL)
		msgpack_zone_free(r->zone);
	r->zone = NULL;
}
