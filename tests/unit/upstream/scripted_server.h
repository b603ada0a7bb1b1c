/* scripted_server: a TCP server on the test's own loop that answers each request with the same bytes, whatever was asked. */
#ifndef UNIT_UPSTREAM_SCRIPTED_SERVER_H
#define UNIT_UPSTREAM_SCRIPTED_SERVER_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <uv.h>

#include "proto/bytes.h"
#include "server/base/loop.h"

enum script_after {
	SCRIPT_KEEP,
	SCRIPT_CLOSE,
	SCRIPT_RESET
};

struct script {
	struct slice first, second; /* sent at once; second after the pause; p NULL: nothing */
	uint64_t pause_ms;
	enum script_after after;
	bool at_accept; /* does not wait for a request */
};

struct script_conn;

struct scripted_server {
	struct loop *loop;
	uv_tcp_t listener;
	unsigned port;
	struct script script;
	unsigned connections, requests, open, open_max;
	struct buf last_request; /* headers and body */
	TAILQ_HEAD(, script_conn) conns;
};

struct script_conn {
	uv_tcp_t tcp; /* first: a handle is its connection */
	struct scripted_server *server;
	struct buf in;
	struct deadline pause;
	TAILQ_ENTRY(script_conn) link;
};

struct script_write {
	uv_write_t req; /* first */
	uint8_t bytes[];
};

static inline void script_on_closed(uv_handle_t *h)
{
	struct script_conn *c = (struct script_conn *)h;

	c->server->open--;
	buf_free(&c->in);
	free(c);
}

static inline void script_conn_close(struct script_conn *c, bool reset)
{
	if (uv_is_closing((uv_handle_t *)&c->tcp))
		return;
	TAILQ_REMOVE(&c->server->conns, c, link);
	loop_disarm(c->server->loop, &c->pause);
	if (!reset || uv_tcp_close_reset(&c->tcp, script_on_closed) != 0)
		uv_close((uv_handle_t *)&c->tcp, script_on_closed);
}

static inline void script_on_written(uv_write_t *req, int status)
{
	(void)status;
	free(req);
}

static inline void script_send(struct script_conn *c, struct slice bytes)
{
	struct script_write *w;
	uv_buf_t b;

	if (bytes.n == 0)
		return;
	w = malloc(sizeof(*w) + bytes.n);
	memcpy(w->bytes, bytes.p, bytes.n);
	b = uv_buf_init((char *)w->bytes, (unsigned)bytes.n);
	if (uv_write(&w->req, (uv_stream_t *)&c->tcp, &b, 1, script_on_written) != 0)
		free(w);
}

/* Closes when everything is written. */
static inline void script_on_shut(uv_shutdown_t *req, int status)
{
	(void)status;
	script_conn_close((struct script_conn *)req->handle, false);
	free(req);
}

static inline void script_end(struct script_conn *c)
{
	uv_shutdown_t *req;

	if (c->server->script.after == SCRIPT_RESET)
		script_conn_close(c, true);
	if (c->server->script.after != SCRIPT_CLOSE)
		return;
	req = malloc(sizeof(*req));
	if (uv_shutdown(req, (uv_stream_t *)&c->tcp, script_on_shut) != 0) {
		free(req);
		script_conn_close(c, false);
	}
}

static inline void script_on_pause(struct deadline *d)
{
	struct script_conn *c = (struct script_conn *)((char *)d - offsetof(struct script_conn, pause));

	script_send(c, c->server->script.second);
	script_end(c);
}

static inline void script_play(struct script_conn *c)
{
	c->server->requests++;
	script_send(c, c->server->script.first);
	if (c->server->script.pause_ms > 0)
		loop_arm(c->server->loop, &c->pause, c->server->script.pause_ms * 1000, script_on_pause);
	else
		script_end(c);
}

/* Bytes of the request at the front of the buffer; 0: not all there yet. */
static inline size_t script_request_bytes(const struct buf *in)
{
	const uint8_t *end = memmem(in->p, in->n, "\r\n\r\n", 4);
	const uint8_t *length = end == NULL ? NULL : memmem(in->p, (size_t)(end - in->p), "Content-Length: ", 16);
	size_t n;

	if (end == NULL)
		return 0;
	n = (size_t)(end - in->p) + 4 + (length == NULL ? 0 : strtoul((const char *)length + 16, NULL, 10));
	return n <= in->n ? n : 0;
}

static inline void script_on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
	struct script_conn *c = (struct script_conn *)s;
	size_t bytes;

	if (n < 0) {
		script_conn_close(c, false);
		return;
	}
	if (!buf_append(&c->in, b->base, (size_t)n))
		abort();
	while (!uv_is_closing((uv_handle_t *)s) && (bytes = script_request_bytes(&c->in)) > 0) {
		buf_free(&c->server->last_request);
		if (!buf_append(&c->server->last_request, c->in.p, bytes) ||
		    !buf_append(&c->server->last_request, "", 1))
			abort();
		buf_consume(&c->in, bytes);
		script_play(c);
	}
}

static inline void script_on_alloc(uv_handle_t *h, size_t n, uv_buf_t *ret)
{
	static char buffer[65536];

	(void)h;
	(void)n;
	*ret = uv_buf_init(buffer, sizeof(buffer));
}

static inline void script_on_connection(uv_stream_t *listener, int status)
{
	struct scripted_server *s = listener->data;
	struct script_conn *c = calloc(1, sizeof(*c));
	int rc;

	assert(status == 0);
	(void)status;
	c->server = s;
	buf_init(&c->in, 64u << 20, NULL);
	uv_tcp_init(loop_uv(s->loop), &c->tcp);
	rc = uv_accept(listener, (uv_stream_t *)&c->tcp);
	assert(rc == 0);
	(void)rc;
	TAILQ_INSERT_TAIL(&s->conns, c, link);
	s->connections++;
	if (++s->open > s->open_max)
		s->open_max = s->open;
	uv_read_start((uv_stream_t *)&c->tcp, script_on_alloc, script_on_read);
	if (s->script.at_accept)
		script_play(c);
}

static inline void scripted_server_open(struct scripted_server *s, struct loop *l)
{
	struct sockaddr_in address;
	int size = sizeof(address), rc;

	*s = (struct scripted_server){.loop = l};
	TAILQ_INIT(&s->conns);
	buf_init(&s->last_request, 64u << 20, NULL);
	uv_ip4_addr("127.0.0.1", 0, &address);
	uv_tcp_init(loop_uv(l), &s->listener);
	s->listener.data = s;
	rc = uv_tcp_bind(&s->listener, (struct sockaddr *)&address, 0);
	assert(rc == 0);
	rc = uv_listen((uv_stream_t *)&s->listener, 4096, script_on_connection);
	assert(rc == 0);
	rc = uv_tcp_getsockname(&s->listener, (struct sockaddr *)&address, &size);
	assert(rc == 0);
	(void)rc;
	s->port = ntohs(address.sin_port);
}

/* The loop must run once more. */
static inline void scripted_server_close(struct scripted_server *s)
{
	struct script_conn *c;

	while ((c = TAILQ_FIRST(&s->conns)) != NULL)
		script_conn_close(c, false);
	uv_close((uv_handle_t *)&s->listener, NULL);
	buf_free(&s->last_request);
}

#endif
