/* gathered: pieces of an answer as one line of text, "text0:Hel text0:lo tool_call1:{…}", for tests to compare. */
#ifndef UNIT_UPSTREAM_GATHERED_H
#define UNIT_UPSTREAM_GATHERED_H

#include <stdio.h>

#include "proto/schema.h"

struct gathered {
	char text[16384];
	unsigned pieces;
	unsigned stop_after; /* 0: never */
	uint64_t bytes;
};

static inline bool gathered_piece(void *owner, enum proto_segment kind, unsigned index, struct slice data)
{
	struct gathered *g = owner;
	size_t n = strlen(g->text);

	g->bytes += data.n;
	snprintf(g->text + n, sizeof(g->text) - n, "%s%s%u:%.*s", n > 0 ? " " : "", proto_segment_name(kind), index,
		 (int)data.n, (const char *)data.p);
	return ++g->pieces != g->stop_after;
}

#endif
