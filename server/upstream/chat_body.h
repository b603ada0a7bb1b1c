/* chat_body: a client's QUERY as the body of a chat completions request. Pure, and safe on a pool thread: bytes in,
 * bytes out.
 *
 * Tools go out with sorted keys, whatever order the client's language gave them, so that the provider's own prefix
 * cache can hit. All other maps keep the client's order: in a response_format the order of a schema's properties is the
 * order in which the model writes them. */
#ifndef UPSTREAM_CHAT_BODY_H
#define UPSTREAM_CHAT_BODY_H

#include "proto/message.h"

#define CHAT_REQUEST_BYTES_MAX                                                                                         \
	(6 * ((size_t)16 << 20) + 65536) /* FRAME_BYTES_MAX with every byte as \u00XX, and what stands around it */

/* frame: as message_decode takes it, of a QUERY. stream: ask for a stream, with the usage at its end.
 * 0: appended to out. -1: *fault names the field (INVALID, or NO_MEMORY); out may hold a part of it. */
__attribute__((warn_unused_result)) int chat_body_build(struct buf *out, struct slice frame, struct slice model,
							bool stream, struct fault *fault);

#endif
