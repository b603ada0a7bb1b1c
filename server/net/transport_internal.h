/* What transport.c (listeners) and stream.c share. Private to the real connection door. */
#ifndef NET_TRANSPORT_INTERNAL_H
#define NET_TRANSPORT_INTERNAL_H

#include <uv.h>

#include "server/net/transport.h"

struct transport {
	struct loop *loop;
	struct transport_counters counters;
	int reserve_fd; /* given up for a moment to shed connections when descriptors run out; -1: gone */
	bool starved;	/* the last accept found no descriptor; told in the log once a change */
	uint64_t listeners, streams;
};

/* Takes fd over, whatever comes. NULL: no memory. */
struct stream *stream_new(struct transport *t, int fd, bool local);

#endif
