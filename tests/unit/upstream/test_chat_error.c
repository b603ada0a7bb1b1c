/* chat_error: statuses and bodies of refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "server/upstream/chat_error.h"

static void check(unsigned status, const char *body, enum proto_error code, bool retry, const char *message)
{
	struct chat_error e;

	chat_error_read(&e, status, slice_str(body));
	assert_int_equal(e.code, code);
	assert_int_equal(e.retry, retry);
	assert_string_equal(e.message, message);
}

static void a_refusal_says_what_the_provider_said(void **state)
{
	(void)state;
	check(400, "{\"error\":{\"message\":\"Unknown\\nparameter: 'x'.\"}}", ERR_UPSTREAM_REFUSED, false,
	      "the provider answered 400: Unknown parameter: 'x'.");
	check(422, "{\"detail\":\"no such thing\"}", ERR_UPSTREAM_REFUSED, false,
	      "the provider answered 422: no such thing");
	check(400, "{\"error\":\"plain\"}", ERR_UPSTREAM_REFUSED, false, "the provider answered 400: plain");
	check(400, "{\"message\":\"outside\"}", ERR_UPSTREAM_REFUSED, false, "the provider answered 400: outside");
	check(418, "<html>", ERR_UPSTREAM_REFUSED, false, "the provider answered 418");
	check(404, "", ERR_UPSTREAM_REFUSED, false, "the provider answered 404 (check base_url and the model's name)");
}

static void what_is_said_about_the_key_is_not_repeated(void **state)
{
	static const char body[] = "{\"error\":{\"message\":\"Incorrect API key provided: sk-12345.\"}}";

	(void)state;
	check(401, body, ERR_UPSTREAM_REFUSED, false,
	      "the provider answered 401: it refuses the key; check api_key_env");
	check(403, body, ERR_UPSTREAM_REFUSED, false,
	      "the provider answered 403: it refuses the key; check api_key_env");
}

static void servers_that_fail_may_be_asked_again(void **state)
{
	static const unsigned statuses[] = {408, 500, 502, 503, 504, 529};
	struct chat_error e;

	(void)state;
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		chat_error_read(&e, statuses[i], slice_str("{\"error\":{\"message\":\"inner secrets\"}}"));
		assert_int_equal(e.code, ERR_UPSTREAM_FAILED);
		assert_true(e.retry);
		assert_null(strstr(e.message, "secrets"));
	}
}

static void a_rate_limit_may_be_waited_for_and_an_empty_account_not(void **state)
{
	(void)state;
	check(429, "{\"error\":{\"message\":\"slow down\"}}", ERR_RATE_LIMITED, true,
	      "the provider answered 429: slow down");
	check(429, "", ERR_RATE_LIMITED, true, "the provider answered 429");
	check(429, "{\"error\":{\"code\":\"insufficient_quota\",\"message\":\"pay\"}}", ERR_RATE_LIMITED, false,
	      "the provider answered 429 (the account's quota is used up): pay");
	check(429, "{\"error\":{\"type\":\"insufficient_quota\"}}", ERR_RATE_LIMITED, false,
	      "the provider answered 429 (the account's quota is used up)");
}

static void redirections_are_a_mistake_in_the_configuration(void **state)
{
	(void)state;
	check(301, "", ERR_UPSTREAM_FAILED, false,
	      "the provider answered 301: redirections are not followed; check base_url");
}

static void long_words_are_cut(void **state)
{
	char body[8192] = "{\"error\":{\"message\":\"";
	struct chat_error e;
	size_t n = strlen(body);

	(void)state;
	memset(body + n, 'x', 4096);
	strcpy(body + n + 4096, "\"}}");
	chat_error_read(&e, 400, slice_str(body));
	assert_true(strlen(e.message) < sizeof(e.message));
	assert_true(slice_is_utf8(slice_str(e.message)));
	assert_non_null(strstr(e.message, "xxx\xE2\x80\xA6"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refusal_says_what_the_provider_said),
		cmocka_unit_test(what_is_said_about_the_key_is_not_repeated),
		cmocka_unit_test(servers_that_fail_may_be_asked_again),
		cmocka_unit_test(a_rate_limit_may_be_waited_for_and_an_empty_account_not),
		cmocka_unit_test(redirections_are_a_mistake_in_the_configuration),
		cmocka_unit_test(long_words_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
