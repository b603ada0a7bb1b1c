/* load: the closed loop against the server: each connection keeps `depth` requests in flight. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "bench/bench/clients.h"
#include "bench/bench/pace.h"
#include "bench/bench/prompts.h"
#include "bench/bench/tally.h"

struct load {
	const struct settings *settings; /* (borrowed, as all of these) */
	struct clients *clients;
	struct prompts *prompts;
	struct pace *pace;
	uint64_t random; /* state: which prompt comes next */
};

/* Brings the working set into the cache, as --prime says; failures are counted in tally. */
void load_prime(struct load *l, struct tally *tally);

/* One phase. Returns the nanoseconds it took. */
uint64_t load_run(struct load *l, struct pace_extent extent, struct tally *tally);

#endif
