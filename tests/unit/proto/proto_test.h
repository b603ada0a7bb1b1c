/* What the tests of proto/ share: cmocka, hexadecimal, and msgpack written by hand. */
#ifndef PROTO_TEST_H
#define PROTO_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/message.h"

#define COUNT(a)       (sizeof(a) / sizeof((a)[0]))
#define BYTES(s)       slice_of(s, sizeof(s) - 1) /* of a literal, which may hold zeros */
#define TEST_BYTES_MAX (64u << 20)

static inline void put(struct buf *b, struct slice s) { assert_true(buf_append(b, s.p, s.n)); }

static inline int hex_digit(char c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; }

/* Appends the bytes that hex digits stand for; blanks are skipped. */
static inline void put_hex(struct buf *b, const char *hex)
{
	for (; *hex != '\0'; hex++) {
		if (*hex == ' ')
			continue;
		uint8_t byte = (uint8_t)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));

		put(b, slice_of(&byte, 1));
		hex++;
	}
}

/* Memory that says no at the n-th request, and knows how much is still out. */
struct scarce_mem {
	struct mem mem;
	size_t left; /* requests granted before the first refusal */
	size_t live;
};

static inline void *scarce_resize(void *owner, void *p, size_t size)
{
	struct scarce_mem *s = owner;

	if (size == 0) {
		s->live -= p != NULL;
		free(p);
		return NULL;
	}
	if (s->left == 0)
		return NULL;
	s->left--;
	s->live += p == NULL;
	return realloc(p, size);
}

static inline void scarce_init(struct scarce_mem *s, size_t left)
{
	*s = (struct scarce_mem){.mem = {scarce_resize, s}, .left = left};
}

#endif
