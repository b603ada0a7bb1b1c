/* blocking: streams, and a chunk callback that stops them or takes its time. */
#include "tests/unit/client/blocking_test.h"

static void send_pieces(struct fake_peer *p, uint64_t id)
{
	put_head(&p->out, id, SOURCE_LLM, "gpt-4o");
	put_chunk(&p->out, id, PC_REASONING, 0, "hm");
	put_chunk(&p->out, id, PC_TEXT, 1, "Hel");
	put_chunk(&p->out, id, PC_TEXT, 1, "lo");
	fake_send(p);
}

static void serve_stream(struct fake_server *s)
{
	struct fake_peer p;
	struct message m;

	fake_greet(s, &p);
	read_op(&p, &m, OP_QUERY);
	FAKE_CHECK(m.request.stream && m.request.window > 0);
	send_pieces(&p, m.id);
	put_end(&p.out, m.id, SOURCE_LLM, 0, NULL, NULL);
	fake_send(&p);
	read_close(&p);
}

static void serve_stopped_stream(struct fake_server *s)
{
	struct fake_peer p;
	struct message m;
	uint64_t id;

	fake_greet(s, &p);
	read_op(&p, &m, OP_QUERY);
	id = m.id;
	send_pieces(&p, id);
	read_op(&p, &m, OP_CANCEL);
	FAKE_CHECK(m.id == id);
	put_error(&p.out, id, ERR_CANCELLED);
	fake_send(&p);
	answer_ping(&p);
}

static char streamed[256];

static int on_chunk(void *owner, const struct pc_chunk *chunk)
{
	int *left = owner;

	assert_string_equal(chunk->source, "llm");
	assert_string_equal(chunk->model, "gpt-4o");
	snprintf(streamed + strlen(streamed), sizeof(streamed) - strlen(streamed), "%d:%.*s ", chunk->kind,
		 (int)chunk->len, chunk->data);
	return left != NULL && --*left == 0;
}

static int ask_stream(int *left)
{
	struct pc_query q = PC_QUERY_INIT;

	q.prompt = "Greet me";
	q.timeout_ms = 3000;
	streamed[0] = '\0';
	return pc_query_stream(f.pc, &q, on_chunk, left, &f.answer);
}

static void a_stream_comes_in_pieces_and_as_a_whole(void **state)
{
	(void)state;
	fake_spawn(&f.server, serve_stream);
	assert_int_equal(ask_stream(NULL), PC_OK);
	assert_string_equal(streamed, "2:hm 1:Hel 1:lo ");
	assert_string_equal(pc_answer_text(f.answer), "Hello");
	assert_int_equal(pc_answer_segment_count(f.answer), 2);
	pc_close(f.pc);
	f.pc = NULL;
}

static void a_chunk_callback_that_says_stop_ends_the_call(void **state)
{
	int left = 2;

	(void)state;
	fake_spawn(&f.server, serve_stopped_stream);
	assert_int_equal(ask_stream(&left), PC_CANCELLED);
	assert_string_equal(streamed, "2:hm 1:Hel ");
	assert_null(f.answer);
	assert_string_equal(pc_error(f.pc)->name, "CANCELLED");
	assert_int_equal(pc_ping(f.pc, 0, NULL), PC_OK); /* on the same connection */
}

static void serve_quick_stream(struct fake_server *s)
{
	struct message m, hello = {.op = OP_END, .id = 1};
	struct fake_peer p;

	fake_accept(s, &p);
	read_op(&p, &m, OP_HELLO);
	MESSAGE_SET(&hello.end, END, version, 1);
	MESSAGE_SET(&hello.end, END, ping_interval_ms, 1001); /* silence of 3 s means that the server is gone */
	put_message(&p.out, &hello);
	read_op(&p, &m, OP_QUERY);
	put_head(&p.out, m.id, SOURCE_LLM, "gpt-4o");
	put_chunk(&p.out, m.id, PC_TEXT, 0, "Hel");
	fake_send(&p);
	usleep(100000);
	put_end_text(&p.out, m.id, SOURCE_LLM, "lo");
	fake_send(&p);
	read_close(&p);
}

static int on_chunk_slowly(void *owner, const struct pc_chunk *chunk)
{
	(void)owner;
	if (chunk->len == 3)
		usleep(3100000);
	return 0;
}

static void a_chunk_callback_that_takes_its_time_does_not_make_the_server_silent(void **state)
{
	struct pc_query q = PC_QUERY_INIT;

	(void)state;
	fake_spawn(&f.server, serve_quick_stream);
	q.prompt = "Greet me";
	q.timeout_ms = 10000;
	assert_int_equal(pc_query_stream(f.pc, &q, on_chunk_slowly, NULL, &f.answer), PC_OK);
	assert_string_equal(pc_answer_text(f.answer), "Hello");
	pc_close(f.pc);
	f.pc = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_stream_comes_in_pieces_and_as_a_whole),
		CASE(a_chunk_callback_that_says_stop_ends_the_call),
		CASE(a_chunk_callback_that_takes_its_time_does_not_make_the_server_silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
