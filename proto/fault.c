/* fault: what is wrong with a message, in words. */
#include "proto/message.h"

#include <stdarg.h>
#include <stdio.h>

/* The texts travel as STR, may quote what a peer sent, and may have been cut inside a character: n is the length before
 * the cut. */
static void text_mend(char *text, size_t size, int n)
{
	size_t end = strlen(text);

	if (slice_is_utf8(slice_of(text, end)))
		return;
	if (n >= 0 && (size_t)n >= size) {
		while (end > 0 && ((unsigned char)text[end - 1] & 0xC0) == 0x80)
			end--;
		if (end > 0 && (unsigned char)text[end - 1] >= 0xC0)
			end--;
		text[end] = '\0';
		if (slice_is_utf8(slice_of(text, end)))
			return;
	}
	for (char *c = text; *c != '\0'; c++) {
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	}
}

int fault_set(struct fault *f, enum proto_error code, const char *field, const char *fmt, ...)
{
	va_list args;
	int n;

	f->code = code;
	n = snprintf(f->field, sizeof(f->field), "%s", field);
	text_mend(f->field, sizeof(f->field), n);
	va_start(args, fmt);
	n = vsnprintf(f->message, sizeof(f->message), fmt, args);
	va_end(args);
	text_mend(f->message, sizeof(f->message), n);
	return -1;
}
