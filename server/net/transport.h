/* transport: the connection door: listeners, and byte streams that never block. Scenarios link
 * tests/sim/transport_sim.c behind the same header.
 *
 *      listener ── accepted ──> stream ── readable ──> stream_read      one readv and one writev a connection and turn,
 *                                      └─ writable ──> stream_write     called by who owns the stream
 *
 * Raw descriptors watched by uv_poll, not uv_tcp and uv_pipe: libuv accepts until EAGAIN within one callback (a storm
 * of 10,000 connects would hold one turn for long), allocates and calls back per read where one shared buffer serves
 * all connections, and TLS will want the descriptor's bytes pulled the same way.
 *
 * A stream (stream.h) is the other half of this door: both have one fake. */
#ifndef NET_TRANSPORT_H
#define NET_TRANSPORT_H

#include "server/base/loop.h"
#include "server/net/address.h"
#include "server/net/stream.h"

#define TRANSPORT_ACCEPTS_PER_TURN_MAX 64   /* a listener; the rest stays in the kernel's queue until the next turn */
#define TRANSPORT_BACKLOG	       4096 /* connects waiting in the kernel; net.core.somaxconn may cap it */
#define TRANSPORT_ACCEPT_PAUSE_MS      100  /* when accepting fails and nothing else helps */

struct transport;
struct listener;

struct transport_counters {
	uint64_t accepted;
	uint64_t shed;	   /* connections closed at once because the process had no descriptor left */
	uint64_t failures; /* accepts that failed for another reason */
};

struct transport *transport_new(struct loop *l); /* NULL: no memory */
void transport_free(struct transport *t);	 /* no listener and no stream may be open; accepts NULL */
const struct transport_counters *transport_counters(const struct transport *t);

/* Raises the limit of open descriptors as far as the system lets us and returns it. */
uint64_t transport_raise_descriptors(void);

struct listener_events {
	/* A connection. Who is called starts the stream (stream_start) or closes it, before it returns. */
	void (*accepted)(void *owner, struct stream *s);
};

/* Binds and listens. A Unix socket that nobody answers is replaced, one that somebody answers is refused, mode is
 * 0600, and the file goes at close if it is still the one that was made. 0, or -1 with a sentence. */
__attribute__((warn_unused_result)) int transport_listen(struct transport *t, const struct endpoint *e,
							 const struct listener_events *events, void *owner,
							 struct listener **ret, char *error, size_t error_bytes);
const struct endpoint *listener_endpoint(const struct listener *l); /* with the port that the system chose */
void listener_close(struct listener *l);			    /* accepts NULL */

#endif
