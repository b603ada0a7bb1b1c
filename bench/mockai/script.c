#include "bench/mockai/script.h"

#include <assert.h>
#include <stdlib.h>

#define SCRIPT_KEEP_BYTES 16384u /* larger buffers are given back between answers */

void script_init(struct script *s)
{
	*s = (struct script){0};
	buffer_init(&s->wire, SCRIPT_BYTES_MAX);
}

void script_free(struct script *s)
{
	buffer_free(&s->wire);
	free(s->step_end);
	s->step_end = NULL;
	s->step_capacity = s->step_count = 0;
}

void script_reset(struct script *s)
{
	struct script empty = {.wire = s->wire, .step_end = s->step_end, .step_capacity = s->step_capacity};

	if (empty.step_capacity > SCRIPT_KEEP_BYTES / sizeof(*s->step_end)) {
		free(empty.step_end);
		empty.step_end = NULL;
		empty.step_capacity = 0;
	}
	*s = empty;
	buffer_clear(&s->wire);
	buffer_shrink(&s->wire, SCRIPT_KEEP_BYTES);
}

void script_step(struct script *s)
{
	size_t before = s->step_count == 0 ? 0 : s->step_end[s->step_count - 1];

	if (s->wire.length == before)
		return;
	if (s->step_count == s->step_capacity) {
		s->step_capacity = s->step_capacity == 0 ? 16 : s->step_capacity * 2;
		s->step_end = buffer_need(s->step_end, s->step_capacity * sizeof(*s->step_end));
	}
	s->step_end[s->step_count++] = s->wire.length;
}

void script_head_end(struct script *s, bool alone)
{
	s->head_bytes = s->wire.length;
	if (alone)
		script_step(s);
}

void script_body(struct script *s, const void *data, size_t length)
{
	if (length == 0)
		return; /* an empty chunk would be the end */
	if (s->framing == SCRIPT_CHUNKED)
		buffer_printf(&s->wire, "%zx\r\n", length);
	buffer_append(&s->wire, data, length);
	if (s->framing == SCRIPT_CHUNKED)
		buffer_text(&s->wire, "\r\n");
}

void script_filler(struct script *s, uint64_t bytes)
{
	if (s->framing == SCRIPT_CHUNKED)
		buffer_printf(&s->wire, "%llx\r\n", (unsigned long long)bytes);
	script_step(s);
	s->filler_at = s->step_count;
	s->filler_bytes = bytes;
	if (s->framing == SCRIPT_CHUNKED)
		buffer_text(&s->wire, "\r\n");
}

void script_body_end(struct script *s)
{
	if (s->framing == SCRIPT_CHUNKED)
		buffer_text(&s->wire, "0\r\n\r\n");
	script_step(s);
}

void script_halve(struct script *s, enum script_ending ending)
{
	size_t first = s->step_count > 0 && s->step_end[0] == s->head_bytes ? 1 : 0; /* the head alone is no piece */
	size_t pieces = s->step_count - first;

	assert(s->step_count > 0);
	if (pieces >= 2) {
		s->step_count = first + pieces / 2;
	} else {
		s->step_end[s->step_count - 1] = s->head_bytes + (s->wire.length - s->head_bytes) / 2;
		if (s->step_count > 1 && s->step_end[1] == s->step_end[0])
			s->step_count = 1;
	}
	s->wire.length = s->step_end[s->step_count - 1];
	s->filler_bytes = 0;
	s->ending = ending;
}

void script_drop(struct script *s, enum script_ending ending)
{
	buffer_clear(&s->wire);
	s->step_count = 0;
	s->head_bytes = 0;
	s->filler_bytes = 0;
	s->ending = ending;
}
