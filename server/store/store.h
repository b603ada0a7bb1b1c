/* store: the tiers as one thing: memory in front, a durable store behind, and the writes that are on their way between
 * them.
 *
 *      store_find ──> memory ──> pending writes            in the same turn
 *      store_read ──> durable ──> memory ──> done          equal keys asked at once are the caller's to join (engine/flight)
 *
 * Losing the durable store never fails a request: reads end with "not found" and count. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "server/base/options.h"
#include "server/store/durable.h"
#include "server/store/memory.h"

/* clang-format off */
#define STORE_METRICS(X)                                                                                                        \
	X(store_reads_total, COUNTER, "reads of the durable store")                                                             \
	X(store_read_failures_total, COUNTER, "reads that failed and counted as not found")                                     \
	X(store_write_failures_total, COUNTER, "entries that only memory has because the durable store did not take them")      \
	X(store_reclaimed_total, COUNTER, "entries dropped from memory because they were expired or invalidated")
/* clang-format on */

struct store_metrics {
	METRICS_FIELDS(STORE_METRICS)
};

enum store_kind {
	STORE_NONE,
	STORE_LMDB,
	STORE_REDIS /* a later version's: store_open says so */
};

struct store_options {
	int kind; /* enum store_kind: index of the choices of store.kind */
	const char *path;
	uint64_t limit_bytes, commit_interval_ms;
	uint64_t memory_limit_bytes;
};

#define STORE_READ_ATTEMPTS  3 /* of a read whose key was changed while it was on its way; then it counts as not found */
#define STORE_RECLAIM_SLICE  512  /* entries looked at in one turn */
#define STORE_RECLAIM_GAP_US 1000 /* between two slices */

/* store.kind, store.path (default_path when not given), store.limit, store.commit_interval, memory.limit → *options. */
void store_options_add(struct options *o, struct store_options *options);

/* What can be said about the options without opening anything. 0, or -1 with a sentence. */
__attribute__((warn_unused_result)) int store_check(const struct store_options *options, char *error,
						    size_t error_bytes);

struct store;

/* Opens (blocking, before the loop runs). events->found is the store's own affair and may be NULL.
 * 0, or -1 with a sentence. A damaged durable store is not an error, nor one that cannot be opened: logged, and memory
 * works alone. Errors are a locked one, and a store.path that was given and cannot be made or may not be used. */
__attribute__((warn_unused_result)) int store_open(struct store **ret, struct loop *l,
						   const struct store_options *options, const char *default_path,
						   const struct durable_events *events, char *error,
						   size_t error_bytes);

/* For scenarios and tests: a store over a given durable one (ops NULL: none). Takes it over. NULL: no memory. */
struct store *store_new(struct loop *l, uint64_t memory_limit_bytes, struct durable durable,
			const struct durable_events *events);

/* durable_events.found of a durable store that was opened by hand; owner is the store. */
bool store_found(void *owner, struct entry *e);

/* Flushes the writes on their way; `done` when everything is durable and the store is gone. */
void store_close(struct store *s, void (*done)(void *owner), void *owner);

/* Memory and writes on their way. Borrowed until the loop's turn ends or the store changes; NULL: ask store_read.
 * Expired and invalidated entries are returned too: judging them is the engine's. */
struct entry *store_find(struct store *s, const uint8_t key[ENTRY_KEY_BYTES]);

/* Is there anything behind memory that store_read could find? */
bool store_has_durable(const struct store *s);

/* Reads the durable store; what is found goes to memory too. r->status is DURABLE_OK or DURABLE_NOT_FOUND, nothing
 * else. */
void store_read(struct store *s, struct durable_read *r);

/* Into memory now, to the durable store with the next commit. What could not be done is counted; the answer is: did
 * anything keep it? */
bool store_write(struct store *s, struct entry *e);

/* Out of memory now, and no read that is on its way brings it back. The ack comes when the durable row is gone (in a
 * later turn also when there is no durable store). existed: it was in memory or on disk. */
void store_remove(struct store *s, const uint8_t key[ENTRY_KEY_BYTES], struct durable_ack *ack);
void store_drop(struct store *s, const uint8_t key[ENTRY_KEY_BYTES]); /* only out of memory: expired or invalidated */

/* Makes an invalidation durable. This and store_remove end with DURABLE_FAILED when a durable store is configured and
 * could not be opened or written: what it holds may come back. */
void store_epoch(struct store *s, const struct tag *tag, uint64_t stamp, struct durable_ack *ack);

/* Starts reclaiming in slices what events->alive denies; a sweep that runs goes around once more. Expired entries that
 * nobody asks for need none of it: they leave memory by eviction, the durable store by its own sweep. */
void store_reclaim(struct store *s);

void store_metrics_add(struct store *s, struct metrics *m);
void store_metrics_describe(struct metrics *m); /* the tables only */

#endif
