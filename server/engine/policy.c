#include "server/engine/policy.h"

#define TENANT_DEFAULT	  "default"
#define NAMESPACE_DEFAULT "default"

struct slice policy_namespace(const struct request_body *r)
{
	return MESSAGE_HAS(r, REQUEST, namespace) && r->namespace.n > 0 ? r->namespace : slice_str(NAMESPACE_DEFAULT);
}

static const msgpack_object *param_find(const struct request_body *r, const char *name)
{
	if (!MESSAGE_HAS(r, REQUEST, params))
		return NULL;
	for (uint32_t i = 0; i < r->params->via.map.size; i++) {
		const msgpack_object_kv *kv = &r->params->via.map.ptr[i];

		if (kv->key.type == MSGPACK_OBJECT_STR &&
		    slice_is(slice_of(kv->key.via.str.ptr, kv->key.via.str.size), name))
			return &kv->val;
	}
	return NULL;
}

static bool is_nil(const msgpack_object *o) { return o == NULL || o->type == MSGPACK_OBJECT_NIL; }

/* 1 and 1.0 are one number, as in the digest. */
static bool is_one(const msgpack_object *o)
{
	return (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 == 1) ||
	       ((o->type == MSGPACK_OBJECT_FLOAT64 || o->type == MSGPACK_OBJECT_FLOAT32) && o->via.f64 == 1.0);
}

static bool is_false(const msgpack_object *o) { return o->type == MSGPACK_OBJECT_BOOLEAN && !o->via.boolean; }

/* An answer is one list of segments: several choices and log probabilities have no place in it. Said, not dropped in
 * silence. */
static int params_check(const struct request_body *r, struct fault *fault)
{
	const msgpack_object *n = param_find(r, "n"), *logprobs = param_find(r, "logprobs"),
			     *top = param_find(r, "top_logprobs");

	if (!is_nil(n) && !is_one(n))
		return fault_set(fault, ERR_UNSUPPORTED, "params.n", "n above 1 is not supported: ask as many times");
	if (!is_nil(logprobs) && !is_false(logprobs))
		return fault_set(fault, ERR_UNSUPPORTED, "params.logprobs",
				 "log probabilities are not supported: ask the provider itself");
	if (!is_nil(top))
		return fault_set(fault, ERR_UNSUPPORTED, "params.top_logprobs",
				 "log probabilities are not supported: ask the provider itself");
	return 0;
}

static int key_make(struct digester *d, struct plan *p, struct fault *fault)
{
	const char *route = p->upstream != NULL ? upstream_name(p->upstream) : "";
	const struct slice nul = slice_of("", 1);
	const struct slice parts[] = {
		slice_str(TENANT_DEFAULT),
		nul, /* tenant */
		nul, /* partition: none */
		slice_str(route),
		nul,
		p->model,
		nul,
		slice_of(p->digest, sizeof p->digest),
	};

	if (digest_parts(d, parts, sizeof parts / sizeof parts[0], p->key) < 0)
		return fault_set(fault, ERR_NO_MEMORY, "", "there is no memory for the request's key");
	return 0;
}

static uint64_t ttl_of(const struct request_body *r, const struct engine_options *options)
{
	return MESSAGE_HAS(r, REQUEST, ttl_ms) && r->ttl_ms > 0 && r->ttl_ms < options->ttl_ms ? r->ttl_ms
											       : options->ttl_ms;
}

int policy_plan(struct digester *d, struct upstreams *u, const struct engine_options *options,
		const struct request_body *r, struct plan *ret, struct fault *fault)
{
	struct plan p = {
		.ns = policy_namespace(r),
		.model =
			MESSAGE_HAS(r, REQUEST, model) && r->model.n > 0 ? r->model : slice_str(options->default_model),
		.ttl_ms = ttl_of(r, options),
		.max_age_ms = MESSAGE_HAS(r, REQUEST, max_age_ms) ? r->max_age_ms : UINT64_MAX,
		.no_cache = r->no_cache,
		.no_store = r->no_store,
	};

	if (params_check(r, fault) < 0 || request_digest(d, r, p.model, p.digest, fault) < 0)
		return -1;
	p.upstream = upstreams_route(u, p.model);
	if (key_make(d, &p, fault) < 0)
		return -1;
	*ret = p;
	return 0;
}

int policy_tag(struct digester *d, enum tag_kind kind, struct slice name, struct tag *ret)
{
	const uint8_t kind_byte = (uint8_t)kind;
	const struct slice parts[] = {slice_of(&kind_byte, 1), slice_str(TENANT_DEFAULT), slice_of("", 1), name};
	uint8_t full[PROTO_DIGEST_BYTES];

	if (digest_parts(d, parts, sizeof parts / sizeof parts[0], full) < 0)
		return -1;
	memcpy(ret->id, full, sizeof ret->id);
	return 0;
}

int policy_tags(struct digester *d, const struct plan *plan, struct tag ret[POLICY_TAGS])
{
	if (policy_tag(d, TAG_TENANT, slice_str(TENANT_DEFAULT), &ret[0]) < 0 ||
	    policy_tag(d, TAG_NAMESPACE, plan->ns, &ret[1]) < 0 || policy_tag(d, TAG_MODEL, plan->model, &ret[2]) < 0)
		return -1;
	return 0;
}
