/* liveness: what is due next, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/net/liveness.h"

static const struct liveness_limits limits = {
	.hello_us = 5, .frame_us = 30, .write_us = 60, .ping_us = 15, .idle_us = 3600, .linger_us = 1};

static void expect(struct liveness l, uint64_t due_us, enum liveness_event event)
{
	enum liveness_event got;

	assert_int_equal(liveness_due_us(&l, &limits, &got), due_us);
	assert_int_equal(got, event);
}

#define L(...) ((struct liveness){.opened_us = 1000, __VA_ARGS__})

static void one_wait_at_a_time(void **state)
{
	(void)state;
	expect(L(.heard_us = 0), 1005, LIVENESS_HELLO_TIMEOUT);
	expect(L(.greeted = true), 4600, LIVENESS_IDLE);
	expect(L(.greeted = true, .heard_us = 2000), 5600, LIVENESS_IDLE);
	expect(L(.greeted = true, .frame_us = 2000), 2030, LIVENESS_FRAME_TIMEOUT);
	expect(L(.greeted = true, .stalled_us = 2000), 2060, LIVENESS_WRITE_TIMEOUT);
	expect(L(.greeted = true, .waiting_us = 2000), 2015, LIVENESS_PING);
	expect(L(.greeted = true, .ending = true, .lingering_us = 2000), 2001, LIVENESS_LINGER_TIMEOUT);
}

static void the_earliest_counts(void **state)
{
	(void)state;
	expect(L(.frame_us = 1001), 1005, LIVENESS_HELLO_TIMEOUT);
	expect(L(.greeted = true, .waiting_us = 2000, .frame_us = 1980), 2010, LIVENESS_FRAME_TIMEOUT);
	expect(L(.greeted = true, .frame_us = 2000, .stalled_us = 1950), 2010, LIVENESS_WRITE_TIMEOUT);
}

static void pings_come_at_intervals_until_two_are_unanswered(void **state)
{
	(void)state;
	expect(L(.greeted = true, .waiting_us = 2000, .pinged_us = 2015, .pings = 1), 2030, LIVENESS_PING);
	expect(L(.greeted = true, .waiting_us = 2000, .pinged_us = 2030, .pings = 2), 2045, LIVENESS_PING_TIMEOUT);
	expect(L(.greeted = true, .waiting_us = 2000, .pinged_us = 2030, .pings = 0), 2045, LIVENESS_PING);
}

static void while_output_waits_no_ping_is_due(void **state)
{
	struct liveness l = L(.greeted = true, .waiting_us = 2000, .pinged_us = 2030, .pings = 2, .stalled_us = 2040);

	(void)state;
	expect(l, 2100, LIVENESS_WRITE_TIMEOUT);
	liveness_taken(&l, 2090);
	expect(l, 2105, LIVENESS_PING); /* it has shown that it lives */
	liveness_taken(&l, 2100);	/* nothing had waited */
	expect(l, 2105, LIVENESS_PING);
}

static void who_waits_is_not_idle(void **state)
{
	enum liveness_event event;
	struct liveness l = L(.greeted = true, .ending = true);

	(void)state;
	expect(L(.greeted = true, .waiting_us = 999000), 999015, LIVENESS_PING);
	assert_int_equal(liveness_due_us(&l, &limits, &event), UINT64_MAX); /* ends as soon as the output is written */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_wait_at_a_time),
		cmocka_unit_test(the_earliest_counts),
		cmocka_unit_test(pings_come_at_intervals_until_two_are_unanswered),
		cmocka_unit_test(while_output_waits_no_ping_is_due),
		cmocka_unit_test(who_waits_is_not_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
