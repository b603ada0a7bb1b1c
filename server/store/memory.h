/* memory: the first tier. Every hit is served from here. A hard limit in bytes over entries and tables; S3-FIFO
 * eviction, which a scan of questions that never come back does not flush:
 *
 *      new ──> SMALL (10 %) ── asked again ──> MAIN ── asked again: another round
 *                 │ not asked again              │ not
 *                 v                              v
 *              GHOST (keys only; coming back from here goes to MAIN) …… gone
 *
 * (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.) Admission by value comes later behind
 * the same calls. */
#ifndef STORE_MEMORY_H
#define STORE_MEMORY_H

#include "server/base/metrics.h"
#include "server/store/entry.h"

/* clang-format off */
#define MEMORY_METRICS(X)                                                                                                       \
	X(memory_entries, GAUGE, "entries in memory")                                                                           \
	X(memory_bytes, GAUGE, "bytes of entries and tables in memory")                                                         \
	X(memory_limit_bytes, GAUGE, "memory.limit")                                                                            \
	X(memory_evicted_total, COUNTER, "entries evicted to stay within memory.limit")                                         \
	X(memory_refused_total, COUNTER, "entries larger than the memory tier takes")                                           \
	X(memory_promoted_total, COUNTER, "entries that moved to the main queue because they were asked again")
/* clang-format on */

struct memory_metrics {
	METRICS_FIELDS(MEMORY_METRICS)
};

struct memory;

struct memory *memory_new(uint64_t limit_bytes); /* NULL: no memory */
void memory_free(struct memory *m);		 /* accepts NULL */

/* Borrowed: valid until the next call that changes the tier; take a reference to keep it. Counts as asked. NULL: not
 * there. */
struct entry *memory_find(struct memory *m, const uint8_t key[ENTRY_KEY_BYTES]);

/* The same without counting as asked: for those who only look whether it is there. */
struct entry *memory_peek(struct memory *m, const uint8_t key[ENTRY_KEY_BYTES]);

/* Takes a reference of its own; an entry of the same key is replaced. False: larger than the tier takes: not kept. */
bool memory_insert(struct memory *m, struct entry *e);
bool memory_remove(struct memory *m, const uint8_t key[ENTRY_KEY_BYTES]); /* true: it was there */

/* Forgets entries that `alive` denies, about `budget` a call, from *cursor on (0 starts, 0 comes back at the end).
 * Returns how many. */
size_t memory_sweep(struct memory *m, size_t *cursor, size_t budget, bool (*alive)(void *owner, const struct entry *e),
		    void *owner);

bool memory_is_roomy(const struct memory *m); /* less than 80 % of the limit in use: warming may go on */

const struct metric *memory_metrics_table(size_t *ret_count);
struct memory_metrics *memory_metrics(struct memory *m); /* gauges up to date */

#endif
