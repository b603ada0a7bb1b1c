/* The parts of canonical.c that digest.c needs besides canonical_append. Private to proto/. */
#ifndef PROTO_CANONICAL_INTERNAL_H
#define PROTO_CANONICAL_INTERNAL_H

#include "proto/digest.h"

/* Where a value stands, for the fault that names it; built on the stack on the way down, written out only when it is
 * needed. */
struct value_path {
	const struct value_path *up; /* NULL: the root */
	struct slice key;	     /* of a map, or the name of the root; p NULL: an array's element */
	uint32_t index;
};

/* As canonical_append. without_nil: the top map's entries with value nil count as not given. */
int canonical_append_path(struct buf *out, const msgpack_object *value, const struct value_path *path, bool without_nil,
			  struct fault *fault);

/* As fault_set, with the path written out; takes no format, since no caller needs one. */
int fault_set_path(struct fault *fault, enum proto_error code, const struct value_path *path, const char *what);

#endif
