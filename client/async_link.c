/* async: one connection in an event loop. */
#include "client/async_internal.h"
#include "client/clock.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#define READS_PER_TURN	       16 /* of CORE_READ_BYTES; then the loop's other descriptors get their turn */
#define LISTENER_FULL_PAUSE_US 2000
#define LOOP_LATE_US	       50000 /* a timer that comes so late tells of the loop, not of the server */

static void link_doom(struct link *l, int status, const char *why)
{
	if (l->core.failure.seen.status == PC_OK)
		failure_set(&l->core.failure, status, NULL, "%s", why);
	l->doomed = true;
}

static void link_watch(struct link *l, int events)
{
	const struct pc_loop *loop = &l->async->loop;

	if (events == l->watched)
		return;
	l->watched = events;
	if (loop->watch(loop->owner, l->fd, events) != 0 && events != 0)
		link_doom(l, PC_UNAVAILABLE, "the event loop cannot watch the socket");
}

static void link_close_fd(struct link *l)
{
	if (l->fd < 0)
		return;
	link_watch(l, 0);
	close(l->fd);
	l->fd = -1;
}

/* ---- connecting */

/* Tries the endpoints that are left. Nothing is called back: what fails dooms the link. */
static void link_connect(struct link *l)
{
	l->retry_at_us = UINT64_MAX;
	while (l->endpoint_next < l->endpoint_count) {
		const struct endpoint *e = &l->endpoints[l->endpoint_next];
		int error = endpoint_connect(e, &l->fd);

		if (error == EAGAIN) {
			l->retry_at_us = clock_now_us() + LISTENER_FULL_PAUSE_US;
			return;
		}
		l->endpoint_next++;
		if (error == 0) {
			l->watched = 0;
			link_watch(l, PC_WRITABLE);
			return;
		}
		address_failed(&l->async->settings.address, e, error, &l->core.failure);
	}
	l->doomed = true;
}

static void link_on_connect(struct link *l)
{
	int error = endpoint_connect_result(l->fd);
	const struct endpoint *e = &l->endpoints[l->endpoint_next - 1];

	if (error != 0) {
		link_close_fd(l);
		address_failed(&l->async->settings.address, e, error, &l->core.failure);
		link_connect(l);
		return;
	}
	endpoint_print(e, l->core.server, sizeof(l->core.server));
	failure_clear(&l->core.failure); /* of an endpoint that came before */
	l->connecting = false;
	link_watch(l, PC_READABLE);
}

static int link_endpoints(struct link *l)
{
	struct pc_async *a = l->async;

	if (a->endpoint_count == 0)
		return address_resolve(&a->settings.address, l->endpoints, &l->endpoint_count, &a->failure);
	memcpy(l->endpoints, a->endpoints, sizeof(l->endpoints));
	l->endpoint_count = a->endpoint_count;
	return PC_OK;
}

static void away_note(struct pc_async *a, const struct pc_failure *why)
{
	failure_copy(&a->away, why);
	a->fail_until_us = clock_now_us() + UINT64_C(1000) * PC_FAIL_FAST_MS;
}

static void link_free(struct link *l)
{
	core_free(&l->core);
	mem_free(&l->async->settings.mem, l);
}

/* Starts to connect. On failure nothing but the link's own memory is held. */
static int link_start(struct link *l, uint64_t now_us)
{
	struct pc_async *a = l->async;
	int status = link_endpoints(l);

	if (status == PC_OK)
		status = settings_core(&a->settings, &l->endpoints[0], &l->core, now_us, &a->failure);
	if (status != PC_OK)
		return status;
	link_connect(l);
	if (!l->doomed)
		return PC_OK;
	failure_copy(&a->failure, &l->core.failure.seen);
	link_close_fd(l);
	core_free(&l->core);
	return PC_UNAVAILABLE;
}

static int link_open(struct pc_async *a, struct link **ret)
{
	uint64_t now_us = clock_now_us();
	struct link *l = mem_resize(&a->settings.mem, NULL, sizeof(*l));
	int status;

	if (l == NULL)
		return failure_set(&a->failure, PC_NO_MEMORY, NULL, "no memory for a connection");
	memset(l, 0, sizeof(*l));
	l->async = a;
	l->fd = -1;
	l->connecting = true;
	l->hello_until_us = now_us + a->settings.connect_timeout_us;
	status = link_start(l, now_us);
	if (status != PC_OK) {
		if (status == PC_UNAVAILABLE)
			away_note(a, &a->failure.seen);
		mem_free(&a->settings.mem, l);
		return status;
	}
	TAILQ_INSERT_TAIL(&a->links, l, entry);
	*ret = l;
	return PC_OK;
}

int link_ready(struct pc_async *a, struct link **ret)
{
	struct link *l = a->current;

	if (l != NULL && !l->doomed && !l->core.leaving) {
		*ret = l;
		return PC_OK;
	}
	a->current = NULL;
	if (clock_now_us() < a->fail_until_us) {
		failure_copy(&a->failure, &a->away.seen);
		return PC_UNAVAILABLE;
	}

	int status = link_open(a, &a->current);

	if (status == PC_OK)
		*ret = a->current;
	return status;
}

/* ---- running */

void link_flush(struct link *l)
{
	if (l->connecting || l->doomed)
		return;
	while (!l->deaf) {
		struct slice out = core_output(&l->core);
		ssize_t n = out.n > 0 ? send(l->fd, out.p, out.n, MSG_NOSIGNAL) : 0;

		if (n > 0)
			core_sent(&l->core, (size_t)n);
		else if (n < 0 && errno != EINTR && errno != EAGAIN)
			l->deaf = true; /* the next read says why */
		else if (n == 0 || errno == EAGAIN)
			break;
	}
	link_watch(l, core_output(&l->core).n > 0 && !l->deaf ? PC_READABLE | PC_WRITABLE : PC_READABLE);
}

/* False: nothing more to read now, or the link is doomed. */
static bool link_read(struct link *l)
{
	size_t size;
	uint8_t *space = core_space(&l->core, &size);

	if (space == NULL) {
		link_doom(l, PC_NO_MEMORY, "no memory for an answer");
		return false;
	}

	ssize_t n = recv(l->fd, space, size, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		link_doom(l, PC_UNAVAILABLE, n == 0 ? "the server closed the connection" : strerror(errno));
		return false;
	}
	if (core_received(&l->core, (size_t)n, clock_now_us()) != PC_OK) {
		l->doomed = true;
		return false;
	}
	return (size_t)n == size && !l->doomed;
}

void link_on_events(struct link *l, int events)
{
	if (l->doomed)
		return;
	if (l->connecting) {
		link_on_connect(l);
		return;
	}
	for (int i = 0; (events & PC_READABLE) && i < READS_PER_TURN && link_read(l); i++)
		;
}

static bool link_is_silent(const struct link *l, uint64_t now_us) { return now_us >= core_silent_at_us(&l->core); }

static void link_check_hello(struct link *l, uint64_t now_us)
{
	uint64_t late_us = now_us - l->hello_until_us;

	if (late_us < LOOP_LATE_US)
		link_doom(l, PC_UNAVAILABLE,
			  l->connecting ? "no connection within the time allowed" : "the server does not answer HELLO");
	else /* the loop was busy elsewhere: for so long the server could not be heard */
		l->hello_until_us = now_us + late_us;
}

void link_on_time(struct link *l, uint64_t now_us)
{
	if (l->doomed)
		return;
	if (now_us >= l->retry_at_us)
		link_connect(l);
	if (l->core.state == CORE_HELLO && now_us >= l->hello_until_us)
		link_check_hello(l, now_us);
	if (!l->connecting && link_is_silent(l, now_us))
		link_read(l); /* what has come and was not read yet counts */
	if (link_is_silent(l, now_us))
		link_doom(l, PC_UNAVAILABLE, "the server fell silent");
}

uint64_t link_next_us(const struct link *l)
{
	uint64_t next_us = core_silent_at_us(&l->core);

	if (l->core.state == CORE_HELLO && l->hello_until_us < next_us)
		next_us = l->hello_until_us;
	return l->retry_at_us < next_us ? l->retry_at_us : next_us;
}

void link_drop(struct link *l)
{
	struct pc_async *a = l->async;

	assert(l->core.failure.seen.status != PC_OK || l->core.inflight == 0);
	if (l->core.state == CORE_HELLO && l->core.failure.seen.status == PC_UNAVAILABLE)
		away_note(a, &l->core.failure.seen);
	if (a->current == l)
		a->current = NULL;
	TAILQ_REMOVE(&a->links, l, entry);
	link_close_fd(l);
	core_close(&l->core);
	link_free(l);
}
