/* Shared by upstream.c (the set), provider.c (one upstream, from its options) and call.c (one call). Nobody else
 * includes it. */
#ifndef UPSTREAM_UPSTREAM_INTERNAL_H
#define UPSTREAM_UPSTREAM_INTERNAL_H

#include <sys/queue.h>

#include "server/base/random.h"
#include "server/upstream/slots.h"
#include "server/upstream/upstream.h"

struct call;

struct upstream {
	struct upstreams *set;
	char *name;
	char *base_url;		   /* for the log: holds no user or password, and what chat_path has is left out */
	char *url_head, *url_tail; /* the model's name goes between them; url_tail NULL: url_head is the whole */
	char *headers[HTTP_HEADERS_MAX];
	size_t headers_count;
	char *models[OPTION_STRINGS_MAX];
	size_t models_count;
	bool stream;
	uint64_t attempts;
	uint64_t connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms, total_timeout_ms;
	struct slots slots;
	uint64_t resting; /* calls between two attempts */
	uint64_t failures, failure_logged_us;
};

struct upstreams {
	struct loop *loop;
	struct http *http;
	struct random_state random;
	struct upstream *items[UPSTREAMS_MAX];
	size_t count;
	struct upstream_metrics metrics;
	TAILQ_HEAD(, call) ended; /* calls to be released by a deferred task */
	uint64_t calls;		  /* not released; those whose pool job still runs may outlive upstreams_free */
	bool closed;
};

/* ---- provider.c. NULL: *error says why. */
struct upstream *provider_new(struct upstreams *set, const struct upstream_options *options, char *error,
			      size_t error_bytes);
void provider_free(struct upstream *p); /* accepts NULL and half-built ones */
int provider_check(const struct upstream_options *options, char *error, size_t error_bytes); /* see upstreams_check */
bool provider_serves(const struct upstream *p, struct slice model);
char *provider_url(const struct upstream *p, const char *model); /* the caller frees it; NULL: no memory */

/* ---- call.c */
void call_release_ended(struct upstreams *set); /* at once, what a deferred task would have done */

/* ---- upstream.c */
void upstreams_release(struct upstreams *u); /* frees a closed set when its last call is gone */

#endif
