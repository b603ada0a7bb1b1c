/* blocking: deadlines, reconnecting, failing fast, fork; against a scripted server in a child process. */
#include "tests/unit/client/blocking_test.h"

static void serve_twice(struct fake_server *s)
{
	struct fake_peer p;
	struct message m;

	fake_accept(s, &p);
	read_op(&p, &m, OP_HELLO);
	FAKE_CHECK(slice_is(m.hello.token, "secret"));
	put_hello_end(&p.out);
	read_op(&p, &m, OP_QUERY);
	FAKE_CHECK(slice_is(m.request.prompt, "What is a TTL?") && slice_is(m.request.model, "gpt-4o"));
	FAKE_CHECK(m.request.timeout_ms == 3000 && !m.request.stream);
	put_end_text(&p.out, m.id, SOURCE_LLM, "Time to live.");
	fake_send(&p);
	read_op(&p, &m, OP_QUERY);
	put_end_text(&p.out, m.id, SOURCE_EXACT, "Time to live.");
	fake_send(&p);
	read_close(&p);
}

static void a_question_is_answered_and_asked_again_on_the_same_connection(void **state)
{
	(void)state;
	fake_spawn(&f.server, serve_twice);
	assert_int_equal(ask("What is a TTL?", 3000), PC_OK);
	assert_string_equal(pc_answer_text(f.answer), "Time to live.");
	assert_string_equal(pc_answer_source(f.answer), "llm");
	assert_false(pc_answer_hit(f.answer));
	assert_int_equal(ask("What is a TTL?", 3000), PC_OK);
	assert_true(pc_answer_hit(f.answer));
	assert_int_equal(pc_error(f.pc)->status, PC_OK);
	pc_close(f.pc);
	f.pc = NULL;
}

static void serve_ops(struct fake_server *s)
{
	struct fake_peer p;
	struct message m, end = {.op = OP_END};
	msgpack_object_kv kv = {.key = {.type = MSGPACK_OBJECT_STR, .via.str = {4, "hits"}}, .val = object_of_uint(42)};
	msgpack_object stats = {.type = MSGPACK_OBJECT_MAP, .via.map = {1, &kv}};

	fake_greet(s, &p);
	read_op(&p, &m, OP_LOOKUP);
	put_end(&p.out, m.id, SOURCE_NONE, 0, NULL, NULL);
	fake_send(&p);
	read_op(&p, &m, OP_PUT);
	FAKE_CHECK(slice_is(m.request.answer, "an answer") && m.request.ttl_ms == 1000);
	put_end(&p.out, m.id, SOURCE_NONE, 0, NULL, NULL);
	fake_send(&p);
	read_op(&p, &m, OP_INVALIDATE);
	FAKE_CHECK(m.request.target == TARGET_NAMESPACE && slice_is(m.request.namespace, "docs"));
	end.id = m.id;
	MESSAGE_SET(&end.end, END, removed, 3);
	put_message(&p.out, &end);
	fake_send(&p);
	read_op(&p, &m, OP_STATS);
	end = (struct message){.op = OP_END, .id = m.id};
	MESSAGE_SET(&end.end, END, stats, &stats);
	put_message(&p.out, &end);
	fake_send(&p);
	read_op(&p, &m, OP_PING);
	FAKE_CHECK(m.id != 0);
	put_message(&p.out, &(struct message){.op = OP_END, .id = m.id});
	fake_send(&p);
}

static void each_kind_of_call_gets_its_answer(void **state)
{
	struct pc_query q = PC_QUERY_INIT;
	struct pc_content content = PC_CONTENT_INIT;
	struct pc_answer *a = NULL;
	double value = 0;

	(void)state;
	fake_spawn(&f.server, serve_ops);
	q.prompt = "q";
	q.ttl_ms = 1000;
	q.namespace_name = "docs";
	assert_int_equal(pc_lookup(f.pc, &q, &f.answer), PC_MISS);
	assert_string_equal(pc_answer_text(f.answer), "");
	assert_string_equal(pc_answer_source(f.answer), "none");
	content.text = "an answer";
	assert_int_equal(pc_put(f.pc, &q, &content, NULL), PC_OK);
	assert_int_equal(pc_invalidate(f.pc, &q, PC_FORGET_NAMESPACE, &a), PC_OK);
	assert_int_equal(pc_answer_removed(a), 3);
	pc_answer_free(a);
	assert_int_equal(pc_stats(f.pc, 0, &a), PC_OK);
	assert_string_equal(pc_answer_stat(a, 0, &value), "hits");
	assert_true(value == 42);
	assert_null(pc_answer_stat(a, 1, NULL));
	pc_answer_free(a);
	assert_int_equal(pc_ping(f.pc, 0, NULL), PC_OK);
}

static void serve_error(struct fake_server *s)
{
	struct fake_peer p;
	struct message m, e = {.op = OP_ERROR};

	fake_greet(s, &p);
	read_op(&p, &m, OP_QUERY);
	e.id = m.id;
	MESSAGE_SET(&e.error, ERROR, code, ERR_RATE_LIMITED);
	MESSAGE_SET(&e.error, ERROR, message, slice_str("slow down"));
	MESSAGE_SET(&e.error, ERROR, retry_after_ms, 1500);
	MESSAGE_SET(&e.error, ERROR, upstream_status, 429);
	put_message(&p.out, &e);
	fake_send(&p);
}

static void an_error_of_the_server_is_told_in_full(void **state)
{
	const struct pc_failure *why = pc_error(f.pc);

	(void)state;
	fake_spawn(&f.server, serve_error);
	assert_int_equal(ask("q", 3000), PC_REFUSED);
	assert_string_equal(why->name, "RATE_LIMITED");
	assert_string_equal(why->message, "slow down");
	assert_true(why->retryable);
	assert_int_equal(why->retry_after_ms, 1500);
	assert_int_equal(why->upstream_status, 429);
}

static void serve_refuse(struct fake_server *s)
{
	struct fake_peer p;
	struct message m;

	fake_accept(s, &p);
	read_op(&p, &m, OP_HELLO);
	put_error(&p.out, 1, ERR_UNAUTHENTICATED);
	fake_send(&p);
}

static void a_wrong_token_is_refused_with_its_name(void **state)
{
	(void)state;
	fake_spawn(&f.server, serve_refuse);
	assert_int_equal(ask("q", 3000), PC_REFUSED);
	assert_string_equal(pc_error(f.pc)->name, "UNAUTHENTICATED");
}

static void serve_ping(struct fake_server *s)
{
	struct fake_peer p;

	fake_greet(s, &p);
	answer_ping(&p);
}

static void without_a_server_calls_fail_at_once_for_a_second(void **state)
{
	uint64_t start = now_ms();

	(void)state;
	close(f.server.listener);
	unlink(f.server.path);
	assert_int_equal(ask("q", 3000), PC_UNAVAILABLE);
	fake_listen_again(&f.server); /* it is back, and nobody asks yet */
	fake_spawn(&f.server, serve_ping);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(pc_ping(f.pc, 3000, NULL), PC_UNAVAILABLE);
	assert_true(now_ms() - start < 900);
	assert_true(pc_error(f.pc)->retryable);
	while (now_ms() - start < 1300)
		usleep(10000);
	assert_int_equal(pc_ping(f.pc, 3000, NULL), PC_OK);
}

static void serve_nothing(struct fake_server *s)
{
	struct fake_peer p;
	struct message m;

	fake_greet(s, &p);
	answer_ping(&p);
	read_op(&p, &m, OP_QUERY);
	read_op(&p, &m, OP_CANCEL);
	read_close(&p);
	/* The silent connection was given up; the next question comes on a new one. */
	fake_greet(s, &p);
	read_op(&p, &m, OP_QUERY);
	put_end_text(&p.out, m.id, SOURCE_EXACT, "late but well");
	fake_send(&p);
}

static void a_call_ends_at_its_deadline_and_the_next_one_is_served(void **state)
{
	uint64_t start;

	(void)state;
	fake_spawn(&f.server, serve_nothing);
	assert_int_equal(pc_ping(f.pc, 0, NULL), PC_OK);
	start = now_ms();
	assert_int_equal(ask("q", 200), PC_TIMEOUT);
	assert_in_range(now_ms() - start, 199, 2500);
	assert_int_equal(ask("q", 3000), PC_OK);
	assert_string_equal(pc_answer_text(f.answer), "late but well");
}

static void a_server_that_does_not_say_hello_is_away(void **state)
{
	uint64_t start = now_ms();

	(void)state;
	/* Nobody accepts: the kernel connects, and that is all. */
	assert_int_equal(ask("q", 5000), PC_UNAVAILABLE);
	assert_in_range(now_ms() - start, 900, 4500);
	start = now_ms();
	assert_int_equal(ask("q", 5000), PC_UNAVAILABLE);
	assert_true(now_ms() - start < 900);
}

static void serve_then_close(struct fake_server *s)
{
	struct fake_peer p;
	struct message m;

	fake_greet(s, &p);
	read_op(&p, &m, OP_QUERY);
	close(p.fd); /* not a byte of an answer */
	fake_greet(s, &p);
	read_op(&p, &m, OP_QUERY);
	put_end_text(&p.out, m.id, SOURCE_EXACT, "second");
	fake_send(&p);
	read_op(&p, &m, OP_PUT);
	close(p.fd);
	fake_greet(s, &p);
	answer_ping(&p); /* and no PUT */
}

static void a_lost_question_is_asked_once_more_and_a_lost_put_is_not(void **state)
{
	struct pc_query q = PC_QUERY_INIT;
	struct pc_content content = PC_CONTENT_INIT;

	(void)state;
	fake_spawn(&f.server, serve_then_close);
	assert_int_equal(ask("q", 3000), PC_OK);
	assert_string_equal(pc_answer_text(f.answer), "second");
	q.prompt = "q";
	content.text = "a";
	assert_int_equal(pc_put(f.pc, &q, &content, NULL), PC_UNAVAILABLE);
	assert_int_equal(pc_ping(f.pc, 0, NULL), PC_OK);
}

static void serve_goaway(struct fake_server *s)
{
	struct fake_peer p;
	struct message m, away = {.op = OP_GOAWAY};

	fake_greet(s, &p);
	read_op(&p, &m, OP_QUERY);
	MESSAGE_SET(&away.goaway, GOAWAY, last_id, m.id);
	put_message(&p.out, &away);
	put_message(&p.out, &(struct message){.op = OP_PING});
	put_end_text(&p.out, m.id, SOURCE_EXACT, "the last one");
	fake_send(&p);
	FAKE_CHECK(!fake_read(&p, &m) || m.op == OP_PING);
	fake_greet(s, &p);
	read_op(&p, &m, OP_PUT);
	put_error(&p.out, m.id, ERR_SHUTTING_DOWN);
	fake_send(&p);
	fake_greet(s, &p);
	read_op(&p, &m, OP_PUT);
	put_end(&p.out, m.id, SOURCE_NONE, 0, NULL, NULL);
	fake_send(&p);
}

static void after_goaway_the_next_call_goes_to_a_new_connection(void **state)
{
	struct pc_query q = PC_QUERY_INIT;
	struct pc_content content = PC_CONTENT_INIT;

	(void)state;
	fake_spawn(&f.server, serve_goaway);
	assert_int_equal(ask("q", 3000), PC_OK);
	assert_string_equal(pc_answer_text(f.answer), "the last one");
	q.prompt = "q";
	content.text = "a";
	/* Told that the server did not take it, even a put may be sent again. */
	assert_int_equal(pc_put(f.pc, &q, &content, NULL), PC_OK);
}

static void serve_rubbish(struct fake_server *s)
{
	struct fake_peer p;

	fake_accept(s, &p);
	FAKE_CHECK(send(p.fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28, MSG_NOSIGNAL) == 28);
}

static void a_server_of_another_protocol_is_told_apart(void **state)
{
	(void)state;
	fake_spawn(&f.server, serve_rubbish);
	assert_int_equal(ask("q", 3000), PC_PROTOCOL);
}

static void serve_parent_and_child(struct fake_server *s)
{
	struct fake_peer first, second;

	fake_greet(s, &first);
	answer_ping(&first);
	fake_greet(s, &second); /* the forked child's own */
	answer_ping(&second);
	read_close(&second);
	answer_ping(&first); /* the parent's still serves */
}

static void a_forked_process_connects_anew_and_leaves_the_parents_socket_alone(void **state)
{
	int status = -1;

	(void)state;
	fake_spawn(&f.server, serve_parent_and_child);
	assert_int_equal(pc_ping(f.pc, 0, NULL), PC_OK);

	pid_t child = fork();

	if (child == 0)
		_exit(pc_ping(f.pc, 3000, NULL) == PC_OK ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(pc_ping(f.pc, 3000, NULL), PC_OK);
}

static void arguments_are_checked_before_anything_is_sent(void **state)
{
	struct pc_query q = PC_QUERY_INIT;
	struct pc *pc = NULL;

	(void)state;
	assert_int_equal(pc_query(f.pc, &q, NULL), PC_INVALID);
	assert_string_equal(pc_error(f.pc)->field, "prompt");
	q.prompt = "q";
	q.no_cache = 1;
	assert_int_equal(pc_lookup(f.pc, &q, NULL), PC_INVALID);
	assert_string_equal(pc_error(f.pc)->field, "no_cache");
	assert_int_equal(pc_open(&pc, "http://localhost"), PC_INVALID);
	assert_int_equal(pc_open(&pc, "tls://localhost:7411"), PC_UNSUPPORTED);
	assert_null(pc);
	pc_close(NULL);
	pc_answer_free(NULL);
}

static void serve_many(struct fake_server *s)
{
	for (;;) {
		struct fake_peer p;
		struct message m;

		fake_greet(s, &p);
		while (fake_read(&p, &m)) {
			if (m.op == OP_STATS)
				_exit(0);
			put_end_text(&p.out, m.id, SOURCE_EXACT, "an answer");
			fake_send(&p);
		}
		close(p.fd);
		buf_free(&p.in);
		buf_free(&p.out);
		message_decoder_free(&p.decoder);
	}
}

static void each_allocation_may_fail_and_the_call_says_so(void **state)
{
	int status = PC_NO_MEMORY;

	(void)state;
	fake_spawn(&f.server, serve_many);
	for (size_t i = 1; status != PC_OK; i++) {
		f.memory.fail_at = f.memory.count + i;
		status = ask("q", 3000);
		assert_true(status == PC_OK || status == PC_NO_MEMORY || status == PC_OVERLOADED);
		assert_true(i < 100);
	}
	f.memory.fail_at = 0;
	assert_int_equal(pc_stats(f.pc, 0, NULL), PC_UNAVAILABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_question_is_answered_and_asked_again_on_the_same_connection),
		CASE(each_kind_of_call_gets_its_answer),
		CASE(an_error_of_the_server_is_told_in_full),
		CASE(a_wrong_token_is_refused_with_its_name),
		CASE(without_a_server_calls_fail_at_once_for_a_second),
		CASE(a_call_ends_at_its_deadline_and_the_next_one_is_served),
		CASE(a_server_that_does_not_say_hello_is_away),
		CASE(a_lost_question_is_asked_once_more_and_a_lost_put_is_not),
		CASE(after_goaway_the_next_call_goes_to_a_new_connection),
		CASE(a_server_of_another_protocol_is_told_apart),
		CASE(a_forked_process_connects_anew_and_leaves_the_parents_socket_alone),
		CASE(arguments_are_checked_before_anything_is_sent),
		CASE(each_allocation_may_fail_and_the_call_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
