/* lmdb_internal: what the files of the LMDB store share.
 *
 *      lmdb.c        the calls of durable_ops, opening and closing, degraded mode    loop
 *      lmdb_env.c    directory, lock, marker, environment, tables                   before the loop, or a job that is alone
 *      lmdb_batch.c  writes: from the queue through one pool job to the acks         loop and pool
 *      lmdb_read.c   reads: those of one turn in one pool job                        loop and pool
 *      lmdb_sweep.c  deleting what is expired or over the limit, in a write job      pool
 *      lmdb_warm.c   entries found again after a start                               loop and pool
 *      lmdb_check.c  is the file damaged? in a child process                         before the loop */
#ifndef STORE_LMDB_INTERNAL_H
#define STORE_LMDB_INTERNAL_H

#include <limits.h>
#include <lmdb.h>
#include <sys/types.h>

#include "server/base/loop.h"
#include "server/store/changes.h"
#include "server/store/lmdb.h"

/* clang-format off */
#define LMDB_BATCH_BYTES      (UINT64_C(8) << 20) /* of entries in one transaction; more waiting start one at once */
#define LMDB_BATCH_OPS	      4096  /* in one transaction */
#define LMDB_MAP_ATTEMPTS     6	    /* of a transaction that finds the map full; room is made before each */
#define LMDB_SWEEP_ROWS	      256   /* deleted in one transaction, besides one for each row written */
#define LMDB_SWEEP_MS	      10000 /* between sweeps for expired rows when nothing is written */
#define LMDB_READ_JOBS	      2	    /* at once: the pool serves DNS and commits too */
#define LMDB_READS_PER_JOB    64    /* a cold one may take 8 ms */
#define LMDB_READ_STALL_MS    2000  /* then its reads count as failed */
#define LMDB_WRITE_STALL_MS   10000 /* then its changes count as failed and the store as degraded */
#define LMDB_WARM_ROWS	      64    /* entries of one warming job */
#define LMDB_WARM_BYTES	      (UINT64_C(1) << 20) /* and their bytes */
#define LMDB_PROGRESS_MS      2000  /* between lines about checking or warming */
#define LMDB_EXPIRY_BYTES     (8 + ENTRY_KEY_BYTES)
#define LMDB_RECORD_BYTES_MAX (ENTRY_PAYLOAD_BYTES_MAX + 8192)
/* Rows of meta; numbers stand in the byte order of the machine, as all of an LMDB file does. */
#define LMDB_META_STAMP	      "stamp" /* newest stamp of entries and epochs */
#define LMDB_META_PROBE	      "probe" /* when the disk was last tried, or free pages aged */
/* clang-format on */

#define LMDB_FILE_DATA "data.mdb"
#define LMDB_FILE_LOCK "lock"

#define LMDB_US(ms) ((uint64_t)(ms)*1000)

#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

enum lmdb_op_kind {
	LMDB_OP_WRITE,
	LMDB_OP_REMOVE,
	LMDB_OP_EPOCH
};

/* One change on its way to the disk: ours, from the call to its ack. */
struct lmdb_op {
	struct map_node node; /* first; WRITE and REMOVE: in lmdb->newest while no later one has its key */
	TAILQ_ENTRY(lmdb_op) link;
	enum lmdb_op_kind kind;
	bool listed;	 /* in lmdb->newest */
	bool existed;	 /* REMOVE: a row was there */
	bool dropped;	 /* WRITE: there was no room or no memory for it; its older row is gone */
	struct entry *e; /* WRITE: one reference */
	struct tag tag;	 /* EPOCH */
	uint64_t stamp;
	struct durable_ack *ack; /* (borrowed) may be NULL */
};
TAILQ_HEAD(lmdb_ops, lmdb_op);

struct lmdb_tables {
	MDB_dbi entries, expiry, epochs, meta;
};

/* What a transaction saw of the tables. */
struct lmdb_usage {
	uint64_t entries, bytes;
};

struct lmdb_swept {
	uint64_t rows; /* deleted */
	bool more;     /* there is more to delete */
	bool over;     /* because the limit is exceeded: no further writes before that */
};

/* The one write job. While `busy`, all but `ops` belongs to the pool thread. */
struct lmdb_batch {
	struct pool_job job;
	bool busy;
	struct lmdb_ops ops;
	struct buf scratch; /* one record */
	uint64_t wall_us;   /* when it was started */
	bool probe;	    /* writes a row of its own, to see whether the disk takes one */
	bool reopen;	    /* LMDB has given the environment up: open it anew first */

	int rc; /* 0, LMDB's code or errno */
	struct lmdb_usage usage;
	uint64_t spent_us, written, commits;
	uint64_t room; /* rows deleted because the map was full */
	struct lmdb_swept swept;

	struct deadline stall; /* the disk hangs */
	bool stalled;
};

struct lmdb_read_job {
	struct pool_job job;
	struct lmdb *lmdb;
	bool busy, stalled;
	size_t count;
	uint64_t since;					/* changes.now when it was started */
	struct durable_read *reads[LMDB_READS_PER_JOB]; /* the loop's; NULL: told already that it failed */
	struct deadline stall;
	int rc; /* of the transaction */
	struct lmdb_read_slot {
		uint8_t key[ENTRY_KEY_BYTES];
		struct entry *entry;
		bool damaged;
	} slots[LMDB_READS_PER_JOB]; /* the pool thread's while busy */
};

struct lmdb_warm {
	struct pool_job job;
	bool busy, ended;
	uint64_t since;		       /* changes.now when the job was started */
	uint8_t at[LMDB_EXPIRY_BYTES]; /* the row that was looked at last */
	bool at_end;		       /* none was yet */
	int rc;
	size_t count, damaged;
	bool last; /* nothing behind these */
	struct entry *found[LMDB_WARM_ROWS];
	uint64_t total, begun_us, said_us;
	struct deadline next;
};

struct lmdb {
	struct loop *loop;
	MDB_env *env; /* NULL while it is being opened anew */
	struct lmdb_tables tables;
	int lock_fd;
	char *path;
	uint64_t limit_bytes, commit_interval_us;
	struct durable_events events;
	struct lmdb_metrics metrics;
	struct changes changes;

	struct lmdb_ops waiting; /* changes without a job, in the order of the calls */
	size_t waiting_count, waiting_bytes;
	struct map newest; /* key → the latest change that is not committed yet */
	bool due;	   /* a job is to start as soon as none runs */
	bool urgent;	   /* among those that wait is a remove or an epoch: a client waits for its end */
	struct lmdb_batch batch;
	struct deadline commit, sweep, probe;
	struct loop_task start; /* at the end of the turn: jobs for what the turn brought */

	TAILQ_HEAD(lmdb_reads, durable_read) reads; /* without a job */
	size_t reads_count;			    /* with and without */
	struct lmdb_read_job read_jobs[LMDB_READ_JOBS];
	struct lmdb_warm warm;

	/* Ended already, told in a later round. */
	struct lmdb_reads told_reads;
	TAILQ_HEAD(, durable_ack) told_acks;
	struct loop_task tell;

	bool degraded;
	bool panicked; /* the environment is unusable, or too small, until it is opened anew */
	bool damaged;  /* found while running: no writes any more, and no clean marker, so that the next start checks */
	struct pool_job close_job;
	bool closing, close_began;
	void (*closed)(void *owner);
	void *closed_owner;
};

/* ---- lmdb.c */
void lmdb_advance(struct lmdb *l); /* starts what can be started; while closing, the end too */
void lmdb_later(struct lmdb *l);   /* the same at the end of the turn */
void lmdb_tell_read(struct lmdb *l, struct durable_read *r, enum durable_status status, struct entry *e);
void lmdb_tell_ack(struct lmdb *l, struct durable_ack *ack, enum durable_status status); /* accepts NULL */
void lmdb_degrade(struct lmdb *l, const char *what, int rc);
void lmdb_recover(struct lmdb *l);

/* ---- lmdb_env.c */
int lmdb_env_prepare(struct lmdb *l, char *error, size_t error_bytes); /* directory and lock; as lmdb_open */
int lmdb_env_open(struct lmdb *l, char *error, size_t error_bytes);    /* what is damaged goes aside; as lmdb_open */
int lmdb_env_reopen(struct lmdb *l);				       /* 0 or a code; nothing may use the old one */
void lmdb_env_close(struct lmdb *l, bool clean);		       /* clean: leaves the marker */
bool lmdb_env_is_damage(int rc);				       /* the file is not what it should be */
const char *lmdb_env_text(int rc);				       /* what a code means */

/* ---- lmdb_batch.c */
enum durable_status lmdb_batch_write(struct lmdb *l, struct entry *e, struct durable_ack *ack);
void lmdb_batch_remove(struct lmdb *l, const uint8_t *key, struct durable_ack *ack);
void lmdb_batch_epoch(struct lmdb *l, const struct tag *tag, uint64_t stamp, struct durable_ack *ack);
struct lmdb_op *lmdb_newest(struct lmdb *l, const uint8_t *key); /* NULL: no change of it is on its way */
/* Is what a job saw of the key out of date? since: changes.now when the job was started. */
bool lmdb_is_outdated(struct lmdb *l, const uint8_t *key, uint64_t since);
void lmdb_batch_fail_waiting(struct lmdb *l);
void lmdb_batch_tell_usage(struct lmdb *l); /* batch.usage → metrics */
void lmdb_batch_start(struct lmdb *l);	    /* if one is due and none runs */

/* ---- lmdb_sweep.c: rows of both tables, within a transaction. 0 or a code. */
int lmdb_row_put(MDB_txn *txn, const struct lmdb_tables *tables, const struct entry *e, struct slice record);
int lmdb_row_delete(MDB_txn *txn, const struct lmdb_tables *tables, const uint8_t *key, bool *ret_existed);
int lmdb_sweep(MDB_txn *txn, const struct lmdb_tables *tables, uint64_t expired_us, uint64_t bytes_max, size_t rows_max,
	       struct lmdb_swept *ret);
struct lmdb_usage lmdb_usage(MDB_txn *txn, const struct lmdb_tables *tables);

/* ---- lmdb_read.c */
void lmdb_read_ask(struct lmdb *l, struct durable_read *r);
void lmdb_read_start(struct lmdb *l);
bool lmdb_read_runs(const struct lmdb *l);
void lmdb_read_fail_waiting(struct lmdb *l);

/* ---- lmdb_warm.c */
void lmdb_warm_start(struct lmdb *l);
void lmdb_warm_stop(struct lmdb *l);

/* ---- lmdb_check.c. Walks all of it in a child; progress in the log. 0: sound. 1: damaged. -1: could not be found out.
 */
int lmdb_check_in_child(const char *path, uint64_t file_bytes);

#endif
