/* utf8: cuts text without splitting a character. */
#ifndef MOCKAI_UTF8_H
#define MOCKAI_UTF8_H

#include <stddef.h>

/* The largest length up to `limit` at which `text` may be cut; `length` when all of it fits. */
static inline size_t utf8_cut(const char *text, size_t length, size_t limit)
{
	if (length <= limit)
		return length;
	while (limit > 0 && ((unsigned char)text[limit] & 0xc0) == 0x80)
		limit--;
	return limit;
}

/* The length of the first piece of about `size` bytes: at least one whole character. */
static inline size_t utf8_piece(const char *text, size_t length, size_t size)
{
	while (size < length && ((unsigned char)text[size] & 0xc0) == 0x80)
		size++;
	return size < length ? size : length;
}

#endif
