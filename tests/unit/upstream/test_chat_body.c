/* chat_body: a QUERY, packed by hand as clients pack it, against the JSON it must become. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "server/upstream/chat_body.h"

struct fixture {
	struct buf frame, body;
	struct buf_packer w;
	struct fault fault;
};

static struct fixture f;

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){0};
	buf_init(&f.frame, 1 << 20, NULL);
	buf_init(&f.body, CHAT_REQUEST_BYTES_MAX, NULL);
	buf_packer_init(&f.w, &f.frame);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	buf_free(&f.frame);
	buf_free(&f.body);
	return 0;
}

static void again(void)
{
	teardown(NULL);
	setup(NULL);
}

/* ---- packing. JSON in single quotes becomes msgpack, so that the cases read well. */

static void pack_str(const char *s, size_t n)
{
	msgpack_pack_str(&f.w.packer, n);
	msgpack_pack_str_body(&f.w.packer, s, n);
}

static void pack_json(const json_t *v)
{
	const char *key;
	json_t *item;
	size_t i;

	switch (json_typeof(v)) {
	case JSON_OBJECT:
		msgpack_pack_map(&f.w.packer, json_object_size(v));
		json_object_foreach((json_t *)(uintptr_t)v, key, item)
		{
			pack_str(key, strlen(key));
			pack_json(item);
		}
		break;
	case JSON_ARRAY:
		msgpack_pack_array(&f.w.packer, json_array_size(v));
		json_array_foreach(v, i, item) pack_json(item);
		break;
	case JSON_STRING:
		pack_str(json_string_value(v), json_string_length(v));
		break;
	case JSON_INTEGER:
		msgpack_pack_int64(&f.w.packer, json_integer_value(v));
		break;
	case JSON_REAL:
		msgpack_pack_double(&f.w.packer, json_real_value(v));
		break;
	case JSON_TRUE:
		msgpack_pack_true(&f.w.packer);
		break;
	case JSON_FALSE:
		msgpack_pack_false(&f.w.packer);
		break;
	case JSON_NULL:
		msgpack_pack_nil(&f.w.packer);
		break;
	}
}

static void begin(unsigned keys)
{
	msgpack_pack_array(&f.w.packer, 4);
	msgpack_pack_uint64(&f.w.packer, OP_QUERY);
	msgpack_pack_uint64(&f.w.packer, 7);
	msgpack_pack_uint64(&f.w.packer, 0);
	msgpack_pack_map(&f.w.packer, keys);
}

static void key(unsigned number) { msgpack_pack_uint64(&f.w.packer, number); }

static void add(unsigned number, const char *text)
{
	char copy[2048];
	json_t *v;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *p = copy; *p != '\0'; p++)
		*p = (char)(*p == '\'' ? '"' : *p);
	v = json_loads(copy, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	assert_non_null(v);
	key(number);
	pack_json(v);
	json_decref(v);
}

enum {
	PROMPT = 0x02,
	SYSTEM = 0x03,
	MESSAGES = 0x04,
	TOOLS = 0x82,
	PARAMS = 0x83
};

static int build(bool stream)
{
	return chat_body_build(&f.body, buf_slice(&f.frame), slice_str("gpt-4o"), stream, &f.fault);
}

static void expect(bool stream, const char *text)
{
	int rc = build(stream);

	if (rc != 0)
		print_error("%s: %s\n", f.fault.field, f.fault.message);
	assert_int_equal(rc, 0);
	assert_true(buf_append(&f.body, "", 1));
	assert_string_equal((const char *)f.body.p, text);
}

static void expect_fault(enum proto_error code, const char *field)
{
	assert_int_equal(build(true), -1);
	assert_int_equal(f.fault.code, code);
	assert_string_equal(f.fault.field, field);
	again();
}

/* ---- cases */

#define STREAM ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"

static void a_prompt_is_one_user_message(void **state)
{
	(void)state;
	begin(1);
	add(PROMPT, "'What is\\n\\u0000 a \\\\ TTL? \xC3\xA4'");
	expect(true, "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"What is\\n\\u0000 a \\\\ "
		     "TTL? \xC3\xA4\"}]" STREAM);
}

static void a_system_text_comes_before_it(void **state)
{
	(void)state;
	begin(2);
	add(PROMPT, "'Q'");
	add(SYSTEM, "'S'");
	expect(false, "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"system\",\"content\":\"S\"},"
		      "{\"role\":\"user\",\"content\":\"Q\"}]}");
}

static void messages_are_kept_as_they_are(void **state)
{
	(void)state;
	begin(1);
	add(MESSAGES,
	    "[{'role':'user','name':'z','content':[{'type':'text','text':'a'}]},{'role':'assistant','content':null}]");
	expect(false,
	       "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"name\":\"z\",\"content\":[{\"type\":\"text\","
	       "\"text\":\"a\"}]},{\"role\":\"assistant\",\"content\":null}]}");
}

static void tools_have_sorted_keys_and_a_response_format_has_not(void **state)
{
	(void)state;
	begin(3);
	add(PROMPT, "'Q'");
	add(TOOLS, "[{'type':'function','function':{'parameters':{'b':1,'a':2},'name':'f'}}]");
	add(PARAMS, "{'response_format':{'type':'json_schema','json_schema':{'reason':1,'answer':2}}}");
	expect(false,
	       "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"Q\"}],"
	       "\"tools\":[{\"function\":{\"name\":\"f\",\"parameters\":{\"a\":2,\"b\":1}},\"type\":\"function\"}],"
	       "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"reason\":1,\"answer\":2}}}");
}

static void no_tools_are_not_an_empty_array(void **state)
{
	(void)state;
	begin(2);
	add(PROMPT, "'Q'");
	add(TOOLS, "[]");
	expect(false, "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"Q\"}]}");
}

static void params_stand_at_the_top(void **state)
{
	(void)state;
	begin(2);
	add(PROMPT, "'Q'");
	add(PARAMS, "{'temperature':0.5,'seed':-3,'n':1,'stop':['a','b'],'x':null,'logprobs':false,'stream':false,"
		    "'stream_options':{'a':1},'deep':{'big':9223372036854775807}}");
	expect(true, "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"Q\"}],\"temperature\":0.5,"
		     "\"seed\":-3,\"n\":1,"
		     "\"stop\":[\"a\",\"b\"],\"logprobs\":false,\"deep\":{\"big\":9223372036854775807}" STREAM);
}

static void what_has_its_own_key_may_not_be_a_param(void **state)
{
	static const char *const names[] = {"model", "messages", "tools"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		char text[64], field[64];

		begin(2);
		add(PROMPT, "'Q'");
		snprintf(text, sizeof(text), "{'%s':'x'}", names[i]);
		snprintf(field, sizeof(field), "params.%s", names[i]);
		add(PARAMS, text);
		expect_fault(ERR_INVALID, field);
	}
}

static void more_than_one_choice_is_refused(void **state)
{
	(void)state;
	begin(2);
	add(PROMPT, "'Q'");
	add(PARAMS, "{'n':2}");
	expect_fault(ERR_INVALID, "params.n");
	begin(2);
	add(PROMPT, "'Q'");
	add(PARAMS, "{'n':2.0}");
	expect_fault(ERR_INVALID, "params.n");
}

static void a_number_json_cannot_hold_is_named_and_never_clamped(void **state)
{
	(void)state;
	begin(2);
	add(PROMPT, "'Q'");
	key(PARAMS);
	msgpack_pack_map(&f.w.packer, 1);
	pack_str("seed", 4);
	msgpack_pack_uint64(&f.w.packer, UINT64_C(1) << 63);
	expect_fault(ERR_INVALID, "params.seed");
	begin(2);
	add(PROMPT, "'Q'");
	key(PARAMS);
	msgpack_pack_map(&f.w.packer, 1);
	pack_str("top_p", 5);
	msgpack_pack_double(&f.w.packer, 1e308 * 10);
	expect_fault(ERR_INVALID, "params.top_p");
}

static void bytes_are_named(void **state)
{
	(void)state;
	begin(1);
	key(MESSAGES);
	msgpack_pack_array(&f.w.packer, 2);
	msgpack_pack_nil(&f.w.packer);
	msgpack_pack_map(&f.w.packer, 1);
	pack_str("content", 7);
	msgpack_pack_bin(&f.w.packer, 2);
	msgpack_pack_bin_body(&f.w.packer, "ab", 2);
	expect_fault(ERR_INVALID, "messages[1].content");
}

static void text_that_is_not_utf8_is_named(void **state)
{
	(void)state;
	begin(1);
	key(MESSAGES);
	msgpack_pack_array(&f.w.packer, 1);
	msgpack_pack_map(&f.w.packer, 1);
	pack_str("content", 7);
	pack_str("\xFF", 1);
	expect_fault(ERR_INVALID, "messages[0].content");
}

static void a_key_that_is_not_a_string_is_named(void **state)
{
	(void)state;
	begin(1);
	key(MESSAGES);
	msgpack_pack_array(&f.w.packer, 1);
	msgpack_pack_map(&f.w.packer, 1);
	msgpack_pack_int(&f.w.packer, 1);
	msgpack_pack_int(&f.w.packer, 1);
	expect_fault(ERR_INVALID, "messages[0]");
	begin(2);
	add(PROMPT, "'Q'");
	key(PARAMS);
	msgpack_pack_map(&f.w.packer, 1);
	msgpack_pack_int(&f.w.packer, 1);
	msgpack_pack_int(&f.w.packer, 1);
	expect_fault(ERR_INVALID, "params");
}

static void a_body_over_its_ceiling_is_no_memory(void **state)
{
	(void)state;
	for (size_t max = 0; max < 140; max++) {
		begin(3);
		add(PROMPT, "'Q'");
		add(SYSTEM, "'S'");
		add(PARAMS, "{'seed':1}");
		f.body.max = max;
		expect_fault(ERR_NO_MEMORY, "");
	}
}

static void a_frame_that_cannot_be_decoded_is_a_fault(void **state)
{
	(void)state;
	assert_true(buf_append(&f.frame, "\xC1", 1));
	assert_int_equal(build(true), -1);
	assert_int_equal(f.fault.code, ERR_PROTOCOL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_prompt_is_one_user_message),
		CASE(a_system_text_comes_before_it),
		CASE(messages_are_kept_as_they_are),
		CASE(tools_have_sorted_keys_and_a_response_format_has_not),
		CASE(no_tools_are_not_an_empty_array),
		CASE(params_stand_at_the_top),
		CASE(what_has_its_own_key_may_not_be_a_param),
		CASE(more_than_one_choice_is_refused),
		CASE(a_number_json_cannot_hold_is_named_and_never_clamped),
		CASE(bytes_are_named),
		CASE(text_that_is_not_utf8_is_named),
		CASE(a_key_that_is_not_a_string_is_named),
		CASE(a_body_over_its_ceiling_is_no_memory),
		CASE(a_frame_that_cannot_be_decoded_is_a_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
