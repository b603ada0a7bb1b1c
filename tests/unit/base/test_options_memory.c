/* options: every allocation fails in turn; each time the configuration is refused with a sentence and nothing stays
 * allocated. The sources are compiled into this test with their allocator replaced; libyaml keeps its own. */
#include "tests/unit/base/options_fixture.h"

static size_t allocations_left;

static void *scarce_malloc(size_t n) { return allocations_left > 0 && allocations_left-- > 0 ? malloc(n) : NULL; }

static void *scarce_calloc(size_t count, size_t n)
{
	return allocations_left > 0 && allocations_left-- > 0 ? calloc(count, n) : NULL;
}

#define malloc scarce_malloc
#define calloc scarce_calloc
#include "server/base/options.c"
#include "server/base/options_describe.c"
#include "server/base/options_key.c"
#include "server/base/options_parse.c"
#include "server/base/options_yaml.c"
#undef malloc
#undef calloc

/* True: all of it worked. */
static bool configure(void)
{
	static const char text[] = "listen: [a, b]\n"
				   "store:\n"
				   "  path: x\n"
				   "  batch: ~\n"
				   "upstreams:\n"
				   "  - name: a\n"
				   "    models: [m, n]\n"
				   "  - name: b\n"
				   "    base_url: http://b\n";
	bool done;

	if (setup(NULL) != 0)
		return false;
	done = options_load_text(f.o, "c.yaml", text, sizeof(text) - 1, f.error, sizeof(f.error)) == 0 &&
	       set("upstreams[0].base_url=http://a") == 0 && set("listen[2]=c") == 0 && set("store.kind=null") == 0 &&
	       options_finish(f.o, f.error, sizeof(f.error)) == 0;
	if (!done && strstr(f.error, "out of memory") == NULL)
		fail_msg("refused for another reason: %s", f.error);
	return done;
}

static void no_memory_is_an_error_wherever_it_strikes(void **state)
{
	size_t n = 0;

	(void)state;
	for (;; n++) {
		bool done;

		allocations_left = n;
		done = configure();
		if (done)
			break;
		teardown(NULL);
	}
	assert_true(n > 30); /* the test has struck somewhere */
	assert_int_equal(f.top.listen.count, 3);
	assert_string_equal(f.upstreams[0].url, "http://a");
	teardown(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(no_memory_is_an_error_wherever_it_strikes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
