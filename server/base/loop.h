/* loop: the one event loop: its clock, its deadlines, its deferred tasks, its pool. A door to the world: scenarios link
 * loop_sim.c (tests/sim) behind the same header, and time becomes virtual.
 *
 *      poll for I/O ──> callbacks ──> deferred tasks ──> due deadlines ──> deferred tasks ──> poll …
 *
 * Deferred tasks are how "later, but in this turn" is said: results that must not come before the call that started
 * them has returned, frees that must not happen inside one's own call stack, one write per connection and turn. A task
 * deferred by a running task runs in the next round, and the loop does not sleep before. */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "server/base/deadline.h"

struct loop;
struct uv_loop_s;

/* Deadlines fired in one round; the rest of a crowd that is due together waits for the next, so that I/O comes in
 * between. */
#define LOOP_DEADLINES_PER_ROUND_MAX 256

/* NULL: no memory or no descriptors. */
struct loop *loop_new(void);

/* Nothing may be armed, deferred, submitted or open any more: asserts that uv_loop_close returns 0. Accepts NULL. */
void loop_free(struct loop *l);

void loop_run(struct loop *l);	/* until loop_stop, or until nothing is left to wait for */
void loop_stop(struct loop *l); /* loop_run returns at the end of this turn */

uint64_t loop_now_us(const struct loop *l);  /* monotonic, taken once a turn; outside of loop_run at each call */
uint64_t loop_wall_us(const struct loop *l); /* microseconds since 1970, taken once a turn; may jump */

/* Real (not cached) monotonic time, for measuring how long something took. */
uint64_t loop_clock_us(const struct loop *l);

/* ---- deferred tasks. Zeroed memory is a task that is not queued. */
struct loop_task {
	void (*run)(struct loop_task *t); /* t is no longer queued when it runs, and may be freed in it */
	TAILQ_ENTRY(loop_task) link;
	bool queued;
};
/* One that is queued stays where it is; undefer accepts one that is not queued. */
void loop_defer(struct loop *l, struct loop_task *t, void (*run)(struct loop_task *t));
void loop_undefer(struct loop *l, struct loop_task *t);

/* ---- deadlines */
/* after_us counts from loop_now_us. One that is armed is moved. */
void loop_arm(struct loop *l, struct deadline *d, uint64_t after_us, deadline_cb cb);
void loop_disarm(struct loop *l, struct deadline *d);

/* ---- pool: blocking disk work and long parsing, on libuv's threads.
 * `work` runs on a pool thread and touches only what hangs on the job; `done` comes on the loop, exactly once, never
 * before submit has returned, also when the loop is stopping. The job's memory belongs to the caller and stays until
 * `done`. */
struct pool_job {
	void (*work)(struct pool_job *job);
	void (*done)(struct pool_job *job);
	void *impl; /* the loop's */
};
/* -1: no memory; nothing was started and `done` will not come. */
__attribute__((warn_unused_result)) int loop_submit(struct loop *l, struct pool_job *job);

/* ---- for the other doors (sockets, curl, signals) only; not there in scenarios. */
struct uv_loop_s *loop_uv(struct loop *l);

struct loop_counters {
	uint64_t turns;
	uint64_t turn_max_us;	 /* longest turn, without the time spent waiting in poll */
	uint64_t turns_over_1ms; /* turns that held the loop longer than a millisecond */
	uint64_t turns_over_10ms;
	uint64_t deadlines;    /* armed now */
	uint64_t jobs_running; /* submitted, not done */
};
void loop_counters(const struct loop *l, struct loop_counters *ret);

#endif
