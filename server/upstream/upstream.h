/* upstream: the providers that answer: which one serves a model, how many calls it takes at once, when to try again,
 * and its answers as typed segments. Speaks OpenAI-compatible chat completions over http.h.
 *
 *   call_start ──> WAITING (slot, provider's Retry-After) ──> RUNNING ──> pieces ──> end
 *                      ^                                        │ fails before the first piece, retryable, time left
 *                      └──────────── back-off ──────────────────┘
 *
 * Law: a call that was started ends exactly once, by `end` or by upstream_cancel returning, never both; `piece` and
 * `end` never come before upstream_start has returned. After that it is not touched again. Over a limit the start is
 * refused at once, with a time to retry: there is no silent queue. */
#ifndef UPSTREAM_UPSTREAM_H
#define UPSTREAM_UPSTREAM_H

#include "proto/message.h"
#include "server/base/options.h"
#include "server/upstream/http.h"

#define UPSTREAMS_MAX	      16
#define UPSTREAM_ATTEMPTS_MAX 4

/* clang-format off */
#define UPSTREAM_METRICS(X)                                                                                                     \
	X(upstream_calls_total, COUNTER, "calls of LLMs started, retries not counted")                                          \
	X(upstream_attempts_total, COUNTER, "HTTP requests sent to LLMs")                                                       \
	X(upstream_retries_total, COUNTER, "attempts after the first")                                                          \
	X(upstream_in_flight, GAUGE, "calls that have a slot")                                                                  \
	X(upstream_waiting, GAUGE, "calls that wait for a slot or for the provider's Retry-After")                              \
	X(upstream_refused_total, COUNTER, "calls refused because the queue was full")                                          \
	X(upstream_failures_total, COUNTER, "calls that ended with an error")                                                   \
	X(upstream_rate_limited_total, COUNTER, "answers 429")                                                                  \
	X(upstream_interrupted_total, COUNTER, "calls that broke after their first piece")                                      \
	X(upstream_malformed_total, COUNTER, "responses that were not what the API promises")                                   \
	X(upstream_prompt_tokens_total, COUNTER, "prompt tokens, as providers counted")                                         \
	X(upstream_completion_tokens_total, COUNTER, "completion tokens, as providers counted")                                 \
	X(upstream_cached_tokens_total, COUNTER, "prompt tokens that providers had in their own caches")
/* clang-format on */

struct upstream_metrics {
	METRICS_FIELDS(UPSTREAM_METRICS)
};

struct upstream_options {
	const char *name;
	const char *base_url; /* up to and including /v1 (OpenAI's form); chat_path is put behind it */
	const char
		*chat_path; /* /chat/completions; {model} is replaced; a query string (Azure's api-version) is kept */
	const char *api_key_env; /* name of the environment variable that holds the key; NULL: no key is sent */
	const char *
		api_key_header; /* Authorization (as "Bearer KEY"), or another name (Azure: api-key) that gets the bare key */
	struct option_strings headers; /* further headers, "Name: value" */
	struct option_strings models;  /* names served; a trailing * matches any rest; none: serves every model */
	uint64_t concurrency;	       /* calls at once */
	uint64_t queue;		       /* calls that may wait for a slot */
	bool stream;		       /* ask for streamed answers; false for providers that have none */
	uint64_t attempts;
	uint64_t connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms, total_timeout_ms;
};

struct upstream_set_options {
	struct upstream_options items[UPSTREAMS_MAX];
	size_t count;
};

/* upstreams[].… → *options. */
void upstream_options_add(struct options *o, struct upstream_set_options *options);

/* What can be said about the options without starting: URLs, headers, names, the environment's keys; without configured
 * upstreams what upstreams_new would take from the environment. 0, or -1 with a sentence. */
__attribute__((warn_unused_result)) int upstreams_check(const struct upstream_set_options *options, char *error,
							size_t error_bytes);

struct upstreams;
struct upstream; /* one provider */

/* Without configured upstreams, OPENAI_BASE_URL or OPENAI_API_KEY in the environment make one named "default". Keys are
 * read from the environment here, once. 0, or -1 with a sentence (a variable that is not set, a URL that is none). */
__attribute__((warn_unused_result)) int upstreams_new(struct upstreams **ret, struct loop *l, struct http *h,
						      const struct upstream_set_options *options, char *error,
						      size_t error_bytes);
void upstreams_free(struct upstreams *u); /* no call may be running; accepts NULL */

/* One line a provider, never with its key; a warning with a remedy when there is none. */
void upstreams_log(const struct upstreams *u);
bool upstreams_any(const struct upstreams *u);

/* The first one, in the order of the configuration, that serves the model; NULL: none. */
struct upstream *upstreams_route(struct upstreams *u, struct slice model);
const char *upstream_name(const struct upstream *u);

/* What a call ended with. Strings are borrowed during `end`. */
struct upstream_result {
	enum proto_error code; /* ERR_NONE: a whole answer; else nothing of it may be kept */
	char message
		[192]; /* with an error: a sentence for the client; of a 4xx the provider's words: not for the log */
	unsigned http_status;
	uint64_t retry_after_ms;
	struct slice finish_reason, model; /* as the provider said them */
	uint64_t prompt_tokens, completion_tokens, cached_tokens;
	uint64_t slot_us, first_byte_us,
		total_us; /* waited for a slot; then, from sending: to the first piece, to the end */
	unsigned attempts;
};

struct upstream_call {
	/* A piece of segment `index` (0, 1, …, growing; another kind or tool call is another index), borrowed during
	 * the call. Tool calls come whole: JSON {id, name, arguments}. False: stop; the call ends with ERR_TOO_LARGE.
	 * */
	bool (*piece)(struct upstream_call *c, enum proto_segment kind, unsigned index, struct slice data);
	void (*end)(struct upstream_call *c, const struct upstream_result *result);
	void *impl; /* upstream's */
};

struct upstream_request {
	struct slice frame; /* (borrowed until the call ends) the client's QUERY, as message_decode takes it */
	struct slice model; /* (borrowed until upstream_start returns) resolved */
	uint64_t
		deadline_us; /* loop_now_us time after which no retry makes sense and the call ends with ERR_TIMEOUT; 0: none */
};

/* 0: started. -1: refused, *fault says why (OVERLOADED, NO_MEMORY), *ret_retry_after_ms when to try again; `end` will
 * not come. */
__attribute__((warn_unused_result)) int upstream_start(struct upstream *u, struct upstream_call *owner,
						       const struct upstream_request *request, struct fault *fault,
						       uint64_t *ret_retry_after_ms);

/* Gives the call up: the provider's connection is closed, its slot is free when it has really let go. Allowed in piece.
 * */
void upstream_cancel(struct upstream_call *owner);

/* The numbers of upstream and of its http. */
void upstream_metrics_add(struct upstreams *u, struct metrics *m);
void upstream_metrics_describe(struct metrics *m);

#endif
