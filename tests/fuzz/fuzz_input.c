/* Cutting a stream into frames (server/net/input.h): the first bytes say how the rest arrives and how often the reader
 * has had enough; the frames must be the same as those of the whole stream in one piece. */
#include <stdlib.h>

#include "server/net/input.h"

#define PLAN_BYTES 8
#define FRAME_MAX  5000

static struct input_scratch scratch;

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* The next frame of the whole stream, as frame.h alone sees it; false: none, or garbage. */
static bool expect_next(struct slice *rest, struct slice *ret_frame)
{
	for (;;) {
		struct frame_result r = frame_next(*rest, FRAME_MAX);

		if (r.status == FRAME_READY) {
			*ret_frame = r.frame;
			*rest = slice_of(rest->p + r.taken, rest->n - r.taken);
			return true;
		}
		if (r.status != FRAME_OVERSIZE || rest->n - PROTO_FRAME_PREFIX < r.length)
			return false;
		*rest = slice_of(rest->p + PROTO_FRAME_PREFIX + r.length, rest->n - PROTO_FRAME_PREFIX - r.length);
	}
}

/* One arrival. False: garbage came. */
static bool parse(struct input *in, struct slice *expected, size_t budget)
{
	struct slice frame, wanted;
	size_t i;

	for (;;) {
		for (i = 0; i < budget; i++) {
			switch (input_next(in, &scratch, FRAME_MAX, &frame)) {
			case INPUT_FRAME:
				check(expect_next(expected, &wanted) && slice_eq(frame, wanted));
				break;
			case INPUT_OVERSIZE:
				check(frame.n >= FRAME_ID_BYTES);
				break;
			case INPUT_GARBAGE:
				scratch.unread = slice_of(NULL, 0);
				return false;
			case INPUT_MORE:
				return input_park(in, &scratch);
			}
		}
		check(input_park(in, &scratch));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice stream, expected;
	struct input in;
	size_t sent = 0, turn = 0, total, n;
	bool alive = true;

	if (size < PLAN_BYTES)
		return 0;
	stream = expected = slice_of(data + PLAN_BYTES, size - PLAN_BYTES);
	input_init(&in);
	while (alive && sent < stream.n) {
		struct iovec iov[2];
		int count = input_prepare(&in, &scratch, iov), i;
		size_t most = 1 + (size_t)data[turn % PLAN_BYTES] * data[(turn + 1) % PLAN_BYTES];

		turn++;
		check(count > 0);
		for (total = 0, i = 0; i < count; i++) {
			n = stream.n - sent < iov[i].iov_len ? stream.n - sent : iov[i].iov_len;
			n = n < most - total ? n : most - total;
			memcpy(iov[i].iov_base, stream.p + sent, n);
			sent += n;
			total += n;
		}
		input_received(&in, &scratch, iov, total);
		alive = parse(&in, &expected, 1 + data[0] % 5);
	}
	if (alive) {
		struct slice left;

		check(!expect_next(&expected, &left)); /* nothing was withheld */
	}
	input_free(&in);
	return 0;
}
