/* engine: decisions. Which key a request has, whether what is stored may be served, who shares whose flight, what is
 * kept.
 *
 *      engine_query ── policy ── key ── memory ── hit: in the same turn, nothing allocated
 *                                          └ miss ── flight (one per exact key and read mode): EXACT → EMBED → SEMANTIC → LLM → CHECK → STORE
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "server/base/metrics.h"
#include "server/base/options.h"
#include "server/engine/query.h"
#include "server/store/store.h"
#include "server/upstream/upstream.h"

/* clang-format off */
#define ENGINE_METRICS(X)                                                                                                       \
	X(engine_queries_total, COUNTER, "QUERY and LOOKUP requests that were well-formed")                                     \
	X(engine_hits_exact_total, COUNTER, "answered from the cache: the same request")                                        \
	X(engine_hits_memory_total, COUNTER, "of those, in the same turn, from memory")                                         \
	X(engine_llm_total, COUNTER, "answered by an LLM call made for this request")                                           \
	X(engine_joined_total, COUNTER, "answered by an LLM call that was already running for an identical request")           \
	X(engine_misses_total, COUNTER, "LOOKUPs that found nothing")                                                           \
	X(engine_failed_total, COUNTER, "ended with an error, timeouts and cancellations excepted")                             \
	X(engine_timeouts_total, COUNTER, "ended because the client's time was over")                                           \
	X(engine_cancelled_total, COUNTER, "cancelled by their clients, or their clients left")                                 \
	X(engine_overloaded_total, COUNTER, "refused at a limit of the engine")                                                 \
	X(engine_flights_total, COUNTER, "flights started")                                                                     \
	X(engine_flights_bytes, GAUGE, "bytes of the requests that flights keep, bounded by flight.memory")                     \
	X(engine_flights, GAUGE, "flights now")                                                                                 \
	X(engine_waiters, GAUGE, "queries waiting in flights now")                                                              \
	X(engine_flights_abandoned_total, COUNTER, "flights whose last client left")                                            \
	X(engine_flights_restarted_total, COUNTER, "flights that began a new LLM call because the first broke half-way")        \
	X(engine_stored_total, COUNTER, "answers stored")                                                                       \
	X(engine_unstored_unfinished_total, COUNTER, "answers not stored: finish_reason was neither stop nor tool_calls")       \
	X(engine_unstored_empty_total, COUNTER, "answers not stored: empty")                                                    \
	X(engine_unstored_no_store_total, COUNTER, "answers not stored: a client asked for no_store")                           \
	X(engine_unstored_invalidated_total, COUNTER, "answers not stored: invalidated while they were being made")             \
	X(engine_unstored_other_total, COUNTER, "answers not stored: too large, or no memory")                                  \
	X(engine_puts_total, COUNTER, "PUT requests that were well-formed")                                                     \
	X(engine_invalidations_total, COUNTER, "INVALIDATE requests that were well-formed")                                     \
	X(engine_expired_total, COUNTER, "entries found and not served: too old")                                               \
	X(engine_invalidated_total, COUNTER, "entries found and not served: invalidated")                                       \
	X(engine_damaged_total, COUNTER, "entries found and not served: their payload was damaged")                             \
	X(engine_tokens_saved_total, COUNTER, "tokens that hits and joined requests did not cost")                              \
	X(engine_cost_saved_nusd_total, COUNTER, "money that hits and joined requests did not cost, in 1e-9 US dollars")        \
	X(engine_time_saved_us_total, COUNTER, "time that hits did not wait for an LLM")                                        \
	X(engine_answers_bytes, GAUGE, "memory of answers being made or sent")
/* clang-format on */

struct engine_metrics {
	METRICS_FIELDS(ENGINE_METRICS)
};

#define ENGINE_PRICES_MAX 64

struct engine_price {
	const char *model;	   /* a trailing * matches any rest; the first that matches counts */
	double prompt, completion; /* US dollars per million tokens */
};

struct engine_options {
	const char *default_model;
	uint64_t ttl_ms;	    /* cache.ttl */
	uint64_t flights_max;	    /* flight.limit */
	uint64_t flights_bytes_max; /* flight.memory */
	uint64_t waiters_max;	    /* flight.waiters: per flight */
	uint64_t joinable_ms;	    /* flight.joinable: older ones take no joiners */
	uint64_t timeout_ms;	    /* flight.timeout: longest life of a flight */
	uint64_t patience_ms;	    /* query.timeout: what a client without timeout_ms waits */
	bool finish_abandoned;	    /* flight.finish_abandoned */
	struct engine_price prices[ENGINE_PRICES_MAX];
	size_t prices_count;
};

/* default_model, cache.ttl, flight.…, query.timeout, prices[] → *options. */
void engine_options_add(struct options *o, struct engine_options *options);

/* NULL: no memory. Everything is borrowed and must outlive the engine, except that the store is handed over later: its
 * events (engine_store_events) are needed to open it. */
struct engine *engine_new(struct loop *l, struct upstreams *u, const struct engine_options *options);
struct durable_events engine_store_events(struct engine *e);
void engine_set_store(struct engine *e, struct store *s);
void engine_free(struct engine *e); /* no query, flight or invalidation may be running; accepts NULL */

/* ---- QUERY and LOOKUP. q->ready and q->stream are set, the rest of q is zero. frame: the bytes m was decoded from
 * (copied if needed).
 *  0: q->state is WAITING, or ENDED in this call: a hit, or outcome.fault (the LLM could not be called at all).
 * -1: refused; q->outcome.fault and retry_after_ms say why; q is as before otherwise. */
__attribute__((warn_unused_result)) int engine_query(struct engine *e, struct query *q, const struct message *m,
						     struct slice frame);

/* ---- PUT: in memory when it returns, on its way to the durable store. 0: *ret_outcome (stored, reason, as_of) and
 * ret_entry are set. -1: *fault. */
__attribute__((warn_unused_result)) int engine_put(struct engine *e, const struct message *m,
						   struct query_outcome *ret_outcome,
						   uint8_t ret_entry[ENTRY_KEY_BYTES], struct fault *fault);

/* ---- INVALIDATE: takes effect when the call returns; `done` comes when it is durable, exactly once, never before the
 * return. */
struct invalidation {
	void (*done)(struct invalidation *i);
	struct fault fault; /* at done: ERR_NONE or STORE_FAILED */
	bool counted;	    /* removed says something */
	uint64_t removed;
	uint64_t as_of;
	/* The engine's. */
	struct durable_ack ack;
	struct engine *engine;
	uint64_t stamp;
	uint8_t key[ENTRY_KEY_BYTES]; /* of a request's */
};
/* -1: *fault, `done` will not come. */
__attribute__((warn_unused_result)) int engine_invalidate(struct engine *e, struct invalidation *i,
							  const struct message *m, struct fault *fault);

/* The current stamp: all invalidations up to it are in force. */
uint64_t engine_as_of(struct engine *e);

/* Shutting down: new queries are refused (SHUTTING_DOWN); `drained` comes once, deferred, when no flight is left.
 * engine_abort ends what is still flying with SHUTTING_DOWN. */
void engine_drain(struct engine *e, void (*drained)(void *owner), void *owner);
void engine_abort(struct engine *e);

void engine_metrics_add(struct engine *e, struct metrics *m);
void engine_metrics_describe(struct metrics *m);

#endif
