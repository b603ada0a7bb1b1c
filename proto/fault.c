/* fault: what is wrong with a message, in words. */
#include "proto/message.h"

#include <stdarg.h>
#include <stdio.h>

/* The texts travel as STR. They may quote what a peer sent, and may have been cut inside a character. */
static void text_mend(char *text)
{
	size_t n = strlen(text);

	for (size_t cut = 0; cut < 4 && cut <= n; cut++) {
		if (slice_is_utf8(slice_of(text, n - cut))) {
			text[n - cut] = '\0';
			return;
		}
	}
	for (char *c = text; *c != '\0'; c++) {
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	}
}

int fault_set(struct fault *f, enum proto_error code, const char *field, const char *fmt, ...)
{
	va_list args;

	f->code = code;
	snprintf(f->field, sizeof(f->field), "%s", field);
	va_start(args, fmt);
	vsnprintf(f->message, sizeof(f->message), fmt, args);
	va_end(args);
	text_mend(f->field);
	text_mend(f->message);
	return -1;
}
