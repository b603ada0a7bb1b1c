/* metrics: modules describe their numbers in a table beside the code that counts them; the registry only knows where
 * they are.
 *
 * Each module has an X-macro table, X(name, kind, text), from which come a struct of uint64_t counters and its
 * description. Counting is a plain increment on the module's own struct. STATS, `--describe metrics` and the metrics
 * reference all walk the registry. */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum metric_kind {
	METRIC_COUNTER,
	METRIC_GAUGE
};

struct metric {
	const char *name; /* "engine_hits_exact_total"; counters end in _total; units last */
	enum metric_kind kind;
	const char *text; /* one line of help */
	size_t offset;	  /* of the uint64_t within the module's struct */
};

/* In the module's header, the table and the struct:
 *
 *      #define CONN_METRICS(X)                                                 \
 *              X(conn_opened_total, COUNTER, "connections accepted")           \
 *              X(conn_open, GAUGE, "connections open now")
 *      struct conn_metrics { METRICS_FIELDS(CONN_METRICS) };
 *
 * and in its .c the description, whose rows go to the registry as a struct metrics_module:
 *
 *      static const struct metric conn_table[] = { METRICS_TABLE(CONN_METRICS, struct conn_metrics) }; */
#define METRIC_FIELD(field, kind, text) uint64_t field;
#define METRICS_FIELDS(TABLE)		TABLE(METRIC_FIELD)

/* The table calls X with three arguments and cannot hand the struct on. So what is given for X is the start of a row,
 * up to where the field's name belongs, followed by the macro that ends it: X(a, KIND, "text") becomes
 * {.offset = (size_t)&((type *)0)->METRIC_ROW_END(a, KIND, "text"). */
/* clang-format off */
#define METRICS_TABLE(TABLE, type)	    TABLE({.offset = (size_t)&((type *)0)->METRIC_ROW_END)
#define METRIC_ROW_END(field, kind_, text_) field, .name = #field, .kind = METRIC_##kind_, .text = text_},
/* clang-format on */

#define METRICS_MODULES_MAX 32

struct metrics_module {
	const struct metric *table;
	size_t count;
	const void *values;			    /* (borrowed) the module's struct; NULL when only describing */
	void (*refresh)(void *owner, void *values); /* fills gauges just before they are read; may be NULL */
	void *owner;
};

struct metrics {
	struct metrics_module modules[METRICS_MODULES_MAX];
	size_t count;
};

/* Asserts that there is room, that no name is there yet, and that counters and only they end in _total (programming
 * errors, not input). */
void metrics_add(struct metrics *m, const struct metrics_module *module);

/* Calls `each` for every metric in the order of registration, refreshing each module first. */
void metrics_walk(const struct metrics *m, void (*each)(void *owner, const struct metric *metric, uint64_t value),
		  void *owner);

#endif
