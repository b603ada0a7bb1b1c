#include "tests/sim/transport_sim.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct transport {
	struct loop *loop;
	struct transport_counters counters;
	uint64_t streams, listeners;
};

struct listener {
	TAILQ_ENTRY(listener) link;
	struct transport *transport;
	const struct listener_events *events;
	void *owner;
	struct endpoint endpoint;
	char text[ENDPOINT_TEXT_BYTES];
	TAILQ_HEAD(, stream) pending; /* connected, not accepted */
	struct loop_task task;
};

struct stream {
	TAILQ_ENTRY(stream) link;
	struct transport *transport;
	struct transport_sim_client *client; /* NULL: gone */
	const struct stream_events *events;
	void *owner;
	bool want_read, want_write, closed, local;
	uid_t uid;
	struct loop_task task;
};

struct transport_sim_client {
	struct stream *stream; /* NULL: the server has closed */
	struct buf sent, received;
	size_t sent_read, received_taken, room;
	unsigned writes;
	bool end, reset, server_ended;
};

static TAILQ_HEAD(, listener) listeners = TAILQ_HEAD_INITIALIZER(listeners);
static uint64_t descriptors = 1000000;

static void sim_check(bool ok)
{
	if (!ok)
		abort();
}

/* ---- the door */

struct transport *transport_new(struct loop *l)
{
	struct transport *t = calloc(1, sizeof *t);

	sim_check(t != NULL);
	t->loop = l;
	return t;
}

void transport_free(struct transport *t)
{
	if (t == NULL)
		return;
	assert(t->listeners == 0 && t->streams == 0);
	free(t);
}

const struct transport_counters *transport_counters(const struct transport *t) { return &t->counters; }

uint64_t transport_raise_descriptors(void) { return descriptors; }

void transport_sim_set_descriptors(uint64_t limit) { descriptors = limit; }

static struct listener *listener_find(const char *text)
{
	struct listener *l;

	TAILQ_FOREACH (l, &listeners, link)
		if (strcmp(l->text, text) == 0)
			return l;
	return NULL;
}

bool transport_sim_listening(const char *listen) { return listener_find(listen) != NULL; }

int transport_listen(struct transport *t, const struct endpoint *e, const struct listener_events *events, void *owner,
		     struct listener **ret, char *error, size_t error_bytes)
{
	struct listener *l = calloc(1, sizeof *l);

	sim_check(l != NULL);
	*l = (struct listener){.transport = t, .events = events, .owner = owner, .endpoint = *e};
	TAILQ_INIT(&l->pending);
	endpoint_text(e, l->text);
	if (listener_find(l->text) != NULL) {
		snprintf(error, error_bytes, "%s: another daemon listens there", l->text);
		free(l);
		return -1;
	}
	TAILQ_INSERT_TAIL(&listeners, l, link);
	t->listeners++;
	*ret = l;
	return 0;
}

const struct endpoint *listener_endpoint(const struct listener *l) { return &l->endpoint; }

void listener_close(struct listener *l)
{
	struct stream *s;

	if (l == NULL)
		return;
	while ((s = TAILQ_FIRST(&l->pending)) != NULL) {
		TAILQ_REMOVE(&l->pending, s, link);
		stream_close(s);
	}
	loop_undefer(l->transport->loop, &l->task);
	TAILQ_REMOVE(&listeners, l, link);
	l->transport->listeners--;
	free(l);
}

static void listener_on_pending(struct loop_task *task)
{
	struct listener *l = (struct listener *)((char *)task - offsetof(struct listener, task));
	struct stream *s;
	int i;

	for (i = 0; i < TRANSPORT_ACCEPTS_PER_TURN_MAX && (s = TAILQ_FIRST(&l->pending)) != NULL; i++) {
		TAILQ_REMOVE(&l->pending, s, link);
		l->transport->counters.accepted++;
		l->events->accepted(l->owner, s);
	}
	if (!TAILQ_EMPTY(&l->pending))
		loop_defer(l->transport->loop, &l->task, listener_on_pending);
}

/* ---- streams */

static bool stream_is_readable(const struct stream *s)
{
	const struct transport_sim_client *c = s->client;

	return s->want_read && (c == NULL || c->end || c->reset || c->sent_read < c->sent.n);
}

static bool stream_is_writable(const struct stream *s)
{
	return s->want_write && (s->client == NULL || s->client->room > 0);
}

static void stream_on_task(struct loop_task *task);

static void stream_poke(struct stream *s)
{
	if (s == NULL || s->closed || s->events == NULL)
		return;
	if (stream_is_readable(s) || stream_is_writable(s) || (s->client != NULL && s->client->reset))
		loop_defer(s->transport->loop, &s->task, stream_on_task);
}

static void stream_on_task(struct loop_task *task)
{
	struct stream *s = (struct stream *)((char *)task - offsetof(struct stream, task));

	if (s->closed) {
		free(s);
		return;
	}
	if (s->client != NULL && s->client->reset) {
		s->events->broken(s->owner);
		return;
	}
	if (stream_is_writable(s))
		s->events->writable(s->owner);
	if (!s->closed && stream_is_readable(s))
		s->events->readable(s->owner);
	stream_poke(s);
}

void stream_start(struct stream *s, const struct stream_events *events, void *owner)
{
	assert(s->events == NULL);
	s->events = events;
	s->owner = owner;
	stream_want_read(s, true);
}

void stream_want_read(struct stream *s, bool want)
{
	s->want_read = want;
	stream_poke(s);
}

void stream_want_write(struct stream *s, bool want)
{
	s->want_write = want;
	stream_poke(s);
}

ssize_t stream_read(struct stream *s, const struct iovec *iov, int count)
{
	struct transport_sim_client *c = s->client;
	size_t total = 0, n;
	int i;

	assert(!s->closed);
	if (c != NULL && c->reset)
		return STREAM_BROKEN;
	if (c == NULL)
		return STREAM_EOF;
	for (i = 0; i < count && c->sent_read < c->sent.n; i++) {
		n = c->sent.n - c->sent_read;
		n = n < iov[i].iov_len ? n : iov[i].iov_len;
		memcpy(iov[i].iov_base, c->sent.p + c->sent_read, n);
		c->sent_read += n;
		total += n;
	}
	if (total > 0)
		return (ssize_t)total;
	return c->end ? STREAM_EOF : STREAM_AGAIN;
}

ssize_t stream_write(struct stream *s, const struct iovec *iov, int count)
{
	struct transport_sim_client *c = s->client;
	size_t total = 0, n;
	int i;

	assert(!s->closed && (c == NULL || !c->server_ended));
	if (c == NULL || c->reset)
		return STREAM_BROKEN;
	for (i = 0; i < count && c->room > 0; i++) {
		n = c->room < iov[i].iov_len ? c->room : iov[i].iov_len;
		sim_check(buf_append(&c->received, iov[i].iov_base, n));
		if (c->room != SIZE_MAX)
			c->room -= n;
		total += n;
	}
	c->writes += total > 0;
	return total > 0 ? (ssize_t)total : STREAM_AGAIN;
}

void stream_shutdown(struct stream *s)
{
	if (s->client != NULL)
		s->client->server_ended = true;
}

void stream_close(struct stream *s)
{
	assert(!s->closed);
	s->closed = true;
	s->transport->streams--;
	if (s->client != NULL) {
		s->client->server_ended = true;
		s->client->stream = NULL;
	}
	loop_defer(s->transport->loop, &s->task, stream_on_task);
}

void stream_peer(const struct stream *s, struct stream_peer *ret)
{
	*ret = (struct stream_peer){.local = s->local, .uid = s->uid, .pid = s->local ? 1 : 0};
	snprintf(ret->text, sizeof ret->text, "sim");
}

/* ---- clients */

struct transport_sim_client *transport_sim_connect(const char *listen)
{
	struct transport_sim_client *c = calloc(1, sizeof *c);
	struct stream *s = calloc(1, sizeof *s);
	struct listener *l = listener_find(listen);

	sim_check(c != NULL && s != NULL && l != NULL);
	buf_init(&c->sent, SIZE_MAX / 2, NULL);
	buf_init(&c->received, SIZE_MAX / 2, NULL);
	c->room = SIZE_MAX;
	c->stream = s;
	s->client = c;
	s->transport = l->transport;
	s->local = endpoint_is_unix(&l->endpoint);
	s->uid = s->local ? geteuid() : (uid_t)-1;
	s->transport->streams++;
	TAILQ_INSERT_TAIL(&l->pending, s, link);
	loop_defer(l->transport->loop, &l->task, listener_on_pending);
	return c;
}

void transport_sim_set_uid(struct transport_sim_client *c, uid_t uid) { c->stream->uid = uid; }

void transport_sim_send(struct transport_sim_client *c, struct slice bytes)
{
	sim_check(buf_append(&c->sent, bytes.p, bytes.n));
	stream_poke(c->stream);
}

void transport_sim_end(struct transport_sim_client *c)
{
	c->end = true;
	stream_poke(c->stream);
}

void transport_sim_reset(struct transport_sim_client *c)
{
	c->reset = true;
	stream_poke(c->stream);
}

void transport_sim_take_only(struct transport_sim_client *c, size_t bytes)
{
	c->room = bytes;
	stream_poke(c->stream);
}

struct slice transport_sim_received(const struct transport_sim_client *c)
{
	return slice_of(c->received.p + c->received_taken, c->received.n - c->received_taken);
}

void transport_sim_consume(struct transport_sim_client *c, size_t bytes)
{
	assert(bytes <= c->received.n - c->received_taken);
	c->received_taken += bytes; /* not moved: a test may take thousands of small frames out of megabytes */
}

unsigned transport_sim_writes(const struct transport_sim_client *c) { return c->writes; }

bool transport_sim_ended(const struct transport_sim_client *c) { return c->server_ended; }

bool transport_sim_closed(const struct transport_sim_client *c) { return c->stream == NULL; }

void transport_sim_free(struct transport_sim_client *c)
{
	if (c == NULL)
		return;
	if (c->stream != NULL) {
		c->stream->client = NULL;
		stream_poke(c->stream);
	}
	buf_free(&c->sent);
	buf_free(&c->received);
	free(c);
}
