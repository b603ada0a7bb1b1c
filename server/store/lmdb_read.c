/* Reads: what the turn brought goes into one pool job, which returns copies; LMDB_READ_JOBS at once, the rest waits. */
#include <assert.h>
#include <errno.h>

#include "server/base/log.h"
#include "server/store/lmdb_internal.h"
#include "server/store/record.h"

bool lmdb_read_runs(const struct lmdb *l)
{
	for (int i = 0; i < LMDB_READ_JOBS; i++)
		if (l->read_jobs[i].busy)
			return true;
	return false;
}

static bool all_stalled(const struct lmdb *l)
{
	for (int i = 0; i < LMDB_READ_JOBS; i++)
		if (!l->read_jobs[i].stalled)
			return false;
	return true;
}

void lmdb_read_ask(struct lmdb *l, struct durable_read *r)
{
	const struct lmdb_op *op = lmdb_newest(l, r->key);

	l->metrics.lmdb_reads_total++;
	if (op != NULL && op->kind == LMDB_OP_WRITE) {
		l->metrics.lmdb_reads_found_total++;
		lmdb_tell_read(l, r, DURABLE_OK, entry_ref(op->e));
	} else if (op != NULL) {
		lmdb_tell_read(l, r, DURABLE_NOT_FOUND, NULL);
	} else if (l->panicked || all_stalled(l)) {
		l->metrics.lmdb_failures_total++;
		lmdb_tell_read(l, r, DURABLE_FAILED, NULL);
	} else if (l->reads_count == LMDB_READS_MAX) {
		l->metrics.lmdb_busy_total++;
		lmdb_tell_read(l, r, DURABLE_BUSY, NULL);
	} else {
		TAILQ_INSERT_TAIL(&l->reads, r, link);
		l->reads_count++;
		lmdb_later(l);
	}
}

/* Those that are there now: a callback may bring new ones. */
void lmdb_read_fail_waiting(struct lmdb *l)
{
	struct durable_read *r;

	while ((r = TAILQ_FIRST(&l->reads)) != NULL) {
		TAILQ_REMOVE(&l->reads, r, link);
		l->reads_count--;
		l->metrics.lmdb_failures_total++;
		lmdb_tell_read(l, r, DURABLE_FAILED, NULL);
	}
}

/* ---- the job, on a pool thread */

static int read_one(const struct lmdb *l, MDB_txn *txn, struct lmdb_read_slot *slot)
{
	MDB_val k = {.mv_data = slot->key, .mv_size = sizeof slot->key}, v;
	int rc = mdb_get(txn, l->tables.entries, &k, &v);

	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc == 0)
		slot->damaged =
			record_decode(slice_of(v.mv_data, v.mv_size), slot->key, &slot->entry) == RECORD_DAMAGED;
	return rc;
}

static void read_work(struct pool_job *job)
{
	struct lmdb_read_job *j = container_of(job, struct lmdb_read_job, job);
	MDB_txn *txn;

	j->rc = mdb_txn_begin(j->lmdb->env, NULL, MDB_RDONLY, &txn);
	if (j->rc != 0)
		return;
	for (size_t i = 0; i < j->count && j->rc == 0; i++)
		j->rc = read_one(j->lmdb, txn, &j->slots[i]);
	mdb_txn_abort(txn);
}

/* ---- start and end, on the loop */

/* Returns whether its row is to be deleted: damaged, and nobody has written it since. */
static bool read_end(struct lmdb_read_job *j, size_t i)
{
	struct lmdb *l = j->lmdb;
	struct durable_read *r = j->reads[i];
	struct lmdb_read_slot *slot = &j->slots[i];
	enum durable_status status = DURABLE_NOT_FOUND;

	l->metrics.lmdb_damaged_total += slot->damaged;
	if (r == NULL) { /* it was told that it failed */
		entry_unref(slot->entry);
		return false;
	}
	l->reads_count--;
	if (slot->entry != NULL) {
		status = DURABLE_OK;
		l->metrics.lmdb_reads_found_total++;
	} else if (j->rc != 0) {
		status = DURABLE_FAILED;
		l->metrics.lmdb_failures_total++;
	}
	r->status = status;
	r->entry = slot->entry;
	r->done(r);
	return slot->damaged && !lmdb_is_outdated(l, slot->key, j->since) && !l->closing;
}

static void read_done(struct pool_job *job)
{
	struct lmdb_read_job *j = container_of(job, struct lmdb_read_job, job);
	struct lmdb *l = j->lmdb;

	loop_disarm(l->loop, &j->stall);
	if (lmdb_env_is_damage(j->rc) || j->rc == MDB_PANIC)
		lmdb_degrade(l, "read", j->rc);
	else if (j->rc != 0)
		log_event(LOG_WARN, "store.failed", "op=read error=%s reads=%zu", log_quote(lmdb_env_text(j->rc), -1),
			  j->count);
	for (size_t i = 0; i < j->count; i++)
		if (read_end(j, i))
			lmdb_batch_remove(l, j->slots[i].key, NULL);
	j->busy = j->stalled = false;
	lmdb_advance(l);
}

/* The disk hangs: whoever waits for this job goes on without; when every job hangs, those behind it too. */
static void on_stall(struct deadline *d)
{
	struct lmdb_read_job *j = container_of(d, struct lmdb_read_job, stall);
	struct lmdb *l = j->lmdb;

	log_event(LOG_WARN, "store.slow", "op=read waited_ms=%d reads=%zu", LMDB_READ_STALL_MS, j->count);
	j->stalled = true;
	for (size_t i = 0; i < j->count; i++) {
		lmdb_tell_read(l, j->reads[i], DURABLE_FAILED, NULL);
		j->reads[i] = NULL;
		l->reads_count--;
		l->metrics.lmdb_failures_total++;
	}
	if (all_stalled(l))
		lmdb_read_fail_waiting(l);
}

static void read_submit(struct lmdb *l, struct lmdb_read_job *j)
{
	struct durable_read *r;

	j->lmdb = l;
	j->count = 0;
	j->rc = 0;
	j->since = l->changes.now;
	while (j->count < LMDB_READS_PER_JOB && (r = TAILQ_FIRST(&l->reads)) != NULL) {
		TAILQ_REMOVE(&l->reads, r, link);
		j->reads[j->count] = r;
		j->slots[j->count] = (struct lmdb_read_slot){.entry = NULL};
		memcpy(j->slots[j->count].key, r->key, ENTRY_KEY_BYTES);
		j->count++;
	}
	j->job = (struct pool_job){.work = read_work, .done = read_done};
	j->busy = true;
	loop_arm(l->loop, &j->stall, LMDB_US(LMDB_READ_STALL_MS), on_stall);
	if (loop_submit(l->loop, &j->job) != 0) {
		j->rc = ENOMEM;
		read_done(&j->job);
	}
}

void lmdb_read_start(struct lmdb *l)
{
	for (int i = 0; i < LMDB_READ_JOBS && !TAILQ_EMPTY(&l->reads) && !l->panicked; i++)
		if (!l->read_jobs[i].busy)
			read_submit(l, &l->read_jobs[i]);
}
