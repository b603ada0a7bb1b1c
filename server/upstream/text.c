#include "server/upstream/text.h"

#include <assert.h>

#define ELLIPSIS "\xE2\x80\xA6"

void text_copy(char *ret, size_t size, struct slice s)
{
	size_t n = s.n;

	assert(size > sizeof(ELLIPSIS));
	if (n >= size) {
		n = size - sizeof(ELLIPSIS);
		while (n > 0 && (s.p[n] & 0xC0) == 0x80)
			n--;
	}
	for (size_t i = 0; i < n; i++)
		ret[i] = (char)(s.p[i] < 0x20 || s.p[i] == 0x7F ? ' ' : s.p[i]);
	memcpy(ret + n, n < s.n ? ELLIPSIS : "", n < s.n ? sizeof(ELLIPSIS) : 1);
}

bool text_is_word(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
		      c == '-' || c == '.'))
			return false;
	}
	return s.n > 0;
}

bool text_has_control(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < 0x20 || s.p[i] == 0x7F)
			return true;
	}
	return false;
}
