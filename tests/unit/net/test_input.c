/* input: the same frames, however the bytes are cut and whenever the reader has had enough. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "server/net/input.h"

#define MAX 200000

struct fixture {
	struct input in;
	struct input_scratch scratch;
	struct buf wire;
	size_t read;	     /* of wire */
	uint32_t frames[64]; /* lengths, oversize ones with the top bit set */
	size_t expected, seen;
};

static struct fixture f;

static int setup(void **state)
{
	(void)state;
	f.scratch = (struct input_scratch){0};
	f.read = f.expected = f.seen = 0;
	input_init(&f.in);
	buf_init(&f.wire, 64u << 20, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	input_free(&f.in);
	buf_free(&f.wire);
	return 0;
}

/* A frame whose bytes tell its number and place. */
static void add(uint32_t n)
{
	const uint8_t prefix[] = {PROTO_FRAME_MARK, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8),
				  (uint8_t)n};

	assert_true(buf_append(&f.wire, prefix, sizeof prefix));
	for (uint32_t i = 0; i < n; i++) {
		uint8_t byte = (uint8_t)(i * 7 + f.expected);

		assert_true(buf_append(&f.wire, &byte, 1));
	}
	f.frames[f.expected++] = n > MAX ? n | 1u << 31 : n;
}

/* One read of at most `most` bytes. False: the wire is empty. */
static bool read_some(size_t most)
{
	struct iovec iov[2];
	size_t total = 0;
	int count = input_prepare(&f.in, &f.scratch, iov);

	assert_in_range(count, 1, 2);
	for (int i = 0; i < count; i++) {
		size_t n = f.wire.n - f.read;

		n = n < iov[i].iov_len ? n : iov[i].iov_len;
		n = n < most - total ? n : most - total;
		memcpy(iov[i].iov_base, f.wire.p + f.read, n);
		f.read += n;
		total += n;
	}
	if (total > 0)
		input_received(&f.in, &f.scratch, iov, total);
	return total > 0;
}

static void check_frame(enum input_status status, struct slice frame)
{
	uint32_t expected = f.frames[f.seen];

	assert_true(f.seen < f.expected);
	if (expected >> 31) {
		assert_int_equal(status, INPUT_OVERSIZE);
		assert_true(frame.n >= FRAME_ID_BYTES);
	} else {
		assert_int_equal(status, INPUT_FRAME);
		assert_int_equal(frame.n, expected);
	}
	for (size_t i = 0; i < frame.n; i++)
		assert_int_equal(frame.p[i], (uint8_t)(i * 7 + f.seen));
	f.seen++;
}

/* At most `budget` frames, then the rest is parked. True: there may be more. */
static bool parse(size_t budget)
{
	enum input_status status = INPUT_FRAME;
	struct slice frame;
	size_t i;

	for (i = 0; i < budget; i++) {
		status = input_next(&f.in, &f.scratch, MAX, &frame);
		if (status == INPUT_MORE)
			break;
		check_frame(status, frame);
	}
	assert_true(input_park(&f.in, &f.scratch));
	return status != INPUT_MORE;
}

static void run(size_t most, size_t budget)
{
	while (read_some(most))
		while (parse(budget))
			;
	assert_int_equal(f.seen, f.expected);
	assert_false(input_is_partial(&f.in));
	assert_null(f.in.kept.p);
}

static void fill(void)
{
	static const uint32_t lengths[] = {0,  1,      4,      59,     60, 64,	   65, 4096,   65536, 65531,
					   10, 199999, 200000, 200001, 3,  500000, 25, 300000, 1};

	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
		add(lengths[i]);
}

static void frames_are_the_same_however_the_bytes_are_cut(void **state)
{
	static const size_t mosts[] = {1, 3, 5, 25, 63, 64, 65, 1000, 65535, 65536, 65537, 131072, SIZE_MAX};
	static const size_t budgets[] = {1, 2, SIZE_MAX};

	for (size_t m = 0; m < sizeof mosts / sizeof *mosts; m++)
		for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++) {
			fill();
			run(mosts[m], budgets[b]);
			teardown(state);
			setup(state);
		}
}

static void a_claim_alone_takes_no_memory(void **state)
{
	const uint8_t prefix[70] = {PROTO_FRAME_MARK, 0, 3, 0, 0};

	(void)state;
	assert_true(buf_append(&f.wire, prefix, sizeof prefix));
	read_some(SIZE_MAX);
	assert_false(parse(SIZE_MAX));
	assert_true(f.in.kept.cap < 1000);
	assert_true(input_is_partial(&f.in));
}

static void a_dropped_frame_is_skipped_and_tells_its_id(void **state)
{
	const uint8_t prefix[] = {PROTO_FRAME_MARK, 0, 2, 0, 0, 0x94, 0x10, 0x2a, 0};
	static const uint8_t zeros[0x20000];
	uint64_t op = 0, id = 0;

	(void)state;
	assert_true(buf_append(&f.wire, prefix, sizeof prefix));
	assert_true(buf_append(&f.wire, zeros, 0x20000 - 4));
	read_some(1000);
	assert_false(parse(SIZE_MAX));
	assert_true(input_drop_frame(&f.in, &op, &id));
	assert_int_equal(op, OP_QUERY);
	assert_int_equal(id, 42);
	assert_null(f.in.kept.p);
	add(10);
	run(999, 1);
}

static void garbage_is_told_and_shown(void **state)
{
	struct slice frame;

	(void)state;
	add(3);
	assert_true(buf_append(&f.wire, "GET /", 5));
	read_some(SIZE_MAX);
	assert_int_equal(input_next(&f.in, &f.scratch, MAX, &frame), INPUT_FRAME);
	assert_int_equal(input_next(&f.in, &f.scratch, MAX, &frame), INPUT_GARBAGE);
	assert_true(slice_is(frame, "GET /"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(frames_are_the_same_however_the_bytes_are_cut),
		CASE(a_claim_alone_takes_no_memory),
		CASE(a_dropped_frame_is_skipped_and_tells_its_id),
		CASE(garbage_is_told_and_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
