/* address and settings: texts, the default socket and its directory, where the token comes from. */
#include "tests/unit/client/client_test.h"

#include "client/settings.h"

#include <errno.h>

static char home[64];
static struct failure failure;

static int setup(void **state)
{
	(void)state;
	snprintf(home, sizeof(home), "/tmp/promptcache-test-XXXXXX");
	assert_non_null(mkdtemp(home));
	unsetenv("PROMPTCACHE_SERVER");
	unsetenv("PROMPTCACHE_TOKEN");
	setenv("XDG_RUNTIME_DIR", home, 1);
	setenv("XDG_STATE_HOME", home, 1);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", home);
	assert_int_equal(system(command), 0);
	return 0;
}

static void parsed(const char *text, const char *printed)
{
	struct address a;
	struct endpoint list[ADDRESS_ENDPOINTS_MAX];
	size_t count;
	char name[160];

	assert_int_equal(address_parse(text, &a, &failure), PC_OK);
	assert_int_equal(address_resolve(&a, list, &count, &failure), PC_OK);
	assert_true(count >= 1);
	endpoint_print(&list[0], name, sizeof(name));
	assert_string_equal(name, printed);
}

static void addresses_are_parsed(void **state)
{
	(void)state;
	parsed("unix:/run/x.sock", "unix:/run/x.sock");
	parsed("tcp://127.0.0.1:9", "tcp://127.0.0.1:9");
	parsed("tcp://127.0.0.1", "tcp://127.0.0.1:7411");
	parsed("tcp://[::1]:9", "tcp://[::1]:9");
	parsed("tcp://[::1]", "tcp://[::1]:7411");
}

static void bad_addresses_are_refused(void **state)
{
	static const char *const bad[] = {"/run/x.sock", "unix:",	  "tcp://",	   "tcp://:7411",
					  "tcp://h:0",	 "tcp://h:65536", "tcp://h:7411x", "tcp://[::1:7411",
					  "http://h",	 "tcp://[::1]x"};
	struct address a;
	char text[300];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(address_parse(bad[i], &a, &failure), PC_INVALID);
	assert_int_equal(address_parse("tls://h:1", &a, &failure), PC_UNSUPPORTED);
	snprintf(text, sizeof(text), "unix:/%0200d", 1); /* longer than a socket's path may be */
	assert_int_equal(address_parse(text, &a, &failure), PC_INVALID);
}

static int default_socket(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/promptcached.sock", home);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

static void the_default_is_the_socket_if_there_is_one_else_loopback(void **state)
{
	char expected[160];
	int fd;

	(void)state;
	parsed(NULL, "tcp://127.0.0.1:7411");
	fd = default_socket();
	snprintf(expected, sizeof(expected), "unix:%s/promptcached.sock", home);
	parsed(NULL, expected);
	parsed("", expected);
	setenv("PROMPTCACHE_SERVER", "tcp://127.0.0.1:5", 1);
	parsed(NULL, "tcp://127.0.0.1:5");
	parsed("tcp://127.0.0.1:6", "tcp://127.0.0.1:6");
	close(fd);
}

static int core_of(const struct settings *s, struct core *core)
{
	struct endpoint list[ADDRESS_ENDPOINTS_MAX];
	size_t count;

	assert_int_equal(address_resolve(&s->address, list, &count, &failure), PC_OK);
	return settings_core(s, &list[0], core, 0, &failure);
}

/* What HELLO to that address (NULL: the default) has in it, with these options. */
static void token_to_is(const char *address, const char *expected, const char *token, const char *file)
{
	struct pc_options options = PC_OPTIONS_INIT;
	struct settings s;
	struct core core;
	struct message m;
	struct message_decoder decoder;
	struct fault fault;

	options.address = address;
	options.token = token;
	options.token_file = file;
	assert_int_equal(settings_init(&s, &options, &failure), PC_OK);
	assert_int_equal(core_of(&s, &core), PC_OK);
	assert_int_equal(message_decoder_init(&decoder), 0);
	assert_int_equal(
		message_decode(&decoder, frame_next(core_output(&core), FRAME_BYTES_MAX).frame, FROM_C, &m, &fault), 0);
	assert_true(slice_is(m.hello.token, expected));
	message_decoder_free(&decoder);
	core_free(&core);
	settings_free(&s);
}

static void token_is(const char *expected, const char *token, const char *file)
{
	token_to_is("unix:/run/x.sock", expected, token, file);
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void write_default_token(void)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/promptcached", home);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/promptcached/token", home);
	write_file(path, "from-the-default-file\n");
}

static void the_token_comes_from_the_first_place_that_has_one(void **state)
{
	char other[160];

	(void)state;
	token_is("", NULL, NULL);
	write_default_token();
	token_is("from-the-default-file", NULL, NULL);
	setenv("PROMPTCACHE_TOKEN", "from-the-environment", 1);
	token_is("from-the-environment", NULL, NULL);
	snprintf(other, sizeof(other), "%s/other", home);
	write_file(other, "from-a-file \r\n\n");
	token_is("from-a-file", NULL, other);
	token_is("given", "given", other);
}

static void the_default_files_token_does_not_go_to_a_port_that_nobody_named(void **state)
{
	char other[160];
	int fd;

	(void)state;
	write_default_token();
	token_to_is(NULL, "", NULL, NULL); /* there is no socket: the loopback port is a guess */
	token_to_is("tcp://127.0.0.1:7411", "from-the-default-file", NULL, NULL);
	snprintf(other, sizeof(other), "%s/other", home);
	write_file(other, "from-a-file");
	token_to_is(NULL, "from-a-file", NULL, other);
	token_to_is(NULL, "given", "given", NULL);
	setenv("PROMPTCACHE_TOKEN", "from-the-environment", 1);
	token_to_is(NULL, "from-the-environment", NULL, NULL);
	unsetenv("PROMPTCACHE_TOKEN");
	setenv("PROMPTCACHE_SERVER", "tcp://127.0.0.1:7411", 1);
	token_to_is(NULL, "from-the-default-file", NULL, NULL);
	unsetenv("PROMPTCACHE_SERVER");
	fd = default_socket();
	token_to_is(NULL, "from-the-default-file", NULL, NULL);
	close(fd);
}

static void a_refusal_says_that_the_token_was_withheld(void **state)
{
	struct pc_options options = PC_OPTIONS_INIT;
	struct settings s;
	struct core core;
	struct buf out;
	size_t room;

	(void)state;
	write_default_token();
	assert_int_equal(settings_init(&s, &options, &failure), PC_OK);
	assert_int_equal(core_of(&s, &core), PC_OK);
	snprintf(core.server, sizeof(core.server), "tcp://127.0.0.1:7411");
	buf_init(&out, TEST_OUT_MAX, &s.mem);
	put_error(&out, 1, ERR_UNAUTHENTICATED);
	memcpy(core_space(&core, &room), out.p, out.n);
	assert_int_equal(core_received(&core, out.n, 0), PC_REFUSED);
	assert_string_equal(core.failure.seen.name, "UNAUTHENTICATED");
	assert_ptr_equal(strstr(core.failure.message, "tcp://127.0.0.1:7411: "), core.failure.message);
	assert_non_null(strstr(core.failure.message, "PROMPTCACHE_SERVER"));
	buf_free(&out);
	core_close(&core);
	core_free(&core);
	settings_free(&s);
}

static void a_failed_connect_names_every_address_that_was_tried(void **state)
{
	struct address a;
	struct endpoint list[ADDRESS_ENDPOINTS_MAX];
	size_t count;
	char expected[300];

	(void)state;
	assert_int_equal(address_parse(NULL, &a, &failure), PC_OK);
	assert_int_equal(address_resolve(&a, list, &count, &failure), PC_OK);
	assert_int_equal(address_failed(&a, &list[0], ECONNREFUSED, &failure), PC_UNAVAILABLE);
	snprintf(expected, sizeof(expected),
		 "no promptcached at unix:%s/promptcached.sock or tcp://127.0.0.1:7411 (last: Connection refused); is "
		 "it running?",
		 home);
	assert_string_equal(failure.message, expected);
	assert_int_equal(address_parse("tcp://127.0.0.1:7411", &a, &failure), PC_OK);
	assert_int_equal(address_failed(&a, &list[0], ECONNREFUSED, &failure), PC_UNAVAILABLE);
	assert_string_equal(failure.message, "tcp://127.0.0.1:7411: Connection refused");
}

static void a_token_file_that_was_named_has_to_hold_one(void **state)
{
	struct pc_options options = PC_OPTIONS_INIT;
	struct settings s;
	struct core core;
	char path[160], text[700];

	(void)state;
	snprintf(path, sizeof(path), "%s/token", home);
	options.token_file = path;
	assert_int_equal(settings_init(&s, &options, &failure), PC_OK);
	assert_int_equal(core_of(&s, &core), PC_INVALID);
	write_file(path, "\n");
	assert_int_equal(core_of(&s, &core), PC_INVALID);
	memset(text, 'x', sizeof(text));
	text[TOKEN_BYTES_MAX + 1] = '\0';
	write_file(path, text);
	assert_int_equal(core_of(&s, &core), PC_INVALID);
	text[TOKEN_BYTES_MAX] = '\0';
	write_file(path, text);
	assert_int_equal(core_of(&s, &core), PC_OK);
	core_free(&core);
	settings_free(&s);
}

static void options_out_of_range_are_refused(void **state)
{
	struct pc_options options = PC_OPTIONS_INIT;
	struct settings s;

	(void)state;
	options.frame_max = 100;
	assert_int_equal(settings_init(&s, &options, &failure), PC_INVALID);
	options.frame_max = 1u << 30;
	assert_int_equal(settings_init(&s, &options, &failure), PC_INVALID);
	options.frame_max = 0;
	options.output_max = 1;
	assert_int_equal(settings_init(&s, &options, &failure), PC_INVALID);
	assert_string_equal(failure.seen.field, "output_max");
}

static void every_status_has_a_name_and_a_text(void **state)
{
	(void)state;
	for (int status = 1; status >= -9; status--) {
		assert_string_not_equal(pc_status_name(status), "UNKNOWN");
		assert_true(strlen(pc_strerror(status)) > 0);
	}
	assert_string_equal(pc_status_name(-100), "UNKNOWN");
	assert_non_null(pc_strerror(-100));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(addresses_are_parsed),
		CASE(bad_addresses_are_refused),
		CASE(the_default_is_the_socket_if_there_is_one_else_loopback),
		CASE(the_token_comes_from_the_first_place_that_has_one),
		CASE(the_default_files_token_does_not_go_to_a_port_that_nobody_named),
		CASE(a_refusal_says_that_the_token_was_withheld),
		CASE(a_failed_connect_names_every_address_that_was_tried),
		CASE(a_token_file_that_was_named_has_to_hold_one),
		CASE(options_out_of_range_are_refused),
		CASE(every_status_has_a_name_and_a_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
