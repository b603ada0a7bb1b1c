/* report: what a run found, for people or as one JSON object with all that is needed to repeat it. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench/bench/rounds.h"
#include "bench/bench/storm.h"

#define REPORT_CAVEAT "closed loop: latencies under stalls are understated"

struct report {
	const struct settings *settings; /* (borrowed, as all of these) */
	const struct rounds *rounds;	 /* or storm */
	const struct storm_result *storm;
	uint64_t run; /* the number in the prompts that never repeat */
};

void report_print(const struct report *r);
void report_print_json(const struct report *r);

#endif
