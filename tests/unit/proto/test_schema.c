/* schema: numbers that do not collide, names that can be shown, and the rules that keep old and new peers talking. */
#include "tests/unit/proto/proto_test.h"

#include "proto/message_internal.h"

static void names_are_lower_case_words_made_from_the_tables(void **state)
{
	(void)state;
	assert_string_equal(proto_source_name(SOURCE_EXACT), "exact");
	assert_string_equal(proto_source_name(SOURCE_NONE), "none");
	assert_string_equal(proto_segment_name(SEGMENT_TOOL_CALL), "tool_call");
	assert_string_equal(proto_reason_name(REASON_INVALIDATED), "invalidated");
	assert_string_equal(proto_reason_name(REASON_NO_STORE), "no_store");
	assert_string_equal(proto_stage_name(STAGE_FIRST_BYTE), "first_byte");
	assert_string_equal(proto_op_name(OP_QUERY), "QUERY");
	assert_string_equal(proto_op_name(OP_NEED_BODY), "NEED_BODY");
	assert_string_equal(proto_error_name(ERR_RATE_LIMITED), "RATE_LIMITED");
	assert_string_equal(proto_reason_text(REASON_STORED), "stored");
	assert_string_equal(proto_error_text(ERR_TIMEOUT), "no answer within the client's time");
	assert_true(proto_error_retryable(ERR_OVERLOADED));
	assert_false(proto_error_retryable(ERR_INVALID));
}

static void numbers_that_are_not_in_a_table_have_no_name(void **state)
{
	static const uint64_t numbers[] = {99, 255, 256, UINT32_MAX, UINT64_MAX};
	(void)state;

	for (size_t i = 0; i < COUNT(numbers); i++) {
		assert_null(proto_op_name(numbers[i]));
		assert_null(proto_source_name(numbers[i]));
		assert_null(proto_segment_name(numbers[i]));
		assert_null(proto_reason_name(numbers[i]));
		assert_null(proto_reason_text(numbers[i]));
		assert_null(proto_error_name(numbers[i]));
		assert_null(proto_error_text(numbers[i]));
		assert_false(proto_error_retryable(numbers[i]));
	}
	assert_null(proto_segment_name(0));
	assert_null(proto_error_name(ERR_NONE));
	assert_null(proto_error_text(ERR_NONE));
	assert_null(proto_stage_name(STAGE_COUNT));
}

static void every_word_has_a_name_and_a_text(void **state)
{
	(void)state;
#define X(name, number, ...) assert_int_equal(strlen(proto_source_name(number)), strlen(#name));
	PROTO_SOURCES(X)
#undef X
#define X(name, number, ...) assert_int_equal(strlen(proto_segment_name(number)), strlen(#name));
	PROTO_SEGMENTS(X)
#undef X
#define X(name, number, ...)                                                                                           \
	assert_int_equal(strlen(proto_reason_name(number)), strlen(#name));                                            \
	assert_true(strlen(proto_reason_text(number)) > 0);
	PROTO_REASONS(X)
#undef X
#define X(name, number, ...)                                                                                           \
	assert_string_equal(proto_error_name(number), #name);                                                          \
	assert_true(strlen(proto_error_text(number)) > 0);
	PROTO_ERRORS(X)
#undef X
}

static void every_operation_is_found_by_its_number_and_reserved_ones_are_not(void **state)
{
	(void)state;
#define X(name_, number, from_, ...)                                                                                   \
	assert_string_equal(op_spec_find(number)->name, #name_);                                                       \
	assert_int_equal(op_spec_find(number)->from, FROM_##from_);
	PROTO_OPS(X)
#undef X
#define X(name, number, ...) assert_null(op_spec_find(number));
	PROTO_OPS_RESERVED(X)
#undef X
	assert_null(op_spec_find(UINT64_MAX));
}

static void what_narrows_reuse_or_storage_is_must_understand(void **state)
{
	(void)state;
#define NARROWS_DIGEST 0 /* model and messages are low keys: known from the first version on */
#define NARROWS_FLIGHT 1
#define NARROWS_WAITER 0
#define NARROWS_OP     0
#define X(number, name, type, need, max, in, counts, text)                                                             \
	if (NARROWS_##counts && (number) < PROTO_MUST_UNDERSTAND)                                                      \
		fail_msg("%s may be dropped by an older server", #name);
	PROTO_REQUEST_KEYS(X)
#undef X
}

static void reserved_request_keys_are_free(void **state)
{
	(void)state;
#define X(number, name, text)                                                                                          \
	assert_int_equal(op_spec_find(OP_QUERY)->body->index[number], 0);                                              \
	assert_string_equal(request_key_reserved(number), #name);
	PROTO_REQUEST_KEYS_RESERVED(X)
#undef X
	assert_null(request_key_reserved(0x01));
}

static void keys_of_each_body_rise(void **state)
{
	(void)state;
	for (uint64_t op = 0; op < 256; op++) {
		const struct op_spec *spec = op_spec_find(op);

		for (size_t i = 1; spec != NULL && i < spec->body->count; i++)
			assert_true(spec->body->fields[i - 1].key < spec->body->fields[i].key);
	}
}

static void limits_fit_each_other(void **state)
{
	(void)state;
	assert_true(DEPTH_MAX < 32); /* msgpack-c's own */
	assert_true(ANSWER_BYTES_MAX < FRAME_BYTES_MAX);
	assert_true(FRAME_BYTES_MAX <= UINT32_MAX);
	assert_true(TOKEN_BYTES_MAX + NAME_BYTES_MAX + 64 < HELLO_BYTES_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_lower_case_words_made_from_the_tables),
		cmocka_unit_test(numbers_that_are_not_in_a_table_have_no_name),
		cmocka_unit_test(every_word_has_a_name_and_a_text),
		cmocka_unit_test(every_operation_is_found_by_its_number_and_reserved_ones_are_not),
		cmocka_unit_test(what_narrows_reuse_or_storage_is_must_understand),
		cmocka_unit_test(reserved_request_keys_are_free),
		cmocka_unit_test(keys_of_each_body_rise),
		cmocka_unit_test(limits_fit_each_other),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
