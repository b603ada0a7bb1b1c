/* address: texts to endpoints, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "server/net/address.h"
#include "server/net/auth.h"

static const char *round_trip(const char *text)
{
	static char got[ENDPOINT_TEXT_BYTES];
	struct endpoint e[ADDRESS_ENDPOINTS_MAX];
	struct address a;
	char error[256];
	size_t count;

	if (address_parse(&a, text, error, sizeof error) < 0 || address_resolve(&a, e, &count, error, sizeof error) < 0)
		fail_msg("%s", error);
	endpoint_text(&e[0], got);
	return got;
}

static void addresses_come_back_as_they_were(void **state)
{
	(void)state;
	assert_string_equal(round_trip("unix:/run/x.sock"), "unix:/run/x.sock");
	assert_string_equal(round_trip("unix:///run/x.sock"), "unix:/run/x.sock");
	assert_string_equal(round_trip("tcp://127.0.0.1:7411"), "tcp://127.0.0.1:7411");
	assert_string_equal(round_trip("tcp://[::1]:0"), "tcp://[::1]:0");
	assert_string_equal(round_trip("tcp://0.0.0.0:65535"), "tcp://0.0.0.0:65535");
}

static void what_is_no_address_is_refused_with_a_remedy(void **state)
{
	static const char *const bad[][2] = {
		{"", "expected unix:"},
		{"127.0.0.1:7411", "expected unix:"},
		{"http://x:1", "expected unix:"},
		{"tls://x:1", "TLS"},
		{"unix:", "path is missing"},
		{"tcp://:7411", "host is missing"},
		{"tcp://localhost", "port is missing"},
		{"tcp://localhost:", "port is a number"},
		{"tcp://localhost:65536", "port is a number"},
		{"tcp://localhost:1x", "port is a number"},
		{"tcp://localhost:-1", "port is a number"},
		{"tcp://::1:7411", "brackets"},
		{"tcp://[::1]", "brackets"},
		{"tcp://[::1", "brackets"},
		{"tcp://[]:1", "host is missing"},
	};
	struct address a, before;
	char error[256];

	(void)state;
	memset(&before, 7, sizeof before);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		a = before;
		assert_int_equal(address_parse(&a, bad[i][0], error, sizeof error), -1);
		if (strstr(error, bad[i][1]) == NULL)
			fail_msg("%s: %s", bad[i][0], error);
		assert_memory_equal(&a, &before, sizeof a); /* untouched */
	}
}

static void a_host_without_an_address_is_told_with_the_whole_text(void **state)
{
	struct endpoint e[ADDRESS_ENDPOINTS_MAX];
	struct address a;
	char error[512];
	size_t count;

	(void)state;
	assert_int_equal(address_parse(&a, "tcp://no host:7411", error, sizeof error), 0);
	assert_int_equal(address_resolve(&a, e, &count, error, sizeof error), -1);
	assert_non_null(strstr(error, "tcp://no host:7411: "));
}

static void long_names_are_refused(void **state)
{
	char text[400] = "unix:/", error[256];
	struct address a;

	(void)state;
	memset(text + 6, 'a', 102 + 4); /* 107 bytes of path are the most */
	assert_int_equal(address_parse(&a, text, error, sizeof error), 0);
	text[112] = 'a';
	assert_int_equal(address_parse(&a, text, error, sizeof error), -1);
	memset(text, 'a', 300);
	memcpy(text, "tcp://", 6);
	strcpy(text + 300, ":1");
	assert_int_equal(address_parse(&a, text, error, sizeof error), -1);
}

static bool may_listen(const char *text, bool insecure)
{
	struct endpoint e[ADDRESS_ENDPOINTS_MAX];
	struct address a;
	char error[256];
	size_t count;

	assert_int_equal(address_parse(&a, text, error, sizeof error), 0);
	assert_int_equal(address_resolve(&a, e, &count, error, sizeof error), 0);
	return auth_may_listen(&e[0], insecure);
}

static void beyond_loopback_insecure_must_be_said(void **state)
{
	(void)state;
	assert_true(may_listen("unix:/x", false));
	assert_true(may_listen("tcp://127.0.0.1:1", false));
	assert_true(may_listen("tcp://127.9.9.9:1", false));
	assert_true(may_listen("tcp://[::1]:1", false));
	assert_true(may_listen("tcp://[::ffff:127.0.0.1]:1", false));
	assert_false(may_listen("tcp://0.0.0.0:1", false));
	assert_false(may_listen("tcp://[::]:1", false));
	assert_false(may_listen("tcp://[::ffff:10.0.0.1]:1", false));
	assert_false(may_listen("tcp://192.0.2.1:1", false));
	assert_true(may_listen("tcp://192.0.2.1:1", true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_come_back_as_they_were),
		cmocka_unit_test(what_is_no_address_is_refused_with_a_remedy),
		cmocka_unit_test(a_host_without_an_address_is_told_with_the_whole_text),
		cmocka_unit_test(long_names_are_refused),
		cmocka_unit_test(beyond_loopback_insecure_must_be_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
