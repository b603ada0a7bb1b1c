/* Changes: from the queue through one pool job at a time to their acks.
 *
 *      write, remove, epoch ──> waiting ──start──> batch.ops ──job: begin, put…, sweep, commit──> acks
 *                                  │                   │
 *                                  └───── newest ──────┘ read by lmdb_read_ask: a change is visible before it is durable */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "server/base/log.h"
#include "server/store/lmdb_internal.h"
#include "server/store/record.h"

/* ---- the queue */

struct lmdb_op *lmdb_newest(struct lmdb *l, const uint8_t *key) { return (struct lmdb_op *)map_find(&l->newest, key); }

/* Changed since, or by what was on its way then and may have been committed after the job's snapshot: changes are noted
 * when they are called and when they end. */
bool lmdb_is_outdated(struct lmdb *l, const uint8_t *key, uint64_t since)
{
	return lmdb_newest(l, key) != NULL || changes_since(&l->changes, key, since);
}

static void op_unlist(struct lmdb *l, struct lmdb_op *op)
{
	if (op == NULL || !op->listed)
		return;
	map_remove(&l->newest, &op->node);
	op->listed = false;
}

static size_t op_bytes(const struct lmdb_op *op) { return op->e != NULL ? entry_bytes(op->e) : 0; }

/* Ends it: ack, memory. */
static void op_end(struct lmdb *l, struct lmdb_op *op, enum durable_status status)
{
	struct durable_ack *ack = op->ack;

	if (op->listed)
		changes_note(&l->changes, op->node.key);
	op_unlist(l, op);
	l->metrics.lmdb_pending_bytes -= op_bytes(op);
	if (status != DURABLE_OK)
		l->metrics.lmdb_failures_total++;
	if (ack != NULL) {
		ack->status = status;
		ack->existed |= op->existed;
	}
	entry_unref(op->e);
	free(op);
	if (ack != NULL)
		ack->done(ack);
}

static void on_commit_due(struct deadline *d)
{
	struct lmdb *l = container_of(d, struct lmdb, commit);

	l->due = true;
	lmdb_advance(l);
}

static struct lmdb_op *op_new(struct lmdb *l, enum lmdb_op_kind kind, struct durable_ack *ack)
{
	struct lmdb_op *op = calloc(1, sizeof *op);

	if (op == NULL)
		return NULL;
	op->kind = kind;
	op->ack = ack;
	TAILQ_INSERT_TAIL(&l->waiting, op, link);
	l->waiting_count++;
	return op;
}

static void op_list(struct lmdb *l, struct lmdb_op *op, const uint8_t *key)
{
	changes_note(&l->changes, key);
	op_unlist(l, lmdb_newest(l, key));
	memcpy(op->node.key, key, ENTRY_KEY_BYTES);
	map_insert(&l->newest, &op->node);
	op->listed = true;
}

enum durable_status lmdb_batch_write(struct lmdb *l, struct entry *e, struct durable_ack *ack)
{
	struct lmdb_op *op = NULL;

	if (l->degraded) {
		l->metrics.lmdb_failures_total++;
		return DURABLE_FAILED;
	}
	if (l->metrics.lmdb_pending_bytes + entry_bytes(e) > LMDB_PENDING_BYTES_MAX) {
		l->metrics.lmdb_busy_total++;
		return DURABLE_BUSY;
	}
	op = op_new(l, LMDB_OP_WRITE, ack);
	if (op == NULL) {
		l->metrics.lmdb_failures_total++;
		return DURABLE_FAILED;
	}
	op->e = entry_ref(e);
	op_list(l, op, e->node.key);
	l->waiting_bytes += entry_bytes(e);
	l->metrics.lmdb_pending_bytes += entry_bytes(e);
	if (l->waiting_bytes >= LMDB_BATCH_BYTES || l->waiting_count >= LMDB_BATCH_OPS) {
		l->due = true;
		lmdb_later(l);
	} else if (!l->commit.armed) {
		loop_arm(l->loop, &l->commit, l->commit_interval_us, on_commit_due);
	}
	return DURABLE_OK;
}

/* NULL: it has been ended already. */
static struct lmdb_op *op_new_urgent(struct lmdb *l, enum lmdb_op_kind kind, struct durable_ack *ack)
{
	struct lmdb_op *op = l->degraded ? NULL : op_new(l, kind, ack);

	if (op == NULL) {
		l->metrics.lmdb_failures_total++;
		lmdb_tell_ack(l, ack, DURABLE_FAILED);
		return NULL;
	}
	l->due = l->urgent = true;
	lmdb_later(l);
	return op;
}

void lmdb_batch_remove(struct lmdb *l, const uint8_t *key, struct durable_ack *ack)
{
	struct lmdb_op *op = op_new_urgent(l, LMDB_OP_REMOVE, ack);

	changes_note(&l->changes, key);
	if (op != NULL)
		op_list(l, op, key);
}

void lmdb_batch_epoch(struct lmdb *l, const struct tag *tag, uint64_t stamp, struct durable_ack *ack)
{
	struct lmdb_op *op = op_new_urgent(l, LMDB_OP_EPOCH, ack);

	if (op == NULL)
		return;
	op->tag = *tag;
	op->stamp = stamp;
}

/* Those that are there now: an ack may bring new ones. */
void lmdb_batch_fail_waiting(struct lmdb *l)
{
	struct lmdb_ops ops = TAILQ_HEAD_INITIALIZER(ops);
	struct lmdb_op *op;

	TAILQ_CONCAT(&ops, &l->waiting, link);
	l->waiting_count = l->waiting_bytes = 0;
	l->urgent = false;
	while ((op = TAILQ_FIRST(&ops)) != NULL) {
		TAILQ_REMOVE(&ops, op, link);
		op_end(l, op, DURABLE_FAILED);
	}
}

/* ---- the job, on a pool thread */

static uint64_t clock_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int table_put(MDB_txn *txn, MDB_dbi dbi, const void *key, size_t key_bytes, uint64_t value)
{
	MDB_val k = {.mv_data = (void *)key, .mv_size = key_bytes}, v = {.mv_data = &value, .mv_size = sizeof value};

	return mdb_put(txn, dbi, &k, &v, 0);
}

static int table_max(MDB_txn *txn, MDB_dbi dbi, const void *key, size_t key_bytes, uint64_t stamp)
{
	MDB_val k = {.mv_data = (void *)key, .mv_size = key_bytes}, v;
	uint64_t before = 0;
	int rc = mdb_get(txn, dbi, &k, &v);

	if (rc != 0 && rc != MDB_NOTFOUND)
		return rc;
	if (rc == 0 && v.mv_size == sizeof before)
		memcpy(&before, v.mv_data, sizeof before);
	return rc == 0 && before >= stamp ? 0 : table_put(txn, dbi, key, key_bytes, stamp);
}

static int batch_put(struct lmdb *l, MDB_txn *txn, struct lmdb_op *op)
{
	bool existed;
	int rc;

	l->batch.scratch.n = 0;
	if (!op->dropped && record_encode(&l->batch.scratch, op->e)) {
		rc = lmdb_row_put(txn, &l->tables, op->e, buf_slice(&l->batch.scratch));
		l->batch.written++;
		return rc;
	}
	/* No memory or no room for it: then its older row may not stay either. */
	op->dropped = true;
	return lmdb_row_delete(txn, &l->tables, op->e->node.key, &existed);
}

static int batch_apply(struct lmdb *l, MDB_txn *txn, struct lmdb_op *op, uint64_t *stamp)
{
	uint64_t op_stamp = op->kind == LMDB_OP_WRITE ? op->e->begun : op->stamp;

	if (op_stamp > *stamp)
		*stamp = op_stamp;
	switch (op->kind) {
	case LMDB_OP_WRITE:
		return batch_put(l, txn, op);
	case LMDB_OP_REMOVE:
		return lmdb_row_delete(txn, &l->tables, op->node.key, &op->existed);
	case LMDB_OP_EPOCH:
		return table_max(txn, l->tables.epochs, op->tag.id, sizeof op->tag.id, op->stamp);
	}
	return EINVAL;
}

static int batch_end(MDB_txn *txn, int rc)
{
	if (rc == 0)
		return mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return rc;
}

/* One transaction. */
static int batch_run(struct lmdb *l)
{
	struct lmdb_batch *b = &l->batch;
	struct lmdb_usage usage;
	struct lmdb_op *op;
	uint64_t stamp = 0;
	MDB_txn *txn;
	int rc = mdb_txn_begin(l->env, NULL, 0, &txn);

	if (rc != 0)
		return rc;
	b->written = 0;
	TAILQ_FOREACH (op, &b->ops, link)
		if (rc == 0)
			rc = batch_apply(l, txn, op, &stamp);
	if (rc == 0 && stamp > 0)
		rc = table_max(txn, l->tables.meta, LMDB_META_STAMP, strlen(LMDB_META_STAMP), stamp);
	if (rc == 0 && b->probe)
		rc = table_put(txn, l->tables.meta, LMDB_META_PROBE, strlen(LMDB_META_PROBE), b->wall_us);
	if (rc == 0)
		rc = lmdb_sweep(txn, &l->tables, b->wall_us, l->limit_bytes, LMDB_SWEEP_ROWS + b->written, &b->swept);
	usage = lmdb_usage(txn, &l->tables);
	rc = batch_end(txn, rc);
	if (rc == 0) {
		b->usage = usage;
		b->commits++;
	}
	return rc;
}

/* Deletes what expires first; and commits once more, for LMDB gives pages to the second transaction after the one that
 * freed them. */
static int batch_make_room(struct lmdb *l, size_t rows)
{
	struct lmdb_swept swept = {0};
	MDB_txn *txn;
	int rc = mdb_txn_begin(l->env, NULL, 0, &txn);

	if (rc == 0)
		rc = batch_end(txn, lmdb_sweep(txn, &l->tables, UINT64_MAX, 0, rows, &swept));
	if (rc != 0)
		return rc;
	l->batch.room += swept.rows;
	rc = mdb_txn_begin(l->env, NULL, 0, &txn);
	if (rc == 0)
		rc = batch_end(txn, table_put(txn, l->tables.meta, LMDB_META_PROBE, strlen(LMDB_META_PROBE),
					      l->batch.wall_us));
	return rc;
}

/* The map is a little larger than the limit, but free pages may be scattered where a large record needs them in a row,
 * or held by a reader. So: delete more each time; in the end do without the writes, for removes and epochs must not
 * fail for lack of room. */
static void batch_work(struct pool_job *job)
{
	struct lmdb *l = container_of(container_of(job, struct lmdb_batch, job), struct lmdb, batch);
	struct lmdb_batch *b = &l->batch;
	uint64_t began_us = clock_us();
	struct lmdb_op *op;

	b->rc = b->reopen ? lmdb_env_reopen(l) : 0;
	if (b->rc == 0)
		b->rc = batch_run(l);
	for (size_t rows = LMDB_SWEEP_ROWS, i = 0; b->rc == MDB_MAP_FULL && i < LMDB_MAP_ATTEMPTS; i++, rows *= 2) {
		b->rc = batch_make_room(l, rows);
		if (b->rc == 0)
			b->rc = batch_run(l);
	}
	if (b->rc == MDB_MAP_FULL) {
		TAILQ_FOREACH (op, &b->ops, link)
			op->dropped = op->kind == LMDB_OP_WRITE;
		b->rc = batch_run(l);
	}
	b->spent_us = clock_us() - began_us;
}

/* ---- start and end, on the loop */

void lmdb_batch_tell_usage(struct lmdb *l)
{
	l->metrics.lmdb_entries = l->batch.usage.entries;
	l->metrics.lmdb_bytes = l->batch.usage.bytes;
}

static void batch_count(struct lmdb *l)
{
	struct lmdb_batch *b = &l->batch;

	l->metrics.lmdb_commit_us_total += b->spent_us;
	l->metrics.lmdb_commits_total += b->commits;
	l->metrics.lmdb_swept_total += b->room;
	if (b->rc != 0)
		return;
	l->metrics.lmdb_swept_total += b->swept.rows;
	lmdb_batch_tell_usage(l);
}

static void batch_done(struct pool_job *job)
{
	struct lmdb *l = container_of(container_of(job, struct lmdb_batch, job), struct lmdb, batch);
	struct lmdb_batch *b = &l->batch;
	struct lmdb_ops ops = TAILQ_HEAD_INITIALIZER(ops);
	struct lmdb_op *op;

	loop_disarm(l->loop, &b->stall);
	batch_count(l);
	if (b->rc != 0)
		lmdb_degrade(l, "commit", b->rc);
	else if (b->probe || b->stalled)
		lmdb_recover(l);
	l->due |= b->rc == 0 && b->swept.more;
	b->busy = b->stalled = false;
	TAILQ_CONCAT(&ops, &b->ops, link);
	while ((op = TAILQ_FIRST(&ops)) != NULL) {
		TAILQ_REMOVE(&ops, op, link);
		if (b->rc == 0 && op->kind == LMDB_OP_WRITE && !op->dropped)
			l->metrics.lmdb_writes_total++;
		op_end(l, op, b->rc == 0 && !op->dropped ? DURABLE_OK : DURABLE_FAILED);
	}
	lmdb_advance(l);
}

/* The disk hangs. Nobody may hang with it: the acks say that it failed, and what the job still does nobody counts on.
 */
static void on_stall(struct deadline *d)
{
	struct lmdb_batch *b = container_of(d, struct lmdb_batch, stall);
	struct lmdb *l = container_of(b, struct lmdb, batch);
	struct lmdb_op *op;

	b->stalled = true;
	lmdb_degrade(l, "commit", ETIMEDOUT);
	TAILQ_FOREACH (op, &b->ops, link) {
		lmdb_tell_ack(l, op->ack, DURABLE_FAILED);
		op->ack = NULL;
	}
}

static void batch_take(struct lmdb *l)
{
	size_t bytes = 0, count = 0;
	struct lmdb_op *op;

	while ((op = TAILQ_FIRST(&l->waiting)) != NULL && bytes < LMDB_BATCH_BYTES && count < LMDB_BATCH_OPS) {
		TAILQ_REMOVE(&l->waiting, op, link);
		TAILQ_INSERT_TAIL(&l->batch.ops, op, link);
		bytes += op_bytes(op);
		count++;
	}
	l->waiting_count -= count;
	l->waiting_bytes -= bytes;
	if (l->waiting_count > 0)
		return;
	l->urgent = false;
	loop_disarm(l->loop, &l->commit);
}

void lmdb_batch_start(struct lmdb *l)
{
	struct lmdb_batch *b = &l->batch;
	bool only_sweep;

	if (b->busy || !l->due || l->damaged || (l->panicked && (lmdb_read_runs(l) || l->warm.busy)))
		return;
	assert(TAILQ_EMPTY(&b->ops));
	/* Over the limit, writes wait until there is room. An invalidation does not, nor what was called before it. */
	only_sweep = b->rc == 0 && b->swept.over && !l->urgent;
	if (!only_sweep)
		batch_take(l);
	b->probe = l->degraded;
	b->reopen = l->panicked;
	b->wall_us = loop_wall_us(l->loop);
	b->rc = 0;
	b->commits = b->written = b->room = b->spent_us = 0;
	b->swept = (struct lmdb_swept){0};
	l->due = l->waiting_count > 0; /* what one job does not take goes with the next, at once */
	b->job = (struct pool_job){.work = batch_work, .done = batch_done};
	b->busy = true;
	loop_arm(l->loop, &b->stall, LMDB_US(LMDB_WRITE_STALL_MS), on_stall);
	if (loop_submit(l->loop, &b->job) != 0) {
		b->rc = ENOMEM;
		batch_done(&b->job);
	}
}
