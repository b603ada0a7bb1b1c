#include "server/net/conn_io.h"

#include <assert.h>

#include "server/net/dispatch.h"

void conn_io_account(struct conn *c)
{
	struct net_metrics *counters = &c->shared->counters;
	size_t in = c->input.kept.cap, out = output_bytes(&c->output);

	counters->net_input_bytes += in - c->input_counted;
	counters->net_output_bytes += out - c->output_counted;
	c->input_counted = in;
	c->output_counted = out;
}

static bool conn_is_over(const struct conn *c) { return c->state == CONN_LINGERING || c->state == CONN_CLOSED; }

/* ---- reading */

/* Frames of the peer wait until it has taken what we said. */
static void conn_io_block(struct conn *c)
{
	if (c->blocked)
		return;
	c->blocked = true;
	c->shared->counters.net_blocked_total++;
	stream_want_read(c->stream, false);
}

static void conn_io_unblock(struct conn *c)
{
	if (!c->blocked)
		return;
	c->blocked = false;
	stream_want_read(c->stream, true);
	if (c->backlog)
		conn_touch(c);
}

/* Has the turn been long enough? libuv hands out all sockets that are ready in one turn, and a frame may take 50 ms to
 * be read and digested. */
static bool conn_io_turn_is_long(struct conn_shared *s)
{
	return loop_clock_us(s->loop) - loop_now_us(s->loop) >= CONN_TURN_US;
}

/* For those who have waited for a turn: one goes on however long it is, since what made it long may be none of ours. */
static bool conn_io_is_late(struct conn_shared *s)
{
	struct loop_counters counters;

	if (!conn_io_turn_is_long(s))
		return false;
	loop_counters(s->loop, &counters);
	if (s->late_turn == counters.turns + 1)
		return true;
	s->late_turn = counters.turns + 1;
	return false;
}

/* One frame. False: nothing whole is left. */
static bool conn_io_parse_one(struct conn *c, size_t *ret_bytes)
{
	uint32_t max = dispatch_frame_max(c);
	struct slice frame;

	*ret_bytes = 0;
	switch (input_next(&c->input, &c->shared->scratch, max, &frame)) {
	case INPUT_FRAME:
		*ret_bytes = frame.n;
		dispatch_frame(c, frame);
		return true;
	case INPUT_OVERSIZE:
		dispatch_oversize(c, frame, max);
		return true;
	case INPUT_GARBAGE:
		dispatch_garbage(c, frame);
		return true;
	case INPUT_MORE:
		break;
	}
	return false;
}

/* Keeps what is left of this turn's bytes. began: a new frame may have begun in them. */
static void conn_io_park(struct conn *c, bool began)
{
	struct liveness *l = &c->liveness;

	if (!input_park(&c->input, &c->shared->scratch)) {
		c->shared->counters.net_no_memory_total++;
		conn_close(c, "no memory for its input");
		return;
	}
	if (c->backlog || !input_is_partial(&c->input)) {
		l->frame_us = 0;
	} else if (began || l->frame_us == 0) {
		l->frame_us = loop_now_us(c->shared->loop);
		conn_watch(c);
	}
}

/* At least one frame: answers that are on their way may fill the output again and again, and new requests still get
 * through. */
static void conn_io_parse(struct conn *c)
{
	bool late = false;
	size_t bytes;
	int i;

	c->backlog = false;
	for (i = 0; i < CONN_FRAMES_PER_TURN_MAX && !late && (i == 0 || conn_may_send(c)); i++) {
		if (!conn_io_parse_one(c, &bytes)) {
			conn_io_park(c, i > 0);
			return;
		}
		if (conn_is_over(c)) {
			c->shared->scratch.unread = slice_of(NULL, 0);
			return;
		}
		if (i % CONN_FRAMES_PER_LOOK == 0 || bytes > CONN_FRAME_SMALL)
			late = conn_io_turn_is_long(c->shared);
	}
	c->backlog = true;
	if (i == CONN_FRAMES_PER_TURN_MAX || late) {
		c->shared->counters.net_yields_total++;
		conn_touch(c);
	} else {
		conn_io_block(c);
	}
	conn_io_park(c, true);
}

/* The frame on its way finds no place: it is skipped, its request refused, and the connection lives. */
static void conn_io_drop_frame(struct conn *c, enum proto_error code, const char *why)
{
	struct fault fault;
	uint64_t op = 0, id = 0;

	c->shared->counters.net_input_refused_total++;
	if (!input_drop_frame(&c->input, &op, &id))
		id = 0;
	fault_set(&fault, code, "", "%s", why);
	conn_error(c, dispatch_error_id(op, id), &(struct reply_error){.fault = &fault, .retry_after_ms = 1000});
}

/* Where to read to; 0: the frame on its way was refused, try again. */
static int conn_io_prepare(struct conn *c, struct iovec iov[2])
{
	struct conn_shared *s = c->shared;
	int count;

	if (c->input.kept.n > INPUT_STEP_BYTES && s->counters.net_input_bytes > s->options->input_limit_bytes) {
		conn_io_drop_frame(c, ERR_OVERLOADED, "too many large requests are on their way (net.input_limit)");
		return 0;
	}
	count = input_prepare(&c->input, &s->scratch, iov);
	if (count == 0)
		conn_io_drop_frame(c, ERR_NO_MEMORY, "there is no memory for the request");
	return count;
}

/* LINGERING: what still comes is of no interest, but it must be read before the socket is closed. */
static void conn_io_discard(struct conn *c)
{
	const struct iovec iov = {c->shared->scratch.bytes, sizeof c->shared->scratch.bytes};
	ssize_t n = stream_read(c->stream, &iov, 1);

	if (n == STREAM_EOF && output_bytes(&c->output) > 0) {
		c->ended = true;
		stream_want_read(c->stream, false);
	} else if (n == STREAM_EOF || n == STREAM_BROKEN) {
		conn_close(c, "done");
	}
}

static void conn_io_on_end(struct conn *c)
{
	c->ended = true;
	stream_want_read(c->stream, false);
	if (c->state != CONN_CLOSED)
		conn_finish(c, "the client closed");
}

static void conn_io_read(struct conn *c)
{
	struct conn_shared *s = c->shared;
	struct iovec iov[2];
	ssize_t n;
	int count;

	if (c->state == CONN_LINGERING) {
		conn_io_discard(c);
		return;
	}
	count = conn_io_prepare(c, iov);
	if (count == 0)
		return;
	n = stream_read(c->stream, iov, count);
	s->counters.net_reads_total++;
	if (n == STREAM_AGAIN)
		return;
	if (n == STREAM_BROKEN) {
		conn_close(c, "reset");
		return;
	}
	if (n == STREAM_EOF) {
		conn_io_on_end(c);
		return;
	}
	s->counters.net_received_bytes_total += (uint64_t)n;
	c->liveness.heard_us = loop_now_us(s->loop);
	c->liveness.pings = 0;
	input_received(&c->input, &s->scratch, iov, (size_t)n);
	conn_io_parse(c);
	conn_io_account(c);
}

/* Behind those who wait already: the tasks are a queue. Who comes at the beginning of a turn does not wait for it, so
 * that small requests are not held up by a crowd of large ones. */
static void conn_io_read_later(struct conn *c)
{
	c->unread = true;
	c->shared->counters.net_yields_total++;
	conn_touch(c);
}

static void conn_io_on_readable(void *owner)
{
	struct conn *c = owner;

	if (c->backlog || c->unread)
		return; /* its turn comes before the next poll */
	if (conn_io_turn_is_long(c->shared))
		conn_io_read_later(c);
	else
		conn_io_read(c);
}

/* The turn of one that was late. */
static void conn_io_read_now(struct conn *c)
{
	if (!c->blocked && !c->ended && conn_io_is_late(c->shared)) {
		conn_touch(c);
		return;
	}
	c->unread = false;
	if (!c->blocked && !c->ended)
		conn_io_read(c);
}

/* ---- writing */

static void conn_io_on_writable(void *owner)
{
	struct conn *c = owner;

	c->writing_waits = false;
	conn_touch(c);
}

static void conn_io_on_broken(void *owner) { conn_close(owner, "reset"); }

const struct stream_events conn_io_events = {
	.readable = conn_io_on_readable,
	.writable = conn_io_on_writable,
	.broken = conn_io_on_broken,
};

/* Output has become less: those who waited for that go on, one piece each in turn. */
static void conn_io_resume(struct conn *c)
{
	struct request *r;

	if (output_bytes(&c->output) > c->shared->options->low_water_bytes || !conn_may_send(c))
		return;
	if (!conn_is_over(c))
		conn_io_unblock(c);
	while (c->state != CONN_CLOSED && conn_may_send(c) && (r = TAILQ_FIRST(&c->ready)) != NULL) {
		TAILQ_REMOVE(&c->ready, r, ready_link);
		r->queued = false;
		request_pump(r);
	}
}

static void conn_io_set_stalled(struct conn *c, bool stalled, bool progress)
{
	struct liveness *l = &c->liveness;
	bool was_stalled = l->stalled_us != 0;

	c->writing_waits = stalled;
	stream_want_write(c->stream, stalled);
	if (!stalled)
		liveness_taken(l, loop_now_us(c->shared->loop));
	else if (progress || !was_stalled)
		l->stalled_us = loop_now_us(c->shared->loop);
	if (stalled || was_stalled)
		conn_watch(c);
}

/* False: closed. */
static bool conn_io_write(struct conn *c)
{
	struct conn_shared *s = c->shared;
	struct iovec iov[OUTPUT_IOV_MAX];
	int count = output_gather(&c->output, iov), i;
	size_t offered = 0;
	ssize_t n;

	if (count == 0)
		return true;
	for (i = 0; i < count; i++)
		offered += iov[i].iov_len;
	n = stream_write(c->stream, iov, count);
	s->counters.net_writes_total++;
	if (n == STREAM_BROKEN) {
		conn_close(c, "reset");
		return false;
	}
	if (n > 0) {
		output_sent(&c->output, &s->spares, (size_t)n);
		s->counters.net_sent_bytes_total += (uint64_t)n;
	}
	conn_io_set_stalled(c, n != (ssize_t)offered, n > 0);
	if (!c->writing_waits && output_bytes(&c->output) > 0)
		conn_touch(c); /* more pieces than one write takes */
	conn_io_resume(c);
	return c->state != CONN_CLOSED;
}

/* All is said and sent. */
static void conn_io_say_end(struct conn *c)
{
	if (c->ended) {
		conn_close(c, "done");
		return;
	}
	if (c->shut)
		return;
	c->shut = true;
	stream_shutdown(c->stream);
	stream_want_read(c->stream, true);
	c->liveness.lingering_us = loop_now_us(c->shared->loop);
	conn_watch(c);
}

void conn_io_turn(struct conn *c)
{
	assert(c->state != CONN_CLOSED);
	assert(!(c->unread && c->backlog));

	if (c->unread)
		conn_io_read_now(c);
	else if (c->backlog && !c->blocked && !conn_is_over(c) && conn_io_is_late(c->shared))
		conn_touch(c);
	else if (c->backlog && !c->blocked && !conn_is_over(c))
		conn_io_parse(c);
	if (c->state == CONN_CLOSED || (!c->writing_waits && !conn_io_write(c)))
		return;
	if (c->state == CONN_LINGERING)
		input_free(&c->input);
	conn_io_account(c);
	if (c->state == CONN_LINGERING && output_bytes(&c->output) == 0)
		conn_io_say_end(c);
}
