/* due: the first one is always the earliest, whatever is added and removed. */
#include "tests/unit/client/client_test.h"

#include "client/due.h"

enum {
	MANY = 500
};

static struct test_memory memory;
static struct mem mem = {.resize = test_resize, .owner = &memory};
static struct due dues[MANY];

static uint64_t earliest(void)
{
	uint64_t at = UINT64_MAX;

	for (size_t i = 0; i < MANY; i++) {
		if (dues[i].place > 0 && dues[i].at_us < at)
			at = dues[i].at_us;
	}
	return at;
}

static void the_earliest_is_first(void **state)
{
	struct due_heap h;

	(void)state;
	memset(dues, 0, sizeof(dues));
	due_init(&h, &mem);
	assert_null(due_first(&h));
	srand(7);
	for (int step = 0; step < 20000; step++) {
		struct due *d = &dues[rand() % MANY];

		if (d->place > 0) {
			due_remove(&h, d);
		} else {
			d->at_us = (uint64_t)rand() % 1000;
			assert_true(due_add(&h, d));
		}
		if (h.count > 0)
			assert_int_equal(due_first(&h)->at_us, earliest());
	}
	for (size_t i = 0; i < MANY; i++)
		due_remove(&h, &dues[i]); /* also those that are not in it */
	due_free(&h);
	assert_int_equal(memory.live, 0);
}

static void without_memory_nothing_is_added(void **state)
{
	struct due_heap h;
	struct due d = {.at_us = 1};

	(void)state;
	due_init(&h, &mem);
	memory.fail_at = memory.count + 1;
	assert_false(due_add(&h, &d));
	assert_int_equal(d.place, 0);
	assert_true(due_add(&h, &d));
	due_remove(&h, &d);
	due_free(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_earliest_is_first),
		cmocka_unit_test(without_memory_nothing_is_added),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
