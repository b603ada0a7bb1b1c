/* price: tokens to money. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/engine/price.h"

static void a_configured_price_counts_before_a_known_one(void **state)
{
	struct engine_options o = {.prices = {{"gpt-4o-mini", 1.0, 2.0}, {"own-*", 0.5, 0.25}}, .prices_count = 2};

	(void)state;
	assert_int_equal(price_of(&o, slice_str("gpt-4o-mini"), 1000, 100), 1200000);
	assert_int_equal(price_of(&o, slice_str("own-model"), 1000000, 1000000), 750000000);
}

static void known_models_have_the_listed_price(void **state)
{
	struct engine_options o = {0};

	(void)state;
	/* 1000 × 0.15 + 1000 × 0.60 USD per million = 0.00075 USD */
	assert_int_equal(price_of(&o, slice_str("gpt-4o-mini"), 1000, 1000), 750000);
	assert_int_equal(price_of(&o, slice_str("gpt-4o-mini-2024-07-18"), 1000, 1000), 750000);
	assert_int_equal(price_of(&o, slice_str("gpt-4o"), 1, 1), 12500);
}

static void an_unknown_model_costs_nothing(void **state)
{
	struct engine_options o = {0};

	(void)state;
	assert_int_equal(price_of(&o, slice_str("llama"), 1000, 1000), 0);
	assert_int_equal(price_of(&o, slice_str(""), 1000, 1000), 0);
}

/* A PUT may say that it took any number of tokens. */
static void a_price_beyond_all_numbers_is_cut(void **state)
{
	struct engine_options o = {0};

	(void)state;
	assert_int_equal(price_of(&o, slice_str("gpt-4o"), UINT64_MAX, UINT64_MAX), 1000000000000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_configured_price_counts_before_a_known_one),
		cmocka_unit_test(known_models_have_the_listed_price),
		cmocka_unit_test(an_unknown_model_costs_nothing),
		cmocka_unit_test(a_price_beyond_all_numbers_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
