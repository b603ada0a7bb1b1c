/* metrics: modules describe their numbers in a table beside the code that counts them; the registry only knows where they are.
 *
 * Each module has an X-macro table, X(name, kind, text), from which come a struct of uint64_t counters and its description. Counting is a
 * plain increment on the module's own struct. STATS, `--describe metrics` and the metrics reference all walk the registry. */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };

struct metric {
	const char *name; /* "engine_hits_exact_total"; counters end in _total; units last */
	enum metric_kind kind;
	const char *text; /* one line of help */
	size_t offset;	  /* of the uint64_t within the module's struct */
};

/* #define CONN_METRICS(X) X(conn_opened_total, COUNTER, "connections accepted") …
 * struct conn_metrics { METRICS_FIELDS(CONN_METRICS) };
 * static const struct metric table[] = { METRICS_TABLE(CONN_METRICS, struct conn_metrics) };   -- see metrics.c of a module */
#define METRIC_FIELD(name, kind, text) uint64_t name;
#define METRICS_FIELDS(TABLE)	       TABLE(METRIC_FIELD)

#define METRICS_MODULES_MAX 32

struct metrics_module {
	const struct metric *table;
	size_t count;
	const void *values;			   /* (borrowed) the module's struct; NULL when only describing */
	void (*refresh)(void *owner, void *values); /* fills gauges just before they are read; may be NULL */
	void *owner;
};

struct metrics {
	struct metrics_module modules[METRICS_MODULES_MAX];
	size_t count;
};

/* Asserts that there is room (a programming error, not an input). */
void metrics_add(struct metrics *m, const struct metrics_module *module);

/* Calls `each` for every metric in the order of registration, refreshing each module first. */
void metrics_walk(const struct metrics *m, void (*each)(void *owner, const struct metric *metric, uint64_t value), void *owner);

/* ---- histogram of microseconds: log-linear, 16 steps an octave (at most 6 % off), 2 ns a record. */
#define HISTOGRAM_BUCKETS 640
struct histogram {
	uint64_t count, sum, max;
	uint32_t bucket[HISTOGRAM_BUCKETS];
};
void histogram_record(struct histogram *h, uint64_t value);
uint64_t histogram_quantile(const struct histogram *h, double q); /* upper edge of the bucket that holds the quantile; 0 when empty */

#endif
