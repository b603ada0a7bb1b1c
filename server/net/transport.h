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
 * Law: events come only between stream_start and stream_close, never from inside a call into this module. After
 * stream_close the stream is not touched again by anybody; its memory goes when the loop has let go of it. */
#ifndef NET_TRANSPORT_H
#define NET_TRANSPORT_H

#include <sys/types.h>
#include <sys/uio.h>

#include "server/base/loop.h"
#include "server/net/address.h"

#define TRANSPORT_ACCEPTS_PER_TURN_MAX 64   /* a listener; the rest stays in the kernel's queue until the next turn */
#define TRANSPORT_BACKLOG	       4096 /* connects waiting in the kernel; net.core.somaxconn may cap it */
#define TRANSPORT_ACCEPT_PAUSE_MS      100  /* when accepting fails and nothing else helps */

struct transport;
struct listener;
struct stream;

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

struct stream_events {
	void (*readable)(void *owner);
	void (*writable)(void *owner);
	void (*broken)(void *owner); /* nothing more will be read or written; close it */
};

/* Begins to watch. events: (borrowed) usually static. */
void stream_start(struct stream *s, const struct stream_events *events, void *owner);
void stream_want_read(struct stream *s, bool want);  /* at first: true */
void stream_want_write(struct stream *s, bool want); /* at first: false */

enum {
	STREAM_EOF = 0,
	STREAM_AGAIN = -1,
	STREAM_BROKEN = -2
};

/* Bytes read or written (> 0), or one of the above; a write never gives EOF. Neither blocks. */
ssize_t stream_read(struct stream *s, const struct iovec *iov, int count);
ssize_t stream_write(struct stream *s, const struct iovec *iov, int count);

void stream_shutdown(struct stream *s); /* no more writes: the peer sees the end once it has read everything */
void stream_close(struct stream *s);

struct stream_peer {
	bool local; /* a Unix socket: uid and pid are known */
	uid_t uid;
	pid_t pid;
	char text[ENDPOINT_TEXT_BYTES]; /* for the log */
};
void stream_peer(const struct stream *s, struct stream_peer *ret);

#endif
