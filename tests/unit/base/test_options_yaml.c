/* options: files that are broken, hostile or large, and the reference that loads as a file. */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/base/options_fixture.h"

/* The sentence is libyaml's, so only its important parts are fixed. */
static void load_fails_with(const char *text, const char *part)
{
	assert_int_equal(load(text), -1);
	if (strstr(f.error, part) == NULL)
		fail_msg("\"%s\" does not contain \"%s\"", f.error, part);
}

/* ---- files that are not configuration */

static void anchors_aliases_and_tags_are_refused(void **state)
{
	(void)state;
	load_fails("default_model: &x a\nstore:\n  path: *x\n",
		   "c.yaml:1: default_model: anchors (&x) are not supported; write the value out");
	load_fails("default_model: *x\n",
		   "c.yaml:1: default_model: aliases (*x) are not supported; write the value out");
	load_fails("store: &s\n  path: a\n", "c.yaml:1: store: anchors (&s) are not supported; write the value out");
	load_fails("listen: &l [a]\n", "c.yaml:1: listen: anchors (&l) are not supported; write the value out");
	load_fails("store:\n  path: !!str a\n",
		   "c.yaml:2: store.path: tags (tag:yaml.org,2002:str) are not supported; remove it");
	load_fails("store:\n  <<: a\n", "c.yaml:2: store.<<: unknown key; --describe config lists all");
}

static void directives_are_refused(void **state)
{
	(void)state;
	load_fails("# first\n%YAML 1.1\n---\ndefault_model: a\n",
		   "c.yaml:2: directives (%YAML, %TAG) are not supported; remove the line");
	load_fails("#\r%TAG ! x\r", "c.yaml:1: directives (%YAML, %TAG) are not supported; remove the line");
	load_fails("\xef\xbb\xbf%TAG ! x\n", "c.yaml:1: directives (%YAML, %TAG) are not supported; remove the line");
	load_ok("default_model: \"50%\"\nlisten: [a%, \"%b\"]\n");
}

static void broken_yaml_names_its_line(void **state)
{
	(void)state;
	load_fails_with("store:\n\tpath: a\n", "c.yaml:2: not valid YAML: ");
	load_fails_with("store:\n\tpath: a\n", "(indent with spaces, not tabs)");
	load_fails_with("listen: [a\nstore:\n  path: b\n", "c.yaml:2: not valid YAML: ");
	load_fails_with("store:\n  path: \"a\n", "c.yaml:3: not valid YAML: ");
	load_fails_with("store:\n  path: a\n batch: 3\n", "c.yaml:3: not valid YAML: ");
	load_fails_with("default_model: a\nstore: \xff\n", "c.yaml:2: not valid YAML: ");
	load_fails_with("default_model: a\nstore: \x01\n",
			"c.yaml:2: not valid YAML: control characters are not allowed");
	load_fails("? [a]\n: b\n", "c.yaml:1: a key must be plain text");
	load_fails("? {a: b}\n: b\n", "c.yaml:1: a key must be plain text");
	load_fails("default_model: a\n---\ndefault_model: b\n",
		   "c.yaml:2: a second document begins; one file holds one");
	load_fails("default_model: \"a\\0b\"\n", "c.yaml:1: default_model: contains a NUL byte");
	load_fails("\"a\\0b\": c\n", "c.yaml:1: a key contains a NUL byte");
	load_fails("\"a\\nb\": c\n", "c.yaml:1: a?b: unknown key; --describe config lists all");
}

static void an_empty_file_is_a_configuration(void **state)
{
	(void)state;
	load_ok("");
	load_ok("# nothing\n");
	load_ok("---\n");
	load_ok("{}\n");
	load_ok("\xef\xbb\xbf"
		"default_model: bom\n");
	assert_string_equal(f.top.model, "bom");
	assert_int_equal(options_finish(f.o, f.error, sizeof(f.error)), 0);
}

static void nesting_and_length_have_limits(void **state)
{
	size_t n = OPTIONS_FILE_BYTES_MAX + 1;
	char *text = malloc(n + 1);

	(void)state;
	assert_non_null(text);
	memset(text, '[', 100000);
	text[100000] = '\0';
	assert_int_equal(load(text), -1);

	memset(text, '#', n);
	assert_int_equal(options_load_text(f.o, "c.yaml", text, n - 1, f.error, sizeof(f.error)), 0);
	assert_int_equal(options_load_text(f.o, "c.yaml", text, n, f.error, sizeof(f.error)), -1);
	assert_string_equal(f.error, "c.yaml: larger than 1048576 bytes");

	memset(text, 'a', n);
	memcpy(text, "default_model: ", 15);
	text[15 + OPTION_VALUE_BYTES_MAX] = '\0';
	load_ok(text);
	text[15 + OPTION_VALUE_BYTES_MAX] = 'a';
	text[16 + OPTION_VALUE_BYTES_MAX] = '\0';
	load_fails(text, "c.yaml:1: default_model: the value is longer than 8192 bytes");

	memset(text, 'a', n);
	strcpy(text + OPTION_KEY_BYTES_MAX + 1, ": b\n");
	load_fails(text, "c.yaml:1: the key below it is longer than 128 bytes in all");
	free(text);
}

static void an_error_is_always_terminated(void **state)
{
	char small[8];

	(void)state;
	memset(small, 'x', sizeof(small));
	assert_int_equal(options_set(f.o, "memory.limt=1", small, sizeof(small)), -1);
	assert_string_equal(small, "--set: ");
}

static void a_file_is_read_from_disk_and_named_in_errors(void **state)
{
	char path[] = "/tmp/test_options_XXXXXX", expected[128];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "memory:\n  limit: 2MB\n", 21), 21);
	assert_int_equal(options_load_file(f.o, path, f.error, sizeof(f.error)), 0);
	assert_int_equal(f.memory.limit, 2 << 20);
	assert_int_equal(write(fd, "x: y\n", 5), 5);
	assert_int_equal(options_load_file(f.o, path, f.error, sizeof(f.error)), -1);
	snprintf(expected, sizeof(expected), "%s:3: x: unknown key; --describe config lists all", path);
	assert_string_equal(f.error, expected);
	assert_int_equal(ftruncate(fd, OPTIONS_FILE_BYTES_MAX + 1), 0);
	assert_int_equal(options_load_file(f.o, path, f.error, sizeof(f.error)), -1);
	snprintf(expected, sizeof(expected), "%s: larger than 1048576 bytes", path);
	assert_string_equal(f.error, expected);
	close(fd);
	unlink(path);
	assert_int_equal(options_load_file(f.o, path, f.error, sizeof(f.error)), -1);
	assert_non_null(strstr(f.error, "cannot open the configuration: No such file"));
	assert_int_equal(options_load_file(f.o, "/tmp", f.error, sizeof(f.error)), -1);
	assert_string_equal(f.error, "/tmp: not a regular file");
}

static void a_pipe_is_refused_without_waiting(void **state)
{
	char dir[] = "/tmp/test_options_XXXXXX", path[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(options_load_file(f.o, path, f.error, sizeof(f.error)), -1);
	assert_non_null(strstr(f.error, "not a regular file"));
	unlink(path);
	rmdir(dir);
}

/* ---- the reference */

static char *describe(void)
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	assert_non_null(out);
	options_describe(f.o, out);
	fclose(out);
	return text;
}

/* A line that begins with # and the key or an indent of two; text has its # before a single blank. */
static void uncomment(char *text)
{
	char *to = text;

	for (char *p = text; *p != '\0'; p++) {
		bool key_line = *p == '#' && (p == text || p[-1] == '\n') && (p[1] != ' ' || p[2] == ' ');

		if (!key_line)
			*to++ = *p;
	}
	*to = '\0';
}

static void the_reference_reads_like_a_configuration(void **state)
{
	char *text = describe();

	(void)state;
	assert_int_equal(strncmp(text,
				 "# where to listen\n"
				 "# a list of texts such as [a, b]; default: unix:/run/a.sock,tcp://127.0.0.1:7411\n"
				 "#listen: [\"unix:/run/a.sock\", \"tcp://127.0.0.1:7411\"]\n",
				 60),
			 0);
	assert_non_null(strstr(text, "\nmemory:\n"
				     "  # of the memory tier\n"
				     "  # a size such as 64MB, 1MB to 1TB; default: 256MB\n"
				     "#  limit: 256MB\n"));
	assert_non_null(strstr(text, "\nupstreams:\n"
				     "    # what it is called\n"
				     "    # a text, 1 to 8 bytes; must be given\n"
				     "#  - name: <name>\n"));
	assert_non_null(strstr(text, "#    models:\n"));
	free(text);
}

static void the_reference_loads_as_it_is_and_changes_nothing(void **state)
{
	char *text = describe();

	(void)state;
	load_ok(text);
	assert_int_equal(f.upstream_count, 0);
	assert_int_equal(f.memory.limit, 256 << 20);
	free(text);
}

static void the_reference_uncommented_gives_the_defaults(void **state)
{
	char *text = describe();

	(void)state;
	set_ok("listen=x");
	set_ok("default_model=x");
	set_ok("store.kind=none");
	set_ok("store.path=x");
	set_ok("engine.flight.age=1s");
	uncomment(text);
	load_ok(text);
	assert_int_equal(options_finish(f.o, f.error, sizeof(f.error)), 0);
	assert_int_equal(f.top.listen.count, 2);
	assert_string_equal(f.top.listen.items[0], "unix:/run/a.sock");
	assert_string_equal(f.top.model, "gpt-4o-mini");
	assert_int_equal(f.store.kind, 1);
	assert_null(f.store.path);
	assert_int_equal(f.flight.age_ms, 120000);
	assert_int_equal(f.upstream_count, 1);
	assert_string_equal(f.upstreams[0].name, "<name>");
	assert_int_equal(f.upstreams[0].concurrency, 16);
	free(text);
}

static void groups_with_one_prefix_are_described_together(void **state)
{
	static const struct option more[] = {{"extra", OPTION_UINT, 0, "1", 0, 0, NULL, false, "one more"}};
	uint64_t extra = 0;
	char *text;

	(void)state;
	options_add_group(f.o, &(struct option_group){"store", more, 1, &extra, 0, 0, NULL});
	text = describe();
	uncomment(text);
	load_ok(text);
	assert_int_equal(extra, 1);
	free(text);
	set_ok("store.extra=5");
	assert_int_equal(extra, 5);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(anchors_aliases_and_tags_are_refused),
		CASE(directives_are_refused),
		CASE(broken_yaml_names_its_line),
		CASE(an_empty_file_is_a_configuration),
		CASE(nesting_and_length_have_limits),
		CASE(an_error_is_always_terminated),
		CASE(a_file_is_read_from_disk_and_named_in_errors),
		CASE(a_pipe_is_refused_without_waiting),
		CASE(the_reference_reads_like_a_configuration),
		CASE(the_reference_loads_as_it_is_and_changes_nothing),
		CASE(the_reference_uncommented_gives_the_defaults),
		CASE(groups_with_one_prefix_are_described_together),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
