/* policy: what is decided before anything is looked up; above all, which requests may share an answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/engine/policy.h"

static struct loop *loop;
static struct http *http;
static struct options *options;
static struct upstreams *upstreams;
static struct upstream_set_options upstream_options;
static struct engine_options engine_options;
static struct digester *digester;
static struct fault fault;

static int setup(void **state)
{
	static const char *const settings[] = {
		"upstreams[0].name=first",
		"upstreams[0].base_url=http://127.0.0.1:1/v1",
		"upstreams[0].models=gpt-*,both",
		"upstreams[1].name=second",
		"upstreams[1].base_url=http://127.0.0.1:2/v1",
		"upstreams[1].models=llama*,both",
	};
	char error[256];

	(void)state;
	loop = loop_new();
	http = http_new(loop);
	options = options_new();
	engine_options_add(options, &engine_options);
	upstream_options_add(options, &upstream_options);
	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
		assert_int_equal(options_set(options, settings[i], error, sizeof error), 0);
	assert_int_equal(upstreams_new(&upstreams, loop, http, &upstream_options, error, sizeof error), 0);
	digester = digester_new();
	return digester == NULL;
}

static int teardown(void **state)
{
	(void)state;
	digester_free(digester);
	upstreams_free(upstreams);
	options_free(options);
	http_free(http);
	loop_run(loop);
	loop_free(loop);
	return 0;
}

static struct request_body question(const char *prompt)
{
	struct request_body r = {0};

	MESSAGE_SET(&r, REQUEST, prompt, slice_str(prompt));
	return r;
}

static struct plan plan_of(const struct request_body *r)
{
	struct plan p;

	if (policy_plan(digester, upstreams, &engine_options, r, &p, &fault) < 0)
		fail_msg("%s: %s", fault.field, fault.message);
	return p;
}

static bool same_key(const struct request_body *a, const struct request_body *b)
{
	struct plan x = plan_of(a), y = plan_of(b);

	return memcmp(x.key, y.key, sizeof x.key) == 0;
}

static void what_is_not_given_gets_its_default(void **state)
{
	struct request_body bare = question("q"), full = question("q");
	struct plan p = plan_of(&bare);

	(void)state;
	assert_true(slice_is(p.ns, "default"));
	assert_true(slice_is(p.model, "gpt-4o-mini"));
	assert_int_equal(p.ttl_ms, engine_options.ttl_ms);
	assert_true(p.max_age_ms == UINT64_MAX);
	MESSAGE_SET(&full, REQUEST, model, slice_str("gpt-4o-mini"));
	MESSAGE_SET(&full, REQUEST, namespace, slice_str("default"));
	assert_true(same_key(&bare, &full));
}

static void anything_that_can_change_the_answer_changes_the_key(void **state)
{
	struct request_body base = question("q"), other[6];

	(void)state;
	for (int i = 0; i < 6; i++)
		other[i] = question("q");
	other[0] = question("Q");
	MESSAGE_SET(&other[1], REQUEST, model, slice_str("gpt-4o"));
	MESSAGE_SET(&other[2], REQUEST, namespace, slice_str("b"));
	MESSAGE_SET(&other[3], REQUEST, prompt_version, slice_str("2"));
	MESSAGE_SET(&other[4], REQUEST, system, slice_str("be brief"));
	MESSAGE_SET(&other[5], REQUEST, model, slice_str("llama3"));
	for (int i = 0; i < 6; i++)
		for (int j = 0; j < i; j++)
			assert_false(same_key(&other[i], &other[j]));
	for (int i = 0; i < 6; i++)
		assert_false(same_key(&base, &other[i]));
}

static void what_only_concerns_one_client_does_not(void **state)
{
	struct request_body base = question("q"), other = question("q");

	(void)state;
	MESSAGE_SET(&other, REQUEST, stream, true);
	MESSAGE_SET(&other, REQUEST, timeout_ms, 5);
	MESSAGE_SET(&other, REQUEST, window, 5);
	MESSAGE_SET(&other, REQUEST, no_store, true);
	MESSAGE_SET(&other, REQUEST, no_cache, true);
	MESSAGE_SET(&other, REQUEST, max_age_ms, 5);
	MESSAGE_SET(&other, REQUEST, ttl_ms, 5);
	assert_true(same_key(&base, &other));
}

static void the_first_upstream_that_serves_the_model_takes_it(void **state)
{
	struct request_body r = question("q");

	(void)state;
	MESSAGE_SET(&r, REQUEST, model, slice_str("both"));
	assert_string_equal(upstream_name(plan_of(&r).upstream), "first");
	MESSAGE_SET(&r, REQUEST, model, slice_str("llama3"));
	assert_string_equal(upstream_name(plan_of(&r).upstream), "second");
	MESSAGE_SET(&r, REQUEST, model, slice_str("mistral"));
	assert_null(plan_of(&r).upstream);
}

static void a_request_may_ask_for_a_shorter_life_and_not_for_a_longer_one(void **state)
{
	struct request_body r = question("q");

	(void)state;
	MESSAGE_SET(&r, REQUEST, ttl_ms, 1000);
	assert_int_equal(plan_of(&r).ttl_ms, 1000);
	MESSAGE_SET(&r, REQUEST, ttl_ms, engine_options.ttl_ms + 1);
	assert_int_equal(plan_of(&r).ttl_ms, engine_options.ttl_ms);
	MESSAGE_SET(&r, REQUEST, ttl_ms, 0);
	assert_int_equal(plan_of(&r).ttl_ms, engine_options.ttl_ms);
}

/* Asks with one parameter; the error's field, or NULL. */
static const char *refused_field(const char *name, msgpack_object value)
{
	msgpack_object_kv kv = {
		.key = {.type = MSGPACK_OBJECT_STR, .via.str = {.ptr = name, .size = (uint32_t)strlen(name)}},
		.val = value,
	};
	msgpack_object map = {.type = MSGPACK_OBJECT_MAP, .via.map = {.ptr = &kv, .size = 1}};
	struct request_body r = question("q");
	struct plan p;

	MESSAGE_SET(&r, REQUEST, params, &map);
	if (policy_plan(digester, upstreams, &engine_options, &r, &p, &fault) == 0)
		return NULL;
	assert_int_equal(fault.code, ERR_UNSUPPORTED);
	return fault.field;
}

static void several_choices_and_log_probabilities_are_refused_by_name(void **state)
{
	const msgpack_object one = {.type = MSGPACK_OBJECT_POSITIVE_INTEGER, .via.u64 = 1};
	const msgpack_object two = {.type = MSGPACK_OBJECT_POSITIVE_INTEGER, .via.u64 = 2};
	const msgpack_object one_f = {.type = MSGPACK_OBJECT_FLOAT64, .via.f64 = 1.0};
	const msgpack_object yes = {.type = MSGPACK_OBJECT_BOOLEAN, .via.boolean = true};
	const msgpack_object no = {.type = MSGPACK_OBJECT_BOOLEAN, .via.boolean = false};
	const msgpack_object nil = {.type = MSGPACK_OBJECT_NIL};

	(void)state;
	assert_null(refused_field("n", one));
	assert_null(refused_field("n", one_f));
	assert_null(refused_field("n", nil));
	assert_string_equal(refused_field("n", two), "params.n");
	assert_null(refused_field("logprobs", no));
	assert_string_equal(refused_field("logprobs", yes), "params.logprobs");
	assert_string_equal(refused_field("top_logprobs", two), "params.top_logprobs");
}

static void tags_name_tenant_namespace_and_model(void **state)
{
	struct request_body a = question("q"), b = question("other");
	struct tag x[POLICY_TAGS], y[POLICY_TAGS];
	struct plan pa = plan_of(&a), pb;

	(void)state;
	MESSAGE_SET(&b, REQUEST, namespace, slice_str("b"));
	pb = plan_of(&b);
	assert_int_equal(policy_tags(digester, &pa, x), 0);
	assert_int_equal(policy_tags(digester, &pb, y), 0);
	assert_memory_equal(x[0].id, y[0].id, ENTRY_TAG_BYTES);
	assert_memory_not_equal(x[1].id, y[1].id, ENTRY_TAG_BYTES);
	assert_memory_equal(x[2].id, y[2].id, ENTRY_TAG_BYTES);
	assert_int_equal(policy_tag(digester, TAG_NAMESPACE, slice_str("b"), &x[0]), 0);
	assert_memory_equal(x[0].id, y[1].id, ENTRY_TAG_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_given_gets_its_default),
		cmocka_unit_test(anything_that_can_change_the_answer_changes_the_key),
		cmocka_unit_test(what_only_concerns_one_client_does_not),
		cmocka_unit_test(the_first_upstream_that_serves_the_model_takes_it),
		cmocka_unit_test(a_request_may_ask_for_a_shorter_life_and_not_for_a_longer_one),
		cmocka_unit_test(several_choices_and_log_probabilities_are_refused_by_name),
		cmocka_unit_test(tags_name_tenant_namespace_and_model),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
