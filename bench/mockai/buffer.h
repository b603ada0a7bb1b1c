/* buffer: bytes that grow up to a ceiling given when it is made.
 *
 * Past the ceiling nothing more is appended and `overflow` says so; writers need not check each append, they ask once
 * at the end. Out of memory ends the process with a message: a test tool that goes on with half an answer would lie. */
#ifndef MOCKAI_BUFFER_H
#define MOCKAI_BUFFER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buffer {
	char *data; /* owned; NULL while empty, else followed by a zero byte that does not count */
	size_t length;
	size_t capacity;
	size_t limit;
	bool overflow; /* an append went over `limit` and was left out */
};

void buffer_init(struct buffer *b, size_t limit);
void buffer_free(struct buffer *b);
void buffer_clear(struct buffer *b);

/* Gives the memory back when it is larger than `keep` bytes: thousands of idle connections must not each hold a big
 * body. */
void buffer_shrink(struct buffer *b, size_t keep);

void buffer_append(struct buffer *b, const void *data, size_t length);
void buffer_text(struct buffer *b, const char *text);
void buffer_byte(struct buffer *b, char byte);
void buffer_printf(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* `text` as a JSON string with its quotes. */
void buffer_json_string(struct buffer *b, const char *text, size_t length);

void buffer_drop_front(struct buffer *b, size_t length);

/* malloc, calloc or realloc that ends the process when there is no memory. */
void *buffer_need(void *old, size_t size);

#endif
