#include "server/base/metrics.h"

#include <assert.h>
#include <string.h>

static bool has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && strcmp(s + n - m, suffix) == 0;
}

static bool is_known(const struct metrics *m, const char *name)
{
	for (size_t i = 0; i < m->count; i++) {
		for (size_t j = 0; j < m->modules[i].count; j++) {
			if (strcmp(m->modules[i].table[j].name, name) == 0)
				return true;
		}
	}
	return false;
}

void metrics_add(struct metrics *m, const struct metrics_module *module)
{
	assert(m->count < METRICS_MODULES_MAX);
	for (size_t i = 0; i < module->count; i++) {
		const struct metric *metric = &module->table[i];

		assert(!is_known(m, metric->name));
		assert((metric->kind == METRIC_COUNTER) == has_suffix(metric->name, "_total"));
	}
	m->modules[m->count++] = *module;
}

void metrics_walk(const struct metrics *m, void (*each)(void *owner, const struct metric *metric, uint64_t value),
		  void *owner)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct metrics_module *module = &m->modules[i];

		if (module->refresh != NULL && module->values != NULL)
			module->refresh(module->owner, (void *)module->values);
		for (size_t j = 0; j < module->count; j++) {
			const struct metric *metric = &module->table[j];
			uint64_t value = 0;

			if (module->values != NULL)
				memcpy(&value, (const char *)module->values + metric->offset, sizeof(value));
			each(owner, metric, value);
		}
	}
}
