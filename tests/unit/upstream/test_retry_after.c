/* retry_after: seconds, fractions, dates, milliseconds, and what is none of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/upstream/retry_after.h"

#define NOW_US UINT64_C(1445412480000000) /* Wed, 21 Oct 2015 07:28:00 GMT */

static uint64_t read_text(const char *text) { return retry_after_read(slice_str(text), NOW_US); }

static void seconds_may_have_a_fraction(void **state)
{
	(void)state;
	assert_int_equal(read_text("2"), 2000);
	assert_int_equal(read_text(" 120 \r\n"), 120000);
	assert_int_equal(read_text("0.25"), 250);
	assert_int_equal(read_text("1."), 1000);
}

static void at_once_is_not_nothing(void **state)
{
	(void)state;
	assert_int_equal(read_text("0"), 1);
	assert_int_equal(retry_after_read_ms(slice_str("0")), 1);
	assert_int_equal(read_text("Wed, 21 Oct 2015 07:27:00 GMT"), 1);
}

static void a_date_counts_from_the_wall_clock(void **state)
{
	(void)state;
	assert_int_equal(read_text("Wed, 21 Oct 2015 07:28:30 GMT"), 30000);
	assert_int_equal(read_text("Wednesday, 21-Oct-15 07:29:00 GMT"), 60000);
	assert_int_equal(read_text("Wed Oct 21 07:28:01 2015"), 1000);
}

static void milliseconds_are_finer(void **state)
{
	(void)state;
	assert_int_equal(retry_after_read_ms(slice_str("350")), 350);
	assert_int_equal(retry_after_read_ms(slice_str(" 12.7\r\n")), 12);
}

static void the_longest_wait_is_limited(void **state)
{
	(void)state;
	assert_int_equal(read_text("86400"), RETRY_AFTER_MS_MAX);
	assert_int_equal(read_text("99999999999999999999999999999999999999"), RETRY_AFTER_MS_MAX);
	assert_int_equal(read_text("Wed, 21 Oct 2037 07:28:00 GMT"), RETRY_AFTER_MS_MAX);
	assert_int_equal(retry_after_read_ms(slice_str("99999999999")), RETRY_AFTER_MS_MAX);
}

static void anything_else_is_none(void **state)
{
	static const char *const texts[] = {
		"",
		" ",
		".",
		"-1",
		"1e3",
		"0x10",
		"nan",
		"soon",
		"1.2.3",
		"12 s",
		"Wed, 99 Oct 2015 07:28:30 GMT and much, much more than any date would ever need"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(read_text(texts[i]), 0);
		assert_int_equal(retry_after_read_ms(slice_str(texts[i])), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seconds_may_have_a_fraction),	     cmocka_unit_test(at_once_is_not_nothing),
		cmocka_unit_test(a_date_counts_from_the_wall_clock), cmocka_unit_test(milliseconds_are_finer),
		cmocka_unit_test(the_longest_wait_is_limited),	     cmocka_unit_test(anything_else_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
