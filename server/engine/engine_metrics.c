/* The engine's numbers and options, as tables. */
#include "server/engine/engine_internal.h"

/* clang-format off */
static const struct metric engine_table[] = {METRICS_TABLE(ENGINE_METRICS, struct engine_metrics)};
/* clang-format on */

static void engine_refresh(void *owner, void *values)
{
	struct engine *e = owner;
	struct engine_metrics *m = values;

	m->engine_answers_bytes = e->answers_bytes;
	m->engine_flights_bytes = e->flights_bytes;
	m->engine_flights = e->flights_count;
	m->engine_waiters = e->waiters_count;
}

void engine_metrics_add(struct engine *e, struct metrics *m)
{
	metrics_add(m, &(struct metrics_module){
			       .table = engine_table,
			       .count = sizeof engine_table / sizeof engine_table[0],
			       .values = &e->metrics,
			       .refresh = engine_refresh,
			       .owner = e,
		       });
}

void engine_metrics_describe(struct metrics *m)
{
	metrics_add(m, &(struct metrics_module){.table = engine_table,
						.count = sizeof engine_table / sizeof engine_table[0]});
}
