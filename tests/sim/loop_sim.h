/* loop_sim: the loop in virtual time. The same header as the real one (server/base/loop.h), linked in its place; no
 * libuv, no thread.
 *
 *      a round:  pool jobs that are ready ──> deferred tasks ──> due deadlines ──> deferred tasks
 *
 * as in the real loop, where a job's `done` comes out of poll. Time stands still within a round and moves only when
 * nothing is left to do at that time, straight to the next deadline or finished job. Everything comes in one fixed
 * order, so a scenario that failed fails again.
 *
 * A pool job runs `work` and `done` in a later round than the one it was submitted in, after its delay, on the only
 * thread there is. loop_uv asserts: a scenario links fakes for all doors. loop_clock_us is loop_now_us (see
 * loop_sim_clock_ahead_us): nothing takes time here. */
#ifndef SIM_LOOP_SIM_H
#define SIM_LOOP_SIM_H

#include "server/base/loop.h"

/* Rounds at one point in time before loop_run and loop_sim_run_for abort: what defers itself for ever would hang the
 * test. */
#define LOOP_SIM_ROUNDS_MAX 100000

/* One round without moving time. */
void loop_sim_step(struct loop *l);

/* Runs all that falls due in the next `us` microseconds, in order, and leaves the time there (earlier if loop_stop was
 * called: then at that time). */
void loop_sim_run_for(struct loop *l, uint64_t us);

/* True: at this time nothing is left to do; only moving on would bring something, or nothing ever will. */
bool loop_sim_idle(const struct loop *l);

/* From now on jobs take this long; 0, as at the beginning: they are done in the next round. */
void loop_sim_job_delay_us(struct loop *l, uint64_t us);

/* loop_submit fails (no memory) this many times from now on. */
void loop_sim_refuse_jobs(struct loop *l, unsigned count);

/* From now on loop_clock_us is so much ahead of loop_now_us: each turn has been long already. */
void loop_sim_clock_ahead_us(struct loop *l, uint64_t us);

/* The wall clock says this now, and goes on from there with virtual time. */
void loop_sim_set_wall_us(struct loop *l, uint64_t us);

#endif
