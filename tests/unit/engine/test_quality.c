/* quality: what is fit to be kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/engine/quality.h"

static enum proto_reason judge(enum proto_segment kind, const char *text, const char *finish_reason)
{
	struct answer *a = answer_new();
	enum proto_reason reason;

	if (text[0] != '\0')
		assert_true(answer_append(a, kind, 0, slice_str(text)));
	answer_finish(a, ANSWER_COMPLETE);
	reason = quality_check(a, slice_str(finish_reason));
	answer_unref(a);
	return reason;
}

static void a_finished_answer_is_kept(void **state)
{
	(void)state;
	assert_int_equal(judge(SEGMENT_TEXT, "yes", "stop"), REASON_STORED);
	assert_int_equal(judge(SEGMENT_TOOL_CALL, "{}", "tool_calls"), REASON_STORED);
	assert_int_equal(judge(SEGMENT_REFUSAL, "I cannot", "stop"), REASON_STORED);
}

static void an_unfinished_answer_is_not(void **state)
{
	static const char *const reasons[] = {"length", "content_filter", "", "error", "STOP", "stop "};

	(void)state;
	for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
		assert_int_equal(judge(SEGMENT_TEXT, "half an ans", reasons[i]), REASON_UNFINISHED);
}

static void an_empty_answer_is_not(void **state)
{
	(void)state;
	assert_int_equal(judge(SEGMENT_TEXT, "", "stop"), REASON_EMPTY);
	assert_int_equal(judge(SEGMENT_TEXT, " \n\t\r ", "stop"), REASON_EMPTY);
	assert_int_equal(judge(SEGMENT_REASONING, "I thought long and said nothing", "stop"), REASON_EMPTY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_finished_answer_is_kept),
		cmocka_unit_test(an_unfinished_answer_is_not),
		cmocka_unit_test(an_empty_answer_is_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
