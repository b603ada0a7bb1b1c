/* request: what a user asks, as a message of the protocol. Checks what only this side can see (contradictions, shapes
 * of msgpack values); the server checks the rest and names the field. */
#ifndef CLIENT_REQUEST_H
#define CLIENT_REQUEST_H

#include "client/failure.h"

/* What a call asks for. Which of the pointers are there depends on op. */
struct ask {
	enum proto_op op;
	const struct pc_query *query;	  /* QUERY, LOOKUP, PUT, INVALIDATE */
	const struct pc_content *content; /* PUT */
	enum pc_target target;		  /* INVALIDATE */
	unsigned timeout_ms;		  /* STATS, PING */
	bool stream;
};

/* A message, and the memory that its arrays and maps stand in. */
struct request {
	struct message message;
	msgpack_zone *zone;  /* NULL: none needed */
	uint64_t timeout_ms; /* what the call may take; defaults put in */
	uint64_t window;     /* of a stream, else 0 */
};

/* PC_OK, and request_free when the message was encoded; or PC_INVALID, PC_NO_MEMORY with *failure. Texts are borrowed
 * from the ask. */
__attribute__((warn_unused_result)) int request_make(const struct ask *ask, struct request *ret,
						     struct failure *failure);
void request_free(struct request *r);

/* Copies a structure that carries its size, whichever version it is of: fields beyond ours must be zero, missing ones
 * become zero. */
__attribute__((warn_unused_result)) bool request_copy_sized(void *to, size_t to_size, const void *from);

#endif
