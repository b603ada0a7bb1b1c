/* loop: the order of a turn, what keeps it alive, the clock, the pool. Every case ends with loop_free, which asserts
 * that nothing is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/failing_malloc.h"

#include "server/base/loop.c"

#define WORK_US 5000
#define CROWD	(LOOP_DEADLINES_PER_ROUND_MAX * 3)

struct fixture {
	struct loop *l;
	char trace[256]; /* one letter an event */
	struct loop_task a, b, c;
	struct deadline x, y, crowd[CROWD];
	struct pool_job job;
	int countdown, fired, fired_between;
	uint64_t began_us, seen_us;
	uv_idle_t idle; /* I/O of another door */
	uv_timer_t timer;
};

static struct fixture f;

static int setup(void **state)
{
	(void)state;
	failing_malloc_after = -1;
	f = (struct fixture){.l = loop_new()};
	return f.l != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	failing_malloc_after = -1;
	loop_free(f.l);
	return 0;
}

static void trace(char event)
{
	size_t n = strlen(f.trace);

	assert_true(n + 1 < sizeof f.trace);
	f.trace[n] = event;
}

static void on_a(struct loop_task *t) { trace(t == &f.a ? 'a' : '!'); }
static void on_b(struct loop_task *t) { trace(t == &f.b ? 'b' : '!'); }
static void on_x(struct deadline *d) { trace(d == &f.x ? 'x' : '!'); }
static void on_y(struct deadline *d) { trace(d == &f.y ? 'y' : '!'); }

static void work(struct pool_job *job)
{
	assert_ptr_equal(job, &f.job);
	usleep(WORK_US);
	f.fired = 1;
}

/* `done` is called from inside poll, as every I/O callback is. */
static void submit(void (*done)(struct pool_job *job))
{
	f.job = (struct pool_job){.work = work, .done = done};
	assert_int_equal(loop_submit(f.l, &f.job), 0);
}

/* ---- deferred tasks */

static void a_loop_with_nothing_to_do_returns(void **state)
{
	(void)state;
	loop_run(f.l);
	loop_run(f.l);
}

static void tasks_run_in_the_order_in_which_they_were_deferred(void **state)
{
	(void)state;
	loop_defer(f.l, &f.b, on_b);
	loop_defer(f.l, &f.a, on_a);
	loop_defer(f.l, &f.b, on_b); /* stays where it is */
	assert_string_equal(f.trace, "");
	loop_run(f.l);
	assert_string_equal(f.trace, "ba");
	assert_false(f.a.queued || f.b.queued);
}

static void a_task_that_was_undeferred_does_not_run(void **state)
{
	(void)state;
	loop_defer(f.l, &f.a, on_a);
	loop_defer(f.l, &f.b, on_b);
	loop_undefer(f.l, &f.a);
	loop_undefer(f.l, &f.a);
	loop_run(f.l);
	assert_string_equal(f.trace, "b");
}

static void defer_itself(struct loop_task *t)
{
	trace('a');
	if (--f.countdown > 0)
		loop_defer(f.l, t, defer_itself);
}

static void a_task_deferred_by_a_task_runs_in_the_next_round(void **state)
{
	(void)state;
	f.countdown = 3;
	loop_defer(f.l, &f.a, defer_itself);
	loop_defer(f.l, &f.b, on_b);
	loop_run(f.l);
	assert_string_equal(f.trace, "abaa");
}

static void undefer_the_other(struct loop_task *t)
{
	(void)t;
	loop_undefer(f.l, &f.b);
}

static void a_task_may_undefer_one_of_its_own_round(void **state)
{
	(void)state;
	loop_defer(f.l, &f.a, undefer_the_other);
	loop_defer(f.l, &f.b, on_b);
	loop_run(f.l);
	assert_string_equal(f.trace, "");
}

static void free_itself(struct loop_task *t)
{
	free(t);
	trace('f');
}

static void a_task_may_free_itself(void **state)
{
	struct loop_task *t = calloc(1, sizeof *t);

	(void)state;
	loop_defer(f.l, t, free_itself);
	loop_run(f.l);
	assert_string_equal(f.trace, "f");
}

static void stop(struct loop_task *t)
{
	(void)t;
	trace('s');
	loop_stop(f.l);
}

static void stop_returns_at_the_end_of_the_turn_and_run_goes_on_later(void **state)
{
	(void)state;
	loop_defer(f.l, &f.a, stop);
	loop_arm(f.l, &f.x, 3600 * UINT64_C(1000000), on_x);
	loop_run(f.l);
	assert_string_equal(f.trace, "s");
	loop_arm(f.l, &f.x, 0, on_x);
	loop_run(f.l);
	assert_string_equal(f.trace, "sx");
}

static void stop_and_defer(struct deadline *d)
{
	(void)d;
	loop_stop(f.l);
	loop_defer(f.l, &f.b, on_b);
}

static void what_a_stopped_turn_has_deferred_still_runs_in_it(void **state)
{
	(void)state;
	loop_arm(f.l, &f.x, 0, stop_and_defer);
	loop_run(f.l);
	assert_string_equal(f.trace, "b");
}

/* ---- deadlines */

static void deadlines_come_in_order_and_never_early(void **state)
{
	uint64_t began_us = loop_clock_us(f.l);

	(void)state;
	loop_arm(f.l, &f.y, 12300, on_y);
	loop_arm(f.l, &f.x, 4500, on_x);
	loop_run(f.l);
	assert_string_equal(f.trace, "xy");
	assert_true(loop_clock_us(f.l) - began_us >= 12300);
}

static void a_deadline_far_beyond_the_end_of_time_does_not_wrap_around(void **state)
{
	(void)state;
	loop_arm(f.l, &f.y, UINT64_MAX, on_y);
	loop_arm(f.l, &f.x, 1000, on_x);
	loop_defer(f.l, &f.a, stop);
	loop_run(f.l);
	loop_disarm(f.l, &f.x);
	loop_disarm(f.l, &f.y);
	assert_string_equal(f.trace, "s");
}

static void disarm_y(struct deadline *d)
{
	(void)d;
	loop_disarm(f.l, &f.y);
}

static void the_loop_ends_when_its_last_deadline_is_disarmed(void **state)
{
	(void)state;
	loop_arm(f.l, &f.y, 3600 * UINT64_C(1000000), on_y);
	loop_arm(f.l, &f.x, 1000, disarm_y);
	loop_run(f.l);
	assert_string_equal(f.trace, "");
}

static void arm_itself(struct deadline *d)
{
	trace('x');
	if (--f.countdown > 0)
		loop_arm(f.l, d, 500, arm_itself);
}

static void a_deadline_may_be_armed_again_in_its_callback(void **state)
{
	(void)state;
	f.countdown = 5;
	loop_arm(f.l, &f.x, 0, arm_itself);
	loop_run(f.l);
	assert_string_equal(f.trace, "xxxxx");
}

static void on_crowd(struct deadline *d)
{
	(void)d;
	f.fired++;
}

/* I/O in every turn: how many deadlines had fired since it last ran? */
static void on_idle(uv_idle_t *idle)
{
	if (f.fired - f.countdown > f.fired_between)
		f.fired_between = f.fired - f.countdown;
	f.countdown = f.fired;
	if (f.fired == CROWD)
		uv_close((uv_handle_t *)idle, NULL);
}

static void a_crowd_of_deadlines_is_fired_in_rounds_with_io_in_between(void **state)
{
	int i;

	(void)state;
	uv_idle_init(loop_uv(f.l), &f.idle);
	uv_idle_start(&f.idle, on_idle);
	for (i = 0; i < CROWD; i++)
		loop_arm(f.l, &f.crowd[i], 0, on_crowd);
	loop_run(f.l);
	assert_int_equal(f.fired, CROWD);
	assert_int_equal(f.fired_between, LOOP_DEADLINES_PER_ROUND_MAX);
}

/* ---- one turn as a whole */

static void defer_b(struct deadline *d)
{
	(void)d;
	trace('x');
	loop_defer(f.l, &f.b, on_b);
}

static void on_io(struct pool_job *job)
{
	(void)job;
	trace('i');
	loop_defer(f.l, &f.a, on_a);
	loop_arm(f.l, &f.x, 0, defer_b);
}

static void a_turn_is_io_then_tasks_then_deadlines_then_tasks(void **state)
{
	(void)state;
	submit(on_io);
	loop_run(f.l);
	assert_string_equal(f.trace, "iaxb");
}

static void on_closed(uv_handle_t *handle)
{
	(void)handle;
	loop_defer(f.l, &f.a, on_a);
	loop_arm(f.l, &f.x, 1000, on_x);
}

static void what_the_last_close_callback_starts_still_happens(void **state)
{
	(void)state;
	uv_timer_init(loop_uv(f.l), &f.timer);
	uv_close((uv_handle_t *)&f.timer, on_closed);
	loop_run(f.l);
	assert_string_equal(f.trace, "ax");
}

/* ---- clock */

static void check_time(struct loop_task *t)
{
	uint64_t now_us = loop_now_us(f.l), wall_us = loop_wall_us(f.l);

	(void)t;
	usleep(3000);
	assert_true(loop_now_us(f.l) == now_us && loop_wall_us(f.l) == wall_us);
	assert_true(loop_clock_us(f.l) >= now_us + 3000);
	f.seen_us = now_us;
}

static void time_stands_still_within_a_turn_and_goes_on_in_the_next(void **state)
{
	uint64_t first_us;

	(void)state;
	loop_defer(f.l, &f.a, check_time);
	loop_run(f.l);
	first_us = f.seen_us;
	loop_defer(f.l, &f.a, check_time);
	loop_run(f.l);
	assert_true(f.seen_us >= first_us + 3000);
	assert_true(loop_wall_us(f.l) > UINT64_C(1700000000000000));
}

static void time_goes_on_while_the_loop_does_not_run(void **state)
{
	uint64_t now_us = loop_now_us(f.l);

	(void)state;
	usleep(3000); /* a start-up that takes its time */
	assert_true(loop_now_us(f.l) >= now_us + 3000);
}

static void see_time(struct pool_job *job)
{
	(void)job;
	f.seen_us = loop_now_us(f.l);
}

static void io_sees_the_time_at_which_poll_ended(void **state)
{
	uint64_t began_us = loop_now_us(f.l);

	(void)state;
	submit(see_time);
	loop_run(f.l);
	assert_true(f.seen_us >= began_us + WORK_US);
}

/* ---- pool */

static void on_done(struct pool_job *job)
{
	assert_ptr_equal(job, &f.job);
	assert_int_equal(f.fired, 1);
	trace('d');
}

static uint64_t jobs_running(void)
{
	struct loop_counters c;

	loop_counters(f.l, &c);
	return c.jobs_running;
}

static void done_comes_once_on_the_loop_and_keeps_it_alive(void **state)
{
	(void)state;
	submit(on_done);
	assert_int_equal(jobs_running(), 1);
	assert_string_equal(f.trace, "");
	loop_run(f.l);
	assert_string_equal(f.trace, "d");
	assert_int_equal(jobs_running(), 0);
}

static void submit_again(struct pool_job *job)
{
	on_done(job);
	if (--f.countdown > 0)
		assert_int_equal(loop_submit(f.l, job), 0);
}

static void a_job_may_be_submitted_again_in_its_done(void **state)
{
	(void)state;
	f.countdown = 3;
	submit(submit_again);
	loop_run(f.l);
	assert_string_equal(f.trace, "ddd");
}

static void done_of_a_loop_that_was_stopped_comes_in_the_next_run(void **state)
{
	(void)state;
	f.job = (struct pool_job){.work = work, .done = on_done};
	loop_defer(f.l, &f.a, stop);
	assert_int_equal(loop_submit(f.l, &f.job), 0);
	loop_run(f.l);
	assert_string_equal(f.trace, "s");
	loop_run(f.l);
	assert_string_equal(f.trace, "sd");
}

static void submit_without_memory_starts_nothing(void **state)
{
	(void)state;
	failing_malloc_after = 0;
	f.job = (struct pool_job){.work = work, .done = on_done};
	assert_int_equal(loop_submit(f.l, &f.job), -1);
	assert_int_equal(jobs_running(), 0);
	loop_run(f.l);
	assert_string_equal(f.trace, "");
}

static void new_without_memory_returns_null(void **state)
{
	(void)state;
	failing_malloc_after = 0;
	assert_null(loop_new());
	loop_free(NULL);
}

/* ---- counters */

static void hold_the_loop(struct loop_task *t)
{
	(void)t;
	usleep(12000);
}

static void a_turn_that_holds_the_loop_is_counted_and_sleep_is_not(void **state)
{
	struct loop_counters before, after;

	(void)state;
	loop_arm(f.l, &f.x, 100000, on_x);
	loop_run(f.l);
	loop_counters(f.l, &before);
	assert_true(before.turns > 0);
	assert_true(before.turn_max_us < 90000);
	loop_defer(f.l, &f.a, hold_the_loop);
	loop_run(f.l);
	loop_counters(f.l, &after);
	assert_true(after.turn_max_us >= 12000);
	assert_true(after.turns_over_1ms > before.turns_over_1ms);
	assert_true(after.turns_over_10ms > before.turns_over_10ms);
}

static void hold_in_io(struct pool_job *job)
{
	(void)job;
	usleep(12000);
}

static void the_time_of_io_callbacks_counts_into_the_turn(void **state)
{
	struct loop_counters c;

	(void)state;
	submit(hold_in_io);
	loop_run(f.l);
	loop_counters(f.l, &c);
	assert_true(c.turn_max_us >= 12000);
}

static void armed_deadlines_are_counted(void **state)
{
	struct loop_counters c;

	(void)state;
	loop_arm(f.l, &f.x, 1000, on_x);
	loop_arm(f.l, &f.y, 1000, on_y);
	loop_counters(f.l, &c);
	assert_int_equal(c.deadlines, 2);
	loop_disarm(f.l, &f.x);
	loop_disarm(f.l, &f.y);
	loop_counters(f.l, &c);
	assert_int_equal(c.deadlines, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_loop_with_nothing_to_do_returns),
		CASE(tasks_run_in_the_order_in_which_they_were_deferred),
		CASE(a_task_that_was_undeferred_does_not_run),
		CASE(a_task_deferred_by_a_task_runs_in_the_next_round),
		CASE(a_task_may_undefer_one_of_its_own_round),
		CASE(a_task_may_free_itself),
		CASE(stop_returns_at_the_end_of_the_turn_and_run_goes_on_later),
		CASE(what_a_stopped_turn_has_deferred_still_runs_in_it),
		CASE(deadlines_come_in_order_and_never_early),
		CASE(a_deadline_far_beyond_the_end_of_time_does_not_wrap_around),
		CASE(the_loop_ends_when_its_last_deadline_is_disarmed),
		CASE(a_deadline_may_be_armed_again_in_its_callback),
		CASE(a_crowd_of_deadlines_is_fired_in_rounds_with_io_in_between),
		CASE(a_turn_is_io_then_tasks_then_deadlines_then_tasks),
		CASE(what_the_last_close_callback_starts_still_happens),
		CASE(time_stands_still_within_a_turn_and_goes_on_in_the_next),
		CASE(time_goes_on_while_the_loop_does_not_run),
		CASE(io_sees_the_time_at_which_poll_ended),
		CASE(done_comes_once_on_the_loop_and_keeps_it_alive),
		CASE(a_job_may_be_submitted_again_in_its_done),
		CASE(done_of_a_loop_that_was_stopped_comes_in_the_next_run),
		CASE(submit_without_memory_starts_nothing),
		CASE(new_without_memory_returns_null),
		CASE(a_turn_that_holds_the_loop_is_counted_and_sleep_is_not),
		CASE(the_time_of_io_callbacks_counts_into_the_turn),
		CASE(armed_deadlines_are_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
