/* Warming: after a start, memory gets back what the disk has, what expires last first, one small job at a time so that
 * reads do not wait.
 *
 *      walk `expiry` from its end ──> LMDB_WARM_ROWS entries ──> events.found …
 *      until it says false, or no rows are left: the last line in the log
 *
 * An entry whose key was changed since the job began, or by a change that was on its way then, is left out: what was
 * removed does not come back this way. */
#include <assert.h>
#include <errno.h>

#include "server/base/log.h"
#include "server/store/lmdb_internal.h"
#include "server/store/record.h"

/* ---- the job, on a pool thread */

/* At the row before the one that was looked at last. */
static int warm_seek(struct lmdb_warm *w, MDB_cursor *cursor, MDB_val *x, MDB_val *v)
{
	int rc;

	if (w->at_end)
		return mdb_cursor_get(cursor, x, v, MDB_LAST);
	*x = (MDB_val){.mv_data = w->at, .mv_size = sizeof w->at};
	rc = mdb_cursor_get(cursor, x, v, MDB_SET_RANGE); /* that row, or the next one when it is gone */
	if (rc == 0)
		return mdb_cursor_get(cursor, x, v, MDB_PREV);
	return rc == MDB_NOTFOUND ? mdb_cursor_get(cursor, x, v, MDB_LAST) : rc;
}

/* 0, or a code. Rows whose entry is gone or unreadable are passed over. */
static int warm_row(struct lmdb *l, MDB_txn *txn, const MDB_val *x, size_t *bytes)
{
	struct lmdb_warm *w = &l->warm;
	MDB_val k, v;
	enum record_status status;
	int rc;

	if (x->mv_size != sizeof w->at)
		return MDB_CORRUPTED;
	memcpy(w->at, x->mv_data, sizeof w->at);
	w->at_end = false;
	k = (MDB_val){.mv_data = w->at + 8, .mv_size = ENTRY_KEY_BYTES};
	rc = mdb_get(txn, l->tables.entries, &k, &v);
	if (rc != 0)
		return rc == MDB_NOTFOUND ? 0 : rc;
	status = record_decode(slice_of(v.mv_data, v.mv_size), w->at + 8, &w->found[w->count]);
	if (status == RECORD_OK)
		w->count++;
	w->damaged += status == RECORD_DAMAGED;
	*bytes += v.mv_size;
	return status == RECORD_NO_MEMORY ? ENOMEM : 0;
}

static void warm_work(struct pool_job *job)
{
	struct lmdb_warm *w = container_of(job, struct lmdb_warm, job);
	struct lmdb *l = container_of(w, struct lmdb, warm);
	size_t rows = 0, bytes = 0;
	MDB_cursor *cursor;
	MDB_val x, v;
	MDB_txn *txn;

	w->rc = mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn);
	if (w->rc != 0)
		return;
	w->rc = mdb_cursor_open(txn, l->tables.expiry, &cursor);
	if (w->rc == 0) {
		w->rc = warm_seek(w, cursor, &x, &v);
		while (w->rc == 0) {
			w->rc = warm_row(l, txn, &x, &bytes);
			if (w->rc != 0 || ++rows == LMDB_WARM_ROWS || bytes >= LMDB_WARM_BYTES)
				break;
			w->rc = mdb_cursor_get(cursor, &x, &v, MDB_PREV);
		}
		mdb_cursor_close(cursor);
	}
	mdb_txn_abort(txn);
	w->last = w->rc == MDB_NOTFOUND;
	if (w->last)
		w->rc = 0;
}

/* ---- on the loop */

static void warm_say(struct lmdb *l, bool last)
{
	struct lmdb_warm *w = &l->warm;
	uint64_t now_us = loop_now_us(l->loop);

	if (!last && now_us - w->said_us < LMDB_US(LMDB_PROGRESS_MS))
		return;
	w->said_us = now_us;
	log_event(LOG_INFO, last ? "store.warmed" : "store.warming", "found=%llu of=%llu damaged=%llu elapsed_ms=%llu",
		  (unsigned long long)w->total, (unsigned long long)l->metrics.lmdb_entries,
		  (unsigned long long)l->metrics.lmdb_damaged_total, (unsigned long long)(now_us - w->begun_us) / 1000);
}

static void warm_end(struct lmdb *l)
{
	l->warm.ended = true;
	warm_say(l, true);
}

/* Returns whether more are wanted. */
static bool warm_hand_over(struct lmdb *l)
{
	struct lmdb_warm *w = &l->warm;
	bool wanted = !l->closing && l->events.found != NULL;

	for (size_t i = 0; i < w->count; i++) {
		struct entry *e = w->found[i];

		if (wanted && !lmdb_is_outdated(l, e->node.key, w->since)) {
			wanted = l->events.found(l->events.owner, e);
			w->total += wanted;
			l->metrics.lmdb_warmed_total += wanted;
		}
		entry_unref(e);
	}
	w->count = 0;
	return wanted;
}

static void warm_next(struct deadline *d);

static void warm_done(struct pool_job *job)
{
	struct lmdb_warm *w = container_of(job, struct lmdb_warm, job);
	struct lmdb *l = container_of(w, struct lmdb, warm);
	bool wanted;

	w->busy = false;
	l->metrics.lmdb_damaged_total += w->damaged;
	wanted = warm_hand_over(l);
	if (w->rc != 0)
		log_event(LOG_WARN, "store.warming_failed", "error=%s", log_quote(lmdb_env_text(w->rc), -1));
	if (!wanted || w->last || w->rc != 0 || l->closing) {
		warm_end(l);
	} else {
		warm_say(l, false);
		loop_arm(l->loop, &w->next, 0, warm_next);
	}
	lmdb_advance(l);
}

/* Reads that wait go first. */
static void warm_next(struct deadline *d)
{
	struct lmdb_warm *w = container_of(d, struct lmdb_warm, next);
	struct lmdb *l = container_of(w, struct lmdb, warm);

	if (l->panicked) {
		warm_end(l);
		return;
	}
	if (!TAILQ_EMPTY(&l->reads)) {
		loop_arm(l->loop, &w->next, 1000, warm_next);
		return;
	}
	w->since = l->changes.now;
	w->damaged = 0;
	w->job = (struct pool_job){.work = warm_work, .done = warm_done};
	w->busy = loop_submit(l->loop, &w->job) == 0;
	if (!w->busy)
		warm_end(l);
}

void lmdb_warm_start(struct lmdb *l)
{
	struct lmdb_warm *w = &l->warm;

	w->at_end = true;
	w->ended = l->events.found == NULL || l->metrics.lmdb_entries == 0;
	w->begun_us = w->said_us = loop_now_us(l->loop);
	if (!w->ended)
		loop_arm(l->loop, &w->next, 0, warm_next);
}

void lmdb_warm_stop(struct lmdb *l) { loop_disarm(l->loop, &l->warm.next); }
