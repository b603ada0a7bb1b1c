/* output: order of copies and references, whatever the socket takes at a time; nothing is owned when nothing waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "server/net/output.h"

struct fixture {
	struct output out;
	struct output_spares spares;
	struct buf expected, sent;
	uint8_t next;
};

static struct fixture f;

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){0};
	buf_init(&f.expected, 64u << 20, NULL);
	buf_init(&f.sent, 64u << 20, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	output_free(&f.out, &f.spares);
	output_spares_free(&f.spares);
	buf_free(&f.expected);
	buf_free(&f.sent);
	return 0;
}

static struct answer_block *block_new(size_t n)
{
	struct answer_block *b = malloc(sizeof *b + n);

	assert_non_null(b);
	*b = (struct answer_block){.refs = 1, .used = (uint32_t)n, .size = (uint32_t)n};
	for (size_t i = 0; i < n; i++)
		b->bytes[i] = f.next++;
	return b;
}

static void copy(size_t n)
{
	struct buf *b = output_buf(&f.out, &f.spares);

	for (size_t i = 0; i < n; i++) {
		uint8_t byte = f.next++;

		assert_true(buf_append(b, &byte, 1));
		assert_true(buf_append(&f.expected, &byte, 1));
	}
}

static void refer(struct answer_block *b, size_t from, size_t n)
{
	assert_true(output_append_block(&f.out, &f.spares, b, slice_of(b->bytes + from, n)));
	assert_true(buf_append(&f.expected, b->bytes + from, n));
}

/* What a socket that takes `most` bytes at a time gets. */
static void drain(size_t most)
{
	struct iovec iov[OUTPUT_IOV_MAX];

	while (output_bytes(&f.out) > 0) {
		int count = output_gather(&f.out, iov);
		size_t n = 0;

		assert_in_range(count, 1, OUTPUT_IOV_MAX);
		for (int i = 0; i < count && n < most; i++) {
			size_t part = iov[i].iov_len < most - n ? iov[i].iov_len : most - n;

			assert_true(iov[i].iov_len > 0);
			assert_true(buf_append(&f.sent, iov[i].iov_base, part));
			n += part;
		}
		output_sent(&f.out, &f.spares, n);
	}
	assert_int_equal(f.sent.n, f.expected.n);
	assert_memory_equal(f.sent.p, f.expected.p, f.sent.n);
	assert_null(f.out.copied.p);
	assert_null(f.out.refs);
}

static void copies_and_references_keep_their_order(void **state)
{
	static const size_t mosts[] = {1, 2, 7, 511, 512, 4096, 100000};

	(void)state;
	for (size_t m = 0; m < sizeof mosts / sizeof *mosts; m++) {
		struct answer_block *b = block_new(5000);

		refer(b, 0, 600); /* at the very front */
		copy(10);
		refer(b, 600, 1000);
		refer(b, 1600, 512); /* one behind the other */
		copy(3);
		refer(b, 2112, 511); /* small: copied */
		copy(1);
		refer(b, 4000, 1000);
		assert_int_equal(b->refs, 1 + 4);
		drain(mosts[m]);
		assert_int_equal(b->refs, 1);
		answer_block_unref(b);
	}
}

static void more_pieces_than_one_write_takes_follow_in_the_next(void **state)
{
	struct answer_block *b = block_new(100000);

	(void)state;
	for (size_t i = 0; i < 150; i++) {
		copy(5);
		refer(b, i * 600, 600);
	}
	drain(SIZE_MAX);
	answer_block_unref(b);
}

static void what_is_appended_while_draining_comes_behind(void **state)
{
	struct answer_block *b = block_new(300000);
	struct iovec iov[OUTPUT_IOV_MAX];

	(void)state;
	for (size_t i = 0; i < 400; i++) {
		copy(300);
		refer(b, i * 700, 700);
		output_gather(&f.out, iov);
		assert_true(buf_append(&f.sent, iov[0].iov_base, iov[0].iov_len > 200 ? 200 : iov[0].iov_len));
		output_sent(&f.out, &f.spares, iov[0].iov_len > 200 ? 200 : iov[0].iov_len);
	}
	drain(3000);
	answer_block_unref(b);
}

static void freeing_drops_all_references(void **state)
{
	struct answer_block *b = block_new(5000);

	(void)state;
	copy(100);
	refer(b, 0, 2000);
	refer(b, 2000, 2000);
	output_free(&f.out, &f.spares);
	assert_int_equal(output_bytes(&f.out), 0);
	assert_int_equal(b->refs, 1);
	answer_block_unref(b);
}

static void spares_are_used_again_and_limited(void **state)
{
	struct output outs[OUTPUT_SPARES_MAX + 8] = {0};
	uint8_t *first;

	(void)state;
	for (size_t i = 0; i < sizeof outs / sizeof *outs; i++)
		assert_true(buf_append(output_buf(&outs[i], &f.spares), "x", 1));
	first = outs[OUTPUT_SPARES_MAX - 1].copied.p;
	for (size_t i = 0; i < sizeof outs / sizeof *outs; i++)
		output_sent(&outs[i], &f.spares, 1);
	assert_int_equal(f.spares.count, OUTPUT_SPARES_MAX);
	assert_ptr_equal(output_buf(&outs[0], &f.spares)->p, first);
	output_free(&outs[0], &f.spares);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(copies_and_references_keep_their_order),
		CASE(more_pieces_than_one_write_takes_follow_in_the_next),
		CASE(what_is_appended_while_draining_comes_behind),
		CASE(freeing_drops_all_references),
		CASE(spares_are_used_again_and_limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
