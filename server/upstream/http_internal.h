/* Shared by http_curl.c (transfers), http_shard.c (multis on the loop) and http_tls.c. Nobody else includes it. */
#ifndef UPSTREAM_HTTP_INTERNAL_H
#define UPSTREAM_HTTP_INTERNAL_H

#include <curl/curl.h>
#include <sys/queue.h>

#include "server/upstream/http.h"

#define HTTP_SHARD_TRANSFERS  128    /* of one multi before another one is made */
#define HTTP_SHARDS_MAX	      512    /* multis; transfers beyond 512 x 128 share those there are */
#define HTTP_IDLE_HANDLES_MAX 256    /* easy handles kept for the next transfer */
#define HTTP_RECEIVE_BYTES    16384L /* buffer of one transfer */
#define HTTP_EVENTS_PER_TURN  16     /* ready sockets that are served before others get their turn: about 1 ms */
#define HTTP_BYTES_PER_TURN   65536  /* received by all transfers before others get their turn: 4 ms of tiny events */
#define HTTP_COPY_BYTES_MAX   32768u /* request bodies up to this go out together with the headers */
#define HTTP_HEADER_BYTES_MAX 65536u /* of a response; libcurl 7.88 itself would keep any amount */
#define HTTP_DNS_SECONDS      300L   /* an address is looked up again after this */

enum http_handle_state {
	HTTP_IDLE,
	HTTP_STARTING,
	HTTP_RUNNING,
	HTTP_LEAVING
};

/* An easy handle and the transfer it carries. */
struct http_handle {
	enum http_handle_state state;
	struct http *http;
	struct http_shard *shard; /* while RUNNING or LEAVING */
	CURL *easy;
	struct http_transfer *transfer; /* (borrowed) NULL: idle, or cancelled */
	struct curl_slist *headers;
	struct slice body; /* (borrowed) what is too large to be copied */
	size_t body_sent;
	struct deadline resume;		   /* paused: the turn's bytes were used up */
	struct deadline deadline;	   /* the earlier one of the next two */
	uint64_t quiet_at_us, total_at_us; /* UINT64_MAX: none */
	uint64_t idle_us;		   /* 0: no limit */
	size_t header_bytes;
	bool headed;				/* the transfer's head was told */
	bool refused;				/* its data said no */
	const char *broken;			/* why we ended it ourselves; NULL: we did not */
	uint64_t seconds_wait_ms, fine_wait_ms; /* Retry-After, retry-after-ms */
	char error[CURL_ERROR_SIZE];
	TAILQ_ENTRY(http_handle) link; /* in idle, starting or leaving */
};
TAILQ_HEAD(http_handles, http_handle);

/* A multi and the sockets it watches. */
struct http_shard {
	struct http *http;
	CURLM *multi;
	struct deadline timer; /* libcurl's */
	unsigned transfers;
	size_t number; /* its place in http->shards */
};

struct http_watch;

struct http {
	struct loop *loop;
	CURLSH *share;		  /* the DNS cache of all handles */
	struct http_watch *watch; /* the sockets of all shards */
	void *tls;		  /* see http_tls.c; NULL: libcurl reads the CA bundle itself */
	bool http2;
	struct http_shard *shards[HTTP_SHARDS_MAX];
	size_t shards_count;
	struct http_handles idle, starting, leaving;
	size_t idle_count;
	struct loop_task start_task, leave_task;
	uint64_t turn_us; /* the turn that turn_bytes were received in */
	size_t turn_bytes;
	struct http_metrics metrics;
};

/* ---- http_shard.c */
struct http_shard *http_shard_new(struct http *h); /* NULL: no memory */
void http_shard_free(struct http_shard *s);	   /* no transfers; accepts NULL */

/* Watches the sockets of the shards. NULL: no memory or no descriptor. The memory goes in libuv's close callback. */
struct http_watch *http_watch_new(struct http *h);
void http_watch_free(struct http_watch *w); /* no shards any more */

void http_watch_hold(struct http_watch *w,
		     bool hold); /* whether it keeps the loop running: while there are transfers */

/* ---- http_curl.c: a transfer that libcurl has finished with. Called by the shard, outside of libcurl's callbacks. */
void http_handle_finished(struct http_handle *x, CURLcode code);

/* ---- http_tls.c: trusted certificates, parsed once: libcurl 7.88 parses the bundle for each connection (19–22 ms on
 * the loop). NULL: not with this libcurl, or no memory; it then does as it always does. */
void *http_tls_new(void);
void http_tls_free(void *tls); /* accepts NULL */
void http_tls_apply(void *tls, CURL *easy);

#endif
