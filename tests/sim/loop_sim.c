#include "tests/sim/loop_sim.h"

#include <assert.h>
#include <stdlib.h>

#define LOOP_SIM_BEGIN_US      UINT64_C(1000000)	  /* not 0: what takes 0 for "never" would pass by luck */
#define LOOP_SIM_BEGIN_WALL_US UINT64_C(1767225600000000) /* 2026-01-01T00:00:00Z */

struct loop_sim_job {
	struct pool_job *job;
	uint64_t ready_us, round; /* round: in which it was submitted */
	TAILQ_ENTRY(loop_sim_job) link;
};

struct loop {
	uint64_t now_us, wall_ahead_us, clock_ahead_us; /* ahead: of now_us */
	TAILQ_HEAD(, loop_task) tasks;
	struct loop_task round_end; /* what stands behind it waits for the next round */
	struct deadlines deadlines;
	TAILQ_HEAD(loop_sim_jobs, loop_sim_job) jobs; /* by ready_us, then as they were submitted */
	uint64_t job_delay_us;
	unsigned refuse_jobs;
	struct loop_counters counters;
	bool running, stopping;
};

struct loop *loop_new(void)
{
	struct loop *l = calloc(1, sizeof *l);

	if (l == NULL)
		return NULL;
	l->now_us = LOOP_SIM_BEGIN_US;
	l->wall_ahead_us = LOOP_SIM_BEGIN_WALL_US - LOOP_SIM_BEGIN_US;
	TAILQ_INIT(&l->tasks);
	TAILQ_INIT(&l->jobs);
	return l;
}

void loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	assert(!l->running);
	assert(TAILQ_EMPTY(&l->tasks) && TAILQ_EMPTY(&l->jobs) && l->deadlines.count == 0);
	free(l);
}

uint64_t loop_now_us(const struct loop *l) { return l->now_us; }
uint64_t loop_wall_us(const struct loop *l) { return l->now_us + l->wall_ahead_us; }
uint64_t loop_clock_us(const struct loop *l) { return l->now_us + l->clock_ahead_us; }

void loop_sim_clock_ahead_us(struct loop *l, uint64_t us) { l->clock_ahead_us = us; }

void loop_sim_set_wall_us(struct loop *l, uint64_t us) { l->wall_ahead_us = us - l->now_us; }

/* ---- deferred tasks */

void loop_defer(struct loop *l, struct loop_task *t, void (*run)(struct loop_task *t))
{
	assert(run != NULL);

	if (t->queued)
		return;
	t->run = run;
	t->queued = true;
	TAILQ_INSERT_TAIL(&l->tasks, t, link);
}

void loop_undefer(struct loop *l, struct loop_task *t)
{
	if (!t->queued)
		return;
	TAILQ_REMOVE(&l->tasks, t, link);
	t->queued = false;
}

static void loop_sim_run_tasks(struct loop *l)
{
	struct loop_task *t;

	TAILQ_INSERT_TAIL(&l->tasks, &l->round_end, link);
	while ((t = TAILQ_FIRST(&l->tasks)) != &l->round_end) {
		loop_undefer(l, t);
		t->run(t);
	}
	TAILQ_REMOVE(&l->tasks, &l->round_end, link);
}

/* ---- deadlines */

void loop_arm(struct loop *l, struct deadline *d, uint64_t after_us, deadline_cb cb)
{
	uint64_t room_us = UINT64_MAX - 1 - l->now_us;

	deadlines_arm(&l->deadlines, d, l->now_us + (after_us < room_us ? after_us : room_us), cb);
}

void loop_disarm(struct loop *l, struct deadline *d) { deadlines_disarm(&l->deadlines, d); }

static void loop_sim_fire_due(struct loop *l)
{
	struct deadline *d;
	int i;

	for (i = 0; i < LOOP_DEADLINES_PER_ROUND_MAX; i++) {
		d = deadlines_take_due(&l->deadlines, l->now_us);
		if (d == NULL)
			return;
		d->cb(d);
	}
}

/* ---- pool */

void loop_sim_job_delay_us(struct loop *l, uint64_t us) { l->job_delay_us = us; }

void loop_sim_refuse_jobs(struct loop *l, unsigned count) { l->refuse_jobs = count; }

int loop_submit(struct loop *l, struct pool_job *job)
{
	struct loop_sim_job *mine, *at;

	assert(job->work != NULL && job->done != NULL && job->impl == NULL);
	if (l->refuse_jobs > 0) {
		l->refuse_jobs--;
		return -1;
	}
	mine = malloc(sizeof *mine);
	if (mine == NULL)
		return -1;
	*mine = (struct loop_sim_job){.job = job, .ready_us = l->now_us + l->job_delay_us, .round = l->counters.turns};
	job->impl = mine;
	TAILQ_FOREACH (at, &l->jobs, link)
		if (at->ready_us > mine->ready_us)
			break;
	if (at != NULL)
		TAILQ_INSERT_BEFORE(at, mine, link);
	else
		TAILQ_INSERT_TAIL(&l->jobs, mine, link);
	l->counters.jobs_running++;
	return 0;
}

static void loop_sim_finish_jobs(struct loop *l)
{
	struct loop_sim_job *mine;

	while ((mine = TAILQ_FIRST(&l->jobs)) != NULL && mine->ready_us <= l->now_us &&
	       mine->round < l->counters.turns) {
		struct pool_job *job = mine->job;

		TAILQ_REMOVE(&l->jobs, mine, link);
		free(mine);
		l->counters.jobs_running--;
		job->work(job);
		job->impl = NULL;
		job->done(job);
	}
}

/* ---- rounds and time */

void loop_sim_step(struct loop *l)
{
	assert(!l->running);
	l->running = true;
	l->counters.turns++;
	loop_sim_finish_jobs(l);
	loop_sim_run_tasks(l);
	loop_sim_fire_due(l);
	loop_sim_run_tasks(l);
	l->running = false;
}

static uint64_t loop_sim_next_us(const struct loop *l)
{
	const struct loop_sim_job *job = TAILQ_FIRST(&l->jobs);
	uint64_t next_us = deadlines_next_us(&l->deadlines);

	if (!TAILQ_EMPTY(&l->tasks))
		return l->now_us;
	if (job != NULL && job->ready_us < next_us)
		next_us = job->ready_us;
	return next_us > l->now_us ? next_us : l->now_us;
}

bool loop_sim_idle(const struct loop *l) { return loop_sim_next_us(l) > l->now_us; }

/* Until nothing is due up to end_us, or loop_stop. True: it was stopped. */
static bool loop_sim_run_until(struct loop *l, uint64_t end_us)
{
	uint64_t next_us;
	bool stopped;
	int rounds = 0;

	while (!l->stopping && (next_us = loop_sim_next_us(l)) <= end_us) {
		rounds = next_us > l->now_us ? 0 : rounds + 1;
		assert(rounds < LOOP_SIM_ROUNDS_MAX);
		l->now_us = next_us;
		loop_sim_step(l);
	}
	stopped = l->stopping;
	l->stopping = false;
	return stopped;
}

void loop_sim_run_for(struct loop *l, uint64_t us)
{
	uint64_t end_us = l->now_us + us;

	if (!loop_sim_run_until(l, end_us))
		l->now_us = end_us;
}

void loop_run(struct loop *l) { loop_sim_run_until(l, UINT64_MAX - 1); }

void loop_stop(struct loop *l) { l->stopping = true; }

struct uv_loop_s *loop_uv(struct loop *l)
{
	(void)l;
	assert(!"a scenario has no libuv: link a fake for this door");
	return NULL;
}

void loop_counters(const struct loop *l, struct loop_counters *ret)
{
	*ret = l->counters;
	ret->deadlines = l->deadlines.count;
}
