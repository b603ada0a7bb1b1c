/* frame: cutting a stream at every byte, sizes around the limit, and what can be told of a frame that is not decoded.
 */
#include "tests/unit/proto/proto_test.h"

#include "proto/frame.h"

static void a_frame_is_ready_when_its_last_byte_is_there(void **state)
{
	const struct slice stream = BYTES("\xCE\0\0\0\x03"
					  "abc"
					  "\xCE\0\0\0\0");
	(void)state;

	for (size_t n = 0; n < 8; n++) {
		struct frame_result r = frame_next(slice_of(stream.p, n), 100);

		assert_int_equal(r.status, FRAME_MORE);
		assert_int_equal(r.taken, 0);
	}
	struct frame_result r = frame_next(stream, 100);

	assert_int_equal(r.status, FRAME_READY);
	assert_true(slice_is(r.frame, "abc"));
	assert_int_equal(r.taken, 8);
	assert_int_equal(r.length, 3);
}

static void a_frame_of_length_zero_is_a_frame(void **state)
{
	struct frame_result r = frame_next(BYTES("\xCE\0\0\0\0"), 100);
	(void)state;

	assert_int_equal(r.status, FRAME_READY);
	assert_int_equal(r.frame.n, 0);
	assert_int_equal(r.taken, 5);
}

static void any_other_first_byte_is_garbage_at_once(void **state)
{
	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		uint8_t byte = (uint8_t)c;

		assert_int_equal(frame_next(slice_of(&byte, 1), 100).status, c == 0xCE ? FRAME_MORE : FRAME_GARBAGE);
	}
}

static void the_limit_itself_is_allowed_and_one_more_is_oversize(void **state)
{
	uint8_t bytes[5 + 101] = {0xCE, 0, 0, 0, 100};
	(void)state;

	assert_int_equal(frame_next(slice_of(bytes, 105), 100).status, FRAME_READY);
	bytes[4] = 101;
	assert_int_equal(frame_next(slice_of(bytes, sizeof(bytes)), 100).status, FRAME_OVERSIZE);
}

static void an_oversize_frame_waits_for_its_id_and_no_longer(void **state)
{
	uint8_t bytes[5 + FRAME_ID_BYTES] = {0xCE, 0xFF, 0xFF, 0xFF, 0xFF, 0x94, 0x10, 0x07};
	uint64_t op, id;
	(void)state;

	for (size_t n = 1; n < sizeof(bytes); n++)
		assert_int_equal(frame_next(slice_of(bytes, n), 1000).status, FRAME_MORE);
	struct frame_result r = frame_next(slice_of(bytes, sizeof(bytes)), 1000);

	assert_int_equal(r.status, FRAME_OVERSIZE);
	assert_int_equal(r.taken, 0);
	assert_int_equal(r.length, UINT32_MAX);
	assert_int_equal(r.frame.n, FRAME_ID_BYTES);
	assert_true(frame_peek(r.frame, &op, &id));
	assert_int_equal(op, 0x10);
	assert_int_equal(id, 7);
}

static void a_short_oversize_frame_does_not_wait_for_bytes_that_never_come(void **state)
{
	struct frame_result r = frame_next(BYTES("\xCE\0\0\0\x03\x94\x10\x07"), 2);
	(void)state;

	assert_int_equal(r.status, FRAME_OVERSIZE);
	assert_int_equal(r.frame.n, 3);
}

static void peek_reads_every_integer_form_and_array_header(void **state)
{
	static const struct {
		const char *hex;
		uint64_t op, id;
	} rows[] = {
		{"94 10 07", 0x10, 7},
		{"94 cc10 ccff", 0x10, 255},
		{"94 cd0010 cdffff", 0x10, 65535},
		{"dc0004 ce00000010 ceffffffff", 0x10, UINT32_MAX},
		{"dd00000004 cf0000000000000010 cfffffffffffffffff", 0x10, UINT64_MAX},
		{"94 d010 d17fff", 0x10, 32767},
		{"94 d200000010 d37fffffffffffffff", 0x10, INT64_MAX},
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		uint64_t op = 1, id = 1;
		struct buf b;

		buf_init(&b, 64, NULL);
		put_hex(&b, rows[i].hex);
		assert_true(frame_peek(buf_slice(&b), &op, &id));
		assert_true(op == rows[i].op && id == rows[i].id);
		for (size_t n = 0; n < b.n; n++) {
			op = id = 99;
			assert_false(frame_peek(slice_of(b.p, n), &op, &id));
			assert_true(op == 99 && id == 99);
		}
		buf_free(&b);
	}
}

static void peek_refuses_what_is_no_frame(void **state)
{
	static const char *const rows[] = {"80",       "c0",	     "90",	 "94 a0 07",
					   "94 10 ff", "94 10 d0ff", "94 10 c3", "94 ff 07"};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		uint64_t op, id;
		struct buf b;

		buf_init(&b, 64, NULL);
		put_hex(&b, rows[i]);
		assert_false(frame_peek(buf_slice(&b), &op, &id));
		buf_free(&b);
	}
}

static void frames_are_written_one_behind_the_other(void **state)
{
	size_t first, second;
	struct buf b;
	(void)state;

	buf_init(&b, 1 << 20, NULL);
	assert_true(frame_begin(&b, &first));
	assert_true(buf_append_str(&b, "abc"));
	frame_end(&b, first);
	assert_true(frame_begin(&b, &second));
	assert_true(buf_reserve(&b, 0x10203));
	memset(b.p + b.n, 'x', 0x10203);
	b.n += 0x10203;
	frame_end(&b, second);
	assert_int_equal(second, 8);
	assert_memory_equal(b.p,
			    "\xCE\0\0\0\x03"
			    "abc"
			    "\xCE\x00\x01\x02\x03",
			    13);
	buf_free(&b);
}

static void a_prefix_that_does_not_fit_changes_nothing(void **state)
{
	size_t start = 77;
	struct buf b;
	(void)state;

	buf_init(&b, 6, NULL);
	assert_true(buf_append(&b, "ab", 2));
	assert_false(frame_begin(&b, &start));
	assert_int_equal(start, 77);
	assert_int_equal(b.n, 2);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_frame_is_ready_when_its_last_byte_is_there),
		cmocka_unit_test(a_frame_of_length_zero_is_a_frame),
		cmocka_unit_test(any_other_first_byte_is_garbage_at_once),
		cmocka_unit_test(the_limit_itself_is_allowed_and_one_more_is_oversize),
		cmocka_unit_test(an_oversize_frame_waits_for_its_id_and_no_longer),
		cmocka_unit_test(a_short_oversize_frame_does_not_wait_for_bytes_that_never_come),
		cmocka_unit_test(peek_reads_every_integer_form_and_array_header),
		cmocka_unit_test(peek_refuses_what_is_no_frame),
		cmocka_unit_test(frames_are_written_one_behind_the_other),
		cmocka_unit_test(a_prefix_that_does_not_fit_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
