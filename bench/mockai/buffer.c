#include "bench/mockai/buffer.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_FIRST_BYTES 256

void *buffer_need(void *old, size_t size)
{
	void *p = realloc(old, size);

	if (p == NULL) {
		(void)fprintf(stderr, "promptcache-mockai: out of memory (%zu bytes)\n", size);
		exit(1);
	}
	return p;
}

void buffer_init(struct buffer *b, size_t limit) { *b = (struct buffer){.limit = limit}; }

void buffer_free(struct buffer *b)
{
	free(b->data);
	*b = (struct buffer){.limit = b->limit};
}

void buffer_clear(struct buffer *b)
{
	b->length = 0;
	b->overflow = false;
}

void buffer_shrink(struct buffer *b, size_t keep)
{
	if (b->capacity > keep)
		buffer_free(b);
}

/* Makes room for `more` bytes and the zero behind them. False: over the ceiling. */
static bool buffer_reserve(struct buffer *b, size_t more)
{
	size_t capacity = b->capacity == 0 ? BUFFER_FIRST_BYTES : b->capacity;

	if (b->overflow || more > b->limit - b->length) {
		b->overflow = true;
		return false;
	}
	if (b->data != NULL && b->length + more < b->capacity)
		return true;
	while (capacity <= b->length + more)
		capacity *= 2;
	b->data = buffer_need(b->data, capacity);
	b->capacity = capacity;
	return true;
}

void buffer_append(struct buffer *b, const void *data, size_t length)
{
	if (length == 0 || !buffer_reserve(b, length))
		return;
	memcpy(b->data + b->length, data, length);
	b->length += length;
	b->data[b->length] = '\0';
}

void buffer_text(struct buffer *b, const char *text) { buffer_append(b, text, strlen(text)); }

void buffer_byte(struct buffer *b, char byte) { buffer_append(b, &byte, 1); }

void buffer_printf(struct buffer *b, const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);

	length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	assert(length >= 0);
	if (!buffer_reserve(b, (size_t)length))
		return;
	va_start(args, format);
	(void)vsnprintf(b->data + b->length, (size_t)length + 1, format, args);
	va_end(args);
	b->length += (size_t)length;
}

static void buffer_json_escape(struct buffer *b, unsigned char byte)
{
	switch (byte) {
	case '"':
		buffer_text(b, "\\\"");
		break;
	case '\\':
		buffer_text(b, "\\\\");
		break;
	case '\n':
		buffer_text(b, "\\n");
		break;
	default:
		buffer_printf(b, "\\u%04x", byte);
	}
}

void buffer_json_string(struct buffer *b, const char *text, size_t length)
{
	size_t plain = 0; /* start of the run that needs no escape */

	buffer_byte(b, '"');
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)text[i];

		if (byte >= 0x20 && byte != '"' && byte != '\\')
			continue;
		buffer_append(b, text + plain, i - plain);
		buffer_json_escape(b, byte);
		plain = i + 1;
	}
	if (plain < length)
		buffer_append(b, text + plain, length - plain);
	buffer_byte(b, '"');
}

void buffer_drop_front(struct buffer *b, size_t length)
{
	assert(length <= b->length);
	if (length == 0)
		return;
	memmove(b->data, b->data + length, b->length - length);
	b->length -= length;
	b->data[b->length] = '\0';
}
