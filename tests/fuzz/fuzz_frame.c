/* fuzz: any bytes as a stream, whole and in small reads. Both must cut the same frames, nothing may be taken that is
 * not there, and what frame_peek tells of a frame must be what its beginning tells. The first byte chooses the limit
 * and the size of a read. */
#include <assert.h>
#include <stdint.h>

#include "proto/frame.h"
#include "proto/shape.h"

/* The offsets of the frames found mix into one number. */
struct trace {
	uint64_t hash;
	enum frame_status last;
	size_t end;
};

static void trace_add(struct trace *t, struct frame_result r, size_t at)
{
	uint64_t op = 0, id = 0;

	frame_peek(r.frame, &op, &id);
	t->hash = (t->hash ^ at ^ op << 20 ^ id) * UINT64_C(0x9E3779B97F4A7C15) + r.length;
	t->last = r.status;
	(void)shape_check(r.frame);
}

static struct trace cut(struct slice stream, uint32_t max, size_t step)
{
	struct trace t = {.last = FRAME_MORE};
	size_t at = 0, there = 0;

	while (there < stream.n || there == 0) {
		there = step > 0 && stream.n - there > step ? there + step : stream.n;
		while (at < there) {
			struct frame_result r = frame_next(slice_of(stream.p + at, there - at), max);

			assert(r.frame.n <= there - at);
			if (r.status == FRAME_MORE)
				break;
			trace_add(&t, r, at);
			if (r.status == FRAME_GARBAGE) {
				t.end = at;
				return t;
			}
			if (r.status == FRAME_READY)
				assert(r.taken == PROTO_FRAME_PREFIX + (size_t)r.length && r.frame.n == r.length);
			uint64_t skip = PROTO_FRAME_PREFIX + (uint64_t)r.length;

			if (skip > stream.n - at) {
				t.end = stream.n;
				return t;
			}
			at += skip;
		}
		if (there == stream.n)
			break;
	}
	t.end = at;
	return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;

	uint32_t max = data[0] & 0x80 ? 64 : 1u << 24;
	struct slice stream = slice_of(data + 1, size - 1);
	struct trace whole = cut(stream, max, 0), pieces = cut(stream, max, 1 + (data[0] & 0x0F));

	assert(whole.last == pieces.last && whole.end == pieces.end);
	/* An oversize frame tells more of itself when more of it is there, but never another id once FRAME_ID_BYTES
	 * are. */
	if (max > 64)
		assert(whole.hash == pieces.hash);
	return 0;
}
