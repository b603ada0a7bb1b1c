/* flight: one distinct question in work. All clients that ask it at once wait in one flight and share its store read,
 * its embedding and its LLM call, from the moment of arrival.
 *
 *      START ──> EXACT ──────> EMBED ──> SEMANTIC ──> LLM ──> CHECK ──> STORE ──> DONE
 *        └─ no_cache, or ────────^          │          │ ^ broke half-way: those who have seen nothing go to one new attempt
 *           nothing durable               hit ─────────┼─┘                                        (EXACT: hit ──> DONE)
 *                                                      └──> FAILED
 *
 * A flight is held by nobody: clients come and go, it ends by itself. It takes no more joiners when it began before an
 * invalidation of one of its tags, when it is older than flight.joinable, or when a newcomer asks for more than it
 * gives (no_cache, a smaller max_age); then the newcomer's own flight stands beside it under the same key. One no_store
 * wins; the shortest ttl wins. Age and patience are bounded separately: flight.timeout ends the flight, each waiter has
 * its own deadline. */
#ifndef ENGINE_FLIGHT_H
#define ENGINE_FLIGHT_H

#include "server/engine/policy.h"

#define FLIGHT_RESTARTS_MAX 1 /* new LLM calls after one that broke half-way */

#define FLIGHT_BIT(name) (1u << FLIGHT_##name)

/* X(name, text, states that may follow) */
/* clang-format off */
#define FLIGHT_STATES(X)                                                                                                        \
	X(START, "not begun", FLIGHT_BIT(EXACT) | FLIGHT_BIT(EMBED) | FLIGHT_BIT(FAILED))                                       \
	X(EXACT, "reads the durable store", FLIGHT_BIT(EMBED) | FLIGHT_BIT(DONE) | FLIGHT_BIT(FAILED))                          \
	X(EMBED, "embeds the question", FLIGHT_BIT(SEMANTIC) | FLIGHT_BIT(FAILED))                                              \
	X(SEMANTIC, "searches by meaning", FLIGHT_BIT(LLM) | FLIGHT_BIT(DONE) | FLIGHT_BIT(FAILED))                             \
	X(LLM, "waits for the LLM", FLIGHT_BIT(LLM) | FLIGHT_BIT(CHECK) | FLIGHT_BIT(DONE) | FLIGHT_BIT(FAILED))                \
	X(CHECK, "judges the answer", FLIGHT_BIT(STORE) | FLIGHT_BIT(FAILED))                                                   \
	X(STORE, "stores the answer", FLIGHT_BIT(DONE))                                                                         \
	X(DONE, "answered", 0)                                                                                                  \
	X(FAILED, "failed", 0)
/* clang-format on */

enum flight_state {
#define X(name, text, next) FLIGHT_##name,
	FLIGHT_STATES(X)
#undef X
};

struct flight {
	struct map_node node;  /* the engine's flights by exact key: the first of those with this key */
	struct flight *beside; /* the next one with the same key */
	TAILQ_ENTRY(flight) link;
	struct engine *engine;
	enum flight_state state; /* only flight_move changes it */
	bool listed;		 /* found by newcomers */
	bool no_cache, no_store, doomed /* invalidated: nothing of it is kept */;
	bool reading, calling; /* a store read, an LLM call is running */
	bool aborted;
	bool led; /* the query that it was made for still waits */
	unsigned restarts;

	TAILQ_HEAD(, query) waiters;
	size_t waiters_count;
	size_t askers_count; /* those that want the LLM called: QUERYs, not LOOKUPs */

	uint64_t begun; /* stamp */
	uint64_t started_us, exact_us /* duration */;
	uint64_t max_age_ms, ttl_ms;
	struct tag tags[POLICY_TAGS];
	struct upstream *upstream; /* (borrowed) NULL: none */
	struct buf frame;	   /* the request, for the LLM call */
	char model[257];	   /* resolved; MODEL_BYTES_MAX and a NUL */

	struct durable_read read;
	struct upstream_call call;
	struct answer *answer;		/* one reference */
	struct entry *entry;		/* one reference; what everybody gets at the end */
	struct query_outcome outcome;	/* the part that is the same for all */
	struct loop_task progress_task; /* tells the readers of new pieces */
	struct loop_task free_task;
};

/* A flight for this plan that the query may join; NULL: none. */
struct flight *flight_find(struct engine *e, const struct plan *plan, const struct query *q);

/* A new one, listed. NULL: *fault (OVERLOADED, NO_MEMORY). */
struct flight *flight_new(struct engine *e, const struct plan *plan, struct slice frame, struct fault *fault);

/* The query waits in it from now on. */
void flight_join(struct flight *f, struct query *q, const struct plan *plan);

/* Begins its journey: called once, after the first join. */
void flight_start(struct flight *f);

/* The query leaves (cancelled, or out of patience). */
void flight_leave(struct flight *f, struct query *q);

/* Invalidated: takes no more joiners, and nothing of it is kept; its call is cancelled when nobody waits for it. */
void flight_doom(struct flight *f);

/* Ends it now with SHUTTING_DOWN for everybody. */
void flight_abort(struct flight *f);

#endif
