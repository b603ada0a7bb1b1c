/* sse: server-sent events as a parser fed with pieces of any size (WHATWG HTML, section 9.2: lines end in LF, CRLF or
 * CR; comments begin with a colon; several data lines are joined by LF; an event ends at an empty line; a byte order
 * mark at the start is skipped). Pure. What is left when the stream ends without an empty line is not an event. */
#ifndef UPSTREAM_SSE_H
#define UPSTREAM_SSE_H

#include "proto/bytes.h"

#define SSE_EVENT_BYTES_MAX ((size_t)1 << 20) /* one event; a longer one, or a line without end, is an error */

struct sse {
	struct buf line, data;
	bool skip_lf, started, has_data;
	/* One event's data, borrowed during the call. False: stop. */
	bool (*event)(void *owner, struct slice data);
	void *owner;
	struct slice rest; /* (borrowed from the piece) after SSE_STOPPED: what was not looked at */
};

enum sse_status {
	SSE_OK,
	SSE_STOPPED, /* event returned false; what is fed next goes on behind that event */
	SSE_TOO_LONG,
	SSE_NO_MEMORY
};

void sse_init(struct sse *s, bool (*event)(void *owner, struct slice data), void *owner);
void sse_free(struct sse *s);
__attribute__((warn_unused_result)) enum sse_status sse_feed(struct sse *s, struct slice piece);

#endif
