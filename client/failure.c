/* failure: statuses, and the words that go with them. */
#include "client/failure.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
	int number;
	const char *name;
	const char *text;
} statuses[] = {
#define X(name, number, text) {number, #name, text},
	PC_STATUSES(X)
#undef X
};

#define STATUS_COUNT (sizeof(statuses) / sizeof(statuses[0]))

const char *pc_strerror(int status)
{
	for (size_t i = 0; i < STATUS_COUNT; i++) {
		if (statuses[i].number == status)
			return statuses[i].text;
	}
	return "not a status of this library";
}

const char *pc_status_name(int status)
{
	for (size_t i = 0; i < STATUS_COUNT; i++) {
		if (statuses[i].number == status)
			return statuses[i].name;
	}
	return "UNKNOWN";
}

const char *pc_version(void) { return PROMPTCACHE_VERSION; }

void failure_clear(struct failure *f)
{
	f->name[0] = '\0';
	f->field[0] = '\0';
	f->message[0] = '\0';
	f->seen = (struct pc_failure){.status = PC_OK, .name = f->name, .message = f->message, .field = f->field};
}

static void text_set(char *to, size_t size, struct slice text)
{
	size_t n = text.n < size ? text.n : size - 1;

	if (n > 0)
		memcpy(to, text.p, n);
	to[n] = '\0';
}

int failure_set(struct failure *f, int status, const char *field, const char *fmt, ...)
{
	va_list args;

	failure_clear(f);
	f->seen.status = status;
	f->seen.retryable = status == PC_UNAVAILABLE || status == PC_TIMEOUT || status == PC_OVERLOADED;
	text_set(f->name, sizeof(f->name), slice_str(pc_status_name(status)));
	text_set(f->field, sizeof(f->field), slice_str(field));
	va_start(args, fmt);
	vsnprintf(f->message, sizeof(f->message), fmt, args);
	va_end(args);
	return status;
}

/* Only what a caller treats in a way of its own has a status; the rest is REFUSED, and pc_error has its name. */
static int error_status(uint64_t code)
{
	switch (code) {
	case ERR_OVERLOADED:
		return PC_OVERLOADED;
	case ERR_TIMEOUT:
		return PC_TIMEOUT;
	case ERR_CANCELLED:
		return PC_CANCELLED;
	case ERR_SHUTTING_DOWN:
		return PC_UNAVAILABLE;
	default:
		return PC_REFUSED;
	}
}

int failure_of_error(struct failure *f, const struct error_body *e)
{
	const char *name = proto_error_name(e->code);
	const char *text = proto_error_text(e->code);

	failure_clear(f);
	f->seen.status = error_status(e->code);
	f->seen.retryable = MESSAGE_HAS(e, ERROR, retryable) ? e->retryable : proto_error_retryable(e->code);
	f->seen.retry_after_ms = e->retry_after_ms;
	f->seen.offset = e->offset;
	f->seen.upstream_status = e->upstream_status;
	/* A later server may know codes that we do not: then its own name stands. */
	text_set(f->name, sizeof(f->name), name != NULL ? slice_str(name) : e->name);
	text_set(f->field, sizeof(f->field), e->field);
	text_set(f->message, sizeof(f->message), e->message.n > 0 ? e->message : slice_str(text));
	return f->seen.status;
}

void failure_copy(struct failure *to, const struct pc_failure *from)
{
	failure_clear(to);
	text_set(to->name, sizeof(to->name), slice_str(from->name));
	text_set(to->field, sizeof(to->field), slice_str(from->field));
	text_set(to->message, sizeof(to->message), slice_str(from->message));
	to->seen = *from;
	to->seen.name = to->name;
	to->seen.field = to->field;
	to->seen.message = to->message;
}
