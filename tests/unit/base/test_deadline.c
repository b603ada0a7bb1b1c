/* deadline: order, moving, disarming anywhere in the heap, against a plain array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/base/deadline.h"
#include "server/base/random.h"

#define MANY 2000

struct fixture {
	struct deadlines h;
	struct deadline d[MANY];
	struct random_state random;
};

static struct fixture f;

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){0};
	random_seed(&f.random, 7);
	return 0;
}

static int nothing_armed(void **state)
{
	(void)state;
	return f.h.count == 0 && f.h.root == NULL ? 0 : -1;
}

static void on_due(struct deadline *d) { (void)d; }

static void arm(int i, uint64_t at_us) { deadlines_arm(&f.h, &f.d[i], at_us, on_due); }

/* Takes all that are due; they must come in order. */
static int drain(uint64_t now_us)
{
	uint64_t last_us = 0;
	struct deadline *d;
	int count = 0;

	while ((d = deadlines_take_due(&f.h, now_us)) != NULL) {
		assert_true(d->at_us >= last_us && d->at_us <= now_us);
		assert_false(d->armed);
		assert_ptr_equal(d->cb, on_due);
		last_us = d->at_us;
		count++;
	}
	return count;
}

static uint64_t earliest_us(void)
{
	uint64_t at_us = UINT64_MAX;
	int i;

	for (i = 0; i < MANY; i++)
		if (f.d[i].armed && f.d[i].at_us < at_us)
			at_us = f.d[i].at_us;
	return at_us;
}

static void an_empty_heap_has_nothing_due(void **state)
{
	(void)state;
	assert_true(deadlines_next_us(&f.h) == UINT64_MAX);
	assert_null(deadlines_take_due(&f.h, UINT64_MAX));
	deadlines_disarm(&f.h, &f.d[0]);
	assert_int_equal(f.h.count, 0);
}

static void a_deadline_is_due_at_its_time_and_not_before(void **state)
{
	(void)state;
	arm(0, 100);
	assert_null(deadlines_take_due(&f.h, 99));
	assert_ptr_equal(deadlines_take_due(&f.h, 100), &f.d[0]);
}

static void they_come_in_the_order_of_their_times(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < MANY; i++)
		arm(i, random_below(&f.random, 500));
	assert_int_equal(f.h.count, MANY);
	assert_int_equal(drain(UINT64_MAX), MANY);
}

static void a_heap_in_ascending_or_descending_order_does_not_recurse(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < MANY; i++)
		arm(i, (uint64_t)i);
	assert_int_equal(drain(UINT64_MAX), MANY);
	for (i = 0; i < MANY; i++)
		arm(i, (uint64_t)(MANY - i));
	assert_int_equal(drain(UINT64_MAX), MANY);
}

static void arming_again_moves(void **state)
{
	(void)state;
	arm(0, 10);
	arm(1, 20);
	arm(0, 30);
	assert_int_equal(f.h.count, 2);
	assert_ptr_equal(deadlines_take_due(&f.h, 100), &f.d[1]);
	assert_ptr_equal(deadlines_take_due(&f.h, 100), &f.d[0]);
	assert_null(deadlines_take_due(&f.h, 100));
}

static void one_that_is_disarmed_never_comes(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < 10; i++)
		arm(i, (uint64_t)i);
	deadlines_disarm(&f.h, &f.d[0]); /* the root */
	deadlines_disarm(&f.h, &f.d[4]);
	deadlines_disarm(&f.h, &f.d[9]);
	assert_int_equal(drain(100), 7);
}

static void any_mixture_of_calls_agrees_with_a_plain_search(void **state)
{
	int step, i;

	(void)state;
	for (step = 0; step < 20000; step++) {
		i = (int)random_below(&f.random, 200);
		switch (random_below(&f.random, 4)) {
		case 0:
		case 1:
			arm(i, random_below(&f.random, 1000));
			break;
		case 2:
			deadlines_disarm(&f.h, &f.d[i]);
			break;
		default: {
			uint64_t expected_us = earliest_us();
			struct deadline *d = deadlines_take_due(&f.h, 800);

			if (expected_us > 800)
				assert_null(d);
			else
				assert_true(d->at_us == expected_us);
		}
		}
		assert_true(deadlines_next_us(&f.h) == earliest_us());
	}
	drain(UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_empty_heap_has_nothing_due, setup, nothing_armed),
		cmocka_unit_test_setup_teardown(a_deadline_is_due_at_its_time_and_not_before, setup, nothing_armed),
		cmocka_unit_test_setup_teardown(they_come_in_the_order_of_their_times, setup, nothing_armed),
		cmocka_unit_test_setup_teardown(a_heap_in_ascending_or_descending_order_does_not_recurse, setup,
						nothing_armed),
		cmocka_unit_test_setup_teardown(arming_again_moves, setup, nothing_armed),
		cmocka_unit_test_setup_teardown(one_that_is_disarmed_never_comes, setup, nothing_armed),
		cmocka_unit_test_setup_teardown(any_mixture_of_calls_agrees_with_a_plain_search, setup, nothing_armed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
