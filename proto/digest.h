/* digest: the request digest, the identity of a question. Two requests with the same digest may share one answer.
 *
 *   digest = SHA-256( SHA-256(header) ‖ SHA-256(message 1) ‖ … ‖ SHA-256(tools) ‖ SHA-256(params) )
 *
 * header  = canonical [canonicalisation version, namespace, model, prompt_version]
 * each message, the tools array and the params map in canonical form. Missing tools count as [], missing params as {}.
 * `prompt` and `system` count as the messages they stand for, so both forms of a request are one.
 *
 * Canonical form of a value (msgpack): maps sorted by the bytes of their keys (which must be strings; a doubled key is
 * a fault); integers in the shortest form; a float that is a whole number within ±2^53 becomes that integer (1.0 = 1),
 * -0.0 becomes 0, others are float 64 (a float 32 is widened), NaN and infinities are a fault; strings must be UTF-8,
 * in the shortest form, and are otherwise kept (case and white space count); bin and ext are a fault: JSON has none. A
 * params entry whose value is nil counts as not given. An empty model or namespace is a fault. Not thread-safe: one
 * digester, one thread. */
#ifndef PROTO_DIGEST_H
#define PROTO_DIGEST_H

#include "proto/message.h"

#define DIGEST_CANONICAL_VERSION 1

struct digester; /* keeps OpenSSL's objects and scratch memory between calls */

__attribute__((warn_unused_result)) struct digester *digester_new(void); /* NULL: no memory */
void digester_free(struct digester *d);					 /* accepts NULL */

/* r is as message_decode made it: its strings are UTF-8. default_model stands in for a missing model. Checks the
 * request's meaning while it reads it: prompt or messages (not both, not neither, not empty), each message a map with a
 * string `role`. 0, or -1 with *fault filled (INVALID names "messages[3].content" and the like). */
__attribute__((warn_unused_result)) int request_digest(struct digester *d, const struct request_body *r,
						       struct slice default_model,
						       uint8_t ret_digest[PROTO_DIGEST_BYTES], struct fault *fault);

/* SHA-256 of the parts, one after the other, with the digester's objects. -1: OpenSSL failed (no memory). */
__attribute__((warn_unused_result)) int digest_parts(struct digester *d, const struct slice *parts, size_t count,
						     uint8_t ret_digest[PROTO_DIGEST_BYTES]);

/* Appends the canonical form of one value. 0, or -1 with *fault; `field` names the value in the fault. */
__attribute__((warn_unused_result)) int canonical_append(struct buf *out, const msgpack_object *value,
							 const char *field, struct fault *fault);

#endif
