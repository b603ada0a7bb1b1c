/* bytes: a borrowed run of bytes, and a growing buffer with a ceiling. The vocabulary of every other file.
 *
 * A `struct slice` never owns anything: who made it says how long it lives.
 * A `struct buf` owns its memory; it never grows beyond the ceiling it was made with, and a failed growth leaves it as
 * it was. */
#ifndef PROTO_BYTES_H
#define PROTO_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const uint8_t *p; /* (borrowed) may be NULL when n is 0 */
	size_t n;
};

static inline struct slice slice_of(const void *p, size_t n) { return (struct slice){p, n}; }
static inline struct slice slice_str(const char *s) { return (struct slice){(const uint8_t *)s, s ? strlen(s) : 0}; }
static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool slice_is(struct slice a, const char *s) { return slice_eq(a, slice_str(s)); }

/* True if the bytes are well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF). */
bool slice_is_utf8(struct slice s);

/* Where memory comes from. `resize` is realloc with size 0 = free; NULL stands for the C library. */
struct mem {
	void *(*resize)(void *owner, void *p, size_t size);
	void *owner; /* (borrowed) handed to resize */
};

void *mem_resize(const struct mem *mem, void *p, size_t size); /* mem may be NULL */
void mem_free(const struct mem *mem, void *p);		       /* accepts NULL */

struct buf {
	uint8_t *p;
	size_t n;	       /* bytes in use */
	size_t cap;	       /* bytes allocated */
	size_t max;	       /* ceiling: an append that would exceed it fails */
	const struct mem *mem; /* (borrowed) NULL: the C library */
};

void buf_init(struct buf *b, size_t max, const struct mem *mem);
void buf_free(struct buf *b); /* leaves it empty and usable again */

/* Makes room for n more bytes. False: over the ceiling or no memory; nothing has changed. */
__attribute__((warn_unused_result)) bool buf_reserve(struct buf *b, size_t n);
__attribute__((warn_unused_result)) static inline bool buf_append(struct buf *b, const void *p, size_t n)
{
	if (n > b->cap - b->n && !buf_reserve(b, n)) /* in the header: an END is thirty small appends */
		return false;
	if (n > 0)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	return true;
}
__attribute__((warn_unused_result)) bool buf_append_str(struct buf *b, const char *s);

/* Drops the first n bytes, moving the rest to the front. */
void buf_consume(struct buf *b, size_t n);

static inline struct slice buf_slice(const struct buf *b) { return (struct slice){b->p, b->n}; }

#endif
