/* Options, opening and metrics of the store. */
#include <assert.h>
#include <stdio.h>

#include "server/base/log.h"
#include "server/store/lmdb.h"
#include "server/store/store_internal.h"

/* ---- options */

static const char *const store_kinds[] = {[STORE_NONE] = "none", [STORE_LMDB] = "lmdb", [STORE_REDIS] = "redis", NULL};

/* clang-format off */
static const struct option store_option_table[] = {
	{.name = "kind", .type = OPTION_CHOICE, .offset = offsetof(struct store_options, kind), .fallback = "lmdb",
	 .choices = store_kinds, .text = "where answers outlive a restart: none (memory only), lmdb (a directory), redis (a later version)"},
	{.name = "path", .type = OPTION_STRING, .offset = offsetof(struct store_options, path),
	 .text = "lmdb: its directory; $XDG_STATE_HOME/promptcached when not given"},
	{.name = "limit", .type = OPTION_BYTES, .offset = offsetof(struct store_options, limit_bytes), .fallback = "4GB",
	 .min = UINT64_C(1) << 20, .max = UINT64_C(1) << 44, .text = "lmdb: most bytes of data in it; what expires first makes room"},
	{.name = "commit_interval", .type = OPTION_DURATION, .offset = offsetof(struct store_options, commit_interval_ms),
	 .fallback = "50ms", .min = 1, .max = 10000, .text = "lmdb: longest time between an answer and the disk"},
};

static const struct option memory_option_table[] = {
	{.name = "limit", .type = OPTION_BYTES, .offset = offsetof(struct store_options, memory_limit_bytes), .fallback = "256MB",
	 .min = UINT64_C(1) << 20, .max = UINT64_C(1) << 44, .text = "most bytes of answers and tables in memory"},
};
/* clang-format on */

void store_options_add(struct options *o, struct store_options *options)
{
	const struct option_group store = {.prefix = "store",
					   .options = store_option_table,
					   .count = sizeof store_option_table / sizeof *store_option_table,
					   .base = options};
	const struct option_group memory = {.prefix = "memory",
					    .options = memory_option_table,
					    .count = sizeof memory_option_table / sizeof *memory_option_table,
					    .base = options};

	options_add_group(o, &store);
	options_add_group(o, &memory);
}

int store_check(const struct store_options *options, char *error, size_t error_bytes)
{
	if (options->kind != STORE_REDIS)
		return 0;
	snprintf(error, error_bytes, "store.kind redis comes with a later version; this one has none and lmdb");
	return -1;
}

/* ---- opening: `found` is the store's, the rest goes on to the engine */

static void store_pass_epoch(void *owner, const struct tag *tag, uint64_t stamp)
{
	const struct durable_events *events = &((struct store *)owner)->events;

	if (events->epoch != NULL)
		events->epoch(events->owner, tag, stamp);
}

static void store_pass_stamp(void *owner, uint64_t stamp)
{
	const struct durable_events *events = &((struct store *)owner)->events;

	if (events->stamp != NULL)
		events->stamp(events->owner, stamp);
}

static bool store_pass_alive(void *owner, const struct entry *e)
{
	const struct durable_events *events = &((struct store *)owner)->events;

	return events->alive == NULL || events->alive(events->owner, e);
}

/* 0 also when only memory is left; else LMDB_LOCKED or LMDB_MISPLACED. */
static int store_open_lmdb(struct store *s, const struct store_options *options, const char *default_path, char *error,
			   size_t error_bytes)
{
	struct lmdb_options lmdb = {.path = options->path != NULL ? options->path : default_path,
				    .limit_bytes = options->limit_bytes,
				    .commit_interval_ms = options->commit_interval_ms};
	struct durable_events events = {.epoch = store_pass_epoch,
					.stamp = store_pass_stamp,
					.found = store_found,
					.alive = store_pass_alive,
					.owner = s};
	int rc = -1;

	if (lmdb.path != NULL)
		rc = lmdb_open(&s->durable, s->loop, &lmdb, &events, error, error_bytes);
	else
		snprintf(error, error_bytes,
			 "there is no directory for the store: set store.path, HOME or XDG_STATE_HOME");
	if (rc == 0 || rc == LMDB_LOCKED || (rc == LMDB_MISPLACED && options->path != NULL))
		return rc;
	s->unusable = true;
	log_event(LOG_ERROR, "store.unusable",
		  "error=%s effect=\"answers are kept in memory only\" remedy=\"mend it or give another store.path, "
		  "and restart; store.kind none says that memory is enough\"",
		  log_quote(error, -1));
	return 0;
}

int store_open(struct store **ret, struct loop *l, const struct store_options *options, const char *default_path,
	       const struct durable_events *events, char *error, size_t error_bytes)
{
	struct store *s;

	if (store_check(options, error, error_bytes) < 0)
		return -1;
	s = store_new(l, options->memory_limit_bytes, (struct durable){0}, events);
	if (s == NULL) {
		snprintf(error, error_bytes, "no memory for the store");
		return -1;
	}
	if (options->kind == STORE_LMDB && store_open_lmdb(s, options, default_path, error, error_bytes) != 0) {
		store_free(s);
		return -1;
	}
	*ret = s;
	return 0;
}

/* ---- metrics */

static const struct metric store_table[] = {METRICS_TABLE(STORE_METRICS, struct store_metrics)};

static void store_refresh_memory(void *owner, void *values)
{
	(void)values;
	(void)memory_metrics(((struct store *)owner)->memory);
}

/* s NULL: the tables only. */
static void store_register(struct store *s, struct metrics *m)
{
	struct metrics_module store = {.table = store_table,
				       .count = sizeof store_table / sizeof *store_table,
				       .values = s != NULL ? &s->metrics : NULL};
	struct metrics_module memory = {.values = s != NULL ? memory_metrics(s->memory) : NULL,
					.refresh = s != NULL ? store_refresh_memory : NULL,
					.owner = s};

	memory.table = memory_metrics_table(&memory.count);
	metrics_add(m, &memory);
	metrics_add(m, &store);
}

void store_metrics_add(struct store *s, struct metrics *m)
{
	store_register(s, m);
	if (s->durable.ops != NULL && s->durable.ops->metrics_add != NULL)
		s->durable.ops->metrics_add(s->durable.impl, m);
}

void store_metrics_describe(struct metrics *m)
{
	struct metrics_module lmdb = {0};

	store_register(NULL, m);
	lmdb.table = lmdb_metrics_table(&lmdb.count);
	metrics_add(m, &lmdb);
}
