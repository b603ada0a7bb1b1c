/* uv: struct pc_loop on libuv. Uses nothing of the library but its public face.
 *
 *      handle ──> timer, prepare (runs before the loop sleeps: the one write of a turn), and a poll for each descriptor
 *
 * uv handles are freed in their close callbacks; the last one frees the adapter. */
#include "client/promptcache-uv.h"

#include <stdlib.h>

struct uv_watch {
	uv_poll_t poll;
	struct uv_adapter *adapter;
	struct uv_watch *next;
	int fd;
};

struct uv_adapter {
	uv_loop_t *loop;	/* (borrowed) */
	struct pc_async *async; /* (borrowed) */
	uv_timer_t timer;
	uv_prepare_t prepare;
	struct uv_watch *watches;
	int closing; /* of timer and prepare: how many have not closed yet */
};

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct uv_watch *w = poll->data;

	/* An error shows when the socket is read or written. */
	if (status < 0)
		events = UV_READABLE | UV_WRITABLE;
	pc_async_ready(w->adapter->async, w->fd,
		       (events & UV_READABLE ? PC_READABLE : 0) | (events & UV_WRITABLE ? PC_WRITABLE : 0));
}

static void on_watch_closed(uv_handle_t *handle) { free(handle->data); }

static int unwatch(struct uv_adapter *u, int fd)
{
	for (struct uv_watch **at = &u->watches; *at != NULL; at = &(*at)->next) {
		struct uv_watch *w = *at;

		if (w->fd != fd)
			continue;
		*at = w->next;
		uv_close((uv_handle_t *)&w->poll, on_watch_closed);
		return 0;
	}
	return 0;
}

static struct uv_watch *watch_new(struct uv_adapter *u, int fd)
{
	struct uv_watch *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	if (uv_poll_init(u->loop, &w->poll, fd) != 0) {
		free(w);
		return NULL;
	}
	w->poll.data = w;
	w->adapter = u;
	w->fd = fd;
	w->next = u->watches;
	u->watches = w;
	return w;
}

static int adapter_watch(void *owner, int fd, int events)
{
	struct uv_adapter *u = owner;
	struct uv_watch *w = u->watches;

	if (events == 0)
		return unwatch(u, fd);
	while (w != NULL && w->fd != fd)
		w = w->next;
	if (w == NULL)
		w = watch_new(u, fd);
	if (w == NULL)
		return -1;
	return uv_poll_start(
		&w->poll, (events & PC_READABLE ? UV_READABLE : 0) | (events & PC_WRITABLE ? UV_WRITABLE : 0), on_poll);
}

static void on_timer(uv_timer_t *timer) { pc_async_timeout(((struct uv_adapter *)timer->data)->async); }

static void adapter_timer(void *owner, int64_t after_ms)
{
	struct uv_adapter *u = owner;

	if (after_ms < 0) {
		uv_timer_stop(&u->timer);
		return;
	}
	/* libuv counts from the loop's own clock, which may lag behind by the length of this turn. */
	uv_update_time(u->loop);
	uv_timer_start(&u->timer, on_timer, (uint64_t)after_ms, 0);
}

static void on_prepare(uv_prepare_t *prepare)
{
	uv_prepare_stop(prepare);
	pc_async_run(((struct uv_adapter *)prepare->data)->async);
}

static void adapter_wake(void *owner) { uv_prepare_start(&((struct uv_adapter *)owner)->prepare, on_prepare); }

static void on_handle_closed(uv_handle_t *handle)
{
	struct uv_adapter *u = handle->data;

	if (--u->closing == 0)
		free(u);
}

static void adapter_closed(void *owner)
{
	struct uv_adapter *u = owner;

	u->closing = 2;
	uv_close((uv_handle_t *)&u->timer, on_handle_closed);
	uv_close((uv_handle_t *)&u->prepare, on_handle_closed);
}

int pc_uv_open(struct pc_async **ret, uv_loop_t *loop, const struct pc_options *options)
{
	struct pc_loop services = PC_LOOP_INIT;
	struct uv_adapter *u = calloc(1, sizeof(*u));
	int status;

	if (u == NULL)
		return PC_NO_MEMORY;
	services.owner = u;
	services.watch = adapter_watch;
	services.timer = adapter_timer;
	services.wake = adapter_wake;
	services.closed = adapter_closed;
	status = pc_async_open(&u->async, options, &services);
	if (status != PC_OK) {
		free(u);
		return status;
	}
	u->loop = loop;
	uv_timer_init(loop, &u->timer);
	uv_prepare_init(loop, &u->prepare);
	u->timer.data = u;
	u->prepare.data = u;
	*ret = u->async;
	return PC_OK;
}
