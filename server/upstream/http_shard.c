/* http shard: one multi of libcurl on the loop. libcurl says which sockets it watches and when it wants to be called; each call into it is
 * followed by a harvest, because the last transfer to end would otherwise never be reported (trap 3). */
#include <assert.h>
#include <stdlib.h>
#include <uv.h>

#include "server/upstream/http_internal.h"

/* A socket of libcurl's. The memory is libuv's until its close callback. */
struct http_poll {
	uv_poll_t uv;
	struct http_shard *shard;
	curl_socket_t fd;
	int events;
	TAILQ_ENTRY(http_poll) link;
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

static void poll_on_event(uv_poll_t *uv, int status, int events)
{
	struct http_poll *p = uv->data;
	int flags = (events & UV_READABLE ? CURL_CSELECT_IN : 0) | (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);

	/* An error is told by libcurl's own read or write, which knows which one it is; libuv only says that there is one, and stops. */
	shard_act(p->shard, p->fd, status < 0 ? CURL_CSELECT_IN | CURL_CSELECT_OUT : flags);
	if (status < 0 && p->shard != NULL)
		uv_poll_start(uv, p->events, poll_on_event);
}

static void poll_on_closed(uv_handle_t *uv) { free(uv->data); }

static void poll_close(struct http_poll *p)
{
	TAILQ_REMOVE(&p->shard->polls, p, link);
	p->shard = NULL;
	uv_close((uv_handle_t *)&p->uv, poll_on_closed);
}

static struct http_poll *poll_open(struct http_shard *s, curl_socket_t fd)
{
	struct http_poll *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	if (uv_poll_init_socket(loop_uv(s->http->loop), &p->uv, fd) != 0) {
		free(p);
		return NULL;
	}
	p->uv.data = p;
	p->shard = s;
	p->fd = fd;
	TAILQ_INSERT_TAIL(&s->polls, p, link);
	curl_multi_assign(s->multi, fd, p);
	return p;
}

static int shard_on_socket(CURL *easy, curl_socket_t fd, int what, void *shard, void *poll)
{
	struct http_shard *s = shard;
	struct http_poll *p = poll;
	int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (p != NULL) {
			curl_multi_assign(s->multi, fd, NULL);
			poll_close(p);
		}
		return 0;
	}
	if (p == NULL)
		p = poll_open(s, fd);
	if (p == NULL)
		return -1;
	p->events = events;
	return uv_poll_start(&p->uv, events, poll_on_event) == 0 ? 0 : -1;
}

/* ---- time */

static void shard_on_deadline(struct deadline *d)
{
	struct http_shard *s = (struct http_shard *)((char *)d - offsetof(struct http_shard, timer));

	shard_act(s, CURL_SOCKET_TIMEOUT, 0);
}

/* Called from within libcurl, which must not be called from here: 0 is a deadline of now (trap 4). */
static int shard_on_timer(CURLM *multi, long timeout_ms, void *shard)
{
	struct http_shard *s = shard;

	(void)multi;
	if (timeout_ms < 0)
		loop_disarm(s->http->loop, &s->timer);
	else
		loop_arm(s->http->loop, &s->timer, (uint64_t)timeout_ms * 1000, shard_on_deadline);
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
	TAILQ_INIT(&s->polls);
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
	struct http_poll *p;

	if (s == NULL)
		return;
	assert(s->transfers == 0);
	while ((p = TAILQ_FIRST(&s->polls)) != NULL)
		poll_close(p);
	curl_multi_setopt(s->multi, CURLMOPT_SOCKETFUNCTION, NULL);
	curl_multi_setopt(s->multi, CURLMOPT_TIMERFUNCTION, NULL);
	curl_multi_cleanup(s->multi);
	loop_disarm(s->http->loop, &s->timer);
	free(s);
}
