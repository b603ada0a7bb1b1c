/* lmdb: the embedded durable store. The loop never calls LMDB: reads are pool jobs that return copies, writes are
 * begin-put-commit within one pool job, one at a time.
 *
 *      write() ──> pending ──after half of commit_interval, or batch full, or remove/epoch──> pool job ──> acks
 *                  (found by reads)
 *
 * Tables: entries (key → record), expiry (expires ‖ key → nothing: the order in which room is made), epochs (tag →
 * stamp), meta. One process at a time: an exclusive lock on `lock`; a second daemon on the same path is refused by
 * name. Survives kill -9 (LMDB's own guarantee); a file damaged otherwise is found out at open in a child process, so
 * that a fault in it cannot take the daemon along, and then set aside as `data.mdb.damaged-<time>` with a line in the
 * log. A full disk, or one that fails, degrades the store: writes are dropped and counted, a probe every LMDB_PROBE_MS
 * brings it back. */
#ifndef STORE_LMDB_H
#define STORE_LMDB_H

#include "server/store/durable.h"

#define LMDB_PROBE_MS	       5000
#define LMDB_PENDING_BYTES_MAX (64u * 1024 * 1024) /* entries waiting for a commit; more: DURABLE_BUSY, counted */
#define LMDB_READS_MAX	       4096		   /* reads waiting or running; more end with DURABLE_BUSY */

/* clang-format off */
#define LMDB_METRICS(X)                                                                                                \
	X(lmdb_entries, GAUGE, "entries in the durable store")                                                         \
	X(lmdb_bytes, GAUGE, "bytes in use in its file")                                                               \
	X(lmdb_limit_bytes, GAUGE, "store.limit")                                                                      \
	X(lmdb_reads_total, COUNTER, "reads")                                                                          \
	X(lmdb_reads_found_total, COUNTER, "reads that found an entry")                                                \
	X(lmdb_writes_total, COUNTER, "entries written")                                                               \
	X(lmdb_commits_total, COUNTER, "transactions committed")                                                       \
	X(lmdb_commit_us_total, COUNTER, "time spent in transactions")                                                 \
	X(lmdb_failures_total, COUNTER, "operations that failed")                                                      \
	X(lmdb_busy_total, COUNTER, "operations refused because a queue was full")                                     \
	X(lmdb_damaged_total, COUNTER, "records that were damaged and left out")                                       \
	X(lmdb_swept_total, COUNTER, "entries deleted: expired, or to make room within store.limit")                   \
	X(lmdb_warmed_total, COUNTER, "entries loaded into memory at start")                                           \
	X(lmdb_pending_bytes, GAUGE, "bytes of entries that wait for a commit")                                        \
	X(lmdb_degraded, GAUGE, "1 while the store takes no writes because of an error")
/* clang-format on */

struct lmdb_metrics {
	METRICS_FIELDS(LMDB_METRICS)
};

struct lmdb_options {
	const char *path;	     /* directory; made with mode 0700 */
	uint64_t limit_bytes;	     /* ceiling for data; the map is made a little larger */
	uint64_t commit_interval_ms; /* at most this long between store and disk */
};

#define LMDB_LOCKED    (-2)
#define LMDB_MISPLACED (-3)

/* Blocks (before the loop runs): opens, checks, reads epochs; progress in the log. 0, or with a sentence that says what
 * to do -1, LMDB_LOCKED when another process has it open, or LMDB_MISPLACED when options->path cannot be a store of
 * ours: it cannot be made, is no directory, or owner and mode forbid it. */
__attribute__((warn_unused_result)) int lmdb_open(struct durable *ret, struct loop *l,
						  const struct lmdb_options *options,
						  const struct durable_events *events, char *error, size_t error_bytes);

enum lmdb_verdict {
	LMDB_SOUND,
	LMDB_DAMAGED,	/* the next start sets it aside */
	LMDB_ABSENT,	/* there is no data.mdb */
	LMDB_IN_USE,	/* a daemon has it open */
	LMDB_UNREADABLE /* could not be found out; errno says why */
};

/* Walks the whole store at path, in a child process as lmdb_open does, while no daemon can open it. *ret_entries when
 * it is sound. Blocks; progress in the log. */
enum lmdb_verdict lmdb_check(const char *path, uint64_t *ret_entries);

const struct metric *lmdb_metrics_table(size_t *ret_count);
struct lmdb_metrics *lmdb_metrics(struct durable *d);

#endif
