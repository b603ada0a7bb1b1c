/* pace: when a phase of load begins and ends, and how far it has come.
 *
 *      pace_run ──> each slot: pace_start ──> in flight ──> next one: pace_start ──> … ──> none may leave: pace_end
 *
 * A phase is over when its number of requests or its time is used up and nothing is in flight any more; so each request
 * that left has ended and is counted. */
#ifndef BENCH_PACE_H
#define BENCH_PACE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define PACE_PROGRESS_MS 2000 /* between two lines of progress, where somebody watches */

/* How much load a phase is: so many requests; 0: as many as fit in the time. */
struct pace_extent {
	uint64_t requests;
	double seconds;
};

struct pace {
	uv_loop_t *loop; /* (borrowed) */
	uv_timer_t end;
	uv_timer_t progress;
	const char *name; /* of the phase, for the progress line */
	uint64_t limit;	  /* requests; UINT64_MAX: the time decides */
	uint64_t started;
	uint64_t running;
	uint64_t began_ns;
	bool stopping;
};

void pace_init(struct pace *p, uv_loop_t *loop);
void pace_close(struct pace *p); /* the loop has to run once more */

/* Calls first(owner), which starts the first requests, then runs the loop until
 * all have ended. Returns the nanoseconds that it took. */
uint64_t pace_run(struct pace *p, const char *name, struct pace_extent extent, void (*first)(void *owner), void *owner);

/* May one more request leave? It is counted as in flight. */
bool pace_start(struct pace *p);

/* One has ended, and those that follow it were started. */
void pace_end(struct pace *p);

#endif
