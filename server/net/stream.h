/* stream: a connection's bytes, read and written without blocking. Half of the connection door: see transport.h.
 *
 * Law: events come only between stream_start and stream_close, never from inside a call into this module. After
 * stream_close the stream is not touched again by anybody; its memory goes when the loop has let go of it. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "server/net/address.h"

struct stream;

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
