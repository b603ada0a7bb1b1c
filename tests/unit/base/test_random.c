/* random: no repeats, the same sequence for the same seed, and no bias that a count would show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/random.h"

static void bytes_fill_exactly_what_was_asked_for(void **state)
{
	uint8_t a[66] = {0}, b[66] = {0};
	int i;

	(void)state;
	random_bytes(a + 1, 64);
	random_bytes(b + 1, 64);
	assert_memory_not_equal(a, b, sizeof a);
	assert_int_equal(a[0] | a[65] | b[0] | b[65], 0);
	for (i = 0; i < 4; i++) {
		random_bytes(a, 0);
		assert_int_equal(a[0], 0);
	}
}

static void bytes_are_not_cut_at_what_one_call_gives(void **state)
{
	static uint8_t big[1 << 20];
	size_t i, zeros = 0;

	(void)state;
	random_bytes(big, sizeof big);
	for (i = sizeof big - 65536; i < sizeof big; i++)
		zeros += big[i] == 0;
	assert_in_range(zeros, 128, 512); /* 256 expected */
}

static void one_seed_gives_one_sequence(void **state)
{
	struct random_state a, b, c;
	int i, equal = 0;

	(void)state;
	random_seed(&a, 0);
	random_seed(&b, 0);
	random_seed(&c, 1);
	for (i = 0; i < 100; i++) {
		uint64_t x = random_next(&a);

		assert_true(x == random_next(&b));
		equal += x == random_next(&c);
	}
	assert_int_equal(equal, 0);
}

static void below_stays_below_and_reaches_all(void **state)
{
	struct random_state r;
	unsigned seen[7] = {0};
	int i;

	(void)state;
	random_seed(&r, 3);
	for (i = 0; i < 7000; i++) {
		uint64_t x = random_below(&r, 7);

		assert_true(x < 7);
		seen[x]++;
	}
	for (i = 0; i < 7; i++)
		assert_in_range(seen[i], 850, 1150); /* 1,000 expected, 29 the deviation */
	assert_int_equal(random_below(&r, 1), 0);
	for (i = 0; i < 100; i++)
		assert_true(random_below(&r, UINT64_MAX) < UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_fill_exactly_what_was_asked_for),
		cmocka_unit_test(bytes_are_not_cut_at_what_one_call_gives),
		cmocka_unit_test(one_seed_gives_one_sequence),
		cmocka_unit_test(below_stays_below_and_reaches_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
