/* loop_sim: the same order as the real loop, and time that moves only when it is told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tests/sim/loop_sim.h"

#define SECOND UINT64_C(1000000)
#define CROWD  (LOOP_DEADLINES_PER_ROUND_MAX + 10)

struct fixture {
	struct loop *l;
	char trace[64];
	struct loop_task a, b;
	struct deadline x, y, crowd[CROWD];
	struct pool_job job, other;
	int count;
	uint64_t began_us, seen_us;
};

static struct fixture f;

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){.l = loop_new()};
	f.began_us = loop_now_us(f.l);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	loop_free(f.l);
	return 0;
}

static void trace(char event)
{
	size_t n = strlen(f.trace);

	assert_true(n + 1 < sizeof f.trace);
	f.trace[n] = event;
}

static uint64_t passed_us(void) { return loop_now_us(f.l) - f.began_us; }

static void on_a(struct loop_task *t) { trace(t == &f.a ? 'a' : '!'); }
static void on_b(struct loop_task *t) { trace(t == &f.b ? 'b' : '!'); }
static void on_x(struct deadline *d) { trace(d == &f.x ? 'x' : '!'); }
static void on_y(struct deadline *d) { trace(d == &f.y ? 'y' : '!'); }
static void on_crowd(struct deadline *d) { f.count += d->armed ? 0 : 1; }

static void work(struct pool_job *job) { trace(job == &f.job ? 'w' : 'v'); }
static void on_done(struct pool_job *job) { trace(job == &f.job ? 'd' : 'e'); }

static void submit(struct pool_job *job)
{
	*job = (struct pool_job){.work = work, .done = on_done};
	assert_int_equal(loop_submit(f.l, job), 0);
}

static void a_loop_with_nothing_to_do_returns_and_time_stands_still(void **state)
{
	(void)state;
	assert_true(loop_sim_idle(f.l));
	loop_run(f.l);
	assert_int_equal(passed_us(), 0);
}

static void run_jumps_from_deadline_to_deadline(void **state)
{
	(void)state;
	loop_arm(f.l, &f.y, 3600 * SECOND, on_y);
	loop_arm(f.l, &f.x, 1, on_x);
	assert_true(loop_sim_idle(f.l));
	loop_run(f.l);
	assert_string_equal(f.trace, "xy");
	assert_int_equal(passed_us(), 3600 * SECOND);
}

static void run_for_stops_exactly_at_its_end(void **state)
{
	(void)state;
	loop_arm(f.l, &f.x, 10, on_x);
	loop_arm(f.l, &f.y, 11, on_y);
	loop_sim_run_for(f.l, 10);
	assert_string_equal(f.trace, "x");
	assert_int_equal(passed_us(), 10);
	loop_disarm(f.l, &f.y);
	loop_sim_run_for(f.l, 90);
	assert_int_equal(passed_us(), 100);
}

static void defer_again(struct loop_task *t)
{
	trace('a');
	if (++f.count < 3)
		loop_defer(f.l, t, defer_again);
}

static void a_round_runs_what_was_deferred_before_it(void **state)
{
	(void)state;
	loop_defer(f.l, &f.a, defer_again);
	loop_defer(f.l, &f.b, on_b);
	assert_false(loop_sim_idle(f.l));
	loop_run(f.l);
	assert_string_equal(f.trace, "abaa");
	assert_int_equal(passed_us(), 0);
}

static void step_fires_only_what_is_due_and_does_not_move_time(void **state)
{
	(void)state;
	loop_arm(f.l, &f.x, 0, on_x);
	loop_arm(f.l, &f.y, 1, on_y);
	loop_defer(f.l, &f.a, on_a);
	loop_sim_step(f.l);
	assert_string_equal(f.trace, "ax");
	assert_true(loop_sim_idle(f.l));
	loop_sim_step(f.l);
	assert_string_equal(f.trace, "ax");
	loop_undefer(f.l, &f.a);
	loop_disarm(f.l, &f.y);
}

static void defer_b(struct deadline *d)
{
	on_x(d);
	loop_defer(f.l, &f.b, on_b);
}

static void on_io(struct pool_job *job)
{
	on_done(job);
	loop_defer(f.l, &f.a, on_a);
	loop_arm(f.l, &f.x, 0, defer_b);
}

static void a_round_is_jobs_then_tasks_then_deadlines_then_tasks(void **state)
{
	(void)state;
	f.job = (struct pool_job){.work = work, .done = on_io};
	assert_int_equal(loop_submit(f.l, &f.job), 0);
	loop_sim_step(f.l);
	assert_string_equal(f.trace, "wdaxb");
}

static void a_crowd_of_deadlines_takes_more_than_one_round(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < CROWD; i++)
		loop_arm(f.l, &f.crowd[i], 5, on_crowd);
	loop_sim_run_for(f.l, 4);
	assert_int_equal(f.count, 0);
	loop_sim_run_for(f.l, 1);
	assert_int_equal(f.count, CROWD);
	for (i = 0; i < CROWD; i++)
		loop_arm(f.l, &f.crowd[i], 0, on_crowd);
	loop_sim_step(f.l);
	assert_int_equal(f.count, CROWD + LOOP_DEADLINES_PER_ROUND_MAX);
	loop_run(f.l);
}

static void stop_from_deadline(struct deadline *d)
{
	on_x(d);
	loop_stop(f.l);
}

static void stop_ends_run_and_run_for_where_they_are(void **state)
{
	(void)state;
	loop_arm(f.l, &f.x, 5, stop_from_deadline);
	loop_arm(f.l, &f.y, 50, on_y);
	loop_sim_run_for(f.l, 100);
	assert_string_equal(f.trace, "x");
	assert_int_equal(passed_us(), 5);
	loop_arm(f.l, &f.x, 5, stop_from_deadline);
	loop_run(f.l);
	assert_string_equal(f.trace, "xx");
	loop_run(f.l);
	assert_string_equal(f.trace, "xxy");
	assert_int_equal(passed_us(), 50);
}

static void submit_in_task(struct loop_task *t)
{
	(void)t;
	submit(&f.job);
}

static void a_job_is_done_in_a_later_round_and_keeps_the_loop_alive(void **state)
{
	struct loop_counters c;

	(void)state;
	loop_defer(f.l, &f.a, submit_in_task);
	loop_sim_step(f.l);
	assert_string_equal(f.trace, "");
	assert_false(loop_sim_idle(f.l));
	loop_counters(f.l, &c);
	assert_int_equal(c.jobs_running, 1);
	loop_run(f.l);
	assert_string_equal(f.trace, "wd");
	loop_counters(f.l, &c);
	assert_int_equal(c.jobs_running, 0);
}

static void submit_again(struct pool_job *job)
{
	on_done(job);
	if (++f.count < 2)
		assert_int_equal(loop_submit(f.l, job), 0);
}

static void a_job_submitted_in_done_waits_for_the_next_round(void **state)
{
	(void)state;
	f.job = (struct pool_job){.work = work, .done = submit_again};
	assert_int_equal(loop_submit(f.l, &f.job), 0);
	loop_sim_step(f.l);
	assert_string_equal(f.trace, "wd");
	loop_sim_step(f.l);
	assert_string_equal(f.trace, "wdwd");
}

static void a_delayed_job_is_done_in_time_and_a_faster_one_overtakes_it(void **state)
{
	(void)state;
	loop_sim_job_delay_us(f.l, 100);
	submit(&f.job);
	loop_sim_job_delay_us(f.l, 10);
	submit(&f.other);
	assert_true(loop_sim_idle(f.l));
	loop_sim_run_for(f.l, 9);
	assert_string_equal(f.trace, "");
	loop_sim_run_for(f.l, 1);
	assert_string_equal(f.trace, "ve");
	loop_run(f.l);
	assert_string_equal(f.trace, "vewd");
	assert_int_equal(passed_us(), 100);
}

static void a_refused_job_starts_nothing(void **state)
{
	(void)state;
	f.job = (struct pool_job){.work = work, .done = on_done};
	loop_sim_refuse_jobs(f.l, 1);
	assert_int_equal(loop_submit(f.l, &f.job), -1);
	assert_true(loop_sim_idle(f.l));
	submit(&f.job);
	loop_run(f.l);
	assert_string_equal(f.trace, "wd");
}

static void the_wall_clock_goes_on_from_where_it_was_set(void **state)
{
	uint64_t wall_us = loop_wall_us(f.l);

	(void)state;
	loop_sim_run_for(f.l, SECOND);
	assert_int_equal(loop_wall_us(f.l) - wall_us, SECOND);
	loop_sim_set_wall_us(f.l, 7); /* it may jump back, before the time of the loop itself */
	assert_int_equal(loop_wall_us(f.l), 7);
	loop_sim_run_for(f.l, SECOND);
	assert_int_equal(loop_wall_us(f.l), SECOND + 7);
	assert_int_equal(passed_us(), 2 * SECOND);
}

static void a_deadline_far_beyond_the_end_of_time_does_not_wrap_around(void **state)
{
	(void)state;
	loop_arm(f.l, &f.x, UINT64_MAX, on_x);
	loop_sim_run_for(f.l, SECOND);
	assert_string_equal(f.trace, "");
	loop_disarm(f.l, &f.x);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_loop_with_nothing_to_do_returns_and_time_stands_still),
		CASE(run_jumps_from_deadline_to_deadline),
		CASE(run_for_stops_exactly_at_its_end),
		CASE(a_round_runs_what_was_deferred_before_it),
		CASE(step_fires_only_what_is_due_and_does_not_move_time),
		CASE(a_round_is_jobs_then_tasks_then_deadlines_then_tasks),
		CASE(a_crowd_of_deadlines_takes_more_than_one_round),
		CASE(stop_ends_run_and_run_for_where_they_are),
		CASE(a_job_is_done_in_a_later_round_and_keeps_the_loop_alive),
		CASE(a_job_submitted_in_done_waits_for_the_next_round),
		CASE(a_delayed_job_is_done_in_time_and_a_faster_one_overtakes_it),
		CASE(a_refused_job_starts_nothing),
		CASE(the_wall_clock_goes_on_from_where_it_was_set),
		CASE(a_deadline_far_beyond_the_end_of_time_does_not_wrap_around),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
