/* log: the form of a line, and a reader that stalls, goes away or comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/failing_malloc.h"

#include "server/base/log.c"

struct fixture {
	struct loop *l;
	int reader, writer;
	char *text; /* what was read, terminated */
	size_t n;
	uint64_t dropped_before;
};

static struct fixture f;

static int setup(void **state)
{
	int fds[2];

	(void)state;
	failing_malloc_after = -1;
	log_state.dropped_unsaid = 0; /* by the case before */
	signal(SIGPIPE, SIG_IGN);
	f = (struct fixture){.l = loop_new(), .text = calloc(1, 4 << 20), .dropped_before = log_dropped()};
	if (f.l == NULL || f.text == NULL || pipe(fds) != 0)
		return -1;
	f.reader = fds[0];
	f.writer = fds[1];
	fcntl(f.reader, F_SETFL, O_NONBLOCK);
	return log_open(f.l, f.writer, LOG_INFO);
}

static int teardown(void **state)
{
	(void)state;
	log_close();
	loop_free(f.l);
	if (f.reader >= 0)
		close(f.reader);
	close(f.writer);
	free(f.text);
	return 0;
}

static uint64_t dropped(void) { return log_dropped() - f.dropped_before; }

/* The reader takes what is there. */
static void read_pipe(void)
{
	ssize_t n;

	while ((n = read(f.reader, f.text + f.n, 65536)) > 0)
		f.n += (size_t)n;
}

/* One turn writes; with a reader that reads, all comes through. */
static void run_and_read(void)
{
	loop_run(f.l);
	read_pipe();
}

static size_t lines_of(const char *needle)
{
	size_t count = 0;
	const char *p = f.text;

	while ((p = strstr(p, needle)) != NULL) {
		count++;
		p += strlen(needle);
	}
	return count;
}

/* What follows "2026-01-31T12:00:00.123Z " in the only line. */
static const char *only_line(void)
{
	char *end = strchr(f.text, '\n');

	assert_non_null(end);
	assert_int_equal(end + 1 - f.text, f.n);
	*end = '\0';
	return f.text + strlen("2026-01-31T12:00:00.123Z ");
}

/* ---- a line */

static void a_line_is_time_level_event_and_pairs(void **state)
{
	int year, month, day, hour, minute, second, ms, end = 0;

	(void)state;
	log_event(LOG_WARN, "conn.closed", "id=%d reason=%s", 17, log_quote("idle for 300 s", -1));
	assert_int_equal(f.n, 0);
	run_and_read();
	assert_string_equal(only_line(), "warn conn.closed id=17 reason=\"idle for 300 s\"");
	assert_int_equal(sscanf(f.text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ%n", &year, &month, &day, &hour, &minute, &second,
				&ms, &end),
			 7);
	assert_int_equal(end, strlen("2026-01-31T12:00:00.123Z"));
}

static void a_line_without_pairs_ends_with_its_event(void **state)
{
	(void)state;
	log_event(LOG_INFO, "server.ready", "%s", "");
	run_and_read();
	assert_string_equal(only_line(), "info server.ready");
}

static void a_level_that_is_not_wanted_is_not_written(void **state)
{
	(void)state;
	assert_true(log_wants(LOG_INFO));
	assert_false(log_wants(LOG_DEBUG));
	log_event(LOG_DEBUG, "noun.verb", "x=%d", 1);
	run_and_read();
	assert_int_equal(f.n, 0);
}

static void an_error_is_written_at_once(void **state)
{
	(void)state;
	log_event(LOG_INFO, "first.said", "n=%d", 1);
	log_event(LOG_ERROR, "last.said", "n=%d", 2);
	read_pipe();
	assert_int_equal(lines_of("first.said"), 1);
	assert_int_equal(lines_of("last.said"), 1);
	loop_run(f.l);
}

static void a_line_that_is_too_long_is_cut_between_characters_and_says_so(void **state)
{
	char text[LOG_LINE_BYTES_MAX * 2];
	int pad;

	(void)state;
	for (pad = 0; pad < 4; pad++) {
		f.n = 0;
		memset(text, 'a', sizeof text);
		for (size_t i = (size_t)pad; i + 3 < sizeof text; i += 3)
			memcpy(text + i, "€", 3);
		text[sizeof text - 4] = '\0';
		log_event(LOG_INFO, "noun.verb", "%s", text);
		run_and_read();
		assert_in_range(f.n, LOG_LINE_BYTES_MAX - 3, LOG_LINE_BYTES_MAX);
		assert_memory_equal(f.text + f.n - 4, "…\n", 4);
		assert_true(slice_is_utf8(slice_of(f.text, f.n)));
	}
}

static void a_line_of_exactly_the_limit_is_not_cut(void **state)
{
	char text[LOG_LINE_BYTES_MAX];
	size_t room = LOG_LINE_BYTES_MAX - strlen("2026-01-31T12:00:00.123Z info noun.verb \n");

	(void)state;
	memset(text, 'a', sizeof text);
	text[room] = '\0';
	log_event(LOG_INFO, "noun.verb", "%s", text);
	run_and_read();
	assert_int_equal(f.n, LOG_LINE_BYTES_MAX);
	assert_int_equal(lines_of("…"), 0);
	assert_int_equal(f.text[f.n - 1], '\n');
}

static void foreign_bytes_cannot_begin_a_line_of_their_own(void **state)
{
	(void)state;
	log_event(LOG_INFO, "noun.verb", "x=%s", "1\n2026-01-31T12:00:00.123Z error forged.line\x1b[2J");
	run_and_read();
	assert_int_equal(lines_of("\n"), 1);
	assert_int_equal(lines_of("\x1b"), 0);
}

/* ---- quoting */

static void quoting_escapes_quotes_control_bytes_and_bytes_that_are_no_text(void **state)
{
	(void)state;
	assert_string_equal(log_quote("plain", -1), "\"plain\"");
	assert_string_equal(log_quote(NULL, 0), "\"\"");
	assert_string_equal(log_quote("a\"b\\c", -1), "\"a\\\"b\\\\c\"");
	assert_string_equal(log_quote("1\n2\r3\t4\x7f\x01", -1), "\"1\\n2\\r3\\t4\\x7f\\x01\"");
	assert_string_equal(log_quote("a\0b", 3), "\"a\\x00b\"");
	assert_string_equal(log_quote("größe €", -1), "\"größe €\"");
	assert_string_equal(log_quote("\xff\xc3", 2), "\"\\xff\\xc3\"");
	assert_string_equal(log_quote("abcdef", 3), "\"abc\"");
}

static void quoting_cuts_at_its_limit_between_characters(void **state)
{
	char text[LOG_QUOTE_BYTES_MAX + 2], expected[sizeof text + 8];

	(void)state;
	memset(text, 'a', sizeof text);
	assert_int_equal(strlen(log_quote(text, LOG_QUOTE_BYTES_MAX)), LOG_QUOTE_BYTES_MAX + 2);
	memcpy(text + LOG_QUOTE_BYTES_MAX - 1, "ä", 2);
	snprintf(expected, sizeof expected, "\"%.*s…\"", LOG_QUOTE_BYTES_MAX - 1, text);
	assert_string_equal(log_quote(text, sizeof text), expected);
	memset(text, 0xff, sizeof text);
	assert_int_equal(strlen(log_quote(text, sizeof text)), LOG_QUOTE_BYTES_MAX * 4 + strlen("\"…\""));
}

static void a_quote_lives_until_four_more_calls(void **state)
{
	const char *a = log_quote("a", -1), *b = log_quote("b", -1), *c = log_quote("c", -1), *d = log_quote("d", -1);

	(void)state;
	assert_string_equal(a, "\"a\"");
	assert_string_equal(b, "\"b\"");
	assert_string_equal(c, "\"c\"");
	assert_string_equal(d, "\"d\"");
}

/* ---- the reader */

static void stop(struct deadline *d)
{
	(void)d;
	loop_stop(f.l);
}

/* A turn or two with a reader that does not read. */
static void run_stalled(void)
{
	struct deadline d = {0};

	loop_arm(f.l, &d, 1000, stop);
	loop_run(f.l);
}

static void fill(int lines)
{
	int i;

	for (i = 0; i < lines; i++)
		log_event(LOG_INFO, "many.said", "n=%d pad=%0200d", i, 0);
}

static void read_until_all_is_through(void)
{
	int turns;

	for (turns = 0; turns < 1000 && log_state.used > 0; turns++) {
		read_pipe();
		run_stalled();
	}
	run_and_read();
}

static void a_reader_that_stalls_costs_lines_and_no_waiting_and_is_told_how_many(void **state)
{
	const int many = 4000; /* about 1 MB into a pipe of 64 KB and a ring of 256 */
	uint64_t began_us, lost;
	char said[64];

	(void)state;
	began_us = loop_clock_us(f.l);
	fill(many);
	run_stalled();
	assert_true(loop_clock_us(f.l) - began_us < 5000000);
	lost = dropped();
	assert_true(lost > 1000 && lost < (uint64_t)many);

	read_until_all_is_through();
	log_event(LOG_INFO, "after.said", "n=%d", 1);
	run_and_read();
	assert_int_equal(dropped(), lost);
	assert_int_equal(lines_of("many.said"), (size_t)many - lost);
	snprintf(said, sizeof said, "warn log.dropped lines=%llu ", (unsigned long long)lost);
	assert_int_equal(lines_of(said), 1);
	assert_true(strstr(f.text, said) < strstr(f.text, "after.said"));
}

static void what_was_dropped_is_told_even_if_nothing_more_happens(void **state)
{
	(void)state;
	fill(4000);
	run_stalled();
	assert_true(dropped() > 0);
	read_until_all_is_through();
	assert_int_equal(lines_of("log.dropped"), 1);
}

static void lines_come_whole_and_in_order_around_the_end_of_the_ring(void **state)
{
	char line[LOG_LINE_BYTES_MAX];
	const char *at, *end;
	int i, n;

	(void)state;
	for (i = 0; i < 20; i++) { /* several times the ring, never full */
		fill(500);
		read_until_all_is_through();
	}
	assert_int_equal(dropped(), 0);
	for (i = 0, at = f.text; i < 20 * 500; i++, at = end + 1) {
		end = strchr(at, '\n');
		assert_non_null(end);
		snprintf(line, sizeof line, "%.*s", (int)(end - at), at);
		assert_int_equal(sscanf(line, "%*s info many.said n=%d", &n), 1);
		assert_int_equal(n, i % 500);
	}
	assert_int_equal(*at, '\0');
}

static void a_reader_that_is_gone_costs_its_lines_and_nothing_else(void **state)
{
	(void)state;
	close(f.reader);
	f.reader = -1;
	fill(10);
	loop_run(f.l); /* returns: nothing waits for a broken pipe */
	assert_int_equal(dropped(), 10);
	log_event(LOG_ERROR, "still.alive", "n=%d", 1);
	assert_true(dropped() > 10);
}

static void close_writes_what_waits(void **state)
{
	(void)state;
	fill(10);
	log_close();
	read_pipe();
	assert_int_equal(lines_of("many.said"), 10);
	assert_int_equal(dropped(), 0);
}

static void close_gives_up_on_a_stalled_reader_after_a_moment(void **state)
{
	uint64_t began_us = loop_clock_us(f.l);

	(void)state;
	fill(1000);
	run_stalled();
	log_close();
	assert_in_range(loop_clock_us(f.l) - began_us, LOG_CLOSE_MS * 1000, 5000000);
	read_pipe();
	assert_int_equal(lines_of("many.said") + dropped(), 1000);
}

/* ---- without log_open */

static void before_open_and_after_close_lines_go_straight_to_standard_error(void **state)
{
	int saved = dup(STDERR_FILENO);

	(void)state;
	log_close();
	log_close(); /* accepts one that is not open */
	dup2(f.writer, STDERR_FILENO);
	log_event(LOG_INFO, "early.said", "n=%d", 1);
	read_pipe();
	dup2(saved, STDERR_FILENO);
	close(saved);
	assert_string_equal(only_line(), "info early.said n=1");
}

static void open_without_memory_says_so_and_lines_still_go_to_standard_error(void **state)
{
	(void)state;
	log_close();
	failing_malloc_after = 0;
	assert_int_equal(log_open(f.l, f.writer, LOG_DEBUG), -1);
	assert_false(log_wants(LOG_DEBUG));
	before_open_and_after_close_lines_go_straight_to_standard_error(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_line_is_time_level_event_and_pairs),
		CASE(a_line_without_pairs_ends_with_its_event),
		CASE(a_level_that_is_not_wanted_is_not_written),
		CASE(an_error_is_written_at_once),
		CASE(a_line_that_is_too_long_is_cut_between_characters_and_says_so),
		CASE(a_line_of_exactly_the_limit_is_not_cut),
		CASE(foreign_bytes_cannot_begin_a_line_of_their_own),
		CASE(quoting_escapes_quotes_control_bytes_and_bytes_that_are_no_text),
		CASE(quoting_cuts_at_its_limit_between_characters),
		CASE(a_quote_lives_until_four_more_calls),
		CASE(a_reader_that_stalls_costs_lines_and_no_waiting_and_is_told_how_many),
		CASE(what_was_dropped_is_told_even_if_nothing_more_happens),
		CASE(lines_come_whole_and_in_order_around_the_end_of_the_ring),
		CASE(a_reader_that_is_gone_costs_its_lines_and_nothing_else),
		CASE(close_writes_what_waits),
		CASE(close_gives_up_on_a_stalled_reader_after_a_moment),
		CASE(before_open_and_after_close_lines_go_straight_to_standard_error),
		CASE(open_without_memory_says_so_and_lines_still_go_to_standard_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
