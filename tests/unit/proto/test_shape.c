/* shape: every form of msgpack, whole and cut, and the claims that would make a decoder allocate. */
#include "tests/unit/proto/proto_test.h"

#include "proto/shape.h"

/* One well-formed value for each first byte from 0xC0 to 0xDF, and one for each group below and above. */
static const char *const values[] = {
	"00",
	"7f",
	"80",
	"81 01 02",
	"8f 0000 0000 0000 0000 0000 0000 0000 0000 0000 0000 0000 0000 0000 0000 0000",
	"90",
	"91 c0",
	"a0",
	"a3 616263",
	"bf 61616161616161616161616161616161616161616161616161616161616161",
	"c0",
	"c2",
	"c3",
	"c400",
	"c403 010203",
	"c50002 0102",
	"c600000001 01",
	"c703 05 010203",
	"c80001 05 01",
	"c900000001 05 01",
	"c700 05",
	"ca 00000000",
	"cb 0000000000000000",
	"cc 01",
	"cd 0102",
	"ce 01020304",
	"cf 0102030405060708",
	"d0 01",
	"d1 0102",
	"d2 01020304",
	"d3 0102030405060708",
	"d4 05 01",
	"d5 05 0102",
	"d6 05 01020304",
	"d7 05 0102030405060708",
	"d8 05 01020304050607080910111213141516",
	"d901 61",
	"da0002 6161",
	"db00000001 61",
	"dc0002 c0c0",
	"dd00000001 c0",
	"de0001 01c0",
	"df00000001 01c0",
	"e0",
	"ff",
};

static void every_form_is_well_formed_when_whole_and_truncated_when_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(values); i++) {
		struct buf b;

		buf_init(&b, 1024, NULL);
		put_hex(&b, values[i]);
		if (shape_check(buf_slice(&b)) != SHAPE_OK)
			fail_msg("%s", values[i]);
		for (size_t n = 0; n < b.n; n++) {
			if (shape_check(slice_of(b.p, n)) != SHAPE_TRUNCATED)
				fail_msg("%s cut at %zu", values[i], n);
		}
		put_hex(&b, "c0");
		assert_int_equal(shape_check(buf_slice(&b)), SHAPE_INVALID);
		buf_free(&b);
	}
}

static void the_byte_c1_is_invalid_wherever_it_stands(void **state)
{
	(void)state;
	assert_int_equal(shape_check(BYTES("\xC1")), SHAPE_INVALID);
	assert_int_equal(shape_check(BYTES("\x92\x01\xC1")), SHAPE_INVALID);
	assert_int_equal(shape_check(BYTES("\x81\xC1\x01")), SHAPE_INVALID);
}

static void an_array_that_claims_2_to_the_28_elements_is_refused_unread(void **state)
{
	(void)state;
	assert_int_equal(shape_check(BYTES("\xDD\x10\x00\x00\x00")), SHAPE_MANY);
	assert_int_equal(shape_check(BYTES("\xDF\xFF\xFF\xFF\xFF")), SHAPE_MANY);
}

static void more_elements_than_bytes_left_are_refused_unread(void **state)
{
	(void)state;
	assert_int_equal(shape_check(BYTES("\xDD\x00\x00\x10\x00\xC0")), SHAPE_TRUNCATED);
	/* Each claim alone would fit, both together do not. */
	assert_int_equal(shape_check(BYTES("\x94\xDC\x00\x04\xC0\xC0\xC0\xC0\xC0\xC0")), SHAPE_TRUNCATED);
}

static void nested(struct buf *b, size_t depth)
{
	b->n = 0;
	for (size_t i = 0; i < depth; i++)
		put_hex(b, i % 2 ? "91" : "8100");
	put_hex(b, "c0");
}

static void depth_is_limited_and_10000_levels_cost_nothing(void **state)
{
	struct buf b;
	(void)state;

	buf_init(&b, 1 << 20, NULL);
	nested(&b, DEPTH_MAX);
	assert_int_equal(shape_check(buf_slice(&b)), SHAPE_OK);
	nested(&b, DEPTH_MAX + 1);
	assert_int_equal(shape_check(buf_slice(&b)), SHAPE_DEEP);
	nested(&b, 10000);
	assert_int_equal(shape_check(buf_slice(&b)), SHAPE_DEEP);
	buf_free(&b);
}

static void values_are_counted_against_the_limit(void **state)
{
	size_t inner = ELEMENTS_MAX - 1; /* the array itself is a value too */
	struct buf b;
	(void)state;

	buf_init(&b, 1 << 20, NULL);
	for (size_t extra = 0; extra < 2; extra++) {
		uint32_t n = (uint32_t)(inner + extra);
		const uint8_t head[] = {0xDD, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

		b.n = 0;
		put(&b, slice_of(head, sizeof(head)));
		assert_true(buf_reserve(&b, n));
		memset(b.p + b.n, 0xC0, n);
		b.n += n;
		assert_int_equal(shape_check(buf_slice(&b)), extra == 0 ? SHAPE_OK : SHAPE_MANY);
	}
	buf_free(&b);
}

static void every_status_has_a_text(void **state)
{
	(void)state;
	for (int s = SHAPE_OK; s <= SHAPE_MANY; s++)
		assert_non_null(shape_status_text((enum shape_status)s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_form_is_well_formed_when_whole_and_truncated_when_cut),
		cmocka_unit_test(the_byte_c1_is_invalid_wherever_it_stands),
		cmocka_unit_test(an_array_that_claims_2_to_the_28_elements_is_refused_unread),
		cmocka_unit_test(more_elements_than_bytes_left_are_refused_unread),
		cmocka_unit_test(depth_is_limited_and_10000_levels_cost_nothing),
		cmocka_unit_test(values_are_counted_against_the_limit),
		cmocka_unit_test(every_status_has_a_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
