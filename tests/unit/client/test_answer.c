/* answer: what is gathered, what is made of it, and what users read from it. */
#include "tests/unit/client/client_test.h"

static struct test_memory memory;
static struct mem mem = {.resize = test_resize, .owner = &memory};
static struct gather gather;
static struct pc_answer *answer;

static int setup(void **state)
{
	(void)state;
	memory = (struct test_memory){0};
	answer = NULL;
	gather_init(&gather, &mem);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	gather_free(&gather);
	pc_answer_free(answer);
	assert_int_equal(memory.live, 0);
	return 0;
}

static int add(int kind, unsigned index, const char *text)
{
	return gather_add(&gather, &(struct piece){.kind = kind, .index = index, .data = slice_str(text)});
}

static msgpack_object segments_of(msgpack_object *items, size_t n)
{
	return (msgpack_object){.type = MSGPACK_OBJECT_ARRAY, .via.array = {(uint32_t)n, items}};
}

static msgpack_object text_object(const char *text)
{
	return (msgpack_object){.type = MSGPACK_OBJECT_STR, .via.str = {(uint32_t)strlen(text), text}};
}

static void text_reads_as_one_and_segments_keep_their_order(void **state)
{
	struct end_body end = {0};

	(void)state;
	assert_int_equal(add(PC_TEXT, 0, "one "), PC_OK);
	assert_int_equal(add(PC_REASONING, 1, "why"), PC_OK);
	assert_int_equal(add(PC_TEXT, 2, "two"), PC_OK);
	assert_int_equal(add(PC_REASONING, 1, " not"), PC_OK);
	assert_int_equal(add(PC_TOOL_CALL, 5, "{\"id\":1}"), PC_OK);
	assert_int_equal(answer_make(&gather, &end, 12, &answer), PC_OK);
	assert_string_equal(pc_answer_text(answer), "one two");
	assert_int_equal(pc_answer_text_len(answer), 7);
	assert_int_equal(pc_answer_segment_count(answer), 4);
	assert_int_equal(pc_answer_segment(answer, 1)->kind, PC_REASONING);
	assert_memory_equal(pc_answer_segment(answer, 1)->data, "why not", 7);
	assert_int_equal(pc_answer_segment(answer, 1)->len, 7);
	assert_memory_equal(pc_answer_segment(answer, 2)->data, "two", 3);
	assert_memory_equal(pc_answer_segment(answer, 3)->data, "{\"id\":1}", 8);
	assert_null(pc_answer_segment(answer, 4));
	assert_int_equal(pc_answer_latency_us(answer), 12);
}

static void end_goes_on_where_chunks_stopped(void **state)
{
	msgpack_object parts[3] = {object_of_uint(PC_TEXT), object_of_uint(0), text_object(" and end")};
	msgpack_object item = segments_of(parts, 3), list = segments_of(&item, 1);
	struct end_body end = {.segments = &list};

	(void)state;
	assert_int_equal(add(PC_TEXT, 0, "chunk"), PC_OK);
	assert_int_equal(answer_make(&gather, &end, 0, &answer), PC_OK);
	assert_string_equal(pc_answer_text(answer), "chunk and end");
}

static void an_end_may_bring_one_segment_in_parts(void **state)
{
	msgpack_object parts[6] = {object_of_uint(PC_TEXT), object_of_uint(0), text_object("a"),
				   object_of_uint(PC_TEXT), object_of_uint(0), text_object("b")};
	msgpack_object items[2] = {segments_of(parts, 3), segments_of(parts + 3, 3)}, list = segments_of(items, 2);
	struct end_body end = {.segments = &list};

	(void)state;
	assert_int_equal(answer_make(&gather, &end, 0, &answer), PC_OK);
	assert_string_equal(pc_answer_text(answer), "ab");
	assert_int_equal(pc_answer_segment_count(answer), 1);
}

static void more_than_a_few_segments_come_whole_too(void **state)
{
	msgpack_object parts[60], items[20], list = segments_of(items, 20);
	struct end_body end = {.segments = &list};

	(void)state;
	for (size_t i = 0; i < 20; i++) {
		parts[3 * i] = object_of_uint(PC_TEXT);
		parts[3 * i + 1] = object_of_uint(i);
		parts[3 * i + 2] = text_object("x");
		items[i] = segments_of(&parts[3 * i], 3);
	}
	assert_int_equal(answer_make(&gather, &end, 0, &answer), PC_OK);
	assert_string_equal(pc_answer_text(answer), "xxxxxxxxxxxxxxxxxxxx");
}

static void everything_end_says_can_be_read(void **state)
{
	static const uint8_t entry[] = {0x00, 0xAB, 0xFF};
	msgpack_object_kv kv[3] = {
		{text_object("exact"), object_of_uint(17)},
		{object_of_uint(1), object_of_uint(2)}, /* of a later version: skipped */
		{text_object("llm"), {.type = MSGPACK_OBJECT_FLOAT64, .via.f64 = 1e300}},
	};
	msgpack_object stages = {.type = MSGPACK_OBJECT_MAP, .via.map = {3, kv}};
	struct end_body end = {0};
	double value = 0;
	uint64_t us = 0;

	(void)state;
	MESSAGE_SET(&end, END, source, SOURCE_SEMANTIC);
	MESSAGE_SET(&end, END, model, slice_str("gpt-4o"));
	MESSAGE_SET(&end, END, upstream, slice_str("main"));
	MESSAGE_SET(&end, END, finish_reason, slice_str("stop"));
	MESSAGE_SET(&end, END, stored, true);
	MESSAGE_SET(&end, END, reason, REASON_ALREADY);
	MESSAGE_SET(&end, END, prompt_tokens, 1);
	MESSAGE_SET(&end, END, completion_tokens, 2);
	MESSAGE_SET(&end, END, cached_tokens, 3);
	MESSAGE_SET(&end, END, tokens_saved, 4);
	MESSAGE_SET(&end, END, cost_saved_nusd, 1500000000);
	MESSAGE_SET(&end, END, age_ms, 5);
	MESSAGE_SET(&end, END, entry, slice_of(entry, 3));
	MESSAGE_SET(&end, END, as_of, 6);
	MESSAGE_SET(&end, END, similarity, 0.5);
	MESSAGE_SET(&end, END, stages_us, &stages);
	assert_int_equal(answer_make(&gather, &end, 0, &answer), PC_OK);
	assert_string_equal(pc_answer_source(answer), "semantic");
	assert_true(pc_answer_hit(answer));
	assert_string_equal(pc_answer_model(answer), "gpt-4o");
	assert_string_equal(pc_answer_upstream(answer), "main");
	assert_string_equal(pc_answer_finish_reason(answer), "stop");
	assert_true(pc_answer_stored(answer));
	assert_string_equal(pc_answer_reason(answer), "already");
	assert_int_equal(pc_answer_prompt_tokens(answer), 1);
	assert_int_equal(pc_answer_completion_tokens(answer), 2);
	assert_int_equal(pc_answer_cached_tokens(answer), 3);
	assert_int_equal(pc_answer_tokens_saved(answer), 4);
	assert_true(pc_answer_cost_saved_usd(answer) == 1.5);
	assert_int_equal(pc_answer_age_ms(answer), 5);
	assert_string_equal(pc_answer_entry(answer), "00abff");
	assert_int_equal(pc_answer_as_of(answer), 6);
	assert_true(pc_answer_similarity(answer, &value) && value == 0.5);
	assert_false(pc_answer_confidence(answer, &value));
	assert_string_equal(pc_answer_stage(answer, 0, &us), "exact");
	assert_int_equal(us, 17);
	assert_string_equal(pc_answer_stage(answer, 1, &us), "llm");
	assert_null(pc_answer_stage(answer, 2, NULL));
	assert_null(pc_answer_stat(answer, 0, NULL));
}

static void numbers_of_later_versions_have_a_name_all_the_same(void **state)
{
	struct end_body end = {0};

	(void)state;
	MESSAGE_SET(&end, END, source, 99);
	MESSAGE_SET(&end, END, reason, 99);
	assert_int_equal(add(99, 0, "x"), PC_OK);
	assert_int_equal(answer_make(&gather, &end, 0, &answer), PC_OK);
	assert_string_equal(pc_answer_source(answer), "unknown");
	assert_string_equal(pc_answer_reason(answer), "unknown");
	assert_string_equal(pc_kind_name(pc_answer_segment(answer, 0)->kind), "unknown");
	assert_string_equal(pc_kind_name(PC_TOOL_CALL), "tool_call");
}

static void an_answer_may_not_grow_beyond_its_limit(void **state)
{
	static char text[1 << 20];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(add(PC_TEXT, i, text), PC_OK);
	assert_int_equal(add(PC_TEXT, 8, text), PC_PROTOCOL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(text_reads_as_one_and_segments_keep_their_order),
		CASE(end_goes_on_where_chunks_stopped),
		CASE(an_end_may_bring_one_segment_in_parts),
		CASE(more_than_a_few_segments_come_whole_too),
		CASE(everything_end_says_can_be_read),
		CASE(numbers_of_later_versions_have_a_name_all_the_same),
		CASE(an_answer_may_not_grow_beyond_its_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
