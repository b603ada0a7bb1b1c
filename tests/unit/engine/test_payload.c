/* payload: an answer as the END that everybody gets. Fixture, helpers, cases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/frame.h"
#include "server/engine/payload.h"

static struct message_decoder decoder;
static struct buf payload, frame;
static struct end_body plain;

static int setup(void **state)
{
	(void)state;
	buf_init(&payload, 1 << 24, NULL);
	buf_init(&frame, 1 << 24, NULL);
	plain = (struct end_body){0};
	MESSAGE_SET(&plain, END, finish_reason, slice_str("stop"));
	MESSAGE_SET(&plain, END, prompt_tokens, 12);
	return message_decoder_init(&decoder);
}

static int teardown(void **state)
{
	(void)state;
	buf_free(&payload);
	buf_free(&frame);
	message_decoder_free(&decoder);
	return 0;
}

static struct answer *two_segments(void)
{
	struct answer *a = answer_new();

	assert_true(answer_append(a, SEGMENT_REASONING, 0, slice_str("hm")));
	assert_true(answer_append(a, SEGMENT_TEXT, 1, slice_str("Hello, ")));
	assert_true(answer_append(a, SEGMENT_TEXT, 1, slice_str("world")));
	answer_finish(a, ANSWER_COMPLETE);
	return a;
}

static void make(void)
{
	struct answer *a = two_segments();

	assert_true(payload_from_answer(&payload, &plain, a));
	answer_unref(a);
}

static struct message decode_frame(void)
{
	struct frame_result r = frame_next(buf_slice(&frame), 1 << 24);
	struct message m;
	struct fault fault;

	assert_int_equal(r.status, FRAME_READY);
	assert_int_equal(r.taken, frame.n);
	assert_int_equal(message_decode(&decoder, r.frame, FROM_S, &m, &fault), 0);
	return m;
}

static void assert_segment(const msgpack_object *segments, unsigned i, unsigned kind, const char *text)
{
	const msgpack_object *part = segments->via.array.ptr[i].via.array.ptr;

	assert_int_equal(part[0].via.u64, kind);
	assert_int_equal(part[1].via.u64, i);
	assert_int_equal(part[2].via.bin.size, strlen(text));
	assert_memory_equal(part[2].via.bin.ptr, text, strlen(text));
}

static void what_goes_in_comes_out(void **state)
{
	struct end_body end;

	(void)state;
	make();
	assert_int_equal(payload_decode(&decoder, buf_slice(&payload), &end), 0);
	assert_true(slice_is(end.finish_reason, "stop"));
	assert_int_equal(end.prompt_tokens, 12);
	assert_int_equal(end.segments->via.array.size, 2);
	assert_segment(end.segments, 0, SEGMENT_REASONING, "hm");
	assert_segment(end.segments, 1, SEGMENT_TEXT, "Hello, world");
	assert_int_equal(payload_segments_bytes(buf_slice(&payload)), 14);
}

static void an_end_frame_joins_what_is_common_and_what_is_not(void **state)
{
	struct end_body more = {0};
	struct message m;

	(void)state;
	make();
	MESSAGE_SET(&more, END, source, SOURCE_EXACT);
	MESSAGE_SET(&more, END, stored, true);
	assert_true(payload_encode_end(&frame, 77, &more, buf_slice(&payload), true, 0));
	m = decode_frame();
	assert_int_equal(m.op, OP_END);
	assert_int_equal(m.id, 77);
	assert_int_equal(m.end.source, SOURCE_EXACT);
	assert_true(m.end.stored);
	assert_true(slice_is(m.end.finish_reason, "stop"));
	assert_segment(m.end.segments, 1, SEGMENT_TEXT, "Hello, world");
}

static void an_end_after_chunks_carries_no_segments(void **state)
{
	struct end_body more = {0};
	struct message m;

	(void)state;
	make();
	MESSAGE_SET(&more, END, source, SOURCE_LLM);
	assert_true(payload_encode_end(&frame, 1, &more, buf_slice(&payload), false, 0));
	m = decode_frame();
	assert_false(MESSAGE_HAS(&m.end, END, segments));
	assert_true(slice_is(m.end.finish_reason, "stop"));
	assert_int_equal(m.end.prompt_tokens, 12);
}

static void an_answer_comes_back_from_its_payload(void **state)
{
	struct answer_reader r = {0};
	struct answer_piece p;
	struct answer *a;

	(void)state;
	make();
	a = payload_answer(&decoder, buf_slice(&payload), 0);
	assert_non_null(a);
	assert_int_equal(a->state, ANSWER_COMPLETE);
	assert_true(answer_read(a, &r, 100, &p));
	assert_int_equal(p.kind, SEGMENT_REASONING);
	assert_true(answer_read(a, &r, 100, &p));
	assert_true(slice_is(p.data, "Hello, world"));
	assert_false(answer_read(a, &r, 100, &p));
	answer_unref(a);
}

static void a_payload_damaged_anywhere_is_refused_or_another_payload_but_never_a_crash(void **state)
{
	(void)state;
	make();
	assert_true(payload_is_sound(&decoder, buf_slice(&payload)));
	assert_false(payload_is_sound(&decoder, slice_of("", 0)));
	for (size_t i = 0; i < payload.n; i++) {
		assert_false(payload_is_sound(&decoder, slice_of(payload.p, i)));
		for (int bit = 0; bit < 8; bit++) {
			struct end_body end, more = {0};
			struct answer *a;

			payload.p[i] ^= (uint8_t)(1 << bit);
			if (payload_is_sound(&decoder, buf_slice(&payload))) { /* then it can be sent, and read */
				frame.n = 0;
				MESSAGE_SET(&more, END, source, SOURCE_EXACT);
				assert_true(payload_encode_end(&frame, 1, &more, buf_slice(&payload), true, 0));
				(void)decode_frame();
				frame.n = 0;
			}
			if (payload_decode(&decoder, buf_slice(&payload), &end) == 0)
				assert_true(MESSAGE_HAS(&end, END, segments));
			a = payload_answer(&decoder, buf_slice(&payload), 0);
			answer_unref(a);
			(void)payload_segments_bytes(buf_slice(&payload));
			if (payload_encode_end(&frame, 1, &more, buf_slice(&payload), false, 0))
				assert_true(frame.n > 0);
			frame.n = 0;
			payload.p[i] ^= (uint8_t)(1 << bit);
		}
		(void)payload_segments_bytes(slice_of(payload.p, i));
		assert_null(payload_answer(&decoder, slice_of(payload.p, i), 0));
	}
}

/* ---- replays */

#define CALL "{\"id\":\"call_8fKq-2\",\"name\":\"get_weather\",\"arguments\":\"{}\"}"

static void make_tool_call(const char *text)
{
	struct answer *a = answer_new();

	assert_true(answer_append(a, SEGMENT_TEXT, 0, slice_str("{\"id\":\"call_text\"}")));
	assert_true(answer_append(a, SEGMENT_TOOL_CALL, 1, slice_str(text)));
	answer_finish(a, ANSWER_COMPLETE);
	payload.n = 0;
	assert_true(payload_from_answer(&payload, &plain, a));
	answer_unref(a);
}

/* The tool call of the END that a replay with this mint sends. */
static const char *replayed(uint64_t mint)
{
	static char text[256];
	struct end_body more = {0};
	const msgpack_object *part;

	frame.n = 0;
	assert_true(payload_encode_end(&frame, 1, &more, buf_slice(&payload), true, mint));
	part = decode_frame().end.segments->via.array.ptr[1].via.array.ptr;
	snprintf(text, sizeof text, "%.*s", (int)part[2].via.bin.size, part[2].via.bin.ptr);
	return text;
}

static void a_replay_mints_fresh_tool_call_ids_of_the_same_form(void **state)
{
	struct answer_reader r = {0};
	struct answer_piece p;
	struct answer *a;
	char first[256];

	(void)state;
	make_tool_call(CALL);
	assert_string_equal(replayed(0), CALL);
	strcpy(first, replayed(7));
	assert_string_not_equal(first, CALL);
	assert_string_not_equal(first, replayed(9));
	assert_memory_equal(first, "{\"id\":\"call_", 12);
	assert_int_equal(first[16], '-');
	assert_string_equal(first + 18, &CALL[18]); /* nothing but the id has changed */

	a = payload_answer(&decoder, buf_slice(&payload), 7);
	assert_true(answer_read(a, &r, 1000, &p));
	assert_true(slice_is(p.data, "{\"id\":\"call_text\"}")); /* a text that looks like one is a text */
	assert_true(answer_read(a, &r, 1000, &p));
	assert_true(slice_is(p.data, first));
	answer_unref(a);
}

static void a_tool_call_without_an_id_of_a_known_form_is_replayed_as_it_is(void **state)
{
	static const char *const calls[] = {"{\"name\":\"f\",\"id\":\"call_1\"}", "{\"id\":\"call_\\u0031\"}",
					    "{\"id\":\"", "{}"};

	(void)state;
	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
		make_tool_call(calls[i]);
		assert_string_equal(replayed(7), calls[i]);
	}
}

/* ---- PUT */

static int put(const struct request_body *r, struct fault *fault)
{
	return payload_from_put(&payload, &plain, r, fault);
}

static void a_put_needs_exactly_one_of_answer_and_segments(void **state)
{
	struct request_body r = {0};
	struct fault fault;

	(void)state;
	assert_int_equal(put(&r, &fault), -1);
	assert_int_equal(fault.code, ERR_INVALID);
	assert_string_equal(fault.field, "answer");
	MESSAGE_SET(&r, REQUEST, answer, slice_str(""));
	assert_int_equal(put(&r, &fault), -1);
	MESSAGE_SET(&r, REQUEST, answer, slice_str("yes"));
	assert_int_equal(put(&r, &fault), 0);
	assert_int_equal(payload_segments_bytes(buf_slice(&payload)), 3);
}

/* [[kind, index, data], ...] with one flaw */
static int put_segments(unsigned kind, unsigned index, const char *data, size_t n, struct fault *fault)
{
	msgpack_object part[3] = {
		{.type = MSGPACK_OBJECT_POSITIVE_INTEGER, .via.u64 = kind},
		{.type = MSGPACK_OBJECT_POSITIVE_INTEGER, .via.u64 = index},
		{.type = MSGPACK_OBJECT_STR, .via.str = {.ptr = data, .size = (uint32_t)n}},
	};
	msgpack_object segment = {.type = MSGPACK_OBJECT_ARRAY, .via.array = {.ptr = part, .size = 3}};
	msgpack_object all = {.type = MSGPACK_OBJECT_ARRAY, .via.array = {.ptr = &segment, .size = 1}};
	struct request_body r = {0};

	MESSAGE_SET(&r, REQUEST, segments, &all);
	return put(&r, fault);
}

static void a_put_with_a_bad_segment_names_it(void **state)
{
	struct fault fault;

	(void)state;
	assert_int_equal(put_segments(SEGMENT_TEXT, 0, "ok", 2, &fault), 0);
	assert_int_equal(put_segments(99, 0, "ok", 2, &fault), -1);
	assert_string_equal(fault.field, "segments[0]");
	assert_int_equal(put_segments(SEGMENT_TEXT, 1, "ok", 2, &fault), -1);
	assert_int_equal(put_segments(SEGMENT_TEXT, 0, "", 0, &fault), -1);
	assert_int_equal(put_segments(SEGMENT_TEXT, 0, "\xff", 1, &fault), -1);
}

static void a_payload_over_the_ceiling_leaves_the_buffer_as_it_was(void **state)
{
	struct answer *a = two_segments();
	struct buf small;

	(void)state;
	buf_init(&small, 20, NULL);
	assert_true(buf_append(&small, "abc", 3));
	assert_false(payload_from_answer(&small, &plain, a));
	assert_int_equal(small.n, 3);
	buf_free(&small);
	answer_unref(a);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(what_goes_in_comes_out),
		CASE(an_end_frame_joins_what_is_common_and_what_is_not),
		CASE(an_end_after_chunks_carries_no_segments),
		CASE(an_answer_comes_back_from_its_payload),
		CASE(a_payload_damaged_anywhere_is_refused_or_another_payload_but_never_a_crash),
		CASE(a_replay_mints_fresh_tool_call_ids_of_the_same_form),
		CASE(a_tool_call_without_an_id_of_a_known_form_is_replayed_as_it_is),
		CASE(a_put_needs_exactly_one_of_answer_and_segments),
		CASE(a_put_with_a_bad_segment_names_it),
		CASE(a_payload_over_the_ceiling_leaves_the_buffer_as_it_was),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
