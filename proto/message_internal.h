/* The tables that decoding and encoding share. Private to proto/. */
#ifndef PROTO_MESSAGE_INTERNAL_H
#define PROTO_MESSAGE_INTERNAL_H

#include "proto/message.h"

enum field_type {
	TYPE_UINT,
	TYPE_BOOL,
	TYPE_F64,
	TYPE_STR,
	TYPE_BIN,
	TYPE_ARRAY,
	TYPE_MAP
};

struct field_spec {
	const char *name;
	uint64_t max; /* bytes, elements, or the value of a UINT; 0: no limit */
	uint16_t offset;
	uint8_t key;
	uint8_t type; /* enum field_type */
	uint8_t in;   /* operations that know the key: IN_Q, ...; all bits for other bodies than REQUEST */
	bool required;
};

struct body_spec {
	const struct field_spec *fields; /* field i has bit i of `has` */
	uint8_t count;
	uint16_t size;	      /* of the structure; 0: none */
	const uint8_t *index; /* by key: 1 + number of the field; 0: unknown */
};

struct op_spec {
	const char *name;
	const struct body_spec *body; /* NULL: the operation is not known here */
	uint8_t from;		      /* enum proto_from */
	uint8_t in;		      /* the operation's own bit for field_spec.in */
};

/* NULL: not an operation of this version. */
const struct op_spec *op_spec_find(uint64_t op);

/* The name of a REQUEST key that is kept for what comes next; NULL: not one. */
const char *request_key_reserved(uint64_t key);

/* The bits of the keys that are there; none for a body without keys. */
static inline uint64_t message_has_bits(const struct op_spec *op, const struct message *m)
{
	return op->body->count > 0 ? m->hello.has : 0;
}

/* Every body starts with its `has`; the union makes their addresses one. */
static inline uint64_t *message_has(struct message *m) { return &m->hello.has; }

#endif
