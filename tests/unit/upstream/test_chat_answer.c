/* chat_answer: objects as providers send them, and as they should not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "server/upstream/chat_answer.h"
#include "tests/unit/upstream/gathered.h"

struct fixture {
	struct chat_answer answer;
	struct gathered got;
};

static struct fixture f;

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){0};
	chat_answer_init(&f.answer, gathered_piece, &f.got);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	chat_answer_free(&f.answer);
	return 0;
}

static enum chat_status take(const char *text)
{
	json_t *object = json_loads(text, JSON_DECODE_ANY, NULL);
	enum chat_status status = chat_answer_take(&f.answer, object);

	assert_non_null(object);
	json_decref(object);
	return status;
}

/* A delta of choice 0, in single quotes for the sake of the reader. */
static enum chat_status delta(const char *text)
{
	char object[1024];

	snprintf(object, sizeof(object), "{'choices':[{'index':0,'delta':%s}]}", text);
	for (char *p = object; *p != '\0'; p++)
		*p = (char)(*p == '\'' ? '"' : *p);
	return take(object);
}

static void text_goes_on_in_one_segment(void **state)
{
	(void)state;
	assert_int_equal(delta("{'role':'assistant','content':''}"), CHAT_OK);
	assert_int_equal(delta("{'content':'Hel'}"), CHAT_OK);
	assert_int_equal(delta("{'content':null}"), CHAT_OK);
	assert_int_equal(delta("{'content':'lo'}"), CHAT_OK);
	assert_string_equal(f.got.text, "text0:Hel text0:lo");
	assert_false(f.answer.finished);
}

static void another_kind_is_another_segment(void **state)
{
	(void)state;
	assert_int_equal(delta("{'reasoning_content':'Hm'}"), CHAT_OK);
	assert_int_equal(delta("{'reasoning_content':'m','reasoning':'m'}"), CHAT_OK);
	assert_int_equal(delta("{'content':'A'}"), CHAT_OK);
	assert_int_equal(delta("{'reasoning':'?','content':'B'}"), CHAT_OK);
	assert_int_equal(delta("{'refusal':'No'}"), CHAT_OK);
	assert_string_equal(f.got.text, "reasoning0:Hm reasoning0:m text1:A reasoning2:? text3:B refusal4:No");
}

static void content_may_be_parts(void **state)
{
	(void)state;
	assert_int_equal(
		delta("{'content':[{'type':'text','text':'A'},{'type':'image'},{'type':'refusal','refusal':'No'}]}"),
		CHAT_OK);
	assert_string_equal(f.got.text, "text0:A refusal1:No");
}

static void tool_calls_are_gathered_by_index_and_come_whole(void **state)
{
	(void)state;
	assert_int_equal(delta("{'content':'Wait'}"), CHAT_OK);
	assert_int_equal(
		delta("{'tool_calls':[{'index':0,'id':'a','type':'function','function':{'name':'f','arguments':''}}]}"),
		CHAT_OK);
	assert_int_equal(delta("{'tool_calls':[{'index':1,'id':'b','function':{'name':'g','arguments':'{'}}]}"),
			 CHAT_OK);
	assert_int_equal(delta("{'tool_calls':[{'index':0,'function':{'arguments':'{}'}},{'index':1,'function':{'"
			       "arguments':'}'}}]}"),
			 CHAT_OK);
	assert_string_equal(f.got.text, "text0:Wait");
	assert_int_equal(chat_answer_finish(&f.answer), CHAT_OK);
	assert_string_equal(f.got.text, "text0:Wait tool_call1:{\"id\":\"a\",\"name\":\"f\",\"arguments\":\"{}\"} "
					"tool_call2:{\"id\":\"b\",\"name\":\"g\",\"arguments\":\"{}\"}");
}

static void calls_of_providers_that_do_not_count_are_told_apart_by_id(void **state)
{
	(void)state;
	assert_int_equal(delta("{'tool_calls':[{'index':0,'id':'a','function':{'name':'f','arguments':'1'}}]}"),
			 CHAT_OK);
	assert_int_equal(delta("{'tool_calls':[{'index':0,'id':'b','function':{'name':'g','arguments':'2'}}]}"),
			 CHAT_OK);
	assert_int_equal(delta("{'tool_calls':[{'id':'c','function':{'name':'h','arguments':'3'}}]}"), CHAT_OK);
	assert_int_equal(delta("{'tool_calls':[{'function':{'arguments':'4'}}]}"), CHAT_OK);
	assert_int_equal(delta("{'tool_calls':[{'id':'c','function':{'name':'h','arguments':'5'}}]}"), CHAT_OK);
	assert_int_equal(chat_answer_finish(&f.answer), CHAT_OK);
	assert_string_equal(f.got.text, "tool_call0:{\"id\":\"a\",\"name\":\"f\",\"arguments\":\"1\"} "
					"tool_call1:{\"id\":\"b\",\"name\":\"g\",\"arguments\":\"2\"} "
					"tool_call2:{\"id\":\"c\",\"name\":\"h\",\"arguments\":\"345\"}");
}

static void a_whole_message_gives_the_same(void **state)
{
	(void)state;
	assert_int_equal(
		take("{\"model\":\"m-1\",\"choices\":[{\"message\":{\"content\":\"A\",\"tool_calls\":["
		     "{\"function\":{\"name\":\"f\",\"arguments\":{\"a\": 1}}},{\"function\":{\"name\":\"g\"}}]},"
		     "\"finish_reason\":\"tool_calls\"}]}"),
		CHAT_OK);
	assert_int_equal(chat_answer_finish(&f.answer), CHAT_OK);
	assert_string_equal(f.got.text,
			    "text0:A tool_call1:{\"id\":\"\",\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"} "
			    "tool_call2:{\"id\":\"\",\"name\":\"g\",\"arguments\":\"\"}");
	assert_true(f.answer.finished);
	assert_string_equal(f.answer.finish_reason, "tool_calls");
	assert_string_equal(f.answer.model, "m-1");
}

static void usage_is_read_wherever_it_stands(void **state)
{
	(void)state;
	assert_int_equal(take("{\"choices\":[],\"usage\":null}"), CHAT_OK);
	assert_int_equal(take("{\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3,"
			      "\"prompt_tokens_details\":{\"cached_tokens\":8}}}"),
			 CHAT_OK);
	assert_int_equal(f.answer.prompt_tokens, 12);
	assert_int_equal(f.answer.completion_tokens, 3);
	assert_int_equal(f.answer.cached_tokens, 8);
	assert_int_equal(
		take("{\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":\"9\",\"prompt_cache_hit_tokens\":5}}"),
		CHAT_OK);
	assert_int_equal(f.answer.prompt_tokens, 12);
	assert_int_equal(f.answer.completion_tokens, 3);
	assert_int_equal(f.answer.cached_tokens, 5);
}

static void only_the_first_choice_counts(void **state)
{
	(void)state;
	assert_int_equal(take("{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"B\"},\"finish_reason\":\"stop\"},"
			      "{\"index\":0,\"delta\":{\"content\":\"A\"}}]}"),
			 CHAT_OK);
	assert_string_equal(f.got.text, "text0:A");
	assert_false(f.answer.finished);
}

static void an_error_in_place_of_an_answer_is_reported_by_its_plain_word(void **state)
{
	(void)state;
	assert_int_equal(take("{\"error\":{\"message\":\"sk-secret\",\"type\":\"server_error\",\"code\":null}}"),
			 CHAT_REPORTED);
	assert_string_equal(f.answer.error, "server_error");
	assert_int_equal(take("{\"error\":\"no\"}"), CHAT_REPORTED);
	assert_int_equal(take("{\"object\":\"error\",\"message\":\"no\"}"), CHAT_REPORTED);
	teardown(NULL);
	setup(NULL);
	assert_int_equal(take("{\"error\":{\"code\":\"what was asked: x\",\"type\":7}}"), CHAT_REPORTED);
	assert_string_equal(f.answer.error, "");
}

static void what_is_no_answer_is_malformed(void **state)
{
	static const char *const objects[] = {
		"[]",
		"7",
		"{\"choices\":7}",
		"{\"choices\":[7]}",
		"{\"choices\":[{\"delta\":7}]}",
		"{\"choices\":[{\"delta\":{\"content\":7}}]}",
		"{\"choices\":[{\"delta\":{\"tool_calls\":7}}]}",
		"{\"choices\":[{\"delta\":{\"tool_calls\":[7]}}]}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++)
		assert_int_equal(take(objects[i]), CHAT_MALFORMED);
	assert_int_equal(f.got.pieces, 0);
}

static void the_receiver_may_stop(void **state)
{
	(void)state;
	f.got.stop_after = 1;
	assert_int_equal(delta("{'reasoning':'A','content':'B'}"), CHAT_STOPPED);
	assert_string_equal(f.got.text, "reasoning0:A");
}

static void an_answer_over_the_limit_is_refused(void **state)
{
	size_t n = 1024 * 1024;
	char *text = calloc(1, n + 1);
	json_t *object;

	(void)state;
	memset(text, 'x', n);
	object = json_pack("{s:[{s:{s:s}}]}", "choices", "delta", "content", text);
	for (size_t i = 0; i < ANSWER_BYTES_MAX / n; i++)
		assert_int_equal(chat_answer_take(&f.answer, object), CHAT_OK);
	assert_int_equal(chat_answer_take(&f.answer, object), CHAT_TOO_LARGE);
	assert_int_equal(f.got.bytes, ANSWER_BYTES_MAX);
	json_decref(object);
	free(text);
}

static void tool_calls_are_limited_in_number(void **state)
{
	enum chat_status status = CHAT_OK;
	char text[128];

	(void)state;
	for (unsigned i = 0; i < CHAT_TOOL_CALLS_MAX; i++) {
		snprintf(text, sizeof(text), "{'tool_calls':[{'index':%u,'id':'i','function':{'name':'f'}}]}", i);
		assert_int_equal(delta(text), CHAT_OK);
	}
	status = delta("{'tool_calls':[{'index':1000,'id':'i'}]}");
	assert_int_equal(status, CHAT_TOO_LARGE);
}

static void segments_are_limited_in_number(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SEGMENTS_MAX / 2; i++)
		assert_int_equal(delta("{'reasoning':'A','content':'B'}"), CHAT_OK);
	assert_int_equal(delta("{'reasoning':'A'}"), CHAT_TOO_LARGE);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(text_goes_on_in_one_segment),
		CASE(another_kind_is_another_segment),
		CASE(content_may_be_parts),
		CASE(tool_calls_are_gathered_by_index_and_come_whole),
		CASE(calls_of_providers_that_do_not_count_are_told_apart_by_id),
		CASE(a_whole_message_gives_the_same),
		CASE(usage_is_read_wherever_it_stands),
		CASE(only_the_first_choice_counts),
		CASE(an_error_in_place_of_an_answer_is_reported_by_its_plain_word),
		CASE(what_is_no_answer_is_malformed),
		CASE(the_receiver_may_stop),
		CASE(an_answer_over_the_limit_is_refused),
		CASE(tool_calls_are_limited_in_number),
		CASE(segments_are_limited_in_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
