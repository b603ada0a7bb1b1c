/* options: values by type, lists, keys and their neighbours, --set. */
#include "tests/unit/base/options_fixture.h"

/* ---- defaults and types */

static void defaults_are_there_before_any_file(void **state)
{
	(void)state;
	assert_int_equal(f.top.listen.count, 2);
	assert_string_equal(f.top.listen.items[1], "tcp://127.0.0.1:7411");
	assert_string_equal(f.top.model, "gpt-4o-mini");
	assert_int_equal(f.store.kind, 1);
	assert_null(f.store.path);
	assert_int_equal(f.store.batch, 64);
	assert_true(f.store.sync);
	assert_int_equal(f.memory.limit, 256 << 20);
	assert_int_equal(f.flight.age_ms, 120000);
	assert_true(f.flight.ratio == 0.5);
	assert_true(f.flight.any == 0);
	assert_int_equal(f.upstream_count, 0);
	assert_int_equal(options_finish(f.o, f.error, sizeof(f.error)), 0);
}

static void a_file_sets_every_type(void **state)
{
	(void)state;
	load_ok("listen: [\"unix:/x\", tcp://127.0.0.1:1]\n"
		"default_model: m\n"
		"store:\n"
		"  kind: none\n"
		"  path: /var/lib/x  # a comment\n"
		"  batch: 7\n"
		"  sync: off\n"
		"memory: {limit: 1.5GB}\n"
		"engine:\n"
		"  flight:\n"
		"    age: 30s\n"
		"    any: -1.5e3\n"
		"engine.flight.ratio: 1\n"
		"upstreams:\n"
		"  - name: a\n"
		"    base_url: http://a\n"
		"    models:\n"
		"      - gpt, with a comma\n"
		"      - llama\n"
		"  - {name: b, base_url: http://b, models: \"x, y\", concurrency: 4096}\n");
	assert_int_equal(f.top.listen.count, 2);
	assert_string_equal(f.top.listen.items[0], "unix:/x");
	assert_string_equal(f.top.listen.items[1], "tcp://127.0.0.1:1");
	assert_string_equal(f.top.model, "m");
	assert_int_equal(f.store.kind, 0);
	assert_string_equal(f.store.path, "/var/lib/x");
	assert_int_equal(f.store.batch, 7);
	assert_false(f.store.sync);
	assert_int_equal(f.memory.limit, UINT64_C(1536) << 20);
	assert_int_equal(f.flight.age_ms, 30000);
	assert_true(f.flight.any == -1500);
	assert_true(f.flight.ratio == 1);
	assert_int_equal(f.upstream_count, 2);
	assert_string_equal(f.upstreams[0].url, "http://a");
	assert_int_equal(f.upstreams[0].models.count, 2);
	assert_string_equal(f.upstreams[0].models.items[0], "gpt, with a comma");
	assert_int_equal(f.upstreams[0].concurrency, 16);
	assert_int_equal(f.upstreams[1].models.count, 2);
	assert_string_equal(f.upstreams[1].models.items[1], "y");
	assert_int_equal(f.upstreams[1].concurrency, 4096);
	assert_int_equal(options_finish(f.o, f.error, sizeof(f.error)), 0);
}

static void sizes_are_powers_of_1024(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} cases[] = {
		{"1048576", 1 << 20}, {"1048576B", 1 << 20},	  {"2048KB", 2 << 20},	   {"2048K", 2 << 20},
		{"2048KiB", 2 << 20}, {"3mb", 3 << 20},		  {"1 GB", 1 << 30},	   {"1.25MB", 1310720},
		{"0.5G", 512 << 20},  {"1TB", (uint64_t)1 << 40}, {"1.000001MB", 1048577},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char assignment[64];

		snprintf(assignment, sizeof(assignment), "memory.limit=%s", cases[i].text);
		set_ok(assignment);
		assert_int_equal(f.memory.limit, cases[i].value);
	}
}

static void durations_have_units_and_default_to_seconds(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} cases[] = {
		{"1500ms", 1500}, {"2", 2000},	   {"2.5", 2500},     {"2.5s", 2500},
		{"5m", 300000},	  {"1h", 3600000}, {"0.01d", 864000},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char assignment[64];

		snprintf(assignment, sizeof(assignment), "engine.flight.age=%s", cases[i].text);
		set_ok(assignment);
		assert_int_equal(f.flight.age_ms, cases[i].value);
	}
}

static void all_six_words_of_a_bool_are_known_in_any_case(void **state)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "False", "TRUE", "No", "YES"};

	(void)state;
	for (size_t i = 0; i < COUNT(words); i++) {
		char assignment[64];

		snprintf(assignment, sizeof(assignment), "store.sync=%s", words[i]);
		set_ok(assignment);
		assert_int_equal(f.store.sync, i % 2);
	}
}

static void a_wrong_type_says_what_is_expected_with_an_example(void **state)
{
	(void)state;
	set_fails("store.batch=many", "--set: store.batch: expected a whole number such as 16, found \"many\"");
	set_fails("store.batch=", "--set: store.batch: expected a whole number such as 16, found \"\"");
	set_fails("store.batch=-5", "--set: store.batch: expected a whole number such as 16, found \"-5\"");
	set_fails("store.batch=1.5", "--set: store.batch: expected a whole number such as 16, found \"1.5\"");
	set_fails("store.batch=010", "--set: store.batch: expected a whole number such as 16, found \"010\"");
	set_fails("store.batch= 5", "--set: store.batch: expected a whole number such as 16, found \" 5\"");
	set_fails("store.batch=5K", "--set: store.batch: expected a whole number such as 16, found \"5K\"");
	set_fails("memory.limit=1.5", "--set: memory.limit: expected a size such as 64MB, found \"1.5\"");
	set_fails("memory.limit=12XB", "--set: memory.limit: expected a size such as 64MB, found \"12XB\"");
	set_fails("memory.limit=1.0000001MB",
		  "--set: memory.limit: expected a size such as 64MB, found \"1.0000001MB\"");
	set_fails("engine.flight.age=5 weeks", "--set: engine.flight.age: expected a duration such as 30s (a bare "
					       "number: seconds), found \"5 weeks\"");
	set_fails(
		"engine.flight.age=0.5ms",
		"--set: engine.flight.age: expected a duration such as 30s (a bare number: seconds), found \"0.5ms\"");
	set_fails("engine.flight.ratio=nan",
		  "--set: engine.flight.ratio: expected a number such as 0.5, found \"nan\"");
	set_fails("engine.flight.ratio=0x1",
		  "--set: engine.flight.ratio: expected a number such as 0.5, found \"0x1\"");
	set_fails("engine.flight.ratio=1.", "--set: engine.flight.ratio: expected a number such as 0.5, found \"1.\"");
	set_fails("engine.flight.ratio=1e", "--set: engine.flight.ratio: expected a number such as 0.5, found \"1e\"");
	set_fails("store.sync=maybe", "--set: store.sync: expected true or false, found \"maybe\"");
	load_fails("store:\n  kind: redos\n", "c.yaml:2: store.kind: expected one of none, lmdb, found \"redos\"");
	load_fails("store:\n  batch: [1, 2]\n",
		   "c.yaml:2: store.batch: expected a whole number such as 16, found a list");
	load_fails("memory:\n  limit:\n    mb: 3\n",
		   "c.yaml:2: memory.limit: expected a size such as 64MB, found a mapping");
}

static void a_number_out_of_range_names_the_range(void **state)
{
	(void)state;
	set_fails("store.batch=0", "--set: store.batch: 0 is out of range; allowed: 1 to 1000");
	set_fails("store.batch=1001", "--set: store.batch: 1001 is out of range; allowed: 1 to 1000");
	set_fails("store.batch=99999999999999999999999",
		  "--set: store.batch: 99999999999999999999999 is out of range; allowed: 1 to 1000");
	set_fails("memory.limit=64KB", "--set: memory.limit: 64KB is out of range; allowed: 1MB to 1TB");
	set_fails("memory.limit=20000000TB", "--set: memory.limit: 20000000TB is out of range; allowed: 1MB to 1TB");
	set_fails("engine.flight.age=2h", "--set: engine.flight.age: 2h is out of range; allowed: 1s to 1h");
	set_fails("engine.flight.ratio=1.01", "--set: engine.flight.ratio: 1.01 is out of range; allowed: 0 to 1");
	set_fails("engine.flight.ratio=-0.1", "--set: engine.flight.ratio: -0.1 is out of range; allowed: 0 to 1");
	set_fails("upstreams[0].name=", "--set: upstreams[0].name: \"\" is out of range; allowed: 1 to 8 bytes");
	set_fails("upstreams[0].name=123456789",
		  "--set: upstreams[0].name: 123456789 is out of range; allowed: 1 to 8 bytes");
	set_fails("engine.flight.any=1e999", "--set: engine.flight.any: 1e999 is too large");
	set_fails("engine.flight.free=18446744073709551616",
		  "--set: engine.flight.free: 18446744073709551616 is too large");
	set_ok("engine.flight.free=18446744073709551615");
	assert_true(f.flight.free == UINT64_MAX);
	assert_int_equal(f.store.batch, 64); /* untouched by what was refused */
	assert_int_equal(f.memory.limit, 256 << 20);
}

static void an_empty_text_is_a_value_and_null_is_the_default(void **state)
{
	(void)state;
	load_ok("default_model: \"\"\nstore:\n  path: \"null\"\n");
	assert_string_equal(f.top.model, "");
	assert_string_equal(f.store.path, "null");
	set_ok("default_model=x");
	load_ok("default_model:\nstore:\n  path: ~\n  batch: null\n");
	assert_string_equal(f.top.model, "gpt-4o-mini");
	assert_null(f.store.path);
	set_ok("default_model=");
	assert_string_equal(f.top.model, "");
	set_ok("default_model=null");
	assert_string_equal(f.top.model, "gpt-4o-mini");
}

static void nothing_in_a_text_is_expanded(void **state)
{
	(void)state;
	set_ok("store.path=~/x/$HOME=%s");
	assert_string_equal(f.store.path, "~/x/$HOME=%s");
	load_ok("store:\n  path: no\n"); /* a text stays a text, whatever YAML 1.1 thinks of it */
	assert_string_equal(f.store.path, "no");
}

/* ---- lists */

static void set_replaces_a_list_or_one_place_of_it(void **state)
{
	(void)state;
	load_ok("listen: [a, b, c]\n");
	set_ok("listen=d , e");
	assert_int_equal(f.top.listen.count, 2);
	assert_string_equal(f.top.listen.items[0], "d");
	assert_string_equal(f.top.listen.items[1], "e");
	set_ok("listen[0]=x,y");
	set_ok("listen[2]=z");
	assert_int_equal(f.top.listen.count, 3);
	assert_string_equal(f.top.listen.items[0], "x,y");
	assert_string_equal(f.top.listen.items[2], "z");
	set_fails("listen[4]=q", "--set: listen[4]: leaves a gap: the next place of the list is [3]");
	set_fails("listen=a,,b", "--set: listen: value 2 of the list is empty");
	set_fails("listen[0]=", "--set: listen[0]: is empty");
	set_ok("listen=");
	assert_int_equal(f.top.listen.count, 0);
}

static void a_list_in_a_file_replaces_what_was_there(void **state)
{
	(void)state;
	load_ok("listen: [a, b, c]\nupstreams:\n- name: a\n- name: b\n");
	load_ok("listen: [d]\nupstreams:\n- name: c\n");
	assert_int_equal(f.top.listen.count, 1);
	assert_int_equal(f.upstream_count, 1);
	assert_string_equal(f.upstreams[0].name, "c");
	load_ok("listen: []\nupstreams: []\n");
	assert_int_equal(f.top.listen.count, 0);
	assert_int_equal(f.upstream_count, 0);
}

static void a_list_takes_its_limit_and_not_one_more(void **state)
{
	char text[2048] = "listen: [a";

	(void)state;
	for (int i = 1; i < OPTION_STRINGS_MAX; i++)
		strcat(text, ", a");
	strcat(text, "]\n");
	load_ok(text);
	assert_int_equal(f.top.listen.count, OPTION_STRINGS_MAX);
	strcpy(strchr(text, ']'), ", a]\n");
	load_fails(text, "c.yaml:1: listen[64]: too many: the list takes at most 64 values");
	strcpy(text, "listen=a");
	for (int i = 1; i <= OPTION_STRINGS_MAX; i++)
		strcat(text, ",a");
	set_fails(text, "--set: listen: too many: the list takes at most 64 values");
	load_ok("upstreams: [{name: a}, {name: b}, {name: c}, {name: d}]\n");
	load_fails("upstreams:\n- name: a\n- name: b\n- name: c\n- name: d\n- name: e\n",
		   "c.yaml:6: upstreams[4]: too many: upstreams takes at most 4 items");
}

static void set_extends_a_list_of_groups_without_gaps(void **state)
{
	(void)state;
	load_ok("upstreams:\n  - name: a\n    base_url: http://a\n");
	set_ok("upstreams[0].concurrency=9");
	set_ok("upstreams[1].name=b");
	set_ok("upstreams[1].base_url=http://b");
	set_ok("upstreams[1].models[0]=m");
	assert_int_equal(f.upstream_count, 2);
	assert_string_equal(f.upstreams[0].name, "a");
	assert_int_equal(f.upstreams[0].concurrency, 9);
	assert_int_equal(f.upstreams[1].concurrency, 16);
	assert_int_equal(f.upstreams[1].models.count, 1);
	assert_int_equal(options_finish(f.o, f.error, sizeof(f.error)), 0);
	set_fails("upstreams[3].name=d",
		  "--set: upstreams[3].name: leaves a gap: the next item of the list is upstreams[2]");
	set_fails("upstreams[4].name=e", "--set: upstreams[4].name: too many: upstreams takes at most 4 items");
	set_fails("upstreams[2].concurrency=0",
		  "--set: upstreams[2].concurrency: 0 is out of range; allowed: 1 to 4096");
	assert_int_equal(f.upstream_count, 2); /* a refused value makes no item */
}

static void a_required_key_that_is_missing_names_the_line_of_its_item(void **state)
{
	(void)state;
	load_ok("upstreams:\n  - name: a\n    base_url: http://a\n  - name: b\n");
	assert_int_equal(options_finish(f.o, f.error, sizeof(f.error)), -1);
	assert_string_equal(f.error, "c.yaml:4: upstreams[1].base_url: must be given (where it is)");
	set_ok("upstreams[1].base_url=");
	assert_int_equal(options_finish(f.o, f.error, sizeof(f.error)), 0);
	set_ok("upstreams[0].name=~");
	assert_int_equal(options_finish(f.o, f.error, sizeof(f.error)), -1);
	assert_string_equal(f.error, "c.yaml:2: upstreams[0].name: must be given (what it is called)");
}

/* ---- keys */

static void an_unknown_key_is_told_the_nearest_known_one(void **state)
{
	(void)state;
	load_fails("memory:\n  limt: 1MB\n", "c.yaml:2: memory.limt: unknown key; did you mean memory.limit?");
	load_fails("stroe:\n  path: x\n", "c.yaml:1: stroe: unknown key; did you mean store?");
	load_fails("store:\n  limit: 1MB\n", "c.yaml:2: store.limit: unknown key; did you mean memory.limit?");
	load_fails("upstream:\n  - name: a\n", "c.yaml:1: upstream: unknown key; did you mean upstreams?");
	load_fails("upstreams:\n  - name: a\n  - nmae: b\n",
		   "c.yaml:3: upstreams[1].nmae: unknown key; did you mean upstreams[1].name?");
	set_fails("upstreams.name=x", "--set: upstreams.name: unknown key; did you mean upstreams[0].name?");
	set_fails("limit=x", "--set: limit: unknown key; did you mean memory.limit?");
	set_fails("flight.age=1s", "--set: flight.age: unknown key; did you mean engine.flight.age?");
	set_fails("store.path[0]=x", "--set: store.path[0]: unknown key; did you mean store.path?");
	set_fails("listen[x]=x", "--set: listen[x]: unknown key; did you mean listen?");
	set_fails("upstreams[00].name=x", "--set: upstreams[00].name: unknown key; did you mean upstreams[0].name?");
	set_fails("upstreams[99999].name=x",
		  "--set: upstreams[99999].name: unknown key; did you mean upstreams[0].name?");
	set_fails("completely=x", "--set: completely: unknown key; --describe config lists all");
}

static void a_set_without_key_or_value_says_how_it_is_written(void **state)
{
	char text[OPTION_KEY_BYTES_MAX + 8];

	(void)state;
	set_fails("memory.limit", "--set: memory.limit: expected key=value, such as memory.limit=64MB");
	set_fails("", "--set: expected key=value, such as memory.limit=64MB");
	set_fails("=5", "--set: expected key=value, such as memory.limit=64MB");
	memset(text, 'k', sizeof(text));
	strcpy(text + sizeof(text) - 3, "=1");
	set_fails(text, "--set: the key is longer than 128 bytes");
}

static void a_section_is_not_a_value_and_a_value_is_not_a_section(void **state)
{
	(void)state;
	load_fails("store: lmdb\n",
		   "c.yaml:1: store: is a section, not a value; set keys below it, such as store.kind");
	load_fails("upstreams: a\n",
		   "c.yaml:1: upstreams: expected a list of items; set keys such as upstreams[0].name");
	load_fails("upstreams:\n  name: a\n",
		   "c.yaml:1: upstreams: expected a list (lines that begin with \"- name:\"), found a mapping");
	load_fails("upstreams:\n  - a\n",
		   "c.yaml:2: upstreams[0]: is an item with keys, not a value; set keys such as upstreams[0].name");
	load_fails("upstreams:\n  - [a]\n", "c.yaml:2: upstreams[0]: expected keys with values, found a list");
	load_fails("store: [a]\n", "c.yaml:1: store: expected keys with values, found a list");
	load_fails("listen: {a: b}\n", "c.yaml:1: listen: expected a list of texts such as [a, b], found a mapping");
	load_fails("listen: [[a]]\n", "c.yaml:1: listen[0]: expected a text, found a list");
	load_fails("- a\n", "c.yaml:1: expected keys with values, found a list");
	load_fails("just words\n", "c.yaml:1: expected keys with values");
	load_ok("store:\nupstreams:\nengine:\n  flight:\n"); /* all keys commented out */
}

static void a_key_given_twice_names_both_lines(void **state)
{
	(void)state;
	load_fails("store:\n  path: a\n  kind: none\n  path: b\n",
		   "c.yaml:4: store.path: given twice; the first time in line 2");
	load_fails("store:\n  path: a\nstore:\n  kind: none\n",
		   "c.yaml:3: store: given twice; the first time in line 1");
	load_fails("store:\n  path: a\nstore.path: b\n", "c.yaml:3: store.path: given twice; the first time in line 2");
	load_fails("upstreams:\n- name: a\n  name: b\n",
		   "c.yaml:3: upstreams[0].name: given twice; the first time in line 2");
	load_ok("store:\n  path: a\n");
	load_ok("store:\n  path: b\n"); /* another file is another matter */
	assert_string_equal(f.store.path, "b");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(defaults_are_there_before_any_file),
		CASE(a_file_sets_every_type),
		CASE(sizes_are_powers_of_1024),
		CASE(durations_have_units_and_default_to_seconds),
		CASE(all_six_words_of_a_bool_are_known_in_any_case),
		CASE(a_wrong_type_says_what_is_expected_with_an_example),
		CASE(a_number_out_of_range_names_the_range),
		CASE(an_empty_text_is_a_value_and_null_is_the_default),
		CASE(nothing_in_a_text_is_expanded),
		CASE(set_replaces_a_list_or_one_place_of_it),
		CASE(a_list_in_a_file_replaces_what_was_there),
		CASE(a_list_takes_its_limit_and_not_one_more),
		CASE(set_extends_a_list_of_groups_without_gaps),
		CASE(a_required_key_that_is_missing_names_the_line_of_its_item),
		CASE(an_unknown_key_is_told_the_nearest_known_one),
		CASE(a_set_without_key_or_value_says_how_it_is_written),
		CASE(a_section_is_not_a_value_and_a_value_is_not_a_section),
		CASE(a_key_given_twice_names_both_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
