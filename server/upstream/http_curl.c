/* http on libcurl: easy handles that are kept and carry one transfer after the other, spread over multis
 * (http_shard.c).
 *
 *      http_start ──> STARTING ──(deferred)──> RUNNING ──> done      starting and leaving are deferred: both may be asked for inside a
 *                        │                        │                  callback of libcurl, where its multis take no calls (trap 4)
 *                        └── cancel: back to idle └── cancel ──> LEAVING ──(deferred)──> idle
 *
 * Notes, all tried with libcurl 7.88: a multi walks all its connections to a host once a request: 10,000 transfers in
 * one multi cost twice as much each as in many small ones (trap 8). Its resolver is joined when a look-up is given up,
 * which holds the loop until getaddrinfo returns, unless QUICK_EXIT is set. HTTP/2 is left alone before 8.1: its
 * rewrite came with 7.88 and stalled transfers. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/upstream/http_internal.h"
#include "server/upstream/retry_after.h"

#define HTTP2_SAFE_FROM 0x080100

static void handle_on_deadline(struct deadline *d);

/* ---- a handle while it runs */

static uint64_t handle_later(const struct http_handle *x, uint64_t after_us)
{
	return after_us == 0 ? UINT64_MAX : loop_now_us(x->http->loop) + after_us;
}

static void handle_watch(struct http_handle *x)
{
	uint64_t at_us = x->quiet_at_us < x->total_at_us ? x->quiet_at_us : x->total_at_us;
	uint64_t now_us = loop_now_us(x->http->loop);

	if (at_us == UINT64_MAX)
		loop_disarm(x->http->loop, &x->deadline);
	else
		loop_arm(x->http->loop, &x->deadline, at_us > now_us ? at_us - now_us : 0, handle_on_deadline);
}

static void handle_read_content_type(struct http_transfer *t, struct slice value)
{
	size_t n = 0;

	while (n < value.n && n < sizeof(t->content_type) - 1 && value.p[n] > ' ' && value.p[n] < 0x7F &&
	       value.p[n] != ';') {
		uint8_t c = value.p[n];

		t->content_type[n++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
	}
	t->content_type[n] = '\0';
}

/* True, and what stands behind the colon, if the line is this header. */
static bool header_is(struct slice line, const char *name, struct slice *ret_value)
{
	size_t n = strlen(name);

	if (line.n <= n || line.p[n] != ':' || strncasecmp((const char *)line.p, name, n) != 0)
		return false;
	do
		n++;
	while (n < line.n && (line.p[n] == ' ' || line.p[n] == '\t'));
	*ret_value = slice_of(line.p + n, line.n - n);
	return true;
}

static void handle_read_header(struct http_handle *x, struct slice line)
{
	struct slice value;

	if (header_is(line, "content-type", &value))
		handle_read_content_type(x->transfer, value);
	else if (header_is(line, "retry-after", &value))
		x->seconds_wait_ms = retry_after_read(value, loop_wall_us(x->http->loop));
	else if (header_is(line, "retry-after-ms", &value))
		x->fine_wait_ms = retry_after_read_ms(value);
}

/* The empty line behind the headers. Not the end of them if the status is 1xx: the next status line follows. */
static void handle_end_headers(struct http_handle *x)
{
	struct http_transfer *t = x->transfer;
	long status = 0;

	curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200)
		return;
	x->headed = true;
	x->quiet_at_us = handle_later(x, x->idle_us);
	handle_watch(x);
	t->status = (unsigned)status;
	t->retry_after_ms = x->fine_wait_ms != 0 ? x->fine_wait_ms : x->seconds_wait_ms;
	if (t->head != NULL)
		t->head(t);
}

static size_t handle_on_header(char *p, size_t size, size_t count, void *handle)
{
	struct http_handle *x = handle;
	struct slice line = slice_of(p, size * count);

	x->header_bytes += line.n;
	if (x->header_bytes > HTTP_HEADER_BYTES_MAX)
		x->broken = "more headers than we take";
	if (x->transfer == NULL || x->broken != NULL)
		return 0;
	if (x->headed) /* trailers */
		return line.n;
	if (line.n > 0 && line.p[0] != '\r' && line.p[0] != '\n')
		handle_read_header(x, line);
	else
		handle_end_headers(x);
	return line.n;
}

/* All transfers together are handed so much in a turn: a stream without pauses keeps its parser busy for as long as it
 * lasts, and libcurl reads on while there is something. */
static bool http_turn_has_room(struct http *h)
{
	uint64_t now_us = loop_now_us(h->loop);

	if (h->turn_us != now_us) {
		h->turn_us = now_us;
		h->turn_bytes = 0;
	}
	return h->turn_bytes < HTTP_BYTES_PER_TURN;
}

/* Hands over what libcurl has kept. An error is told here and nowhere else. */
static void handle_on_resume(struct deadline *d)
{
	struct http_handle *x = (struct http_handle *)((char *)d - offsetof(struct http_handle, resume));
	CURLcode code = curl_easy_pause(x->easy, CURLPAUSE_CONT);

	if (code != CURLE_OK)
		http_handle_finished(x, code);
}

static size_t handle_on_data(char *p, size_t size, size_t count, void *handle)
{
	struct http_handle *x = handle;
	struct slice piece = slice_of(p, size * count);

	if (x->transfer == NULL)
		return 0;
	if (piece.n == 0)
		return 0;
	if (!http_turn_has_room(x->http)) {
		loop_arm(x->http->loop, &x->resume, 1, handle_on_resume); /* in the next turn */
		return CURL_WRITEFUNC_PAUSE;
	}
	x->http->turn_bytes += piece.n;
	x->http->metrics.http_received_bytes_total += piece.n;
	x->quiet_at_us = handle_later(x, x->idle_us); /* the deadline finds out when it fires */
	if (!x->transfer->data(x->transfer, piece)) {
		x->refused = true;
		return 0;
	}
	return piece.n;
}

static size_t handle_on_read(char *p, size_t size, size_t count, void *handle)
{
	struct http_handle *x = handle;
	size_t n = size * count;

	if (x->transfer == NULL) /* cancelled: the body may be gone */
		return CURL_READFUNC_ABORT;
	if (n > x->body.n - x->body_sent)
		n = x->body.n - x->body_sent;
	if (n > 0)
		memcpy(p, x->body.p + x->body_sent, n);
	x->body_sent += n;
	return n;
}

/* A kept connection turned out to be dead after part of the body was sent: libcurl takes another one, from the
 * beginning. */
static int handle_on_seek(void *handle, curl_off_t offset, int origin)
{
	struct http_handle *x = handle;

	if (x->transfer == NULL || origin != SEEK_SET || offset < 0 || (size_t)offset > x->body.n)
		return CURL_SEEKFUNC_FAIL;
	x->body_sent = (size_t)offset;
	return CURL_SEEKFUNC_OK;
}

/* ---- the pool of handles */

static void handle_free(struct http_handle *x)
{
	if (x->easy != NULL)
		curl_easy_cleanup(x->easy);
	curl_slist_free_all(x->headers);
	free(x);
}

/* What is the same for every transfer. */
static void handle_prepare(struct http_handle *x)
{
	CURL *e = x->easy;

	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(e, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	curl_easy_setopt(e, CURLOPT_USERAGENT, "promptcached/" PROMPTCACHED_VERSION);
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, HTTP_RECEIVE_BYTES);
	curl_easy_setopt(e, CURLOPT_SHARE, x->http->share);
	curl_easy_setopt(e, CURLOPT_DNS_CACHE_TIMEOUT, HTTP_DNS_SECONDS);
	curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, x->error);
	curl_easy_setopt(e, CURLOPT_PRIVATE, x);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, handle_on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, x);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, handle_on_data);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(e, CURLOPT_READFUNCTION, handle_on_read);
	curl_easy_setopt(e, CURLOPT_READDATA, x);
	curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, handle_on_seek);
	curl_easy_setopt(e, CURLOPT_SEEKDATA, x);
	if (x->http->tls != NULL)
		http_tls_apply(x->http->tls, e);
}

static struct http_handle *handle_take(struct http *h)
{
	struct http_handle *x = TAILQ_FIRST(&h->idle);

	if (x != NULL) {
		TAILQ_REMOVE(&h->idle, x, link);
		h->idle_count--;
		return x;
	}
	x = calloc(1, sizeof(*x));
	if (x == NULL)
		return NULL;
	x->http = h;
	x->easy = curl_easy_init();
	if (x->easy == NULL) {
		free(x);
		return NULL;
	}
	handle_prepare(x);
	return x;
}

static void http_count(struct http *h, int change)
{
	bool before = h->metrics.http_in_flight > 0;

	h->metrics.http_in_flight += (uint64_t)(int64_t)change;
	if (before != (h->metrics.http_in_flight > 0))
		http_watch_hold(h->watch, !before);
}

/* Back into the pool. The one that was used last is taken first: its memory is warm. */
static void handle_give(struct http_handle *x)
{
	struct http *h = x->http;

	curl_easy_setopt(x->easy, CURLOPT_POSTFIELDS, NULL); /* frees the copy */
	curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(x->headers);
	x->headers = NULL;
	x->state = HTTP_IDLE;
	x->shard = NULL;
	x->transfer = NULL;
	if (h->idle_count == HTTP_IDLE_HANDLES_MAX) {
		handle_free(x);
		return;
	}
	TAILQ_INSERT_HEAD(&h->idle, x, link);
	h->idle_count++;
}

/* ---- the end of a transfer, never inside libcurl */

static void handle_leave_shard(struct http_handle *x)
{
	loop_disarm(x->http->loop, &x->deadline);
	loop_disarm(x->http->loop, &x->resume);
	if (x->shard == NULL)
		return;
	curl_multi_remove_handle(x->shard->multi, x->easy);
	assert(x->shard->transfers > 0);
	x->shard->transfers--;
	x->shard = NULL;
}

static void handle_end(struct http_handle *x, enum http_outcome outcome, const char *error)
{
	struct http_transfer *t = x->transfer;
	struct http *h = x->http;

	assert(t != NULL);
	t->outcome = outcome;
	snprintf(t->error, sizeof(t->error), "%s", error);
	t->impl = NULL;
	if (outcome == HTTP_UNREACHED || outcome == HTTP_BROKEN || outcome == HTTP_TIMEOUT)
		h->metrics.http_failures_total++;
	http_count(h, -1);
	handle_leave_shard(x);
	handle_give(x);
	t->done(t); /* t may be gone from here on */
}

static void handle_end_leaving(struct http_handle *x)
{
	TAILQ_REMOVE(&x->http->leaving, x, link);
	http_count(x->http, -1);
	handle_leave_shard(x);
	handle_give(x);
}

static enum http_outcome outcome_of(CURLcode code)
{
	switch (code) {
	case CURLE_OK:
		return HTTP_DONE;
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
	case CURLE_OPERATION_TIMEDOUT: /* of the connect: the other timeouts are ours */
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
		return HTTP_UNREACHED;
	default:
		return HTTP_BROKEN;
	}
}

void http_handle_finished(struct http_handle *x, CURLcode code)
{
	if (x->state == HTTP_LEAVING)
		handle_end_leaving(x);
	else if (x->refused)
		handle_end(x, HTTP_REFUSED, "");
	else if (x->broken != NULL)
		handle_end(x, HTTP_BROKEN, x->broken);
	else if (code == CURLE_OK &&
		 !x->headed) /* libcurl takes a connection that ends within the headers for a whole response */
		handle_end(x, HTTP_BROKEN, "the response ended within its headers");
	else
		handle_end(x, outcome_of(code),
			   code == CURLE_OK	 ? ""
			   : x->error[0] != '\0' ? x->error
						 : curl_easy_strerror(code));
}

static void handle_on_deadline(struct deadline *d)
{
	struct http_handle *x = (struct http_handle *)((char *)d - offsetof(struct http_handle, deadline));
	uint64_t now_us = loop_now_us(x->http->loop);

	if (now_us >= x->total_at_us)
		handle_end(x, HTTP_TIMEOUT, "the response took too long");
	else if (now_us >= x->quiet_at_us)
		handle_end(x, HTTP_TIMEOUT, x->headed ? "the response stalled" : "no response came");
	else
		handle_watch(x);
}

/* ---- starting */

static struct http_shard *http_pick_shard(struct http *h)
{
	struct http_shard *least = h->shards[0];

	for (size_t i = 1; i < h->shards_count; i++) {
		if (h->shards[i]->transfers < least->transfers)
			least = h->shards[i];
	}
	if (least->transfers >= HTTP_SHARD_TRANSFERS && h->shards_count < HTTP_SHARDS_MAX) {
		struct http_shard *another = http_shard_new(h);

		if (another != NULL)
			least = h->shards[h->shards_count++] = another;
	}
	return least;
}

static void http_on_start(struct loop_task *task)
{
	struct http *h = (struct http *)((char *)task - offsetof(struct http, start_task));
	struct http_handle *x;

	while ((x = TAILQ_FIRST(&h->starting)) != NULL) {
		struct http_shard *shard = http_pick_shard(h);

		TAILQ_REMOVE(&h->starting, x, link);
		x->state = HTTP_RUNNING;
		if (curl_multi_add_handle(shard->multi, x->easy) != CURLM_OK) {
			handle_end(x, HTTP_BROKEN, "no memory for the transfer");
			continue;
		}
		x->shard = shard;
		shard->transfers++;
		handle_watch(x);
	}
}

static void http_on_leave(struct loop_task *task)
{
	struct http *h = (struct http *)((char *)task - offsetof(struct http, leave_task));
	struct http_handle *x;

	while ((x = TAILQ_FIRST(&h->leaving)) != NULL)
		handle_end_leaving(x);
}

static bool handle_add_header(struct http_handle *x, const char *line)
{
	struct curl_slist *list = curl_slist_append(x->headers, line);

	if (list != NULL)
		x->headers = list;
	return list != NULL;
}

static bool handle_set_headers(struct http_handle *x, const struct http_request *request)
{
	for (size_t i = 0; i < request->headers_count; i++) {
		if (!handle_add_header(x, request->headers[i]))
			return false;
	}
	/* libcurl waits a second for "100 Continue" otherwise, and few providers say it. */
	return handle_add_header(x, "Expect:") && curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers) == CURLE_OK;
}

/* A copy costs less than it saves: libcurl sends it in one go with the headers, and needs no upload buffer. */
static bool handle_set_body(struct http_handle *x, struct slice body)
{
	CURL *e = x->easy;
	CURLcode rc;

	x->body = body;
	x->body_sent = 0;
	if (body.p == NULL)
		return curl_easy_setopt(e, CURLOPT_HTTPGET, 1L) == CURLE_OK;
	rc = curl_easy_setopt(e, CURLOPT_POST, 1L);
	if (rc == CURLE_OK)
		rc = curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
	if (rc == CURLE_OK && body.n <= HTTP_COPY_BYTES_MAX)
		rc = curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, (const char *)body.p);
	return rc == CURLE_OK;
}

/* Proxies come from the environment, as with every program on libcurl; none stands between us and this machine. */
static bool url_is_loopback(const char *url)
{
	static const char *const hosts[] = {"127.", "localhost:", "localhost/", "[::1]"};
	const char *host = strstr(url, "://");

	for (size_t i = 0; host != NULL && i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		if (strncasecmp(host + 3, hosts[i], strlen(hosts[i])) == 0)
			return true;
	}
	return false;
}

static bool handle_set_url(struct http_handle *x, const struct http_request *request)
{
	bool tls = strncasecmp(request->url, "https:", 6) == 0;
	long version = tls && x->http->http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1;

	return curl_easy_setopt(x->easy, CURLOPT_URL, request->url) == CURLE_OK &&
	       curl_easy_setopt(x->easy, CURLOPT_NOPROXY, url_is_loopback(request->url) ? "*" : NULL) == CURLE_OK &&
	       curl_easy_setopt(x->easy, CURLOPT_HTTP_VERSION, version) == CURLE_OK &&
	       curl_easy_setopt(x->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout_ms) == CURLE_OK;
}

int http_start(struct http *h, struct http_transfer *t, const struct http_request *request)
{
	struct http_handle *x;

	assert(t->data != NULL && t->done != NULL && request->headers_count <= HTTP_HEADERS_MAX);
	x = handle_take(h);
	if (x == NULL)
		return -1;
	if (!handle_set_url(x, request) || !handle_set_headers(x, request) || !handle_set_body(x, request->body)) {
		handle_give(x);
		return -1;
	}
	x->transfer = t;
	x->headed = x->refused = false;
	x->broken = NULL;
	x->header_bytes = 0;
	x->seconds_wait_ms = x->fine_wait_ms = 0;
	x->error[0] = '\0';
	x->idle_us = request->idle_timeout_ms * 1000;
	x->quiet_at_us = handle_later(x, request->first_byte_timeout_ms * 1000);
	x->total_at_us = handle_later(x, request->total_timeout_ms * 1000);
	t->outcome = HTTP_DONE;
	t->status = 0;
	t->content_type[0] = t->error[0] = '\0';
	t->retry_after_ms = 0;
	t->impl = x;
	x->state = HTTP_STARTING;
	TAILQ_INSERT_TAIL(&h->starting, x, link);
	h->metrics.http_transfers_total++;
	http_count(h, 1);
	loop_defer(h->loop, &h->start_task, http_on_start);
	return 0;
}

void http_cancel(struct http_transfer *t)
{
	struct http_handle *x = t->impl;
	struct http *h = x->http;

	assert(x->transfer == t && (x->state == HTTP_STARTING || x->state == HTTP_RUNNING));
	t->impl = NULL;
	x->transfer = NULL;
	if (x->state == HTTP_STARTING) {
		TAILQ_REMOVE(&h->starting, x, link);
		http_count(h, -1);
		handle_give(x);
		return;
	}
	loop_disarm(h->loop, &x->deadline);
	loop_disarm(h->loop, &x->resume);
	x->state = HTTP_LEAVING;
	TAILQ_INSERT_TAIL(&h->leaving, x, link);
	loop_defer(h->loop, &h->leave_task, http_on_leave);
}

/* ---- the whole */

struct http *http_new(struct loop *l)
{
	struct http *h;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return NULL;
	h = calloc(1, sizeof(*h));
	if (h == NULL)
		goto no_memory;
	h->loop = l;
	TAILQ_INIT(&h->idle);
	TAILQ_INIT(&h->starting);
	TAILQ_INIT(&h->leaving);
	h->share = curl_share_init();
	if (h->share == NULL)
		goto no_share;
	curl_share_setopt(h->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
	h->watch = http_watch_new(h);
	if (h->watch == NULL)
		goto no_watch;
	h->shards[0] = http_shard_new(h);
	if (h->shards[0] == NULL)
		goto no_shard;
	h->shards_count = 1;
	h->http2 = curl_version_info(CURLVERSION_NOW)->version_num >= HTTP2_SAFE_FROM;
	h->tls = http_tls_new();
	return h;

no_shard:
	http_watch_free(h->watch);
no_watch:
	curl_share_cleanup(h->share);
no_share:
	free(h);
no_memory:
	curl_global_cleanup();
	return NULL;
}

void http_free(struct http *h)
{
	struct http_handle *x;

	if (h == NULL)
		return;
	assert(TAILQ_EMPTY(&h->starting));
	loop_undefer(h->loop, &h->start_task);
	loop_undefer(h->loop, &h->leave_task);
	http_on_leave(&h->leave_task);
	assert(h->metrics.http_in_flight == 0);
	for (size_t i = 0; i < h->shards_count; i++)
		http_shard_free(h->shards[i]);
	http_watch_free(h->watch);
	while ((x = TAILQ_FIRST(&h->idle)) != NULL) {
		TAILQ_REMOVE(&h->idle, x, link);
		handle_free(x);
	}
	curl_share_cleanup(h->share);
	http_tls_free(h->tls);
	free(h);
	curl_global_cleanup();
}

struct http_metrics *http_metrics(struct http *h) { return &h->metrics; }
