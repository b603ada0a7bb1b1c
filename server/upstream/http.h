/* http: transfers over HTTP, many at a time: libcurl's multi interface on the loop. A door to the world: scenarios link
 * http_sim.c (tests/sim) behind the same header.
 *
 * Law: a transfer that was started ends exactly once, by `done` or by http_cancel returning, never both, and `done` and
 * `data` never come before http_start has returned. After that http does not touch it again.
 *
 * Multis are sharded (libcurl 7.88 walks all connections of a host once a request), easy handles are pooled with their
 * connections, the CA bundle is parsed once (traps 3, 4, 8, 11 in the notes of http_curl.c). */
#ifndef UPSTREAM_HTTP_H
#define UPSTREAM_HTTP_H

#include "proto/bytes.h"
#include "server/base/loop.h"
#include "server/base/metrics.h"

#define HTTP_HEADERS_MAX 32

/* clang-format off */
#define HTTP_METRICS(X)                                                                                                         \
	X(http_transfers_total, COUNTER, "transfers started")                                                                   \
	X(http_in_flight, GAUGE, "transfers running")                                                                           \
	X(http_failures_total, COUNTER, "transfers that failed below HTTP: connect, TLS, reset, timeouts")                      \
	X(http_received_bytes_total, COUNTER, "bytes of bodies received")
/* clang-format on */

struct http_metrics {
	METRICS_FIELDS(HTTP_METRICS)
};

struct http;

struct http *http_new(struct loop *l); /* NULL: no memory, or libcurl failed */
void http_free(struct http *h);	       /* no transfer may be running; accepts NULL */

struct http_request {
	const char *url;
	const char *const *headers; /* "Name: value", count of them, at most HTTP_HEADERS_MAX */
	size_t headers_count;
	struct slice body; /* (borrowed until the transfer ends) POST when p is not NULL, else GET */
	uint64_t connect_timeout_ms;
	uint64_t first_byte_timeout_ms; /* from start to the status line */
	uint64_t idle_timeout_ms;	/* longest silence between bytes after that */
	uint64_t total_timeout_ms;	/* 0: none */
};

enum http_outcome {
	HTTP_DONE,	/* a whole response, whatever its status */
	HTTP_UNREACHED, /* no connection, connect timeout included: nothing was sent, safe to try again */
	HTTP_BROKEN,	/* the connection broke or spoke no HTTP */
	HTTP_TIMEOUT,	/* one of the timeouts above */
	HTTP_REFUSED,	/* the receiver of the data returned false */
};

struct http_transfer {
	/* The status line and headers are there: status, content_type and retry_after_ms are set. May be NULL. */
	void (*head)(struct http_transfer *t);
	/* A piece of the body, borrowed during the call. False: no more of it, end with HTTP_REFUSED. */
	bool (*data)(struct http_transfer *t, struct slice piece);
	void (*done)(struct http_transfer *t); /* outcome and error are set */
	enum http_outcome outcome;
	unsigned status;	 /* 0 until head */
	char content_type[64];	 /* lower case, without parameters */
	uint64_t retry_after_ms; /* from Retry-After in either form, or retry-after-ms; 0: none */
	char error[160];	 /* for the log: never holds headers or keys */
	void *impl;		 /* http's */
};

/* -1: no memory or a malformed request; nothing was started. */
__attribute__((warn_unused_result)) int http_start(struct http *h, struct http_transfer *t,
						   const struct http_request *request);
void http_cancel(struct http_transfer *t); /* allowed in head, data; not after done */

const struct metric *http_metrics_table(size_t *ret_count);
struct http_metrics *http_metrics(struct http *h);

#endif
