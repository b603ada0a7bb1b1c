#include "tests/sim/durable_sim.h"

#include <assert.h>
#include <stdlib.h>

#include "server/store/changes.h"
#include "server/store/record.h"

#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

enum change_kind {
	CHANGE_WRITE,
	CHANGE_REMOVE,
	CHANGE_EPOCH
};

struct change {
	TAILQ_ENTRY(change) link;
	enum change_kind kind;
	uint8_t key[ENTRY_KEY_BYTES];
	struct entry *e; /* one reference */
	struct tag tag;
	uint64_t stamp;
	struct durable_ack *ack;
};
TAILQ_HEAD(changes_list, change);

/* ---- the disk */

struct row {
	struct map_node node; /* first */
	TAILQ_ENTRY(row) link;
	struct buf record;
};

struct epoch_row {
	TAILQ_ENTRY(epoch_row) link;
	struct tag tag;
	uint64_t stamp;
};

struct durable_sim_disk {
	struct map map;
	TAILQ_HEAD(, row) rows;
	TAILQ_HEAD(, epoch_row) epochs;
	uint64_t stamp;
	bool is_open;
};

static void *must(void *p)
{
	assert(p != NULL);
	return p;
}

struct durable_sim_disk *durable_sim_disk_new(void)
{
	struct durable_sim_disk *d = must(calloc(1, sizeof *d));
	int rc = map_init(&d->map);

	assert(rc == 0);
	(void)rc;
	TAILQ_INIT(&d->rows);
	TAILQ_INIT(&d->epochs);
	return d;
}

static void disk_delete(struct durable_sim_disk *d, struct row *row)
{
	map_remove(&d->map, &row->node);
	TAILQ_REMOVE(&d->rows, row, link);
	buf_free(&row->record);
	free(row);
}

void durable_sim_disk_free(struct durable_sim_disk *d)
{
	struct epoch_row *epoch;
	struct row *row;

	if (d == NULL)
		return;
	assert(!d->is_open);
	while ((row = TAILQ_FIRST(&d->rows)) != NULL)
		disk_delete(d, row);
	while ((epoch = TAILQ_FIRST(&d->epochs)) != NULL) {
		TAILQ_REMOVE(&d->epochs, epoch, link);
		free(epoch);
	}
	map_free(&d->map);
	free(d);
}

size_t durable_sim_disk_entries(const struct durable_sim_disk *d) { return d->map.count; }

size_t durable_sim_disk_epochs(const struct durable_sim_disk *d)
{
	const struct epoch_row *row;
	size_t count = 0;

	TAILQ_FOREACH (row, &d->epochs, link)
		count++;
	return count;
}

static void disk_write(struct durable_sim_disk *d, const struct entry *e)
{
	struct row *row = (struct row *)map_find(&d->map, e->node.key);
	bool encoded;

	if (row != NULL)
		disk_delete(d, row);
	row = must(calloc(1, sizeof *row));
	buf_init(&row->record, SIZE_MAX, NULL);
	encoded = record_encode(&row->record, e);
	assert(encoded);
	(void)encoded;
	memcpy(row->node.key, e->node.key, ENTRY_KEY_BYTES);
	map_insert(&d->map, &row->node);
	TAILQ_INSERT_TAIL(&d->rows, row, link);
	if (e->begun > d->stamp)
		d->stamp = e->begun;
}

static void disk_epoch(struct durable_sim_disk *d, const struct tag *tag, uint64_t stamp)
{
	struct epoch_row *row;

	if (stamp > d->stamp)
		d->stamp = stamp;
	TAILQ_FOREACH (row, &d->epochs, link)
		if (memcmp(&row->tag, tag, sizeof *tag) == 0)
			break;
	if (row == NULL) {
		row = must(calloc(1, sizeof *row));
		row->tag = *tag;
		TAILQ_INSERT_TAIL(&d->epochs, row, link);
	}
	if (stamp > row->stamp)
		row->stamp = stamp;
}

static struct entry *row_entry(const struct row *row)
{
	struct entry *e = NULL;
	enum record_status status = record_decode(buf_slice(&row->record), row->node.key, &e);

	assert(status == RECORD_OK);
	(void)status;
	return e;
}

/* ---- one opening */

struct sim {
	struct durable_sim knobs; /* first */
	struct loop *loop;
	struct durable_sim_disk *disk;
	struct changes changes;

	struct changes_list waiting, committing;
	struct deadline commit, committed;
	bool is_committing, due;
	size_t reads_running;

	struct changes_list warm; /* as writes */
	struct deadline warmed;
	uint64_t warm_since;
	bool (*found)(void *owner, struct entry *e);
	void *found_owner;

	struct loop_task tell;
	bool closing;
	void (*closed)(void *owner);
	void *closed_owner;
};

struct sim_read {
	struct deadline deadline; /* first */
	struct sim *sim;
	struct durable_read *asked;
	struct entry *e; /* one reference, or NULL */
};

static void sim_advance(struct sim *s);

static void change_free(struct change *c)
{
	entry_unref(c->e);
	free(c);
}

/* ---- reads */

static struct change *sim_change_of(struct sim *s, const uint8_t *key)
{
	struct changes_list *const lists[] = {&s->waiting, &s->committing};
	struct change *c;

	for (size_t i = 0; i < 2; i++) {
		for (c = TAILQ_LAST(lists[i], changes_list); c != NULL; c = TAILQ_PREV(c, changes_list, link))
			if (c->kind != CHANGE_EPOCH && memcmp(c->key, key, sizeof c->key) == 0)
				return c;
	}
	return NULL;
}

static void read_done(struct deadline *d)
{
	struct sim_read *g = (struct sim_read *)d;
	struct durable_read *r = g->asked;
	struct sim *s = g->sim;

	r->status = g->e != NULL ? DURABLE_OK : DURABLE_NOT_FOUND;
	if (s->knobs.busy)
		r->status = DURABLE_BUSY;
	if (s->knobs.reads_fail)
		r->status = DURABLE_FAILED;
	if (r->status != DURABLE_OK) {
		entry_unref(g->e);
		g->e = NULL;
	}
	r->entry = g->e;
	free(g);
	r->done(r);
	s->reads_running--;
	sim_advance(s);
}

static void sim_read(void *impl, struct durable_read *r)
{
	struct sim *s = impl;
	struct sim_read *g = must(calloc(1, sizeof *g));
	const struct change *c = sim_change_of(s, r->key);
	const struct row *row = (struct row *)map_find(&s->disk->map, r->key);

	assert(!s->closing);
	s->knobs.reads++;
	s->reads_running++;
	g->sim = s;
	g->asked = r;
	if (c != NULL)
		g->e = c->e != NULL ? entry_ref(c->e) : NULL;
	else if (row != NULL)
		g->e = row_entry(row);
	loop_arm(s->loop, &g->deadline, s->knobs.read_delay_us, read_done);
}

/* ---- changes */

static void on_committed(struct deadline *d)
{
	struct sim *s = container_of(d, struct sim, committed);
	bool ok = !s->knobs.commits_fail;
	struct change *c;

	s->knobs.commits += ok;
	while ((c = TAILQ_FIRST(&s->committing)) != NULL) {
		struct row *row = (struct row *)map_find(&s->disk->map, c->key);
		struct durable_ack *ack = c->ack;

		TAILQ_REMOVE(&s->committing, c, link);
		if (ack != NULL) {
			ack->status = ok ? DURABLE_OK : DURABLE_FAILED;
			ack->existed |= ok && c->kind == CHANGE_REMOVE && row != NULL;
		}
		if (ok && !s->knobs.lossy) {
			if (c->kind == CHANGE_WRITE)
				disk_write(s->disk, c->e);
			else if (c->kind == CHANGE_EPOCH)
				disk_epoch(s->disk, &c->tag, c->stamp);
			else if (row != NULL)
				disk_delete(s->disk, row);
		}
		change_free(c);
		if (ack != NULL)
			ack->done(ack);
	}
	s->is_committing = false;
	sim_advance(s);
}

static void sim_start_commit(struct sim *s)
{
	loop_disarm(s->loop, &s->commit);
	TAILQ_CONCAT(&s->committing, &s->waiting, link);
	s->is_committing = true;
	s->due = false;
	loop_arm(s->loop, &s->committed, s->knobs.commit_delay_us, on_committed);
}

static void on_commit_due(struct deadline *d)
{
	struct sim *s = container_of(d, struct sim, commit);

	s->due = true;
	sim_advance(s);
}

static struct change *sim_change(struct sim *s, enum change_kind kind, const uint8_t *key, struct durable_ack *ack)
{
	struct change *c = must(calloc(1, sizeof *c));

	assert(!s->closing);
	c->kind = kind;
	c->ack = ack;
	if (key != NULL) {
		memcpy(c->key, key, sizeof c->key);
		changes_note(&s->changes, key);
	}
	TAILQ_INSERT_TAIL(&s->waiting, c, link);
	return c;
}

/* At most after `us`: earlier when something else wants it. */
static void sim_commit_within(struct sim *s, uint64_t us)
{
	uint64_t at_us = loop_now_us(s->loop) + us;

	if (!s->commit.armed || s->commit.at_us > at_us)
		loop_arm(s->loop, &s->commit, us, on_commit_due);
}

static enum durable_status sim_write(void *impl, struct entry *e, struct durable_ack *ack)
{
	struct sim *s = impl;

	s->knobs.writes++;
	if (s->knobs.busy || s->knobs.writes_refused)
		return s->knobs.busy ? DURABLE_BUSY : DURABLE_FAILED;
	sim_change(s, CHANGE_WRITE, e->node.key, ack)->e = entry_ref(e);
	sim_commit_within(s, s->knobs.commit_interval_us);
	return DURABLE_OK;
}

static void sim_remove(void *impl, const uint8_t key[ENTRY_KEY_BYTES], struct durable_ack *ack)
{
	struct sim *s = impl;

	s->knobs.removes++;
	sim_change(s, CHANGE_REMOVE, key, ack);
	sim_commit_within(s, 0);
}

static void sim_epoch(void *impl, const struct tag *tag, uint64_t stamp, struct durable_ack *ack)
{
	struct sim *s = impl;
	struct change *c = sim_change(s, CHANGE_EPOCH, NULL, ack);

	s->knobs.epochs++;
	c->tag = *tag;
	c->stamp = stamp;
	sim_commit_within(s, 0);
}

/* ---- warming */

static void warm_forget(struct sim *s)
{
	struct change *c;

	while ((c = TAILQ_FIRST(&s->warm)) != NULL) {
		TAILQ_REMOVE(&s->warm, c, link);
		change_free(c);
	}
}

static void on_warmed(struct deadline *d)
{
	struct sim *s = container_of(d, struct sim, warmed);
	struct change *c;

	TAILQ_FOREACH (c, &s->warm, link)
		if (!changes_since(&s->changes, c->key, s->warm_since) && !s->found(s->found_owner, c->e))
			break;
	warm_forget(s);
}

void durable_sim_warm(struct durable_sim *knobs, uint64_t delay_us, bool (*found)(void *owner, struct entry *e),
		      void *owner)
{
	struct sim *s = (struct sim *)knobs;
	const struct row *row;

	assert(TAILQ_EMPTY(&s->warm));
	TAILQ_FOREACH (row, &s->disk->rows, link) {
		struct change *c;

		if (sim_change_of(s, row->node.key) != NULL)
			continue;
		c = must(calloc(1, sizeof *c));
		c->e = row_entry(row);
		memcpy(c->key, row->node.key, sizeof c->key);
		TAILQ_INSERT_TAIL(&s->warm, c, link);
	}
	s->warm_since = s->changes.now;
	s->found = found;
	s->found_owner = owner;
	loop_arm(s->loop, &s->warmed, delay_us, on_warmed);
}

/* ---- open and close */

static void sim_gone(struct loop_task *t)
{
	struct sim *s = container_of(t, struct sim, tell);
	void (*closed)(void *owner) = s->closed;
	void *owner = s->closed_owner;

	s->disk->is_open = false;
	free(s);
	closed(owner);
}

static void sim_advance(struct sim *s)
{
	if (!s->is_committing && s->due && !TAILQ_EMPTY(&s->waiting))
		sim_start_commit(s);
	if (s->closing && !s->is_committing && TAILQ_EMPTY(&s->waiting) && s->reads_running == 0)
		loop_defer(s->loop, &s->tell, sim_gone);
}

static void sim_close(void *impl, void (*done)(void *owner), void *owner)
{
	struct sim *s = impl;

	assert(!s->closing);
	s->closing = s->due = true;
	s->closed = done;
	s->closed_owner = owner;
	loop_disarm(s->loop, &s->warmed);
	warm_forget(s);
	loop_disarm(s->loop, &s->commit);
	sim_advance(s);
}

static const struct durable_ops sim_ops = {.name = "sim",
					   .read = sim_read,
					   .write = sim_write,
					   .remove = sim_remove,
					   .epoch = sim_epoch,
					   .close = sim_close};

struct durable_sim *durable_sim_open(struct durable *ret, struct loop *l, struct durable_sim_disk *disk,
				     const struct durable_events *events)
{
	struct sim *s = must(calloc(1, sizeof *s));
	const struct epoch_row *row;

	assert(!disk->is_open);
	disk->is_open = true;
	s->knobs = (struct durable_sim){.read_delay_us = 100, .commit_interval_us = 50000, .commit_delay_us = 2000};
	s->loop = l;
	s->disk = disk;
	TAILQ_INIT(&s->waiting);
	TAILQ_INIT(&s->committing);
	TAILQ_INIT(&s->warm);
	TAILQ_FOREACH (row, &disk->epochs, link)
		if (events != NULL && events->epoch != NULL)
			events->epoch(events->owner, &row->tag, row->stamp);
	if (events != NULL && events->stamp != NULL)
		events->stamp(events->owner, disk->stamp);
	*ret = (struct durable){.ops = &sim_ops, .impl = s};
	return &s->knobs;
}
