#include "bench/mockai/connection.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CONNECTION_BIT(name) (1u << CONNECTION_##name)

#define FILLER_BLOCK_BYTES 65536

struct connection {
	struct connections *all; /* borrowed */
	enum connection_state state;
	uv_tcp_t tcp;
	uv_timer_t timer;
	uv_write_t write;
	uv_shutdown_t shutdown;
	int handles_open;
	bool reading; /* the socket is being read */
	bool counted; /* the answer under way is in stats.in_flight */
	struct buffer input;
	struct request request;
	struct script script;
	size_t step_next; /* of the script; those before it are due */
	size_t sent;	  /* bytes of the script that the socket has taken */
	uint64_t filler_left;
	double due_ms; /* loop time of step_next */
	LIST_ENTRY(connection) link;
};

static const unsigned moves[] = {
#define X(name, next) (next) | CONNECTION_BIT(CLOSING),
	CONNECTION_STATES(X)
#undef X
};

static char filler_block[FILLER_BLOCK_BYTES];

static void connection_move(struct connection *c, enum connection_state to)
{
	assert(c->state != CONNECTION_CLOSING && (moves[c->state] & 1u << to) != 0);

	c->state = to;
}

static struct stats *connection_stats(struct connection *c) { return &c->all->provider->stats; }

static void closed_cb(uv_handle_t *handle)
{
	struct connection *c = handle->data;

	if (--c->handles_open > 0)
		return;
	buffer_free(&c->input);
	request_free(&c->request);
	script_free(&c->script);
	free(c);
}

/* The answer under way has ended, one way or another. */
static void connection_uncount(struct connection *c)
{
	if (!c->counted)
		return;
	c->counted = false;
	connection_stats(c)->in_flight--;
}

static void connection_close(struct connection *c, bool reset)
{
	if (c->state == CONNECTION_CLOSING)
		return;
	connection_move(c, CONNECTION_CLOSING);
	connection_uncount(c);
	connection_stats(c)->connections_open--;
	LIST_REMOVE(c, link);
	if (!reset || uv_tcp_close_reset(&c->tcp, closed_cb) != 0)
		uv_close((uv_handle_t *)&c->tcp, closed_cb);
	uv_close((uv_handle_t *)&c->timer, closed_cb);
}

/* The client has left, or its socket has failed. */
static void connection_lost(struct connection *c)
{
	if (c->counted)
		connection_stats(c)->aborted_by_client++;
	connection_close(c, false);
}

static void connection_tick(struct connection *c);

static void timer_cb(uv_timer_t *timer)
{
	struct connection *c = timer->data;

	if (c->state == CONNECTION_LINGERING) {
		connection_close(c, false);
		return;
	}
	assert(c->state == CONNECTION_WAITING);
	connection_move(c, CONNECTION_PLAYING);
	connection_tick(c);
}

static void write_cb(uv_write_t *write, int status)
{
	struct connection *c = write->data;

	if (c->state == CONNECTION_CLOSING)
		return;
	if (status < 0) {
		connection_lost(c);
		return;
	}
	assert(c->state == CONNECTION_WRITING);
	connection_move(c, CONNECTION_PLAYING);
	connection_tick(c);
}

static void connection_write_later(struct connection *c, const char *data, size_t length)
{
	uv_buf_t buf = uv_buf_init((char *)data, (unsigned)length);

	connection_move(c, CONNECTION_WRITING);
	c->write.data = c;
	if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &buf, 1, write_cb) != 0)
		connection_lost(c);
}

/* Writes script bytes: at once as far as the socket takes them, the rest when it can. */
static void connection_send(struct connection *c, size_t end)
{
	const char *data = c->script.wire.data + c->sent;
	size_t length = end - c->sent;
	uv_buf_t buf = uv_buf_init((char *)data, (unsigned)length);
	int taken = uv_try_write((uv_stream_t *)&c->tcp, &buf, 1);

	if (taken < 0 && taken != UV_EAGAIN) {
		connection_lost(c);
		return;
	}
	taken = taken < 0 ? 0 : taken;
	connection_stats(c)->bytes += c->counted ? length : 0;
	c->sent = end;
	if ((size_t)taken < length)
		connection_write_later(c, data + taken, length - (size_t)taken);
}

/* One block each turn of the loop, so that gigabytes for one client do not keep the others waiting. */
static void connection_send_filler(struct connection *c)
{
	size_t length = c->filler_left < FILLER_BLOCK_BYTES ? (size_t)c->filler_left : FILLER_BLOCK_BYTES;

	c->filler_left -= length;
	connection_stats(c)->bytes += length;
	connection_write_later(c, filler_block, length);
}

static void connection_wait(struct connection *c, double ms)
{
	connection_move(c, CONNECTION_WAITING);
	uv_timer_start(&c->timer, timer_cb, (uint64_t)ceil(ms), 0);
}

/* Where the bytes end that are due: all steps whose time has come, or a single byte when the script says so. */
static size_t connection_due_end(struct connection *c, double now)
{
	struct script *s = &c->script;
	size_t end = c->sent;

	while (c->step_next < s->step_count && c->due_ms <= now) {
		bool head_alone = c->step_next == 0 && s->step_end[0] == s->head_bytes && s->step_count > 1;

		if (s->by_byte) {
			end = c->sent < s->head_bytes ? s->head_bytes : c->sent + 1;
			c->step_next += (size_t)(end >= s->step_end[c->step_next]);
		} else {
			end = s->step_end[c->step_next++];
		}
		c->due_ms += head_alone ? s->first_byte_ms : latency_sample_ms(&s->pace, &c->all->provider->random);
		if (s->by_byte || (c->filler_left > 0 && c->step_next == s->filler_at))
			break;
	}
	return end;
}

static void shutdown_cb(uv_shutdown_t *shutdown, int status)
{
	(void)shutdown; /* the linger timer or the client's end of file closes */
	(void)status;
}

static void connection_read_start(struct connection *c);

/* The client may still be sending; closing now would make the kernel throw away what it has not read yet. */
static void connection_linger(struct connection *c)
{
	connection_move(c, CONNECTION_LINGERING);
	buffer_clear(&c->input);
	connection_read_start(c);
	uv_timer_start(&c->timer, timer_cb, CONNECTION_LINGER_MS, 0);
	if (uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, shutdown_cb) != 0)
		connection_close(c, false);
}

static void connection_finish(struct connection *c)
{
	enum script_ending ending = c->script.ending;

	if (ending == SCRIPT_HANG) {
		connection_move(c, CONNECTION_HANGING);
		return;
	}
	if (c->counted && (ending == SCRIPT_KEEP || ending == SCRIPT_CLOSE))
		connection_stats(c)->answered++;
	connection_uncount(c);
	script_reset(&c->script);
	request_reset(&c->request);
	if (ending == SCRIPT_KEEP)
		connection_move(c, CONNECTION_READING);
	else if (ending == SCRIPT_CLOSE)
		connection_linger(c);
	else
		connection_close(c, ending == SCRIPT_RESET);
}

/* Does what is due. False: nothing is, before `due_ms`. */
static bool connection_advance(struct connection *c, double now)
{
	struct script *s = &c->script;
	size_t end;

	if (c->sent == 0 && c->due_ms > now)
		return false; /* also before an end without a byte */
	if (c->filler_left > 0 && c->step_next == s->filler_at) {
		connection_send_filler(c);
	} else if (c->step_next == s->step_count) {
		connection_finish(c);
	} else {
		end = connection_due_end(c, now);
		if (end == c->sent)
			return false;
		connection_send(c, end);
	}
	return true;
}

static bool connection_is_held(const struct connection *c)
{
	return c->sent == 0 && c->script.hold != NULL && *c->script.hold;
}

/* One move of the script. */
static void connection_play(struct connection *c)
{
	double now = (double)uv_now(c->all->loop);

	if (connection_is_held(c))
		connection_move(c, CONNECTION_HELD);
	else if (!connection_advance(c, now))
		connection_wait(c, c->due_ms - now);
}

static void connection_answer(struct connection *c)
{
	struct provider *p = c->all->provider;

	provider_answer(p, &c->request, &c->script);
	c->counted = c->script.counted;
	if (c->counted)
		stats_begin(&p->stats);
	c->step_next = 0;
	c->sent = 0;
	c->filler_left = c->script.filler_bytes;
	c->due_ms = (double)uv_now(c->all->loop) + c->script.latency_ms;
	connection_move(c, CONNECTION_PLAYING);
}

static void connection_continue(struct connection *c)
{
	static char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	uv_buf_t buf = uv_buf_init(text, sizeof(text) - 1);

	c->request.wants_continue = false;
	(void)uv_try_write((uv_stream_t *)&c->tcp, &buf, 1); /* nothing else is in the socket: it fits, or it is gone */
}

/* Takes what has come. False: it is not yet a request. */
static bool connection_take(struct connection *c)
{
	size_t taken;

	if (c->input.length > 0) {
		taken = request_feed(&c->request, c->input.data, c->input.length);
		if (c->request.state == REQUEST_BAD)
			taken = c->input.length;
		buffer_drop_front(&c->input, taken);
	}
	if (c->request.wants_continue)
		connection_continue(c);
	connection_read_start(c);
	return c->request.state != REQUEST_READING;
}

/* Runs until the connection waits for something. */
static void connection_tick(struct connection *c)
{
	while (c->state == CONNECTION_READING || c->state == CONNECTION_PLAYING) {
		if (c->state == CONNECTION_PLAYING)
			connection_play(c);
		else if (connection_take(c))
			connection_answer(c);
		else
			return;
	}
}

static void alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct connection *c = handle->data;

	(void)suggested;
	*buf = uv_buf_init(c->all->read_buffer, sizeof(c->all->read_buffer));
}

static void read_cb(uv_stream_t *stream, ssize_t length, const uv_buf_t *buf)
{
	struct connection *c = stream->data;

	if (length < 0) {
		connection_lost(c);
		return;
	}
	connection_stats(c)->bytes_received += (uint64_t)length;
	if (c->state == CONNECTION_LINGERING)
		return;
	buffer_append(&c->input, buf->base, (size_t)length);
	if (c->input.length > CONNECTION_INPUT_BYTES / 2) {
		uv_read_stop(stream);
		c->reading = false;
	}
	connection_tick(c);
}

static void connection_read_start(struct connection *c)
{
	if (c->reading || c->input.length > CONNECTION_INPUT_BYTES / 2)
		return;
	c->reading = true;
	if (uv_read_start((uv_stream_t *)&c->tcp, alloc_cb, read_cb) != 0)
		c->reading = false;
}

void connections_init(struct connections *all, uv_loop_t *loop, struct provider *provider)
{
	all->loop = loop;
	all->provider = provider;

	LIST_INIT(&all->open);
	memset(filler_block, 'x', sizeof(filler_block));
}

void connections_accept(struct connections *all, uv_stream_t *listener)
{
	struct connection *c = buffer_need(NULL, sizeof(*c));
	struct stats *stats = &all->provider->stats;

	*c = (struct connection){.all = all, .state = CONNECTION_READING, .handles_open = 2};
	buffer_init(&c->input, CONNECTION_INPUT_BYTES);
	request_init(&c->request);
	script_init(&c->script);
	uv_tcp_init(all->loop, &c->tcp);
	uv_timer_init(all->loop, &c->timer);
	c->tcp.data = c->timer.data = c;
	LIST_INSERT_HEAD(&all->open, c, link);
	stats->connections++;
	if (++stats->connections_open > stats->connections_open_max)
		stats->connections_open_max = stats->connections_open;
	if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0) {
		connection_close(c, false);
		return;
	}
	uv_tcp_nodelay(&c->tcp, 1);
	connection_read_start(c);
}

void connections_release(struct connections *all)
{
	struct connection *c = LIST_FIRST(&all->open), *next;

	if (!all->provider->settings_changed)
		return;
	all->provider->settings_changed = false;
	for (; c != NULL; c = next) {
		next = LIST_NEXT(c, link);
		if (c->state == CONNECTION_HELD && !connection_is_held(c)) {
			connection_move(c, CONNECTION_PLAYING);
			connection_tick(c);
		}
	}
}

void connections_close(struct connections *all)
{
	while (!LIST_EMPTY(&all->open))
		connection_close(LIST_FIRST(&all->open), false);
}
