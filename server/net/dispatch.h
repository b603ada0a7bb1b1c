/* dispatch: from a frame to the function that serves its operation. The table comes from PROTO_OPS: an operation that
 * clients may send and that has no handler does not link. */
#ifndef NET_DISPATCH_H
#define NET_DISPATCH_H

#include "server/net/conn.h"

/* One whole frame. Whatever is wrong with it is answered. The connection may be lingering or closed afterwards. */
void dispatch_frame(struct conn *c, struct slice frame);

/* A frame longer than the connection takes; `begin` is its beginning. */
void dispatch_oversize(struct conn *c, struct slice begin, uint32_t max);

/* The id of an ERROR about a frame: that of the frame, but 0 for operations that are no requests. Theirs names a
 * request, which may have just ended: it must not end a second time. */
uint64_t dispatch_error_id(uint64_t op, uint64_t id);

/* Not our protocol: one line of plain text, and the end. */
void dispatch_garbage(struct conn *c, struct slice begin);

/* The largest frame the connection takes now. */
uint32_t dispatch_frame_max(const struct conn *c);

#endif
