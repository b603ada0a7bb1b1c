/* Streams of the real connection door: one descriptor, one uv_poll. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/net/transport_internal.h"

struct stream {
	uv_poll_t poll;
	struct transport *transport;
	const struct stream_events *events; /* (borrowed) NULL: not started */
	void *owner;			    /* (borrowed) */
	int fd;
	bool local;
	uint8_t wanted, watched; /* UV_READABLE, UV_WRITABLE: asked for, and what the poll is set to */
};

struct stream *stream_new(struct transport *t, int fd, bool local)
{
	struct stream *s = calloc(1, sizeof *s);

	if (s == NULL) {
		close(fd);
		return NULL;
	}
	if (uv_poll_init(loop_uv(t->loop), &s->poll, fd) != 0) {
		close(fd);
		free(s);
		return NULL;
	}
	s->poll.data = s;
	s->transport = t;
	s->fd = fd;
	s->local = local;
	t->streams++;
	return s;
}

static void stream_on_poll(uv_poll_t *poll, int status, int events)
{
	struct stream *s = poll->data;

	if (status != 0) {
		s->watched = 0; /* libuv stopped the poll */
		s->events->broken(s->owner);
		return;
	}
	if (events & UV_WRITABLE)
		s->events->writable(s->owner);
	/* The owner may have closed it, or have had enough. Its memory is there until libuv's close callback. */
	if ((events & UV_READABLE) && (s->wanted & UV_READABLE) && !uv_is_closing((uv_handle_t *)poll))
		s->events->readable(s->owner);
}

static void stream_watch(struct stream *s)
{
	int rc = 0;

	if (s->events == NULL || s->wanted == s->watched)
		return;
	if (s->wanted == 0)
		uv_poll_stop(&s->poll);
	else
		rc = uv_poll_start(&s->poll, s->wanted, stream_on_poll);
	assert(rc == 0); /* fails only for handles that are closing */
	(void)rc;
	s->watched = s->wanted;
}

static void stream_want(struct stream *s, uint8_t event, bool want)
{
	s->wanted = (uint8_t)(want ? s->wanted | event : s->wanted & ~event);
	stream_watch(s);
}

void stream_start(struct stream *s, const struct stream_events *events, void *owner)
{
	assert(s->events == NULL && events != NULL);

	s->events = events;
	s->owner = owner;
	stream_want(s, UV_READABLE, true);
}

void stream_want_read(struct stream *s, bool want) { stream_want(s, UV_READABLE, want); }

void stream_want_write(struct stream *s, bool want) { stream_want(s, UV_WRITABLE, want); }

static ssize_t stream_result(ssize_t n)
{
	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? STREAM_AGAIN : STREAM_BROKEN;
}

ssize_t stream_read(struct stream *s, const struct iovec *iov, int count)
{
	return stream_result(readv(s->fd, iov, count));
}

ssize_t stream_write(struct stream *s, const struct iovec *iov, int count)
{
	const struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};

	return stream_result(sendmsg(s->fd, &message, MSG_NOSIGNAL));
}

void stream_shutdown(struct stream *s) { shutdown(s->fd, SHUT_WR); }

static void stream_on_closed(uv_handle_t *handle) { free(handle->data); }

void stream_close(struct stream *s)
{
	assert(s->transport->streams > 0);
	s->transport->streams--;
	/* uv_close takes the descriptor out of epoll at once; only then may it be closed. */
	uv_close((uv_handle_t *)&s->poll, stream_on_closed);
	close(s->fd);
	s->fd = -1;
}

void stream_peer(const struct stream *s, struct stream_peer *ret)
{
	struct endpoint e = {.bytes = sizeof e.addr};
	struct ucred cred = {.uid = (uid_t)-1};
	socklen_t bytes = sizeof cred;

	*ret = (struct stream_peer){.local = s->local, .uid = (uid_t)-1};
	if (!s->local) {
		if (getpeername(s->fd, &e.addr.any, &e.bytes) == 0)
			endpoint_text(&e, ret->text);
		return;
	}
	if (getsockopt(s->fd, SOL_SOCKET, SO_PEERCRED, &cred, &bytes) == 0) {
		ret->uid = cred.uid;
		ret->pid = cred.pid;
	}
	snprintf(ret->text, sizeof ret->text, "unix:pid=%d,uid=%d", (int)ret->pid, (int)ret->uid);
}
