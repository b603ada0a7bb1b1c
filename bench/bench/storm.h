/* storm: one new question, asked many times at once over all connections: how many answers, from where, after how long.
 *
 * With --cut-after, the question of the first connection leaves a turn of the loop before the others, so that it leads,
 * and the connection is closed while all wait. Its own questions count as cut, not as failed. */
#ifndef BENCH_STORM_H
#define BENCH_STORM_H

#include "bench/bench/clients.h"
#include "bench/bench/prompts.h"
#include "bench/bench/tally.h"

struct storm_result {
	uint64_t asked;
	uint64_t cut;	    /* their connection was closed by us */
	uint64_t different; /* answers that are not the same as the first one; each is a failure, too */
	struct tally tally; /* latency: from asking to the answer's end */
	uint64_t elapsed_ns;
};

void storm_run(struct clients *c, struct prompts *prompts, const struct settings *s, struct storm_result *ret);

#endif
