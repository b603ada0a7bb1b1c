/* Opening, closing, degraded mode, and the calls of durable_ops. */
#include "server/store/lmdb.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/base/log.h"
#include "server/store/lmdb_internal.h"

static void lmdb_tell(struct loop_task *t)
{
	struct lmdb *l = container_of(t, struct lmdb, tell);
	struct durable_read *r;
	struct durable_ack *a;

	while ((r = TAILQ_FIRST(&l->told_reads)) != NULL) {
		TAILQ_REMOVE(&l->told_reads, r, link);
		r->done(r);
	}
	while ((a = TAILQ_FIRST(&l->told_acks)) != NULL) {
		TAILQ_REMOVE(&l->told_acks, a, link);
		a->done(a);
	}
	if (l->closing)
		lmdb_advance(l);
}

void lmdb_tell_read(struct lmdb *l, struct durable_read *r, enum durable_status status, struct entry *e)
{
	r->status = status;
	r->entry = e;
	TAILQ_INSERT_TAIL(&l->told_reads, r, link);
	loop_defer(l->loop, &l->tell, lmdb_tell);
}

void lmdb_tell_ack(struct lmdb *l, struct durable_ack *ack, enum durable_status status)
{
	if (ack == NULL)
		return;
	ack->status = status;
	TAILQ_INSERT_TAIL(&l->told_acks, ack, link);
	loop_defer(l->loop, &l->tell, lmdb_tell);
}

/* ---- degraded mode */

static void on_probe(struct deadline *d)
{
	struct lmdb *l = container_of(d, struct lmdb, probe);

	l->due = true;
	lmdb_advance(l);
}

void lmdb_degrade(struct lmdb *l, const char *what, int rc)
{
	if (!l->degraded)
		log_event(LOG_ERROR, "store.degraded",
			  "op=%s error=%s path=%s remedy=\"nothing is stored on disk until it works again; look at "
			  "space and health of the disk\"",
			  what, log_quote(lmdb_env_text(rc), -1), log_quote(l->path, -1));
	l->degraded = true;
	l->metrics.lmdb_degraded = 1;
	l->panicked |= rc == MDB_PANIC || rc == MDB_MAP_FULL;
	l->damaged |= lmdb_env_is_damage(rc);
	lmdb_batch_fail_waiting(l);
	if (l->panicked)
		lmdb_read_fail_waiting(l);
	/* A damaged file is not written to any more: the next start finds no marker, checks it and sets it aside. */
	if (!l->damaged && !l->closing)
		loop_arm(l->loop, &l->probe, LMDB_US(LMDB_PROBE_MS), on_probe);
}

void lmdb_recover(struct lmdb *l)
{
	loop_disarm(l->loop, &l->probe);
	if (!l->degraded || l->damaged)
		return;
	l->degraded = l->panicked = false;
	l->metrics.lmdb_degraded = 0;
	log_event(LOG_INFO, "store.recovered", "path=%s", log_quote(l->path, -1));
}

/* ---- life */

static void lmdb_free(struct lmdb *l)
{
	if (l->lock_fd >= 0)
		close(l->lock_fd);
	buf_free(&l->batch.scratch);
	map_free(&l->newest);
	free(l->path);
	free(l);
}

static void on_sweep(struct deadline *d)
{
	struct lmdb *l = container_of(d, struct lmdb, sweep);

	l->due |= !l->degraded;
	loop_arm(l->loop, &l->sweep, LMDB_US(LMDB_SWEEP_MS), on_sweep);
	lmdb_advance(l);
}

static struct lmdb *lmdb_new(struct loop *loop, const struct lmdb_options *options, const struct durable_events *events)
{
	struct lmdb *l = calloc(1, sizeof *l);

	if (l == NULL)
		return NULL;
	l->loop = loop;
	l->lock_fd = -1;
	l->limit_bytes = options->limit_bytes;
	l->metrics.lmdb_limit_bytes = options->limit_bytes;
	/* The promise is about the disk: half of the time is for the commit itself and one that still runs. */
	l->commit_interval_us = options->commit_interval_ms * 1000 / 2;
	l->events = *events;
	TAILQ_INIT(&l->waiting);
	TAILQ_INIT(&l->batch.ops);
	TAILQ_INIT(&l->reads);
	TAILQ_INIT(&l->told_reads);
	TAILQ_INIT(&l->told_acks);
	buf_init(&l->batch.scratch, LMDB_RECORD_BYTES_MAX, NULL);
	l->path = strdup(options->path);
	if (l->path == NULL || map_init(&l->newest) != 0) {
		lmdb_free(l);
		return NULL;
	}
	return l;
}

/* Hands over every epoch, and the newest stamp. 0 or a code. */
static int lmdb_load(struct lmdb *l)
{
	MDB_val k = {.mv_data = (void *)LMDB_META_STAMP, .mv_size = strlen(LMDB_META_STAMP)}, v;
	uint64_t newest = 0, stamp;
	MDB_cursor *cursor;
	MDB_txn *txn;
	struct tag tag;
	int rc = mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn);

	if (rc != 0)
		return rc;
	if (mdb_get(txn, l->tables.meta, &k, &v) == 0 && v.mv_size == sizeof newest)
		memcpy(&newest, v.mv_data, sizeof newest);
	rc = mdb_cursor_open(txn, l->tables.epochs, &cursor);
	if (rc != 0) {
		mdb_txn_abort(txn);
		return rc;
	}
	while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
		if (k.mv_size != sizeof tag || v.mv_size != sizeof stamp)
			continue;
		memcpy(&tag, k.mv_data, sizeof tag);
		memcpy(&stamp, v.mv_data, sizeof stamp);
		if (stamp > newest)
			newest = stamp;
		if (l->events.epoch != NULL)
			l->events.epoch(l->events.owner, &tag, stamp);
	}
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	if (l->events.stamp != NULL)
		l->events.stamp(l->events.owner, newest);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static const struct durable_ops lmdb_ops;

int lmdb_open(struct durable *ret, struct loop *loop, const struct lmdb_options *options,
	      const struct durable_events *events, char *error, size_t error_bytes)
{
	struct lmdb *l = lmdb_new(loop, options, events);
	int rc;

	if (l == NULL) {
		snprintf(error, error_bytes, "no memory for the store");
		return -1;
	}
	rc = lmdb_env_prepare(l, error, error_bytes);
	if (rc == 0)
		rc = lmdb_env_open(l, error, error_bytes);
	if (rc != 0) {
		lmdb_free(l);
		return rc;
	}
	rc = lmdb_load(l);
	if (rc != 0) {
		snprintf(error, error_bytes, "the epochs in %s cannot be read: %s", l->path, lmdb_env_text(rc));
		lmdb_env_close(l, false);
		lmdb_free(l);
		return -1;
	}
	lmdb_batch_tell_usage(l);
	log_event(LOG_INFO, "store.opened", "kind=lmdb path=%s entries=%llu bytes=%llu", log_quote(l->path, -1),
		  (unsigned long long)l->metrics.lmdb_entries, (unsigned long long)l->metrics.lmdb_bytes);
	lmdb_warm_start(l);
	loop_arm(loop, &l->sweep, LMDB_US(LMDB_SWEEP_MS), on_sweep);
	*ret = (struct durable){.ops = &lmdb_ops, .impl = l};
	return 0;
}

static void close_work(struct pool_job *job)
{
	struct lmdb *l = container_of(job, struct lmdb, close_job);

	lmdb_env_close(l, !l->damaged && !l->panicked);
}

static void close_done(struct pool_job *job)
{
	struct lmdb *l = container_of(job, struct lmdb, close_job);
	void (*closed)(void *owner) = l->closed;
	void *owner = l->closed_owner;

	lmdb_free(l);
	if (closed != NULL)
		closed(owner);
}

static bool lmdb_is_idle(const struct lmdb *l)
{
	return !l->batch.busy && TAILQ_EMPTY(&l->waiting) && TAILQ_EMPTY(&l->reads) && !lmdb_read_runs(l) &&
	       !l->warm.busy && TAILQ_EMPTY(&l->told_reads) && TAILQ_EMPTY(&l->told_acks);
}

static void on_start(struct loop_task *t) { lmdb_advance(container_of(t, struct lmdb, start)); }

static void on_closed(struct loop_task *t) { close_done(&container_of(t, struct lmdb, start)->close_job); }

void lmdb_later(struct lmdb *l) { loop_defer(l->loop, &l->start, on_start); }

void lmdb_advance(struct lmdb *l)
{
	lmdb_read_start(l);
	lmdb_batch_start(l);
	if (!l->closing || l->close_began || !lmdb_is_idle(l))
		return;
	l->close_began = true;
	loop_undefer(l->loop, &l->start);
	l->close_job = (struct pool_job){.work = close_work, .done = close_done};
	if (loop_submit(l->loop, &l->close_job) != 0) {
		close_work(&l->close_job);
		loop_defer(l->loop, &l->start, on_closed); /* not here: whoever called may look at it still */
	}
}

static void lmdb_close(void *impl, void (*done)(void *owner), void *owner)
{
	struct lmdb *l = impl;

	assert(!l->closing);
	l->closing = true;
	l->closed = done;
	l->closed_owner = owner;
	lmdb_warm_stop(l);
	loop_disarm(l->loop, &l->sweep);
	loop_disarm(l->loop, &l->probe);
	loop_disarm(l->loop, &l->commit);
	l->due = l->waiting_count > 0;
	lmdb_later(l);
}

/* ---- the calls */

static void lmdb_read(void *impl, struct durable_read *r) { lmdb_read_ask(impl, r); }

static enum durable_status lmdb_write(void *impl, struct entry *e, struct durable_ack *ack)
{
	return lmdb_batch_write(impl, e, ack);
}

static void lmdb_remove(void *impl, const uint8_t key[ENTRY_KEY_BYTES], struct durable_ack *ack)
{
	lmdb_batch_remove(impl, key, ack);
}

static void lmdb_epoch(void *impl, const struct tag *tag, uint64_t stamp, struct durable_ack *ack)
{
	lmdb_batch_epoch(impl, tag, stamp, ack);
}

/* ---- metrics */

static const struct metric lmdb_table[] = {METRICS_TABLE(LMDB_METRICS, struct lmdb_metrics)};

const struct metric *lmdb_metrics_table(size_t *ret_count)
{
	*ret_count = sizeof lmdb_table / sizeof *lmdb_table;
	return lmdb_table;
}

struct lmdb_metrics *lmdb_metrics(struct durable *d)
{
	assert(d->ops == &lmdb_ops);
	return &((struct lmdb *)d->impl)->metrics;
}

static void lmdb_metrics_add(void *impl, struct metrics *m)
{
	struct metrics_module module = {.values = &((struct lmdb *)impl)->metrics};

	module.table = lmdb_metrics_table(&module.count);
	metrics_add(m, &module);
}

static const struct durable_ops lmdb_ops = {
	.name = "lmdb",
	.read = lmdb_read,
	.write = lmdb_write,
	.remove = lmdb_remove,
	.epoch = lmdb_epoch,
	.close = lmdb_close,
	.metrics_add = lmdb_metrics_add,
};
