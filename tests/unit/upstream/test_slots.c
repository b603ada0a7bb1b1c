/* slots: order, limit, queue, gate. On the real loop, with a gate of milliseconds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/upstream/slots.h"

#define MANY 100

struct visitor {
	struct slot slot; /* first: a slot is its visitor */
	bool leave_at_once;
};

struct fixture {
	struct loop *loop;
	struct slots slots;
	struct visitor v[MANY];
	int order[MANY], granted;
};

static struct fixture f;

static void start(uint64_t limit, uint64_t queue_max)
{
	f = (struct fixture){.loop = loop_new()};
	assert_non_null(f.loop);
	slots_init(&f.slots, f.loop, limit, queue_max);
}

static void stop(void)
{
	for (int i = 0; i < MANY; i++)
		slots_leave(&f.slots, &f.v[i].slot);
	slots_end(&f.slots);
	loop_free(f.loop);
}

static void on_granted(struct slot *s)
{
	struct visitor *v = (struct visitor *)s;

	f.order[f.granted++] = (int)(v - f.v);
	if (v->leave_at_once)
		slots_leave(&f.slots, s);
}

static bool enter(int i) { return slots_enter(&f.slots, &f.v[i].slot, on_granted); }

static void expect_order(const char *digits)
{
	char seen[MANY + 1] = "";

	for (int i = 0; i < f.granted; i++)
		seen[i] = (char)('0' + f.order[i]);
	assert_string_equal(seen, digits);
}

static void a_slot_is_never_granted_before_enter_has_returned(void **state)
{
	(void)state;
	start(1, 0);
	assert_true(enter(0));
	expect_order("");
	loop_run(f.loop);
	expect_order("0");
	assert_int_equal(f.slots.held, 1);
	stop();
}

static void those_who_wait_get_it_in_the_order_in_which_they_came(void **state)
{
	(void)state;
	start(2, 10);
	for (int i = 0; i < 5; i++)
		assert_true(enter(i));
	loop_run(f.loop);
	expect_order("01");
	slots_leave(&f.slots, &f.v[1].slot);
	loop_run(f.loop);
	expect_order("012");
	slots_leave(&f.slots, &f.v[0].slot);
	slots_leave(&f.slots, &f.v[2].slot);
	loop_run(f.loop);
	expect_order("01234");
	stop();
}

static void one_that_returns_is_first(void **state)
{
	(void)state;
	start(1, 10);
	for (int i = 0; i < 3; i++)
		assert_true(enter(i));
	loop_run(f.loop);
	slots_leave(&f.slots, &f.v[0].slot);
	slots_return(&f.slots, &f.v[0].slot, on_granted);
	loop_run(f.loop);
	expect_order("00");
	stop();
}

static void a_full_queue_refuses_and_free_places_are_no_queue(void **state)
{
	(void)state;
	start(2, 1);
	assert_true(enter(0));
	assert_true(enter(1));
	assert_true(enter(2));
	assert_false(enter(3));
	loop_run(f.loop);
	assert_false(enter(3));
	slots_leave(&f.slots, &f.v[2].slot);
	assert_true(enter(3));
	stop();
}

static void one_that_leaves_the_queue_gets_nothing(void **state)
{
	(void)state;
	start(1, 10);
	for (int i = 0; i < 3; i++)
		assert_true(enter(i));
	slots_leave(&f.slots, &f.v[0].slot);
	loop_run(f.loop);
	expect_order("1");
	slots_leave(&f.slots, &f.v[0].slot); /* no harm */
	assert_int_equal(f.slots.held, 1);
	stop();
}

static void a_slot_may_be_given_back_inside_the_grant(void **state)
{
	(void)state;
	start(1, MANY);
	for (int i = 0; i < MANY; i++) {
		f.v[i].leave_at_once = true;
		assert_true(enter(i));
	}
	loop_run(f.loop);
	assert_int_equal(f.granted, MANY);
	assert_int_equal(f.slots.held, 0);
	stop();
}

static void nobody_passes_a_closed_gate(void **state)
{
	uint64_t began_us;

	(void)state;
	start(4, 10);
	began_us = loop_clock_us(f.loop);
	slots_close(&f.slots, 30);
	slots_close(&f.slots, 10); /* does not shorten it */
	assert_true(slots_closed_ms(&f.slots) <= 30);
	for (int i = 0; i < 3; i++)
		assert_true(enter(i));
	loop_run(f.loop);
	expect_order("012");
	assert_true(loop_clock_us(f.loop) - began_us >= 29000);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slot_is_never_granted_before_enter_has_returned),
		cmocka_unit_test(those_who_wait_get_it_in_the_order_in_which_they_came),
		cmocka_unit_test(one_that_returns_is_first),
		cmocka_unit_test(a_full_queue_refuses_and_free_places_are_no_queue),
		cmocka_unit_test(one_that_leaves_the_queue_gets_nothing),
		cmocka_unit_test(a_slot_may_be_given_back_inside_the_grant),
		cmocka_unit_test(nobody_passes_a_closed_gate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
