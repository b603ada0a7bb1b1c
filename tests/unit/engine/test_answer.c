/* answer: one log, many readers, limits. Fixture, helpers, cases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/engine/answer.h"

static struct answer *a;

static int setup(void **state)
{
	(void)state;
	a = answer_new();
	return a == NULL;
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(a->refs, 1);
	answer_unref(a);
	return 0;
}

static void add(enum proto_segment kind, unsigned index, const char *text)
{
	assert_true(answer_append(a, kind, index, slice_str(text)));
}

/* Reads all that is there in pieces of at most max bytes; returns it as "kind:text kind:text". */
static char *read_all(struct answer_reader *r, size_t max)
{
	static char out[65536];
	struct answer_piece p;
	size_t n = 0;
	unsigned last = UINT32_MAX;

	while (answer_read(a, r, max, &p)) {
		assert_true(p.data.n > 0 && p.data.n <= max);
		if (p.index != last)
			n += (size_t)snprintf(out + n, sizeof out - n, "%s%d:", n > 0 ? " " : "", p.kind);
		last = p.index;
		memcpy(out + n, p.data.p, p.data.n);
		n += p.data.n;
	}
	out[n] = '\0';
	return out;
}

static void a_new_answer_has_nothing_to_read(void **state)
{
	struct answer_reader r = {0};
	struct answer_piece p;

	(void)state;
	assert_false(answer_read(a, &r, 100, &p));
}

static void pieces_of_one_segment_are_one_text(void **state)
{
	struct answer_reader r = {0};

	(void)state;
	add(SEGMENT_TEXT, 0, "Hello");
	add(SEGMENT_TEXT, 0, ", world");
	assert_string_equal(read_all(&r, 1000), "1:Hello, world");
}

static void a_reader_goes_on_where_it_stood_when_the_answer_grew(void **state)
{
	struct answer_reader r = {0};

	(void)state;
	add(SEGMENT_TEXT, 0, "one");
	assert_string_equal(read_all(&r, 1000), "1:one");
	add(SEGMENT_TEXT, 0, " two");
	assert_string_equal(read_all(&r, 1000), "1: two");
	add(SEGMENT_REFUSAL, 1, "no");
	assert_string_equal(read_all(&r, 1000), "3:no");
	assert_int_equal(r.offset, 9);
}

static void segments_keep_their_order_and_kind_in_pieces_of_any_size(void **state)
{
	(void)state;
	add(SEGMENT_REASONING, 0, "let me think");
	add(SEGMENT_TEXT, 1, "42");
	add(SEGMENT_TOOL_CALL, 2, "{}");
	for (size_t max = 1; max < 20; max++) {
		struct answer_reader r = {0};

		assert_string_equal(read_all(&r, max), "2:let me think 1:42 4:{}");
	}
}

static void readers_do_not_disturb_each_other_over_many_blocks(void **state)
{
	struct answer_reader slow = {0}, fast = {0};
	struct answer_piece p;
	char expect[3 + 40000];

	(void)state;
	memset(expect, 'x', sizeof expect);
	for (int i = 0; i < 400; i++) {
		char part[101];

		memset(part, 'x', 100);
		part[100] = '\0';
		add(SEGMENT_TEXT, 0, part);
		if (i == 10)
			assert_true(answer_read(a, &slow, 5, &p));
		(void)answer_read(a, &fast, 1, &p);
	}
	assert_int_equal(fast.offset, 400);
	assert_int_equal(strlen(read_all(&fast, 7777)), 2 + 40000 - 400);
	assert_int_equal(strlen(read_all(&slow, 1)), 2 + 40000 - 5);
}

static void a_block_outlives_the_answer_for_who_holds_it(void **state)
{
	struct answer *other = answer_new();
	struct answer_reader r = {0};
	struct answer_piece p;
	struct answer_block *b;

	(void)state;
	assert_true(answer_append(other, SEGMENT_TEXT, 0, slice_str("kept")));
	assert_true(answer_read(other, &r, 100, &p));
	b = answer_block_ref(p.block);
	answer_unref(other);
	assert_memory_equal(p.data.p, "kept", 4);
	answer_block_unref(b);
}

static void one_byte_over_the_limit_is_refused(void **state)
{
	size_t n = ANSWER_BYTES_MAX;
	uint8_t *bytes = calloc(1, n + 1);

	(void)state;
	assert_false(answer_append(a, SEGMENT_TEXT, 0, slice_of(bytes, n + 1)));
	assert_int_equal(a->bytes, 0);
	assert_true(answer_append(a, SEGMENT_TEXT, 0, slice_of(bytes, n)));
	assert_false(answer_append(a, SEGMENT_TEXT, 0, slice_of(bytes, 1)));
	free(bytes);
}

static void one_segment_over_the_limit_is_refused(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SEGMENTS_MAX; i++)
		assert_true(answer_append(a, SEGMENT_TOOL_CALL, i, slice_str("{}")));
	assert_false(answer_append(a, SEGMENT_TOOL_CALL, (unsigned)SEGMENTS_MAX, slice_str("{}")));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(a_new_answer_has_nothing_to_read),
		CASE(pieces_of_one_segment_are_one_text),
		CASE(a_reader_goes_on_where_it_stood_when_the_answer_grew),
		CASE(segments_keep_their_order_and_kind_in_pieces_of_any_size),
		CASE(readers_do_not_disturb_each_other_over_many_blocks),
		CASE(a_block_outlives_the_answer_for_who_holds_it),
		CASE(one_byte_over_the_limit_is_refused),
		CASE(one_segment_over_the_limit_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
