/* core: whatever a server may send, the worst is an error and a closed connection, and each request ends once. */
#include "tests/unit/client/core_test.h"

/* ---- streams for which the connection has to be closed */

static void raw(const void *bytes, size_t n) { assert_true(buf_append(&f.server, bytes, n)); }

static void hostile_garbage(void) { raw("HTTP/1.1 200 OK", 15); }
static void hostile_empty_frame(void) { raw("\xCE\0\0\0\0", 5); }
static void hostile_long_frame(void) { raw("\xCE\xFF\xFF\xFF\xFF\x94\x43\x02\x00\x80zzzzzzzzzzzzzzzzzzzz", 30); }
static void hostile_request(void) { put_message(&f.server, &(struct message){.op = OP_STATS, .id = 2}); }
static void hostile_unknown_op(void) { raw("\xCE\0\0\0\x05\x94\x7F\x02\x00\x80", 10); }
static void hostile_unknown_id(void) { put_end_text(&f.server, 77, SOURCE_LLM, "x"); }
static void hostile_id_zero(void) { put_end_text(&f.server, 0, SOURCE_LLM, "x"); }
static void hostile_hello_again(void) { put_hello_end(&f.server); }
static void hostile_ping_with_id(void) { put_message(&f.server, &(struct message){.op = OP_PING, .id = 2}); }
static void hostile_goaway_with_id(void) { put_message(&f.server, &(struct message){.op = OP_GOAWAY, .id = 2}); }
static void hostile_chunk_of_ping(void) { put_chunk(&f.server, 4, PC_TEXT, 0, "x"); }
static void hostile_head_of_ping(void) { put_head(&f.server, 4, SOURCE_LLM, "m"); }
static void hostile_kind_zero(void) { put_chunk(&f.server, 2, 0, 0, "x"); }
static void hostile_index(void) { put_chunk(&f.server, 2, PC_TEXT, 4096, "x"); }
static void hostile_array(void) { raw("\xCE\0\0\0\x0B\x94\x43\x02\x00\x81\x02\xDD\x10\x00\x00\x00", 16); }

static void hostile_two_heads(void)
{
	put_head(&f.server, 2, SOURCE_LLM, "m");
	put_head(&f.server, 2, SOURCE_LLM, "m");
}

static void hostile_head_after_chunk(void)
{
	put_chunk(&f.server, 2, PC_TEXT, 0, "x");
	put_head(&f.server, 2, SOURCE_LLM, "m");
}

static void hostile_kind_changes(void)
{
	put_chunk(&f.server, 2, PC_TEXT, 0, "x");
	put_chunk(&f.server, 2, PC_REFUSAL, 0, "x");
}

static void hostile_end_kind_changes(void)
{
	put_chunk(&f.server, 2, PC_TEXT, 0, "x");
	put_end(&f.server, 2, SOURCE_LLM, 1, (const int[]){PC_REFUSAL}, (const char *const[]){"y"});
}

static void hostile_end_twice(void)
{
	put_end_text(&f.server, 3, SOURCE_LLM, "x");
	put_end_text(&f.server, 3, SOURCE_LLM, "x");
}

static void hostile_too_much(void)
{
	static char text[32768];

	memset(text, 'x', sizeof(text) - 1);
	for (size_t i = 0; i < 300; i++)
		put_chunk(&f.server, 3, PC_TEXT, 0, text);
}

static void hostile_segments(void)
{
	struct message m = {.op = OP_END, .id = 3};
	msgpack_object item = object_of_uint(7), array = {.type = MSGPACK_OBJECT_ARRAY, .via.array = {1, &item}};

	MESSAGE_SET(&m.end, END, segments, &array);
	put_message(&f.server, &m);
}

static void each_hostile_stream_breaks_the_connection_and_nothing_else(void **state)
{
	void (*const streams[])(void) = {
		hostile_garbage,
		hostile_empty_frame,
		hostile_long_frame,
		hostile_request,
		hostile_unknown_op,
		hostile_unknown_id,
		hostile_id_zero,
		hostile_hello_again,
		hostile_ping_with_id,
		hostile_goaway_with_id,
		hostile_chunk_of_ping,
		hostile_head_of_ping,
		hostile_kind_zero,
		hostile_index,
		hostile_array,
		hostile_two_heads,
		hostile_head_after_chunk,
		hostile_kind_changes,
		hostile_end_kind_changes,
		hostile_end_twice,
		hostile_too_much,
		hostile_segments,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
		submit(0, OP_QUERY, 1000000);
		submit(1, OP_QUERY, 0);
		submit(2, OP_PING, 0);
		put_hello_end(&f.server);
		streams[i]();
		if (feed_server() != PC_PROTOCOL)
			fail_msg("hostile stream %zu: %s", i, f.core.failure.message);
		core_close(&f.core);
		for (size_t c = 0; c < 3; c++)
			assert_int_equal(f.calls[c].ends, 1);
		teardown(NULL);
		setup(NULL);
	}
}

static void a_version_that_was_not_offered_is_refused(void **state)
{
	struct message m = {.op = OP_END, .id = 1};

	(void)state;
	MESSAGE_SET(&m.end, END, version, 2);
	put_message(&f.server, &m);
	assert_int_equal(feed_server(), PC_PROTOCOL);
}

static uint64_t seed = 88172645463325252u;

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void a_damaged_stream_ends_every_request_once(void **state)
{
	(void)state;
	for (int round = 0; round < 3000; round++) {
		int status = PC_OK;

		submit(0, OP_QUERY, 1000);
		submit(1, OP_QUERY, 0);
		submit(2, OP_LOOKUP, 0);
		f.calls[1].stop_after = (int)(next_random() % 3);
		record_stream();
		for (size_t n = 1 + next_random() % 4; n > 0; n--)
			f.server.p[next_random() % f.server.n] = (uint8_t)next_random();
		for (size_t i = 0, n; i < f.server.n && status == PC_OK; i += n) {
			n = 1 + next_random() % 64;
			n = n < f.server.n - i ? n : f.server.n - i;
			status = feed(f.server.p + i, n);
		}
		f.server.n = 0;
		if (status == PC_OK)
			failure_set(&f.core.failure, PC_UNAVAILABLE, NULL, "over");
		core_close(&f.core);
		for (size_t c = 0; c < 3; c++)
			assert_int_equal(f.calls[c].ends, 1);
		teardown(NULL);
		setup(NULL);
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(each_hostile_stream_breaks_the_connection_and_nothing_else),
		CASE(a_version_that_was_not_offered_is_refused),
		CASE(a_damaged_stream_ends_every_request_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
