#include "bench/bench/echo_server.h"

#include <string.h>
#include <uv.h>

#include "bench/bench/filler.h"
#include "bench/bench/memory.h"
#include "bench/bench/sha.h"

#define READ_BYTES 65536 /* shared by all connections: the cheapest size: 8 KB cost four times as much per request */

union stream {
	uv_handle_t handle;
	uv_stream_t stream;
	uv_tcp_t tcp;
	uv_pipe_t pipe;
};

struct peer {
	union stream io;
	struct echo_shape shape;
	size_t shape_bytes; /* of the shape that have come */
	size_t into;	    /* bytes of the request that have come */
	struct sha *sha;
};

static struct {
	bool local;
	struct echo_counts *counts;
	union stream listener;
	char read[READ_BYTES];
} server;

static int stream_init(uv_loop_t *loop, union stream *s)
{
	return server.local ? uv_pipe_init(loop, &s->pipe, 0) : uv_tcp_init(loop, &s->tcp);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	(void)handle;
	(void)suggested;
	*buf = uv_buf_init(server.read, sizeof(server.read));
}

static void on_closed(uv_handle_t *handle)
{
	struct peer *p = handle->data;

	sha_free(p->sha);
	free(p);
}

static size_t size_min(size_t a, size_t b) { return a < b ? a : b; }

/* The bytes of one read after the shape. Returns how many requests became whole. The prompt is hashed where it lies; a
 * server that needs it in one piece has to do more. */
static uint64_t peer_take(struct peer *p, const char *data, size_t n)
{
	uint64_t whole = 0;

	while (n > 0) {
		size_t take = size_min(n, p->shape.request_bytes - p->into);

		if (p->into < p->shape.prompt_bytes) {
			if (p->into == 0)
				sha_begin(p->sha);
			sha_update(p->sha, data, size_min(take, p->shape.prompt_bytes - p->into));
			if (p->into + take >= p->shape.prompt_bytes)
				sha_end(p->sha);
		}
		p->into += take;
		data += take;
		n -= take;
		if (p->into == p->shape.request_bytes) {
			p->into = 0;
			whole++;
		}
	}
	return whole;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct peer *p = stream->data;
	size_t at = 0;
	uint64_t whole;

	if (n < 0) {
		uv_close((uv_handle_t *)stream, on_closed);
		return;
	}
	server.counts->reads++;
	if (p->shape_bytes < sizeof(p->shape)) {
		at = size_min((size_t)n, sizeof(p->shape) - p->shape_bytes);
		memcpy((char *)&p->shape + p->shape_bytes, buf->base, at);
		p->shape_bytes += at;
	}
	whole = peer_take(p, buf->base + at, (size_t)n - at);
	if (whole == 0)
		return;
	server.counts->requests += whole;
	server.counts->writes++;
	(void)filler_send(stream, whole * p->shape.answer_bytes); /* if it is broken, on_read will be told */
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct peer *p;

	if (status != 0)
		return;
	p = memory_need(1, sizeof(*p));
	(void)stream_init(listener->loop, &p->io);
	p->io.handle.data = p;
	p->sha = sha_new();
	if (uv_accept(listener, &p->io.stream) != 0 || uv_read_start(&p->io.stream, on_alloc, on_read) != 0) {
		uv_close(&p->io.handle, on_closed);
		return;
	}
	if (!server.local)
		(void)uv_tcp_nodelay(&p->io.tcp, 1);
}

int echo_server_run(int listener, bool local, struct echo_counts *counts)
{
	uv_loop_t loop;

	server.local = local;
	server.counts = counts;
	if (uv_loop_init(&loop) != 0 || stream_init(&loop, &server.listener) != 0)
		return 1;
	if ((local ? uv_pipe_open(&server.listener.pipe, listener) : uv_tcp_open(&server.listener.tcp, listener)) != 0)
		return 1;
	if (uv_listen(&server.listener.stream, 4096, on_connection) != 0)
		return 1;
	return uv_run(&loop, UV_RUN_DEFAULT);
}
