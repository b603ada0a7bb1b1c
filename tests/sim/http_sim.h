/* http_sim: the HTTP of scenarios: the same header as the real one (server/upstream/http.h), linked in its place. A
 * provider is a list of rules; each says what the requests that match it get, and when, in the loop's time.
 *
 *      struct http_sim_rule *r = http_sim_rule(h, "hello");   requests with "hello" in their URL or body
 *      http_sim_times(r, 1);                                   the first of them only; the next rule that matches takes the rest
 *      http_sim_status(r, 20, 429, "application/json");        the head, 20 ms after the start
 *      http_sim_piece(r, 5, "{}");                             a piece of the body, 5 ms after what came before
 *      http_sim_end(r, 0, HTTP_SIM_CLEAN);
 *
 * The timeouts of the request hold as with the real one. A request that no rule matches aborts the test: it was not
 * foreseen. Rules belong to the struct http and go with it. No memory: abort. */
#ifndef SIM_HTTP_SIM_H
#define SIM_HTTP_SIM_H

#include "server/upstream/http.h"

enum http_sim_ending {
	HTTP_SIM_CLEAN,	    /* the response is whole */
	HTTP_SIM_CUT,	    /* the connection breaks */
	HTTP_SIM_UNREACHED, /* there is no connection; only without a head */
	HTTP_SIM_HANG,	    /* nothing more comes */
};

struct http_sim_rule;

/* match: a part of the URL or of the body; "" matches all. Rules are tried in the order in which they were made. A rule
 * without an end hangs after its last piece. */
struct http_sim_rule *http_sim_rule(struct http *h, const char *match);
void http_sim_times(struct http_sim_rule *r, unsigned times); /* answers so many requests; without this, all */
void http_sim_status(struct http_sim_rule *r, uint64_t after_ms, unsigned status, const char *content_type);
void http_sim_retry_after(struct http_sim_rule *r, uint64_t ms);
void http_sim_piece(struct http_sim_rule *r, uint64_t after_ms, const char *text);
void http_sim_bytes(struct http_sim_rule *r, uint64_t after_ms, struct slice bytes);
void http_sim_end(struct http_sim_rule *r, uint64_t after_ms, enum http_sim_ending ending);

/* A streamed chat answer in its usual form: head, one event with `text` each (letters, digits, spaces and \n as JSON
 * writes it), the finish reason with usage (10 prompt tokens, 5 completion tokens) and [DONE]. */
void http_sim_chat_head(struct http_sim_rule *r, uint64_t after_ms);
void http_sim_chat_text(struct http_sim_rule *r, uint64_t after_ms, const char *text);
void http_sim_chat_end(struct http_sim_rule *r, uint64_t after_ms, const char *finish_reason);

/* All three at once: the head after latency_ms, each text pace_ms later, the end at once. texts ends with NULL. */
void http_sim_chat(struct http_sim_rule *r, uint64_t latency_ms, uint64_t pace_ms, const char *const *texts,
		   const char *finish_reason);

void http_sim_refuse_starts(struct http *h, unsigned times); /* http_start fails (no memory) so often from now on */

struct http_sim_counters {
	uint64_t started; /* http_start returned 0 */
	uint64_t running; /* neither done nor cancelled */
	uint64_t running_max;
	uint64_t cancelled; /* by http_cancel */
	uint64_t done;
};
struct http_sim_counters http_sim_counters(const struct http *h);
unsigned http_sim_uses(const struct http_sim_rule *r); /* requests it answered, or began to */

/* Of the last request that was started. Valid until the next one. */
const char *http_sim_last_body(const struct http *h);
const char *http_sim_last_url(const struct http *h);
bool http_sim_last_has_header(const struct http *h, const char *line);

#endif
