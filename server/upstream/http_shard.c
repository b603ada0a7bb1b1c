/* http shard: the multis of libcurl on the loop. libcurl says which sockets it watches and when it wants to be called;
 * each call into it is followed by a harvest, because the last transfer to end would otherwise never be reported (trap
 * 3).
 *
 *      sockets of all shards ──> one epoll ──> one uv_poll ──> at most HTTP_EVENTS_PER_TURN of them a turn ──> their shard's multi
 *
 * Why an epoll of our own, and not a uv_poll for each socket: libuv hands out everything that is ready in one turn.
 * When a provider that has paused answers a thousand calls at once, that turn took 60 ms; this way what is left is
 * still ready in the next one. It also spares a handle, an allocation and a close callback for each connection. An
 * event names its socket and its shard; one that has become stale within the batch finds a socket with nothing to read,
 * or one that its shard does not know: both do no harm. */
#include <assert.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <uv.h>

#include "server/upstream/http_internal.h"

struct http_watch {
	uv_poll_t uv;
	int epoll;
	struct http *http;
};

static void shard_harvest(struct http_shard *s)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(s->multi, &left)) != NULL) {
		CURLcode code = m->data.result;
		struct http_handle *handle = NULL;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&handle);
		http_handle_finished(handle, code); /* m is gone from here on */
	}
}

static void shard_act(struct http_shard *s, curl_socket_t fd, int events)
{
	int running;

	curl_multi_socket_action(s->multi, fd, events, &running);
	shard_harvest(s);
}

/* ---- sockets */

static uint64_t event_name(const struct http_shard *s, curl_socket_t fd)
{
	return (uint64_t)s->number << 32 | (uint32_t)fd;
}

/* An error or hang-up is told by libcurl's own read or write, which knows which one it is. */
static int event_flags(uint32_t events)
{
	int flags = (events & EPOLLIN ? CURL_CSELECT_IN : 0) | (events & EPOLLOUT ? CURL_CSELECT_OUT : 0);

	return events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_IN | CURL_CSELECT_OUT : flags;
}

static void watch_on_ready(uv_poll_t *uv, int status, int events)
{
	struct http_watch *w = uv->data;
	struct epoll_event ready[HTTP_EVENTS_PER_TURN];
	int n = epoll_wait(w->epoll, ready, HTTP_EVENTS_PER_TURN, 0);

	(void)status;
	(void)events;
	for (int i = 0; i < n; i++)
		shard_act(w->http->shards[ready[i].data.u64 >> 32], (curl_socket_t)(uint32_t)ready[i].data.u64,
			  event_flags(ready[i].events));
}

static int shard_on_socket(CURL *easy, curl_socket_t fd, int what, void *shard, void *known)
{
	struct http_shard *s = shard;
	struct epoll_event e = {
		.events =
			(what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) | (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0),
		.data.u64 = event_name(s, fd),
	};

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		epoll_ctl(s->http->watch->epoll, EPOLL_CTL_DEL, fd, &e);
		return 0;
	}
	if (epoll_ctl(s->http->watch->epoll, known == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &e) != 0)
		return -1;
	curl_multi_assign(s->multi, fd, s);
	return 0;
}

struct http_watch *http_watch_new(struct http *h)
{
	struct http_watch *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->http = h;
	w->uv.data = w;
	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll < 0)
		goto no_epoll;
	if (uv_poll_init(loop_uv(h->loop), &w->uv, w->epoll) != 0)
		goto no_poll;
	if (uv_poll_start(&w->uv, UV_READABLE, watch_on_ready) != 0)
		goto no_start;
	http_watch_hold(w, false);
	return w;

no_start:
	http_watch_free(w);
	return NULL;
no_poll:
	close(w->epoll);
no_epoll:
	free(w);
	return NULL;
}

void http_watch_hold(struct http_watch *w, bool hold)
{
	if (hold)
		uv_ref((uv_handle_t *)&w->uv);
	else
		uv_unref((uv_handle_t *)&w->uv);
}

static void watch_on_closed(uv_handle_t *uv)
{
	struct http_watch *w = uv->data;

	close(w->epoll);
	free(w);
}

void http_watch_free(struct http_watch *w) { uv_close((uv_handle_t *)&w->uv, watch_on_closed); }

/* ---- time */

static void shard_on_deadline(struct deadline *d)
{
	struct http_shard *s = (struct http_shard *)((char *)d - offsetof(struct http_shard, timer));

	shard_act(s, CURL_SOCKET_TIMEOUT, 0);
}

/* Called from within libcurl, which must not be called from here (trap 4). 0 is the next turn, not this one: a stream
 * without pauses asks for it after each read, and would be read to its end before anybody else has a turn. */
static int shard_on_timer(CURLM *multi, long timeout_ms, void *shard)
{
	struct http_shard *s = shard;

	(void)multi;
	if (timeout_ms < 0)
		loop_disarm(s->http->loop, &s->timer);
	else
		loop_arm(s->http->loop, &s->timer, timeout_ms == 0 ? 1 : (uint64_t)timeout_ms * 1000,
			 shard_on_deadline);
	return 0;
}

struct http_shard *http_shard_new(struct http *h)
{
	struct http_shard *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->multi = curl_multi_init();
	if (s->multi == NULL) {
		free(s);
		return NULL;
	}
	s->http = h;
	s->number = h->shards_count;
	curl_multi_setopt(s->multi, CURLMOPT_SOCKETFUNCTION, shard_on_socket);
	curl_multi_setopt(s->multi, CURLMOPT_SOCKETDATA, s);
	curl_multi_setopt(s->multi, CURLMOPT_TIMERFUNCTION, shard_on_timer);
	curl_multi_setopt(s->multi, CURLMOPT_TIMERDATA, s);
	/* The default shrinks with the number of transfers and would close connections that the next burst wants. */
	curl_multi_setopt(s->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_SHARD_TRANSFERS);
	return s;
}

void http_shard_free(struct http_shard *s)
{
	if (s == NULL)
		return;
	assert(s->transfers == 0);
	curl_multi_cleanup(s->multi); /* calls both functions once more */
	loop_disarm(s->http->loop, &s->timer);
	free(s);
}
