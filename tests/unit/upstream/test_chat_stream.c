/* chat_stream: a stream cut at every byte, and every way in which one can be less than whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/upstream/chat_json.h"
#include "server/upstream/chat_stream.h"
#include "tests/unit/upstream/gathered.h"

#define TEXT(text) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"},\"finish_reason\":null}]}\n\n"
#define FINISH	   "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define USAGE	   "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\n"
#define DONE	   "data: [DONE]\n\n"

struct fixture {
	struct chat_answer answer;
	struct chat_stream stream;
	struct gathered got;
};

static struct fixture f;

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){0};
	chat_answer_init(&f.answer, gathered_piece, &f.got);
	chat_stream_init(&f.stream, &f.answer);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	chat_stream_free(&f.stream);
	chat_answer_free(&f.answer);
	return 0;
}

static void again(void)
{
	teardown(NULL);
	setup(NULL);
}

/* What the pool and the loop do with a long event. */
static enum chat_status resume(void)
{
	enum chat_status status = CHAT_OK;
	json_t *tree = chat_json_parse(buf_slice(&f.stream.held), &status);

	status = chat_stream_resume(&f.stream, tree, status);
	json_decref(tree);
	return status;
}

static enum chat_status feed(const char *text) { return chat_stream_feed(&f.stream, slice_str(text)); }

static void a_stream_may_be_cut_anywhere(void **state)
{
	static const char text[] = ": hello\n\n" TEXT("Hel") TEXT("lo") FINISH USAGE DONE;
	size_t n = sizeof(text) - 1;

	(void)state;
	for (size_t cut = 0; cut <= n; cut++) {
		again();
		assert_int_equal(chat_stream_feed(&f.stream, slice_of(text, cut)), CHAT_OK);
		assert_int_equal(chat_stream_feed(&f.stream, slice_of(text + cut, n - cut)), CHAT_OK);
		assert_string_equal(f.got.text, "text0:Hel text0:lo");
		assert_true(chat_stream_is_whole(&f.stream, false));
		assert_int_equal(f.answer.prompt_tokens, 7);
		assert_int_equal(f.answer.completion_tokens, 2);
	}
}

/* An event in which a word stands so often; quoted: as one string. */
static enum chat_status feed_many(const char *word, size_t times, bool quoted)
{
	const char *quote = quoted ? "\"" : "";
	enum chat_status status;
	struct buf event;

	buf_init(&event, SSE_EVENT_BYTES_MAX, NULL);
	assert_true(buf_append_str(&event, "data: {\"choices\":[],\"z\":[") && buf_append_str(&event, quote));
	for (size_t i = 0; i < times; i++)
		assert_true(buf_append_str(&event, word));
	assert_true(buf_append_str(&event, quote) && buf_append_str(&event, quoted ? "]}\n\n" : "0]}\n\n"));
	status = chat_stream_feed(&f.stream, buf_slice(&event));
	buf_free(&event);
	return chat_stream_is_held(&f.stream) ? resume() : status;
}

static void long_event(struct buf *out, char letter)
{
	assert_true(buf_append_str(out, "data: {\"choices\":[{\"delta\":{\"content\":\""));
	for (size_t i = 0; i < CHAT_POOL_BYTES; i++)
		assert_true(buf_append(out, &letter, 1));
	assert_true(buf_append_str(out, "\"}}]}\r\n\r\n"));
}

static void a_long_event_is_held_and_what_comes_behind_it_waits(void **state)
{
	struct buf stream;
	size_t at, held = 0;

	(void)state;
	buf_init(&stream, 1 << 20, NULL);
	assert_true(buf_append_str(&stream, TEXT("A")));
	long_event(&stream, 'x');
	long_event(&stream, 'y');
	assert_true(buf_append_str(&stream, TEXT("B") FINISH DONE));
	for (size_t step = stream.n; step > 100; step /= 3) {
		again();
		for (at = 0; at < stream.n; at += step) {
			size_t n = step < stream.n - at ? step : stream.n - at;

			assert_int_equal(chat_stream_feed(&f.stream, slice_of(stream.p + at, n)), CHAT_OK);
		}
		assert_int_equal(f.got.pieces, 1);
		for (held = 0; chat_stream_is_held(&f.stream); held++) {
			assert_false(chat_stream_is_whole(&f.stream, true));
			assert_int_equal(resume(), CHAT_OK);
		}
		assert_int_equal(held, 2);
		assert_int_equal(f.got.pieces, 4);
		assert_int_equal(f.got.bytes, 2 + 2 * CHAT_POOL_BYTES);
		assert_true(chat_stream_is_whole(&f.stream, false));
	}
	buf_free(&stream);
}

static void a_long_event_that_is_no_json_ends_it(void **state)
{
	static char text[CHAT_POOL_BYTES + 1];

	(void)state;
	memset(text, '[', sizeof(text) - 1);
	assert_int_equal(feed("data: "), CHAT_OK);
	assert_int_equal(feed(text), CHAT_OK);
	assert_int_equal(feed("[\n\n" TEXT("A")), CHAT_OK);
	assert_true(chat_stream_is_held(&f.stream));
	assert_int_equal(resume(), CHAT_MALFORMED);
	assert_int_equal(feed(TEXT("B")), CHAT_MALFORMED);
	assert_int_equal(f.got.pieces, 0);
}

static void what_waits_behind_a_long_event_is_limited(void **state)
{
	static char piece[1 << 20];
	enum chat_status status = CHAT_OK;
	struct buf event;
	size_t fed;

	(void)state;
	buf_init(&event, 1 << 20, NULL);
	long_event(&event, 'x');
	assert_int_equal(chat_stream_feed(&f.stream, buf_slice(&event)), CHAT_OK);
	for (fed = 0; status == CHAT_OK; fed += sizeof(piece))
		status = chat_stream_feed(&f.stream, slice_of(piece, sizeof(piece)));
	assert_int_equal(status, CHAT_TOO_LARGE);
	assert_in_range(fed, CHAT_BODY_BYTES_MAX, CHAT_BODY_BYTES_MAX + sizeof(piece));
	assert_int_equal(resume(), CHAT_TOO_LARGE);
	assert_int_equal(f.got.pieces, 0);
	buf_free(&event);
}

static void more_values_than_an_answer_has_are_not_parsed(void **state)
{
	(void)state;
	assert_int_equal(feed_many("0,", CHAT_JSON_VALUES_MAX - 100, false), CHAT_OK);
	assert_int_equal(feed_many("\\\"[{,", 200000, true), CHAT_OK); /* within a string they are none */
	assert_int_equal(feed_many("[],", CHAT_JSON_VALUES_MAX, false), CHAT_TOO_LARGE);
}

static void without_done_it_takes_a_clean_end(void **state)
{
	(void)state;
	assert_int_equal(feed(TEXT("A") FINISH), CHAT_OK);
	assert_false(chat_stream_is_whole(&f.stream, false));
	assert_true(chat_stream_is_whole(&f.stream, true));
}

static void without_a_finish_reason_it_is_not_whole(void **state)
{
	(void)state;
	assert_int_equal(feed(TEXT("A") DONE), CHAT_OK);
	assert_false(chat_stream_is_whole(&f.stream, true));
	again();
	assert_false(chat_stream_is_whole(&f.stream, true));
}

static void half_an_event_at_the_end_is_not_an_event(void **state)
{
	(void)state;
	assert_int_equal(feed(TEXT("A") "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}"), CHAT_OK);
	assert_false(chat_stream_is_whole(&f.stream, true));
}

static void what_follows_done_is_not_looked_at(void **state)
{
	(void)state;
	assert_int_equal(feed(TEXT("A") FINISH DONE "data: rubbish\n\n" TEXT("B")), CHAT_OK);
	assert_string_equal(f.got.text, "text0:A");
	assert_true(chat_stream_is_whole(&f.stream, false));
}

static void malformed_json_ends_it_for_good(void **state)
{
	(void)state;
	assert_int_equal(feed(TEXT("A") "data: {\"choi\n\n" TEXT("B")), CHAT_MALFORMED);
	assert_int_equal(feed(TEXT("C") FINISH DONE), CHAT_MALFORMED);
	assert_string_equal(f.got.text, "text0:A");
	assert_false(chat_stream_is_whole(&f.stream, true));
}

static void invalid_utf8_is_malformed(void **state)
{
	(void)state;
	assert_int_equal(feed(TEXT("\xC3")), CHAT_MALFORMED);
}

static void an_error_event_ends_it(void **state)
{
	(void)state;
	assert_int_equal(feed(TEXT("A") "data: {\"error\":{\"type\":\"server_error\"}}\n\n"), CHAT_REPORTED);
	assert_string_equal(f.answer.error, "server_error");
	assert_false(chat_stream_is_whole(&f.stream, true));
}

static void an_endless_line_is_malformed(void **state)
{
	enum chat_status status = CHAT_OK;
	char x[65536];

	(void)state;
	memset(x, 'x', sizeof(x));
	for (unsigned i = 0; i < 64 && status == CHAT_OK; i++)
		status = chat_stream_feed(&f.stream, slice_of(x, sizeof(x)));
	assert_int_equal(status, CHAT_MALFORMED);
}

static void a_receiver_that_stops_gets_no_more(void **state)
{
	(void)state;
	f.got.stop_after = 1;
	assert_int_equal(feed(TEXT("A") TEXT("B")), CHAT_STOPPED);
	assert_int_equal(feed(TEXT("C")), CHAT_STOPPED);
	assert_string_equal(f.got.text, "text0:A");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_stream_may_be_cut_anywhere),
		CASE(more_values_than_an_answer_has_are_not_parsed),
		CASE(a_long_event_is_held_and_what_comes_behind_it_waits),
		CASE(a_long_event_that_is_no_json_ends_it),
		CASE(what_waits_behind_a_long_event_is_limited),
		CASE(without_done_it_takes_a_clean_end),
		CASE(without_a_finish_reason_it_is_not_whole),
		CASE(half_an_event_at_the_end_is_not_an_event),
		CASE(what_follows_done_is_not_looked_at),
		CASE(malformed_json_ends_it_for_good),
		CASE(invalid_utf8_is_malformed),
		CASE(an_error_event_ends_it),
		CASE(an_endless_line_is_malformed),
		CASE(a_receiver_that_stops_gets_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
