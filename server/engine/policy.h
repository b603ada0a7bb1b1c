/* policy: what is decided about a request before anything is looked up: namespace, model, route, identity, how old an
 * answer may be, whether to read and to keep. Runs before key, memory and flight.
 *
 *      exact key = SHA-256( tenant ‖ partition ‖ route identity ‖ request digest )       each part but the last ends in a NUL
 *
 * The tenant is `default` and the partition empty until tenants and rules exist; the route identity is the upstream's
 * name and the resolved model, so that what one provider answered is never served for another. */
#ifndef ENGINE_POLICY_H
#define ENGINE_POLICY_H

#include "proto/digest.h"
#include "server/engine/engine.h"

#define POLICY_REVISION 1 /* of the rules under which entries are stored */
#define POLICY_TAGS	3 /* tenant, namespace, model */

struct plan {
	struct slice ns, model;	   /* (borrowed from the request or the options) resolved */
	struct upstream *upstream; /* (borrowed) NULL: no upstream serves the model */
	uint64_t ttl_ms;
	uint64_t max_age_ms; /* UINT64_MAX: any */
	bool no_cache, no_store;
	uint8_t digest[PROTO_DIGEST_BYTES];
	uint8_t key[ENTRY_KEY_BYTES];
};

/* 0, or -1 with *fault. */
__attribute__((warn_unused_result)) int policy_plan(struct digester *d, struct upstreams *u,
						    const struct engine_options *options, const struct request_body *r,
						    struct plan *ret, struct fault *fault);

/* The namespace of a request: the one given, else "default". */
struct slice policy_namespace(const struct request_body *r);

enum tag_kind {
	TAG_TENANT = 1,
	TAG_NAMESPACE = 2,
	TAG_MODEL = 3
};

/* 0, or -1 without memory. */
__attribute__((warn_unused_result)) int policy_tag(struct digester *d, enum tag_kind kind, struct slice name,
						   struct tag *ret);
__attribute__((warn_unused_result)) int policy_tags(struct digester *d, const struct plan *plan,
						    struct tag ret[POLICY_TAGS]);

#endif
