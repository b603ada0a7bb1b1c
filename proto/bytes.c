/* bytes: the UTF-8 check and the growing buffer. */
#include "proto/bytes.h"

#include <assert.h>
#include <stdlib.h>

#define BUF_CAP_MIN 256

#define ASCII_STEP 32

/* Text is mostly ASCII: 32 bytes are looked at together, so that the check costs a small part of the SHA-256 that
 * follows it. (Four words and not an array of them: gcc 12 keeps an array in memory, which takes twice as long.) */
static size_t ascii_span(const uint8_t *p, size_t n)
{
	size_t i = 0;

	for (; n - i >= ASCII_STEP; i += ASCII_STEP) {
		uint64_t a, b, c, d;

		memcpy(&a, p + i, 8);
		memcpy(&b, p + i + 8, 8);
		memcpy(&c, p + i + 16, 8);
		memcpy(&d, p + i + 24, 8);
		if (((a | b) | (c | d)) & UINT64_C(0x8080808080808080))
			break;
	}
	while (i < n && p[i] < 0x80)
		i++;
	return i;
}

/* Length of the multi-byte character at p, or 0 if it is not one. The bounds of the second byte are what rules out
 * overlong forms, surrogates and what lies beyond U+10FFFF. */
static size_t utf8_char(const uint8_t *p, size_t n)
{
	uint8_t low = 0x80, high = 0xBF;
	size_t size;

	if (p[0] >= 0xC2 && p[0] <= 0xDF) {
		size = 2;
	} else if (p[0] >= 0xE0 && p[0] <= 0xEF) {
		size = 3;
		low = p[0] == 0xE0 ? 0xA0 : 0x80;
		high = p[0] == 0xED ? 0x9F : 0xBF;
	} else if (p[0] >= 0xF0 && p[0] <= 0xF4) {
		size = 4;
		low = p[0] == 0xF0 ? 0x90 : 0x80;
		high = p[0] == 0xF4 ? 0x8F : 0xBF;
	} else {
		return 0;
	}
	if (n < size || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < size; i++) {
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	}
	return size;
}

bool slice_is_utf8(struct slice s)
{
	size_t i = 0;

	while (i < s.n) {
		if (s.p[i] < 0x80) {
			i += ascii_span(s.p + i, s.n - i);
			continue;
		}
		size_t size = utf8_char(s.p + i, s.n - i);

		if (size == 0)
			return false;
		i += size;
	}
	return true;
}

void *mem_resize(const struct mem *mem, void *p, size_t size)
{
	if (mem != NULL)
		return mem->resize(mem->owner, p, size);
	if (size == 0) {
		free(p);
		return NULL;
	}
	return realloc(p, size);
}

void mem_free(const struct mem *mem, void *p)
{
	if (p != NULL)
		mem_resize(mem, p, 0);
}

void buf_init(struct buf *b, size_t max, const struct mem *mem) { *b = (struct buf){.max = max, .mem = mem}; }

void buf_free(struct buf *b)
{
	mem_free(b->mem, b->p);
	b->p = NULL;
	b->n = 0;
	b->cap = 0;
}

bool buf_reserve(struct buf *b, size_t n)
{
	assert(b->n <= b->max);
	if (n > b->max - b->n)
		return false;
	if (b->n + n <= b->cap)
		return true;

	size_t cap = b->cap < BUF_CAP_MIN / 2 ? BUF_CAP_MIN : b->cap > b->max / 2 ? b->max : 2 * b->cap;

	if (cap > b->max)
		cap = b->max;
	if (cap < b->n + n)
		cap = b->n + n;

	uint8_t *p = mem_resize(b->mem, b->p, cap);

	if (p == NULL)
		return false;
	b->p = p;
	b->cap = cap;
	return true;
}

bool buf_append(struct buf *b, const void *p, size_t n)
{
	if (!buf_reserve(b, n))
		return false;
	if (n > 0)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	return true;
}

bool buf_append_str(struct buf *b, const char *s) { return buf_append(b, s, strlen(s)); }

void buf_consume(struct buf *b, size_t n)
{
	assert(n <= b->n);
	if (n == 0)
		return;
	b->n -= n;
	memmove(b->p, b->p + n, b->n);
}
