/* The loop on libuv. One uv_timer stands for all deadlines and fires for the earliest; uv_check and uv_prepare frame
 * the poll:
 *
 *      prepare: deferred tasks, set timer and idle ─> poll ─> I/O callbacks ─> check: deferred tasks, due deadlines
 *         ^───────────────────────────────────────────────────────────────────────────────────────────────────┘
 *
 * Only the timer (something is armed) and the idle handle (something is deferred: poll must not sleep) keep libuv's
 * loop alive. */
#include "server/base/loop.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>
#include <uv.h>

struct loop {
	uv_loop_t uv;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t idle;
	uv_timer_t timer;
	uint64_t timer_at_us; /* what the timer is set to; UINT64_MAX: not set */

	TAILQ_HEAD(, loop_task) tasks;
	struct loop_task round_end; /* in the queue while a round runs: what stands behind it waits for the next one */
	struct deadlines deadlines;

	uint64_t now_us, wall_us; /* 0: not asked for yet in this turn */
	uint64_t turn_began_us, turn_idle_ns;
	struct loop_counters counters;
	bool running, stopping;
};

struct loop_work {
	uv_work_t req;
	struct loop *loop;
	struct pool_job *job;
};

static uint64_t loop_read_clock(clockid_t clock)
{
	struct timespec t;
	int rc = clock_gettime(clock, &t);

	assert(rc == 0);
	(void)rc;
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t loop_clock_us(const struct loop *l)
{
	(void)l;
	return loop_read_clock(CLOCK_MONOTONIC);
}

/* I/O callbacks run inside libuv's poll, before anything of ours could take the time: so the first who asks in a turn
 * takes it. Between two runs there is no turn, and start-up takes long: a time kept there would make deadlines come
 * early. */
static uint64_t loop_cached_clock(const struct loop *l, uint64_t *cached_us, clockid_t clock)
{
	uint64_t us = *cached_us;

	if (us == 0)
		us = loop_read_clock(clock);
	if (l->running)
		*cached_us = us;
	return us;
}

uint64_t loop_now_us(const struct loop *l)
{
	return loop_cached_clock(l, &((struct loop *)l)->now_us, CLOCK_MONOTONIC);
}

uint64_t loop_wall_us(const struct loop *l)
{
	return loop_cached_clock(l, &((struct loop *)l)->wall_us, CLOCK_REALTIME);
}

static void loop_forget_time(struct loop *l) { l->now_us = l->wall_us = 0; }

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

static void loop_run_tasks(struct loop *l)
{
	struct loop_task *t;

	if (TAILQ_EMPTY(&l->tasks))
		return;
	TAILQ_INSERT_TAIL(&l->tasks, &l->round_end, link);
	while ((t = TAILQ_FIRST(&l->tasks)) != &l->round_end) {
		loop_undefer(l, t);
		t->run(t); /* t may be gone from here on */
	}
	TAILQ_REMOVE(&l->tasks, &l->round_end, link);
}

/* ---- deadlines */

void loop_arm(struct loop *l, struct deadline *d, uint64_t after_us, deadline_cb cb)
{
	uint64_t now_us = loop_now_us(l);
	uint64_t room_us = UINT64_MAX - 1 - now_us; /* UINT64_MAX means that nothing is armed */

	deadlines_arm(&l->deadlines, d, now_us + (after_us < room_us ? after_us : room_us), cb);
}

void loop_disarm(struct loop *l, struct deadline *d) { deadlines_disarm(&l->deadlines, d); }

static void loop_fire_due(struct loop *l)
{
	struct deadline *d;
	int i;

	for (i = 0; i < LOOP_DEADLINES_PER_ROUND_MAX; i++) {
		d = deadlines_take_due(&l->deadlines, loop_now_us(l));
		if (d == NULL)
			return;
		d->cb(d); /* d may be gone from here on */
	}
}

/* ---- the turn */

static void loop_on_timer(uv_timer_t *timer)
{
	struct loop *l = timer->data;

	l->timer_at_us = UINT64_MAX; /* it was there to end the poll; the check fired what was due */
}

static void loop_on_idle(uv_idle_t *idle) { (void)idle; }

/* Sets idle and timer to what is deferred and armed. The timer has milliseconds: rounded up, so that a wake-up is never
 * for nothing. */
static void loop_settle(struct loop *l, uint64_t clock_us)
{
	uint64_t next_us = deadlines_next_us(&l->deadlines);
	uint64_t left_us = next_us > clock_us ? next_us - clock_us : 0;

	if (TAILQ_EMPTY(&l->tasks))
		uv_idle_stop(&l->idle);
	else
		uv_idle_start(&l->idle, loop_on_idle);

	if (next_us == l->timer_at_us)
		return;
	l->timer_at_us = next_us;
	if (next_us == UINT64_MAX) {
		uv_timer_stop(&l->timer);
		return;
	}
	uv_update_time(&l->uv);
	uv_timer_start(&l->timer, loop_on_timer, left_us / 1000 + (left_us % 1000 != 0), 0);
}

static void loop_begin_turn(struct loop *l, uint64_t clock_us)
{
	l->turn_began_us = clock_us;
	l->turn_idle_ns = uv_metrics_idle_time(&l->uv);
	loop_forget_time(l);
}

/* A turn is all the time between two prepares but for the sleep in poll, which libuv measures for us. From check to
 * prepare would be simpler, and blind: the I/O callbacks run before the check. */
static void loop_end_turn(struct loop *l, uint64_t clock_us)
{
	uint64_t slept_us = (uv_metrics_idle_time(&l->uv) - l->turn_idle_ns) / 1000;
	uint64_t spent_us = clock_us - l->turn_began_us;
	uint64_t turn_us = spent_us > slept_us ? spent_us - slept_us : 0;

	l->counters.turns++;
	if (turn_us > l->counters.turn_max_us)
		l->counters.turn_max_us = turn_us;
	if (turn_us > 1000)
		l->counters.turns_over_1ms++;
	if (turn_us > 10000)
		l->counters.turns_over_10ms++;
}

static void loop_on_prepare(uv_prepare_t *prepare)
{
	struct loop *l = prepare->data;
	uint64_t clock_us;

	loop_run_tasks(l);
	clock_us = loop_clock_us(l);
	loop_settle(l, clock_us);
	loop_end_turn(l, clock_us);
	loop_begin_turn(l, clock_us);
}

static void loop_on_check(uv_check_t *check)
{
	struct loop *l = check->data;

	loop_run_tasks(l);
	loop_fire_due(l);
}

struct loop *loop_new(void)
{
	struct loop *l = calloc(1, sizeof *l);

	if (l == NULL)
		return NULL;
	if (uv_loop_init(&l->uv) != 0) {
		free(l);
		return NULL;
	}
	uv_loop_configure(&l->uv, UV_METRICS_IDLE_TIME);
	uv_prepare_init(&l->uv, &l->prepare);
	uv_check_init(&l->uv, &l->check);
	uv_idle_init(&l->uv, &l->idle);
	uv_timer_init(&l->uv, &l->timer);
	l->prepare.data = l->check.data = l->idle.data = l->timer.data = l;
	uv_prepare_start(&l->prepare, loop_on_prepare);
	uv_check_start(&l->check, loop_on_check);
	uv_unref((uv_handle_t *)&l->prepare);
	uv_unref((uv_handle_t *)&l->check);
	TAILQ_INIT(&l->tasks);
	l->timer_at_us = UINT64_MAX;
	return l;
}

void loop_free(struct loop *l)
{
	int rc;

	if (l == NULL)
		return;
	assert(!l->running);
	assert(TAILQ_EMPTY(&l->tasks) && l->deadlines.count == 0 && l->counters.jobs_running == 0);
	uv_close((uv_handle_t *)&l->prepare, NULL);
	uv_close((uv_handle_t *)&l->check, NULL);
	uv_close((uv_handle_t *)&l->idle, NULL);
	uv_close((uv_handle_t *)&l->timer, NULL);
	uv_run(&l->uv, UV_RUN_NOWAIT);
	rc = uv_loop_close(&l->uv);
	assert(rc == 0);
	(void)rc;
	free(l);
}

void loop_run(struct loop *l)
{
	assert(!l->running);

	l->running = true;
	loop_begin_turn(l, loop_clock_us(l));
	/* A close callback that defers or arms comes after the last prepare: libuv sees nothing alive and returns.
	 * Hence again. */
	do {
		loop_settle(l, loop_clock_us(l));
		uv_run(&l->uv, UV_RUN_DEFAULT);
	} while (!l->stopping && (!TAILQ_EMPTY(&l->tasks) || l->deadlines.count > 0));
	if (l->stopping)
		loop_run_tasks(l); /* the rest of the turn that was stopped */
	loop_end_turn(l, loop_clock_us(l));
	loop_forget_time(l);
	l->stopping = false;
	l->running = false;
}

void loop_stop(struct loop *l)
{
	l->stopping = true;
	uv_stop(&l->uv);
}

/* ---- pool */

static void loop_on_work(uv_work_t *req)
{
	((struct loop_work *)req->data)->job->work(((struct loop_work *)req->data)->job);
}

static void loop_on_work_done(uv_work_t *req, int status)
{
	struct loop_work *work = req->data;
	struct pool_job *job = work->job;

	assert(status == 0); /* nobody cancels */
	(void)status;
	assert(work->loop->counters.jobs_running > 0);
	work->loop->counters.jobs_running--;
	free(work);
	job->impl = NULL;
	job->done(job); /* job may be gone from here on */
}

int loop_submit(struct loop *l, struct pool_job *job)
{
	struct loop_work *work;

	assert(job->work != NULL && job->done != NULL && job->impl == NULL);
	work = malloc(sizeof *work);
	if (work == NULL)
		return -1;
	*work = (struct loop_work){.req.data = work, .loop = l, .job = job};
	if (uv_queue_work(&l->uv, &work->req, loop_on_work, loop_on_work_done) != 0) {
		free(work);
		return -1;
	}
	job->impl = work;
	l->counters.jobs_running++;
	return 0;
}

struct uv_loop_s *loop_uv(struct loop *l) { return &l->uv; }

void loop_counters(const struct loop *l, struct loop_counters *ret)
{
	*ret = l->counters;
	ret->deadlines = l->deadlines.count;
}
