#include "bench/bench/echo_load.h"

#include <string.h>
#include <unistd.h>

#include "bench/bench/filler.h"
#include "bench/bench/memory.h"

#define READ_BYTES 65536

struct echo_load;

struct echo_link {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} io;
	struct echo_load *load; /* (borrowed) */
	uint64_t *started_ns;	/* ring of depth: answers come in order */
	uint64_t head;		/* the oldest in flight */
	uint64_t count;		/* in flight */
	size_t into;		/* bytes of the answer that have come */
};

struct echo_load {
	const struct echo_shape *shape;
	struct pace *pace;
	struct tally *tally;
	uint64_t depth;
	size_t link_count;
	size_t open;
	struct echo_link *links;
	uint64_t *rings;
	char read[READ_BYTES];
};

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct echo_link *l = handle->data;

	(void)suggested;
	*buf = uv_buf_init(l->load->read, READ_BYTES);
}

/* All that may leave, in one write. */
static void link_fill(struct echo_link *l)
{
	uint64_t now_ns = uv_hrtime(), added = 0;

	while (l->count < l->load->depth && pace_start(l->load->pace)) {
		l->started_ns[(l->head + l->count++) % l->load->depth] = now_ns;
		added++;
	}
	if (added > 0)
		(void)filler_send(&l->io.stream, added * l->load->shape->request_bytes);
}

static void link_fail(struct echo_link *l)
{
	(void)uv_read_stop(&l->io.stream);
	for (; l->count > 0; l->count--) {
		tally_failure(l->load->tally, "ECHO_LOST");
		pace_end(l->load->pace);
	}
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct echo_link *l = stream->data;
	uint64_t now_ns = uv_hrtime(), ended = 0;

	(void)buf;
	if (n < 0) {
		link_fail(l);
		return;
	}
	for (l->into += (size_t)n; l->into >= l->load->shape->answer_bytes; ended++) {
		l->into -= l->load->shape->answer_bytes;
		tally_answer(l->load->tally, "echo", now_ns - l->started_ns[l->head % l->load->depth]);
		l->head++;
		l->count--;
	}
	if (ended > 0)
		link_fill(l);
	for (; ended > 0; ended--)
		pace_end(l->load->pace);
}

static bool link_open(struct echo_load *load, const struct echo *e, struct echo_link *l)
{
	int fd = echo_connect(e, load->shape), rc;

	if (fd < 0)
		return false;
	if (e->local)
		(void)uv_pipe_init(load->pace->loop, &l->io.pipe, 0);
	else
		(void)uv_tcp_init(load->pace->loop, &l->io.tcp);
	l->io.handle.data = l;
	load->open++;
	rc = e->local ? uv_pipe_open(&l->io.pipe, fd) : uv_tcp_open(&l->io.tcp, fd);
	if (rc != 0)
		(void)close(fd);
	return rc == 0 && uv_read_start(&l->io.stream, on_alloc, on_read) == 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct echo_link *l = handle->data;

	if (--l->load->open == 0)
		uv_stop(handle->loop);
}

static void load_close(struct echo_load *load)
{
	size_t opened = load->open;

	for (size_t i = 0; i < opened; i++)
		uv_close(&load->links[i].io.handle, on_closed);
	while (load->open > 0)
		(void)uv_run(load->pace->loop, UV_RUN_DEFAULT);
	free(load->rings);
	free(load->links);
	free(load);
}

static void load_first(void *owner)
{
	struct echo_load *load = owner;

	for (size_t i = 0; i < load->link_count; i++)
		link_fill(&load->links[i]);
}

bool echo_load_run(const struct echo *e, const struct echo_shape *shape, const struct settings *s, struct pace *pace,
		   struct pace_extent extent, struct tally *tally, uint64_t *ret_elapsed_ns)
{
	struct echo_load *load = memory_need(1, sizeof(*load));
	bool ok = true;

	*load = (struct echo_load){.shape = shape, .pace = pace, .tally = tally, .depth = s->depth};
	load->link_count = s->connections;
	load->links = memory_need(s->connections, sizeof(*load->links));
	load->rings = memory_need(s->connections * s->depth, sizeof(*load->rings));
	for (size_t i = 0; i < s->connections && ok; i++) {
		load->links[i].load = load;
		load->links[i].started_ns = load->rings + i * s->depth;
		ok = link_open(load, e, &load->links[i]);
	}
	if (ok)
		*ret_elapsed_ns = pace_run(pace, "echo", extent, load_first, load);
	load_close(load);
	return ok;
}
