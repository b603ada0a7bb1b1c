/* frame: the five-byte prefix, and a look at the front of what stands behind it. */
#include "proto/frame.h"

#include <assert.h>

static uint64_t read_be(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

struct frame_result frame_next(struct slice input, uint32_t max)
{
	struct frame_result r = {.status = FRAME_MORE};

	if (input.n == 0)
		return r;
	if (input.p[0] != PROTO_FRAME_MARK) {
		r.status = FRAME_GARBAGE;
		return r;
	}
	if (input.n < PROTO_FRAME_PREFIX)
		return r;
	r.length = (uint32_t)read_be(input.p + 1, 4);

	size_t there = input.n - PROTO_FRAME_PREFIX;

	if (there > r.length)
		there = r.length;
	r.frame = slice_of(input.p + PROTO_FRAME_PREFIX, there);
	if (r.length > max) {
		if (there == r.length || there >= FRAME_ID_BYTES)
			r.status = FRAME_OVERSIZE;
	} else if (there == r.length) {
		r.status = FRAME_READY;
		r.taken = PROTO_FRAME_PREFIX + there;
	}
	return r;
}

/* Reads one unsigned integer and moves on. A signed form with a value that is not negative is one too. */
static bool read_uint(struct slice *s, uint64_t *ret)
{
	if (s->n == 0)
		return false;

	uint8_t head = s->p[0];
	size_t bytes = 0;

	if (head >= 0xCC && head <= 0xCF)
		bytes = (size_t)1 << (head - 0xCC);
	else if (head >= 0xD0 && head <= 0xD3)
		bytes = (size_t)1 << (head - 0xD0);
	else if (head > 0x7F)
		return false;
	if (s->n < 1 + bytes || (head >= 0xD0 && (s->p[1] & 0x80)))
		return false;
	*ret = bytes == 0 ? head : read_be(s->p + 1, bytes);
	*s = slice_of(s->p + 1 + bytes, s->n - 1 - bytes);
	return true;
}

bool frame_peek(struct slice frame, uint64_t *ret_op, uint64_t *ret_id)
{
	uint64_t op, id;

	if (frame.n == 0)
		return false;

	size_t header = (frame.p[0] & 0xF0) == 0x90 ? 1 : frame.p[0] == 0xDC ? 3 : frame.p[0] == 0xDD ? 5 : 0;

	if (header == 0 || frame.n < header)
		return false;
	frame = slice_of(frame.p + header, frame.n - header);
	if (!read_uint(&frame, &op) || !read_uint(&frame, &id))
		return false;
	*ret_op = op;
	*ret_id = id;
	return true;
}

bool frame_begin(struct buf *out, size_t *ret_start)
{
	size_t start = out->n;

	if (!buf_append(out, "\xCE\0\0\0\0", PROTO_FRAME_PREFIX))
		return false;
	*ret_start = start;
	return true;
}

void frame_end(struct buf *out, size_t start)
{
	assert(out->n >= start + PROTO_FRAME_PREFIX);

	size_t length = out->n - start - PROTO_FRAME_PREFIX;

	assert(length <= UINT32_MAX);
	for (size_t i = 0; i < 4; i++)
		out->p[start + 1 + i] = (uint8_t)(length >> (24 - 8 * i));
}
