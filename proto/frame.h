/* frame: cuts a stream of bytes into frames, and puts the prefix before one that is sent.
 *
 *      0xCE len:u32 | [op, id, flags, body]        len counts what follows the prefix; always this five-byte form
 *
 * Pure: bytes in, slices out; nothing is copied or allocated. The caller keeps unread bytes and offers them again with
 * more behind. */
#ifndef PROTO_FRAME_H
#define PROTO_FRAME_H

#include "proto/schema.h"

enum frame_status {
	FRAME_READY,	/* a whole frame: `frame` is what stands behind the prefix; `taken` bytes are done with */
	FRAME_MORE,	/* not enough bytes yet; nothing taken */
	FRAME_OVERSIZE, /* longer than max: `length` and what is there of it in `frame` (for its id); skip prefix +
			   length bytes */
	FRAME_GARBAGE,	/* the first byte is not 0xCE: not our protocol */
};

struct frame_result {
	enum frame_status status;
	struct slice frame; /* (borrowed from the input) */
	size_t taken;
	uint32_t length;
};

/* Looks at the front of the input. With FRAME_OVERSIZE it waits (FRAME_MORE) until FRAME_ID_BYTES of the frame are
 * there or it is complete, so that the id can be told; `taken` stays 0. */
struct frame_result frame_next(struct slice input, uint32_t max);

#define FRAME_ID_BYTES 20 /* array header, op, id (9), flags (9) at their longest */

/* What stands at the front of a frame, as far as it can be read, for an error about a frame that cannot be decoded.
 * False: not even op and id are there. */
bool frame_peek(struct slice frame, uint64_t *ret_op, uint64_t *ret_id);

/* Sending: frame_begin leaves room for the prefix and returns where the frame starts; frame_end writes its length
 * there. */
__attribute__((warn_unused_result)) bool frame_begin(struct buf *out, size_t *ret_start);
void frame_end(struct buf *out, size_t start);

#endif
