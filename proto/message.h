/* message: one frame as a C structure, both ways. Decoding and encoding are driven by the tables of schema.h.
 *
 * Decoding goes shape first, then meaning: well-formed (shape.h) → [op, id, flags, body] → each key's type and size by
 * table → required keys. Unknown low keys are skipped; an unknown must-understand key, a wrong type, a missing or
 * doubled key is a fault that names the field. Nothing is copied: slices point into the frame, ARRAY and MAP values
 * into the decoder's zone. Both live until the next call of message_decode with the same decoder; the frame must
 * outlive them. */
#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

#include <msgpack.h>

#include "proto/schema.h"

#define MESSAGE_TYPE_UINT  uint64_t
#define MESSAGE_TYPE_BOOL  bool
#define MESSAGE_TYPE_F64   double
#define MESSAGE_TYPE_STR   struct slice
#define MESSAGE_TYPE_BIN   struct slice
#define MESSAGE_TYPE_ARRAY const msgpack_object *
#define MESSAGE_TYPE_MAP   const msgpack_object *

/* struct hello_body { uint64_t has; uint64_t version; ... }, one a body. `has`: bit HELLO_BIT_version says that the key
 * is there. A field whose bit is not set is zero. To send a body: set the fields and their bits (MESSAGE_SET does
 * both). */
/* clang-format off */
#define X(number, name, type, need, max, text) MESSAGE_TYPE_##type name;
struct hello_body { uint64_t has; PROTO_HELLO_KEYS(X) };
struct window_body { uint64_t has; PROTO_WINDOW_KEYS(X) };
struct goaway_body { uint64_t has; PROTO_GOAWAY_KEYS(X) };
struct head_body { uint64_t has; PROTO_HEAD_KEYS(X) };
struct chunk_body { uint64_t has; PROTO_CHUNK_KEYS(X) };
struct end_body { uint64_t has; PROTO_END_KEYS(X) };
struct error_body { uint64_t has; PROTO_ERROR_KEYS(X) };
#undef X
#define X(number, name, type, need, max, in, counts, text) MESSAGE_TYPE_##type name;
struct request_body { uint64_t has; PROTO_REQUEST_KEYS(X) };
#undef X
/* clang-format on */

#define X(number, name, ...) HELLO_BIT_##name,
enum {
	PROTO_HELLO_KEYS(X)
};
#undef X
#define X(number, name, ...) WINDOW_BIT_##name,
enum {
	PROTO_WINDOW_KEYS(X)
};
#undef X
#define X(number, name, ...) GOAWAY_BIT_##name,
enum {
	PROTO_GOAWAY_KEYS(X)
};
#undef X
#define X(number, name, ...) HEAD_BIT_##name,
enum {
	PROTO_HEAD_KEYS(X)
};
#undef X
#define X(number, name, ...) CHUNK_BIT_##name,
enum {
	PROTO_CHUNK_KEYS(X)
};
#undef X
#define X(number, name, ...) END_BIT_##name,
enum {
	PROTO_END_KEYS(X)
};
#undef X
#define X(number, name, ...) ERROR_BIT_##name,
enum {
	PROTO_ERROR_KEYS(X)
};
#undef X
#define X(number, name, ...) REQUEST_BIT_##name,
enum {
	PROTO_REQUEST_KEYS(X)
};
#undef X

/* MESSAGE_HAS(&m.request, REQUEST, ttl_ms) · MESSAGE_SET(&m.end, END, stored, true) */
#define MESSAGE_HAS(body, BODY, name) (((body)->has >> BODY##_BIT_##name) & 1)
#define MESSAGE_SET(body, BODY, name, ...)                                                                             \
	((body)->has |= UINT64_C(1) << BODY##_BIT_##name, (void)((body)->name = __VA_ARGS__))

struct message {
	enum proto_op op;
	uint64_t id;
	uint64_t flags;
	union {
		struct hello_body hello;
		struct request_body request; /* QUERY, LOOKUP, PUT, INVALIDATE */
		struct window_body window;
		struct goaway_body goaway;
		struct head_body head;
		struct chunk_body chunk;
		struct end_body end;
		struct error_body error;
	};
};

/* What is wrong with a message: becomes an ERROR frame. The texts live as long as the fault. */
struct fault {
	enum proto_error code;
	char field[64];	   /* "" if it is not one field's; FIELD_BYTES_MAX and a NUL */
	char message[192]; /* a sentence that says what is wrong and what would be right */
};

/* Fills a fault. Never fails; long texts are cut. Returns -1, so that `return fault_set(...)` reads well. */
__attribute__((format(printf, 4, 5))) int fault_set(struct fault *f, enum proto_error code, const char *field,
						    const char *fmt, ...);

struct message_decoder {
	msgpack_zone *zone; /* reused; freed by message_decoder_free */
};

/* 0, or -1 without memory. */
__attribute__((warn_unused_result)) int message_decoder_init(struct message_decoder *d);
void message_decoder_free(struct message_decoder *d);

/* frame: what stands behind the prefix. from: which side sent it (an operation that this side may not send is
 * UNSUPPORTED). A request needs an id from 1 on. 0: *ret is filled. -1: *fault says why, and ret->op and ret->id are
 * set as far as they could be read (else 0). */
__attribute__((warn_unused_result)) int message_decode(struct message_decoder *d, struct slice frame,
						       enum proto_from from, struct message *ret, struct fault *fault);

/* Appends the whole frame, prefix included; keys in the order of the table. False: over out's ceiling or no memory; out
 * is as before. */
__attribute__((warn_unused_result)) bool message_encode(struct buf *out, const struct message *m);

/* The front of a frame up to its body, for those who write the body themselves and then call frame_end with *ret_start.
 * False: over out's ceiling or no memory; out is as before. */
__attribute__((warn_unused_result)) bool message_encode_begin(struct buf *out, uint64_t op, uint64_t id, uint64_t flags,
							      size_t *ret_start);

/* A body alone, for those who store bodies and splice them into frames later. encode: appends the pairs without the
 * map's header, and says how many; false: over out's ceiling or no memory, out is as before. decode: `body` is a whole
 * map; as message_decode otherwise. */
__attribute__((warn_unused_result)) bool message_encode_pairs(struct buf *out, const struct message *m,
							      unsigned *ret_count);
__attribute__((warn_unused_result)) int message_decode_body(struct message_decoder *d, enum proto_op op,
							    struct slice body, struct message *ret,
							    struct fault *fault);

/* A msgpack packer that writes to a buf; *failed becomes true when an append did not fit. */
struct buf_packer {
	struct buf *out;
	bool failed;
	msgpack_packer packer;
};
void buf_packer_init(struct buf_packer *p, struct buf *out);

#endif
