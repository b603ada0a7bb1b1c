/* bytes: UTF-8 by its own definition, and the buffer's ceiling. */
#include "tests/unit/proto/proto_test.h"

static void slices_compare_by_content(void **state)
{
	(void)state;
	assert_true(slice_eq(slice_str("abc"), slice_of("abcd", 3)));
	assert_false(slice_eq(slice_str("abc"), slice_str("abd")));
	assert_true(slice_eq(slice_of(NULL, 0), slice_str("")));
	assert_true(slice_is(slice_str(NULL), ""));
}

/* The same question answered slowly, from the code points. */
static bool utf8_slow(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t more = p[i] < 0x80 ? 0 : p[i] >> 5 == 6 ? 1 : p[i] >> 4 == 14 ? 2 : p[i] >> 3 == 30 ? 3 : 9;
		static const uint32_t lowest[] = {0, 0x80, 0x800, 0x10000};

		if (more == 9 || i + more >= n)
			return false;
		uint32_t c = more == 0 ? p[i] : p[i] & (0x3Fu >> more);

		for (size_t k = 1; k <= more; k++) {
			if (p[i + k] >> 6 != 2)
				return false;
			c = c << 6 | (p[i + k] & 0x3F);
		}
		if (c < lowest[more] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
			return false;
		i += 1 + more;
	}
	return true;
}

static void utf8_agrees_with_its_definition_on_all_short_strings(void **state)
{
	static const uint8_t tails[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xE0, 0xFF};
	(void)state;

	for (unsigned head = 0; head < 0x10000; head++) {
		for (size_t t = 0; t < COUNT(tails) * COUNT(tails); t++) {
			const uint8_t s[] = {(uint8_t)(head >> 8), (uint8_t)head, tails[t / COUNT(tails)],
					     tails[t % COUNT(tails)]};

			for (size_t n = 1; n <= sizeof(s); n++) {
				if (slice_is_utf8(slice_of(s, n)) != utf8_slow(s, n))
					fail_msg("%02x %02x %02x %02x, first %zu", s[0], s[1], s[2], s[3], n);
			}
		}
	}
}

static void utf8_finds_a_bad_byte_at_every_place_of_a_long_text(void **state)
{
	uint8_t text[200];
	(void)state;

	for (size_t n = 0; n <= sizeof(text); n++) {
		memset(text, 'a', sizeof(text));
		assert_true(slice_is_utf8(slice_of(text, n)));
		for (size_t at = 0; at < n; at++) {
			text[at] = 0x80;
			assert_false(slice_is_utf8(slice_of(text, n)));
			text[at] = 'a';
		}
	}
}

static void a_buffer_never_exceeds_its_ceiling(void **state)
{
	struct buf b;
	(void)state;

	buf_init(&b, 300, NULL);
	assert_true(buf_append(&b, "0123456789", 10));
	assert_true(buf_reserve(&b, 290));
	assert_false(buf_reserve(&b, 291));
	assert_int_equal(b.n, 10);
	assert_true(b.cap <= 300);
	assert_false(buf_reserve(&b, SIZE_MAX));
	assert_true(slice_is(buf_slice(&b), "0123456789"));
	buf_free(&b);
}

static void a_buffer_survives_the_lack_of_memory_as_it_was(void **state)
{
	struct scarce_mem m;
	struct buf b;
	(void)state;

	scarce_init(&m, 1);
	buf_init(&b, 1 << 20, &m.mem);
	assert_true(buf_append_str(&b, "kept"));
	assert_false(buf_reserve(&b, 1 << 16));
	assert_true(slice_is(buf_slice(&b), "kept"));
	buf_free(&b);
	assert_int_equal(m.live, 0);
}

static void a_freed_buffer_is_usable_again(void **state)
{
	struct buf b;
	(void)state;

	buf_init(&b, 64, NULL);
	assert_true(buf_append_str(&b, "one"));
	buf_free(&b);
	assert_int_equal(b.n, 0);
	assert_true(buf_append_str(&b, "two"));
	assert_true(slice_is(buf_slice(&b), "two"));
	buf_free(&b);
	buf_free(&b);
}

static void consuming_keeps_the_rest_in_order(void **state)
{
	struct buf b;
	(void)state;

	buf_init(&b, 64, NULL);
	buf_consume(&b, 0);
	assert_true(buf_append_str(&b, "abcdef"));
	buf_consume(&b, 4);
	assert_true(slice_is(buf_slice(&b), "ef"));
	buf_consume(&b, 2);
	assert_int_equal(b.n, 0);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices_compare_by_content),
		cmocka_unit_test(utf8_agrees_with_its_definition_on_all_short_strings),
		cmocka_unit_test(utf8_finds_a_bad_byte_at_every_place_of_a_long_text),
		cmocka_unit_test(a_buffer_never_exceeds_its_ceiling),
		cmocka_unit_test(a_buffer_survives_the_lack_of_memory_as_it_was),
		cmocka_unit_test(a_freed_buffer_is_usable_again),
		cmocka_unit_test(consuming_keeps_the_rest_in_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
