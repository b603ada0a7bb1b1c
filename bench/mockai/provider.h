/* provider: the simulated provider itself: settings, counters, chance, and the table of what it answers.
 *
 * Bytes in, script out: no socket and no timer here. */
#ifndef MOCKAI_PROVIDER_H
#define MOCKAI_PROVIDER_H

#include "bench/mockai/random.h"
#include "bench/mockai/request.h"
#include "bench/mockai/script.h"
#include "bench/mockai/settings.h"
#include "bench/mockai/stats.h"

struct provider {
	struct settings settings;
	struct stats stats;
	struct random random;
	bool settings_changed; /* since whoever holds answers back has last looked */
};

void provider_init(struct provider *p, const struct settings *settings);
void provider_free(struct provider *p);

/* Writes the answer to a request that is COMPLETE or BAD into an empty script. */
void provider_answer(struct provider *p, const struct request *r, struct script *s);

#endif
