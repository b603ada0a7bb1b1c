/* sse: every case is fed whole, byte by byte, and cut at every place; the events must be the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/upstream/sse.h"

struct fixture {
	struct sse sse;
	char seen[4096]; /* the events, each in brackets */
	unsigned events;
	unsigned stop_after; /* 0: never */
};

static struct fixture f;

static bool on_event(void *owner, struct slice data)
{
	size_t n = strlen(f.seen);

	(void)owner;
	snprintf(f.seen + n, sizeof(f.seen) - n, "[%.*s]", (int)data.n, data.n > 0 ? (const char *)data.p : "");
	return ++f.events != f.stop_after;
}

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){0};
	sse_init(&f.sse, on_event, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	sse_free(&f.sse);
	return 0;
}

static void again(void)
{
	teardown(NULL);
	setup(NULL);
}

static void feed(struct slice piece) { assert_int_equal(sse_feed(&f.sse, piece), SSE_OK); }

static void check(const char *text, const char *events)
{
	size_t n = strlen(text);

	for (size_t cut = 0; cut <= n; cut++) {
		again();
		feed(slice_of(text, cut));
		feed(slice_of(text + cut, n - cut));
		assert_string_equal(f.seen, events);
	}
	again();
	for (size_t i = 0; i < n; i++)
		feed(slice_of(text + i, 1));
	assert_string_equal(f.seen, events);
}

static void an_event_ends_at_an_empty_line(void **state)
{
	(void)state;
	check("data: one\n\ndata: two\n\n", "[one][two]");
	check("data:one\n\ndata:  two\n\n", "[one][ two]");
}

static void lines_end_in_lf_crlf_or_cr(void **state)
{
	(void)state;
	check("data: one\r\n\r\ndata: two\r\n\r\n", "[one][two]");
	check("data: one\r\rdata: two\r\r", "[one][two]");
	check("data: one\r\n\ndata: two\n\r\n", "[one][two]");
	check("data: a\rdata: b\ndata: c\r\n\r", "[a\nb\nc]");
}

static void data_lines_are_joined(void **state)
{
	(void)state;
	check("data: one\ndata: two\ndata\ndata:\n\n", "[one\ntwo\n\n]");
}

static void empty_data_is_an_event_and_no_data_is_none(void **state)
{
	(void)state;
	check("data\n\n", "[]");
	check("data:\n\n", "[]");
	check("\n\n\nevent: ping\nid: 7\nretry: 10\n\n", "");
}

static void comments_and_other_fields_are_skipped(void **state)
{
	(void)state;
	check(": keep-alive\n\ndata: one\n:\n: two\nevent: x\ndatax: y\nDATA: z\n\n", "[one]");
}

static void a_byte_order_mark_at_the_start_is_skipped(void **state)
{
	(void)state;
	check("\xEF\xBB\xBF"
	      "data: one\n\n\xEF\xBB\xBF"
	      "data: two\n\n",
	      "[one]");
	check("\xEF\xBB"
	      "data: one\n\ndata: two\n\n",
	      "[two]");
}

static void what_is_left_at_the_end_is_not_an_event(void **state)
{
	(void)state;
	check("data: one\n\ndata: two\n", "[one]");
	check("data: one\n\ndata: tw", "[one]");
}

static void the_receiver_may_stop(void **state)
{
	(void)state;
	f.stop_after = 2;
	assert_int_equal(sse_feed(&f.sse, slice_str("data: 1\n\ndata: 2\n\ndata: 3\n\n")), SSE_STOPPED);
	assert_string_equal(f.seen, "[1][2]");
}

static enum sse_status feed_much(const char *before, size_t n, size_t step)
{
	char *x = malloc(step);
	enum sse_status status = sse_feed(&f.sse, slice_str(before));

	memset(x, 'x', step);
	for (size_t done = 0; done < n && status == SSE_OK; done += step)
		status = sse_feed(&f.sse, slice_of(x, step < n - done ? step : n - done));
	free(x);
	return status;
}

static void a_line_without_end_is_an_error_and_takes_bounded_memory(void **state)
{
	(void)state;
	assert_int_equal(feed_much("data: ", (size_t)16 * SSE_EVENT_BYTES_MAX, 16384), SSE_TOO_LONG);
	assert_true(f.sse.line.cap <= SSE_EVENT_BYTES_MAX);
	assert_int_equal(f.events, 0);
}

static void the_longest_event_passes_and_one_byte_more_does_not(void **state)
{
	(void)state;
	assert_int_equal(feed_much("data: ", SSE_EVENT_BYTES_MAX - 6, 9973), SSE_OK);
	feed(slice_str("\n\n"));
	assert_int_equal(f.events, 1);
	again();
	assert_int_equal(feed_much("data: ", SSE_EVENT_BYTES_MAX - 5, 9973), SSE_TOO_LONG);
}

static void an_event_of_many_lines_is_limited_too(void **state)
{
	enum sse_status status = SSE_OK;
	char line[1024];

	(void)state;
	memset(line, 'x', sizeof(line));
	memcpy(line, "data: ", 6);
	line[sizeof(line) - 1] = '\n';
	for (size_t i = 0; i < 2048 && status == SSE_OK; i++)
		status = sse_feed(&f.sse, slice_of(line, sizeof(line)));
	assert_int_equal(status, SSE_TOO_LONG);
}

static void a_whole_line_over_the_limit_in_one_piece_is_refused(void **state)
{
	size_t n = SSE_EVENT_BYTES_MAX + 1;
	char *line = malloc(n + 1);

	(void)state;
	memset(line, ':', n);
	line[n] = '\n';
	assert_int_equal(sse_feed(&f.sse, slice_of(line, n + 1)), SSE_TOO_LONG);
	free(line);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(an_event_ends_at_an_empty_line),
		CASE(lines_end_in_lf_crlf_or_cr),
		CASE(data_lines_are_joined),
		CASE(empty_data_is_an_event_and_no_data_is_none),
		CASE(comments_and_other_fields_are_skipped),
		CASE(a_byte_order_mark_at_the_start_is_skipped),
		CASE(what_is_left_at_the_end_is_not_an_event),
		CASE(the_receiver_may_stop),
		CASE(a_line_without_end_is_an_error_and_takes_bounded_memory),
		CASE(the_longest_event_passes_and_one_byte_more_does_not),
		CASE(an_event_of_many_lines_is_limited_too),
		CASE(a_whole_line_over_the_limit_in_one_piece_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
