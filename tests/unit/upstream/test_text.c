/* text: cut at characters, cleaned of control bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/upstream/text.h"

static void what_fits_is_copied_and_control_bytes_become_spaces(void **state)
{
	char text[16];

	(void)state;
	text_copy(text, sizeof(text), slice_str("a\nb\tc\x7F"));
	assert_string_equal(text, "a b c ");
	text_copy(text, sizeof(text), slice_of(NULL, 0));
	assert_string_equal(text, "");
	text_copy(text, sizeof(text), slice_str("123456789012345"));
	assert_string_equal(text, "123456789012345");
}

static void what_does_not_fit_ends_in_an_ellipsis_and_never_in_half_a_character(void **state)
{
	static const char umlauts[] = "\xC3\xA4\xC3\xB6\xC3\xBC\xE2\x82\xAC\xF0\x9F\x98\x80\xC3\xA4\xC3\xB6\xC3\xBC";
	char text[24];

	(void)state;
	for (size_t size = 5; size < sizeof(text); size++) {
		text_copy(text, size, slice_str(umlauts));
		assert_true(strlen(text) < size);
		assert_true(slice_is_utf8(slice_str(text)));
		if (size <= strlen(umlauts))
			assert_string_equal(text + strlen(text) - 3, "\xE2\x80\xA6");
	}
}

static void words_are_words(void **state)
{
	(void)state;
	assert_true(text_is_word(slice_str("server_error")));
	assert_true(text_is_word(slice_str("E-1.2")));
	assert_false(text_is_word(slice_str("")));
	assert_false(text_is_word(slice_str("a b")));
	assert_false(text_is_word(slice_str("a\xC3\xA4")));
}

static void control_bytes_are_found(void **state)
{
	(void)state;
	assert_false(text_has_control(slice_str("a b~")));
	assert_true(text_has_control(slice_str("a\r\nX: y")));
	assert_true(text_has_control(slice_of("a\0b", 3)));
	assert_true(text_has_control(slice_str("\x7F")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_fits_is_copied_and_control_bytes_become_spaces),
		cmocka_unit_test(what_does_not_fit_ends_in_an_ellipsis_and_never_in_half_a_character),
		cmocka_unit_test(words_are_words),
		cmocka_unit_test(control_bytes_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
