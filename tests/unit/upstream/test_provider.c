/* provider: options and environment → URLs, headers, models; what is refused, and that no sentence holds a key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "server/upstream/upstream_internal.h"

#define KEY_ENV "UPSTREAM_TEST_KEY"
#define KEY	"sk-0123456789"

struct fixture {
	struct loop *loop;
	struct options *options;
	struct upstream_set_options *set;
	struct upstreams *upstreams;
	char error[400];
};

static struct fixture f;

static int setup(void **state)
{
	(void)state;
	unsetenv("OPENAI_BASE_URL");
	unsetenv("OPENAI_API_KEY");
	setenv(KEY_ENV, KEY, 1);
	f = (struct fixture){.loop = loop_new(), .options = options_new(), .set = calloc(1, sizeof(*f.set))};
	assert_non_null(f.loop);
	assert_non_null(f.options);
	upstream_options_add(f.options, f.set);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	upstreams_free(f.upstreams);
	options_free(f.options);
	free(f.set);
	loop_free(f.loop);
	return 0;
}

static void set(const char *assignment)
{
	int rc = options_set(f.options, assignment, f.error, sizeof(f.error));

	if (rc != 0)
		print_error("%s\n", f.error);
	assert_int_equal(rc, 0);
}

static void set_base(const char *url)
{
	char text[300];

	set("upstreams[0].name=one");
	snprintf(text, sizeof(text), "upstreams[0].base_url=%s", url);
	set(text);
}

static int make(void) { return upstreams_new(&f.upstreams, f.loop, NULL, f.set, f.error, sizeof(f.error)); }

static void make_fine(void)
{
	int rc = make();

	if (rc != 0)
		print_error("%s\n", f.error);
	assert_int_equal(rc, 0);
}

/* By the check as by the start. */
static void refused(const char *text)
{
	assert_int_equal(upstreams_check(f.set, f.error, sizeof(f.error)), -1);
	assert_non_null(strstr(f.error, text));
	assert_int_equal(make(), -1);
	assert_null(strstr(f.error, KEY));
	if (strstr(f.error, text) == NULL)
		print_error("%s\n", f.error);
	assert_non_null(strstr(f.error, text));
	teardown(NULL);
	setup(NULL);
}

static void url_is(const char *model, const char *url)
{
	char *made = provider_url(f.upstreams->items[0], model);

	assert_string_equal(made, url);
	free(made);
}

static bool has_header(const char *line)
{
	const struct upstream *p = f.upstreams->items[0];

	for (size_t i = 0; i < p->headers_count; i++) {
		if (strcmp(p->headers[i], line) == 0)
			return true;
	}
	return false;
}

static const char *routed(const char *model)
{
	struct upstream *p = upstreams_route(f.upstreams, slice_str(model));

	return p == NULL ? "none" : upstream_name(p);
}

/* ---- cases */

static void slashes_between_base_and_path_are_one(void **state)
{
	static const char *const bases[] = {"http://h:1/v1", "http://h:1/v1/", "http://h:1/v1//"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		set_base(bases[i]);
		make_fine();
		url_is("m", "http://h:1/v1/chat/completions");
		teardown(NULL);
		setup(NULL);
	}
	set_base("https://h");
	set("upstreams[0].chat_path=chat");
	make_fine();
	url_is("m", "https://h/chat");
}

static void azure_has_the_model_in_its_path_and_the_key_in_its_own_header(void **state)
{
	(void)state;
	set_base("https://x.openai.azure.com/openai");
	set("upstreams[0].chat_path=/deployments/{model}/chat/completions?api-version=2024-06-01");
	set("upstreams[0].api_key_header=api-key");
	set("upstreams[0].api_key_env=" KEY_ENV);
	make_fine();
	url_is("gpt-4o",
	       "https://x.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-06-01");
	url_is("a/b ?\xC3\xA4", "https://x.openai.azure.com/openai/deployments/a%2Fb%20%3F%C3%A4/chat/"
				"completions?api-version=2024-06-01");
	assert_true(has_header("api-key: " KEY));
}

static void headers_are_sent_as_configured(void **state)
{
	(void)state;
	set_base("http://h/v1");
	set("upstreams[0].api_key_env=" KEY_ENV);
	set("upstreams[0].headers=X-One: 1,X-Two: 2");
	make_fine();
	assert_true(has_header("Content-Type: application/json"));
	assert_true(has_header("Authorization: Bearer " KEY));
	assert_true(has_header("X-One: 1"));
	assert_true(has_header("X-Two: 2"));
}

static void without_api_key_env_no_key_is_sent(void **state)
{
	(void)state;
	setenv("OPENAI_API_KEY", KEY, 1);
	set_base("http://h/v1");
	make_fine();
	assert_int_equal(f.upstreams->items[0]->headers_count, 1);
}

static void the_first_that_serves_a_model_gets_it(void **state)
{
	(void)state;
	set_base("http://h/v1");
	set("upstreams[0].models=gpt-4o,o1*");
	set("upstreams[1].name=two");
	set("upstreams[1].base_url=http://i/v1");
	set("upstreams[1].models=gpt-*");
	make_fine();
	assert_string_equal(routed("gpt-4o"), "one");
	assert_string_equal(routed("gpt-4o-mini"), "two");
	assert_string_equal(routed("o1"), "one");
	assert_string_equal(routed("o1-preview"), "one");
	assert_string_equal(routed("o"), "none");
	assert_string_equal(routed("claude"), "none");
}

static void without_models_an_upstream_serves_all(void **state)
{
	(void)state;
	set_base("http://h/v1");
	make_fine();
	assert_string_equal(routed("anything"), "one");
}

static void bad_urls_are_refused(void **state)
{
	static const char *const urls[][2] = {
		{"ftp://h", "neither http:// nor https://"},
		{"h:80/v1", "neither http:// nor https://"},
		{"http://", "names no host"},
		{"http:///v1", "names no host"},
		{"http://h/v 1", "a space"},
		{"http://h/\x01", "a space"},
		{"http://u:p@h/v1", "api_key_env"},
		{"http://h/v1?a=b", "chat_path"},
		{"http://h#x", "fragment"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		set_base(urls[i][0]);
		refused(urls[i][1]);
	}
	set_base("http://h/v1");
	set("upstreams[0].chat_path=/a b");
	refused("chat_path");
}

static void a_key_that_is_missing_or_would_end_the_line_is_refused(void **state)
{
	(void)state;
	set_base("http://h/v1");
	set("upstreams[0].api_key_env=UPSTREAM_TEST_NONE");
	refused("UPSTREAM_TEST_NONE is not set");
	setenv(KEY_ENV, "", 1);
	set_base("http://h/v1");
	set("upstreams[0].api_key_env=" KEY_ENV);
	refused(KEY_ENV " is not set");
	setenv(KEY_ENV, KEY "\r\nX-Evil: 1", 1);
	set_base("http://h/v1");
	set("upstreams[0].api_key_env=" KEY_ENV);
	refused("control character");
}

static void bad_headers_are_refused(void **state)
{
	static const char *const lines[] = {"no colon", ": empty", "a b: c", "a\tb: c", "X: a\rb", "X: a\nb", "X(: y"};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		set_base("http://h/v1");
		f.set->items[0].headers = (struct option_strings){.items = {lines[i]}, .count = 1};
		refused("headers");
	}
	set_base("http://h/v1");
	for (size_t i = 0; i < HTTP_HEADERS_MAX; i++)
		f.set->items[0].headers.items[f.set->items[0].headers.count++] = "X: y";
	refused("more than 30");
	set_base("http://h/v1");
	set("upstreams[0].api_key_env=" KEY_ENV);
	set("upstreams[0].api_key_header=a b");
	refused("api_key_header");
}

static void two_of_one_name_are_refused(void **state)
{
	(void)state;
	set_base("http://h/v1");
	set("upstreams[1].name=two");
	set("upstreams[1].base_url=http://g/v1");
	assert_int_equal(upstreams_check(f.set, f.error, sizeof(f.error)), 0);
	set("upstreams[1].name=one");
	assert_int_equal(upstreams_check(f.set, f.error, sizeof(f.error)), -1);
	assert_non_null(strstr(f.error, "upstreams[1].name: upstreams[0] is called one too"));
}

static void the_environment_names_an_upstream_when_nothing_is_configured(void **state)
{
	(void)state;
	make_fine();
	assert_false(upstreams_any(f.upstreams));
	assert_string_equal(routed("m"), "none");
	teardown(NULL);
	setup(NULL);

	setenv("OPENAI_API_KEY", KEY, 1);
	make_fine();
	assert_string_equal(routed("m"), "default");
	url_is("m", "https://api.openai.com/v1/chat/completions");
	assert_true(has_header("Authorization: Bearer " KEY));
	assert_int_equal(f.upstreams->items[0]->slots.limit, 256);
	assert_int_equal(f.upstreams->items[0]->attempts, 3);
	assert_true(f.upstreams->items[0]->stream);
	teardown(NULL);
	setup(NULL);

	setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1/", 1);
	make_fine();
	url_is("m", "http://127.0.0.1:1/v1/chat/completions");
	assert_int_equal(f.upstreams->items[0]->headers_count, 1);
	teardown(NULL);
	setup(NULL);

	setenv("OPENAI_BASE_URL", "nonsense", 1);
	refused("base_url");
}

static void a_bad_one_among_good_ones_leaves_nothing(void **state)
{
	(void)state;
	set_base("http://h/v1");
	set("upstreams[1].name=two");
	set("upstreams[1].base_url=nonsense");
	refused("upstream two");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(slashes_between_base_and_path_are_one),
		CASE(azure_has_the_model_in_its_path_and_the_key_in_its_own_header),
		CASE(headers_are_sent_as_configured),
		CASE(without_api_key_env_no_key_is_sent),
		CASE(the_first_that_serves_a_model_gets_it),
		CASE(without_models_an_upstream_serves_all),
		CASE(bad_urls_are_refused),
		CASE(a_key_that_is_missing_or_would_end_the_line_is_refused),
		CASE(bad_headers_are_refused),
		CASE(two_of_one_name_are_refused),
		CASE(the_environment_names_an_upstream_when_nothing_is_configured),
		CASE(a_bad_one_among_good_ones_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
