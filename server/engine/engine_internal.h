/* What the files of the engine share. Private to engine/. */
#ifndef ENGINE_ENGINE_INTERNAL_H
#define ENGINE_ENGINE_INTERNAL_H

#include "server/base/random.h"
#include "server/engine/engine.h"
#include "server/engine/flight.h"
#include "server/engine/freshness.h"

struct engine {
	struct loop *loop;
	struct upstreams *upstreams;
	struct store *store;
	const struct engine_options *options;
	struct digester *digester;
	struct message_decoder decoder; /* for payloads; requests are decoded by who received them */
	struct freshness freshness;
	uint64_t key_epochs;	    /* requests whose rows the durable store could not delete: their keys have epochs */
	struct random_state random; /* for the ids of replays */
	struct map flights;	    /* by exact key */
	TAILQ_HEAD(, flight) all_flights;
	size_t flights_count, waiters_count, invalidations_count;
	uint64_t flights_bytes, answers_bytes; /* of the flights' requests, of their answers */
	struct engine_metrics metrics;
	bool draining;
	void (*drained)(void *owner);
	void *drained_owner;
	struct loop_task drained_task;
};

/* What a stored entry is worth to somebody who asks now. */
enum entry_verdict {
	ENTRY_FRESH,
	ENTRY_EXPIRED,
	ENTRY_INVALIDATED,
	ENTRY_TOO_OLD /* for this request */
};
enum entry_verdict engine_judge(struct engine *e, const struct entry *entry, uint64_t max_age_ms);

/* The outcome of a hit, as far as the entry tells. */
void engine_hit_outcome(struct engine *e, const struct entry *entry, struct query_outcome *ret);

/* An entry from an answer's or a PUT's payload. NULL: no memory or over the limit. */
struct entry_worth {
	uint64_t tokens, nusd, us;
};
struct entry *engine_entry(struct engine *e, const uint8_t key[ENTRY_KEY_BYTES], uint64_t begun, uint64_t ttl_ms,
			   const struct tag *tags, const struct entry_worth *worth, struct slice payload);

/* Ends a query that waits in no flight any more; `ready` follows. entry may be NULL (a miss, or a fault in outcome). */
void query_end(struct query *q, const struct query_outcome *outcome, struct entry *entry);
/* There are new pieces for it. */
void query_progress(struct query *q);

/* May a new flight keep a request of so many bytes? -1: *fault (OVERLOADED). */
int engine_admit_flight(const struct engine *e, size_t bytes, struct fault *fault);

/* flight_list.c: from now on newcomers find it; no more (accepts one that is not listed). */
void flight_list(struct flight *f);
void flight_unlist(struct flight *f);

/* Flights that end tell the engine, for drain. */
void engine_flight_gone(struct engine *e);

#endif
