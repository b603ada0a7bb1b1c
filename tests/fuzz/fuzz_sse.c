/* fuzz: any bytes as a stream of events. However they are cut, the events are the same. */
#include <assert.h>
#include <stdlib.h>

#include "server/upstream/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The events, each with a byte 0xFF behind it. */
static bool on_event(void *owner, struct slice data)
{
	if (!buf_append(owner, data.p, data.n) || !buf_append(owner, "\xFF", 1))
		abort();
	return true;
}

static void read_in_steps(struct buf *events, const uint8_t *data, size_t size, size_t step)
{
	struct sse s;

	buf_init(events, SIZE_MAX, NULL);
	sse_init(&s, on_event, events);
	for (size_t at = 0; at < size; at += step) {
		if (sse_feed(&s, slice_of(data + at, step < size - at ? step : size - at)) != SSE_OK)
			break;
	}
	assert(s.line.n <= SSE_EVENT_BYTES_MAX && s.data.n <= SSE_EVENT_BYTES_MAX);
	sse_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t steps[] = {1, 2, 3, 7, 64};
	struct buf whole, cut;

	read_in_steps(&whole, data, size, size > 0 ? size : 1);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		read_in_steps(&cut, data, size, steps[i]);
		assert(slice_eq(buf_slice(&whole), buf_slice(&cut)));
		buf_free(&cut);
	}
	buf_free(&whole);
	return 0;
}
