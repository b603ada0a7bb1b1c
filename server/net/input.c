#include "server/net/input.h"

#include <assert.h>

#define INPUT_KEPT_MAX ((size_t)FRAME_BYTES_MAX + PROTO_FRAME_PREFIX + 2 * INPUT_SCRATCH_BYTES)

_Static_assert(INPUT_ROOM_BYTES > PROTO_FRAME_PREFIX + FRAME_ID_BYTES,
	       "a longer piece tells its length, and is not oversize");

void input_init(struct input *in)
{
	*in = (struct input){0};
	buf_init(&in->kept, INPUT_KEPT_MAX, NULL);
}

void input_free(struct input *in)
{
	buf_free(&in->kept);
	in->kept_done = 0;
	in->skip = 0;
}

static struct slice input_kept(const struct input *in)
{
	return slice_of(in->kept.p + in->kept_done, in->kept.n - in->kept_done);
}

/* Gives the memory back when everything in it was handed out and the frame that came last is no longer in use. What is
 * left is not moved: many small frames in one piece would be moved many times. */
static void input_settle(struct input *in)
{
	if (in->kept_done < in->kept.n)
		return;
	buf_free(&in->kept);
	in->kept_done = 0;
}

/* Of the frame that kept begins with, prefix included; only when more than INPUT_ROOM_BYTES are there. */
static size_t input_frame_bytes(const struct input *in)
{
	const uint8_t *p = in->kept.p;

	assert(p[0] == PROTO_FRAME_MARK);
	return PROTO_FRAME_PREFIX + ((size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4]);
}

int input_prepare(struct input *in, struct input_scratch *s, struct iovec iov[2])
{
	size_t rest, step;

	buf_consume(&in->kept, in->kept_done);
	in->kept_done = 0;
	if (in->kept.n <= INPUT_ROOM_BYTES) {
		iov[0] = (struct iovec){s->bytes + INPUT_ROOM_BYTES, INPUT_SCRATCH_BYTES};
		return 1;
	}
	rest = input_frame_bytes(in) - in->kept.n;
	step = in->kept.n > INPUT_STEP_BYTES ? in->kept.n : INPUT_STEP_BYTES;
	if (rest > step)
		rest = step;
	if (!buf_reserve(&in->kept, rest))
		return 0;
	iov[0] = (struct iovec){in->kept.p + in->kept.n, rest};
	iov[1] = (struct iovec){s->bytes + INPUT_ROOM_BYTES, INPUT_SCRATCH_BYTES};
	return in->kept.n + rest == input_frame_bytes(in) ? 2 : 1;
}

void input_received(struct input *in, struct input_scratch *s, const struct iovec iov[2], size_t n)
{
	uint8_t *fresh = s->bytes + INPUT_ROOM_BYTES;
	size_t before = in->kept.n, direct;

	if (iov[0].iov_base == fresh) {
		if (before > 0)
			memcpy(fresh - before, in->kept.p, before);
		s->unread = slice_of(fresh - before, before + n);
		buf_free(&in->kept);
		return;
	}
	direct = n < iov[0].iov_len ? n : iov[0].iov_len;
	in->kept.n += direct;
	s->unread = slice_of(fresh, n - direct);
}

/* Of what is skipped, what is there already. */
static void input_skip(struct input *in, struct input_scratch *s)
{
	size_t n = in->kept.n - in->kept_done;

	n = in->skip < n ? (size_t)in->skip : n;
	in->kept_done += n;
	in->skip -= n;
	n = in->skip < s->unread.n ? (size_t)in->skip : s->unread.n;
	if (n > 0) /* without a read there is no pointer to move */
		s->unread = slice_of(s->unread.p + n, s->unread.n - n);
	in->skip -= n;
}

enum input_status input_next(struct input *in, struct input_scratch *s, uint32_t max, struct slice *ret_frame)
{
	struct frame_result r;
	bool kept;

	if (in->skip > 0)
		input_skip(in, s);
	input_settle(in);
	kept = in->kept_done < in->kept.n;
	if (!kept && s->unread.n == 0)
		return INPUT_MORE;
	r = frame_next(kept ? input_kept(in) : s->unread, max);
	*ret_frame = r.frame;
	switch (r.status) {
	case FRAME_READY:
		if (kept)
			in->kept_done += r.taken;
		else
			s->unread = slice_of(s->unread.p + r.taken, s->unread.n - r.taken);
		return INPUT_FRAME;
	case FRAME_OVERSIZE:
		in->skip = (uint64_t)PROTO_FRAME_PREFIX + r.length;
		return INPUT_OVERSIZE;
	case FRAME_GARBAGE:
		*ret_frame = kept ? input_kept(in) : s->unread;
		return INPUT_GARBAGE;
	case FRAME_MORE:
		break;
	}
	return INPUT_MORE;
}

bool input_park(struct input *in, struct input_scratch *s)
{
	struct slice unread = s->unread;

	s->unread = slice_of(NULL, 0);
	input_settle(in);
	return unread.n == 0 || buf_append(&in->kept, unread.p, unread.n);
}

bool input_drop_frame(struct input *in, uint64_t *ret_op, uint64_t *ret_id)
{
	bool known =
		frame_peek(slice_of(in->kept.p + PROTO_FRAME_PREFIX, in->kept.n - PROTO_FRAME_PREFIX), ret_op, ret_id);

	in->skip = input_frame_bytes(in) - in->kept.n;
	buf_free(&in->kept);
	return known;
}
