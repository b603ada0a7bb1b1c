/* reply: the frames that a server sends, as bytes at the end of a buffer. All return false when the buffer's ceiling
 * or memory does not allow it; the buffer is as before then. */
#ifndef NET_REPLY_H
#define NET_REPLY_H

#include "server/base/metrics.h"
#include "server/engine/query.h"

#define REPLY_CHUNK_OVERHEAD 64	 /* more than the bytes of a CHUNK frame around its data */
#define REPLY_END_OVERHEAD   512 /* more than the bytes of an END frame around its payload */

struct reply_error {
	const struct fault *fault;
	uint64_t retry_after_ms; /* 0: not said */
	uint64_t offset;	 /* INTERRUPTED */
	unsigned upstream_status;
};
__attribute__((warn_unused_result)) bool reply_error(struct buf *out, uint64_t id, const struct reply_error *e);

__attribute__((warn_unused_result)) bool reply_ping(struct buf *out, bool ack); /* id 0 */
__attribute__((warn_unused_result)) bool reply_goaway(struct buf *out, uint64_t grace_ms, uint64_t last_id,
						      const char *reason);
__attribute__((warn_unused_result)) bool reply_end(struct buf *out, uint64_t id, const struct end_body *end);
__attribute__((warn_unused_result)) bool reply_stats(struct buf *out, uint64_t id, const struct metrics *m);

__attribute__((warn_unused_result)) bool reply_head(struct buf *out, uint64_t id, enum proto_source source,
						    uint64_t age_ms);

/* A CHUNK up to its data: data_bytes must follow right behind it on the wire. */
__attribute__((warn_unused_result)) bool reply_chunk_begin(struct buf *out, uint64_t id, enum proto_segment kind,
							   uint32_t index, size_t data_bytes);

/* The END of a QUERY or LOOKUP that went well. segments: the answer travels in it (else it went in CHUNKs). */
__attribute__((warn_unused_result)) bool reply_query_end(struct buf *out, uint64_t id, const struct query *q,
							 bool segments);

#endif
