/* async and its libuv adapter: many calls on one connection, cancels, deadlines, closing; over Unix socket and TCP. The
 * server lives in the same loop. */
#include "tests/unit/client/client_test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <time.h>

#include "client/promptcache-uv.h"

#define PEERS_MAX 8
#define CALLS_MAX 256

/* One connection as the server sees it. */
struct peer {
	uv_poll_t poll;
	int fd; /* -1: closed */
	struct buf in;
	struct buf out;
	struct message_decoder decoder;
	size_t reads; /* how often something was there */
};

struct fixture {
	struct fake_server files; /* of the Unix socket */
	struct test_memory memory;
	uv_loop_t loop;
	uv_poll_t listener_poll;
	uv_timer_t guard;
	int listener;
	char address[96];
	struct peer peers[PEERS_MAX];
	size_t peer_count;
	void (*serve)(struct peer *p, const struct message *m);
	struct pc_async *async;
	int ends[CALLS_MAX];
	int statuses[CALLS_MAX];
	size_t waiting;
	size_t chunks;
	uint64_t held[CALLS_MAX]; /* ids of requests that the server keeps */
	size_t held_count;
	void (*after)(void); /* called by each `done` */
};

static struct fixture f;

/* ---- the server */

static void peer_close(struct peer *p)
{
	if (p->fd < 0)
		return;
	uv_poll_stop(&p->poll);
	uv_close((uv_handle_t *)&p->poll, NULL);
	close(p->fd);
	p->fd = -1;
	buf_free(&p->in);
	buf_free(&p->out);
	message_decoder_free(&p->decoder);
}

static void peer_send(struct peer *p)
{
	if (p->fd >= 0 && p->out.n > 0)
		assert_int_equal(send(p->fd, p->out.p, p->out.n, MSG_NOSIGNAL), p->out.n);
	p->out.n = 0;
}

static void on_peer(uv_poll_t *poll, int status, int events)
{
	struct peer *p = poll->data;
	struct frame_result r;
	struct message m;
	struct fault fault;
	size_t taken = 0;
	ssize_t n;

	(void)status;
	(void)events;
	p->reads++;
	assert_true(buf_reserve(&p->in, 1 << 20));
	n = recv(p->fd, p->in.p + p->in.n, 1 << 20, 0);
	if (n <= 0) {
		peer_close(p);
		return;
	}
	p->in.n += (size_t)n;
	while (p->fd >= 0 &&
	       (r = frame_next(slice_of(p->in.p + taken, p->in.n - taken), FRAME_BYTES_MAX)).status == FRAME_READY) {
		taken += r.taken;
		assert_int_equal(message_decode(&p->decoder, r.frame, FROM_C, &m, &fault), 0);
		if (m.op == OP_HELLO)
			put_hello_end(&p->out);
		else
			f.serve(p, &m);
	}
	if (p->fd < 0)
		return;
	buf_consume(&p->in, taken);
	peer_send(p);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
	struct peer *p = &f.peers[f.peer_count++];

	(void)poll;
	(void)status;
	(void)events;
	assert_true(f.peer_count <= PEERS_MAX);
	p->fd = accept(f.listener, NULL, NULL);
	assert_true(p->fd >= 0);
	buf_init(&p->in, TEST_OUT_MAX, NULL);
	buf_init(&p->out, TEST_OUT_MAX, NULL);
	assert_int_equal(message_decoder_init(&p->decoder), 0);
	uv_poll_init(&f.loop, &p->poll, p->fd);
	p->poll.data = p;
	uv_poll_start(&p->poll, UV_READABLE, on_peer);
}

static void server_stop(void)
{
	if (!uv_is_closing((uv_handle_t *)&f.listener_poll))
		uv_close((uv_handle_t *)&f.listener_poll, NULL);
	for (size_t i = 0; i < f.peer_count; i++)
		peer_close(&f.peers[i]);
}

static void listen_tcp(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(in);

	f.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f.listener, (struct sockaddr *)&in, size), 0);
	assert_int_equal(listen(f.listener, 16), 0);
	assert_int_equal(getsockname(f.listener, (struct sockaddr *)&in, &size), 0);
	snprintf(f.address, sizeof(f.address), "tcp://127.0.0.1:%d", ntohs(in.sin_port));
}

static void serve_text(struct peer *p, const struct message *m)
{
	if (m->op == OP_QUERY && !m->request.stream)
		put_end_text(&p->out, m->id, SOURCE_EXACT, "an answer");
	else if (m->op == OP_PING)
		put_message(&p->out, &(struct message){.op = OP_END, .id = m->id});
}

static void serve_hold(struct peer *p, const struct message *m)
{
	(void)p;
	if (m->op == OP_QUERY)
		f.held[f.held_count++] = m->id;
}

/* ---- the fixture */

static void on_guard(uv_timer_t *timer)
{
	(void)timer;
	fail_msg("the loop did not come to its end");
}

static int setup_with(bool tcp)
{
	struct pc_options options = PC_OPTIONS_INIT;

	f = (struct fixture){.serve = serve_text};
	uv_loop_init(&f.loop);
	if (tcp) {
		listen_tcp();
	} else {
		fake_listen(&f.files);
		f.listener = f.files.listener;
		snprintf(f.address, sizeof(f.address), "%s", f.files.address);
	}
	uv_poll_init(&f.loop, &f.listener_poll, f.listener);
	uv_poll_start(&f.listener_poll, UV_READABLE, on_connection);
	uv_timer_init(&f.loop, &f.guard);
	uv_timer_start(&f.guard, on_guard, 10000, 0);
	uv_unref((uv_handle_t *)&f.guard);
	options.address = f.address;
	options.token = "secret";
	options.resize = test_resize;
	options.resize_owner = &f.memory;
	options.connect_timeout_ms = 500;
	assert_int_equal(pc_uv_open(&f.async, &f.loop, &options), PC_OK);
	return 0;
}

static int setup_unix(void **state)
{
	(void)state;
	return setup_with(false);
}

static int setup_tcp(void **state)
{
	(void)state;
	return setup_with(true);
}

static int teardown(void **state)
{
	(void)state;
	pc_async_close(f.async);
	server_stop();
	uv_close((uv_handle_t *)&f.guard, NULL);
	while (uv_run(&f.loop, UV_RUN_DEFAULT) != 0) /* a uv_stop from before makes it return early */
		;
	assert_int_equal(uv_loop_close(&f.loop), 0);
	if (f.files.path[0] != '\0')
		fake_close(&f.files);
	else
		close(f.listener);
	assert_int_equal(f.memory.live, 0);
	return 0;
}

/* ---- calls */

static void on_done(void *owner, int status, struct pc_answer *answer, const struct pc_failure *failure)
{
	size_t i = (size_t)(uintptr_t)owner;

	assert_true((answer != NULL) == (status == PC_OK || status == PC_MISS));
	assert_true((failure != NULL) == (answer == NULL));
	f.ends[i]++;
	f.statuses[i] = status;
	pc_answer_free(answer);
	f.waiting--;
	if (f.after != NULL)
		f.after();
	if (f.waiting == 0)
		uv_stop(&f.loop);
}

static int on_chunk(void *owner, const struct pc_chunk *chunk)
{
	(void)owner;
	(void)chunk;
	f.chunks++;
	return 0;
}

static int start(size_t i, unsigned timeout_ms, struct pc_call **ret)
{
	struct pc_query q = PC_QUERY_INIT;
	int status;

	q.prompt = "question";
	q.timeout_ms = timeout_ms;
	status = pc_async_query(f.async, &q, NULL, on_done, (void *)(uintptr_t)i, ret);
	f.waiting += status == PC_OK;
	return status;
}

static void run(void) { uv_run(&f.loop, UV_RUN_DEFAULT); }

/* ---- cases */

static void calls_started_in_one_turn_leave_in_one_write(void **state)
{
	(void)state;
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(start(i, 5000, NULL), PC_OK);
	assert_int_equal(pc_async_inflight(f.async), 100);
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(f.ends[i], 0);
	run();
	for (size_t i = 0; i < 100; i++) {
		assert_int_equal(f.ends[i], 1);
		assert_int_equal(f.statuses[i], PC_OK);
	}
	assert_int_equal(f.peer_count, 1);
	assert_int_equal(f.peers[0].reads, 1);
	assert_int_equal(pc_async_inflight(f.async), 0);
}

static void start_again(void)
{
	static size_t left;

	left = f.waiting == 0 && left == 0 ? 50 : left;
	if (left > 0 && --left > 0)
		assert_int_equal(start(50 - left, 5000, NULL), PC_OK);
}

static void a_callback_may_start_the_next_call(void **state)
{
	(void)state;
	f.after = start_again;
	assert_int_equal(start(0, 5000, NULL), PC_OK);
	run();
	for (size_t i = 0; i < 50; i++)
		assert_int_equal(f.ends[i], 1);
}

static void a_cancelled_call_never_calls_back(void **state)
{
	struct pc_call *call;

	(void)state;
	assert_int_equal(start(0, 5000, &call), PC_OK);
	assert_int_equal(start(1, 5000, NULL), PC_OK);
	pc_async_cancel(f.async, call);
	f.waiting--;
	run();
	assert_int_equal(f.ends[0], 0);
	assert_int_equal(f.ends[1], 1);
}

static void each_call_has_a_deadline_of_its_own(void **state)
{
	(void)state;
	f.serve = serve_hold;
	assert_int_equal(start(0, 120, NULL), PC_OK);
	assert_int_equal(start(1, 40, NULL), PC_OK);
	assert_int_equal(start(2, 80, NULL), PC_OK);

	uint64_t from = uv_hrtime();

	run();
	assert_in_range((uv_hrtime() - from) / 1000000, 115, 4000); /* below what a call without timeout_ms has */
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(f.ends[i], 1);
		assert_int_equal(f.statuses[i], PC_TIMEOUT);
	}
}

static void close_in_callback(void)
{
	pc_async_close(f.async);
	f.async = NULL;
	f.after = NULL;
}

static void a_handle_may_be_closed_inside_a_callback(void **state)
{
	(void)state;
	for (size_t i = 0; i < 10; i++)
		assert_int_equal(start(i, 5000, NULL), PC_OK);
	f.after = close_in_callback;
	run();
	for (size_t i = 0; i < 10; i++)
		assert_int_equal(f.ends[i], 1);
}

static void closing_ends_what_runs_as_cancelled(void **state)
{
	(void)state;
	f.serve = serve_hold;
	assert_int_equal(start(0, 5000, NULL), PC_OK);
	assert_int_equal(start(1, 5000, NULL), PC_OK);
	pc_async_close(f.async);
	f.async = NULL;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(f.ends[i], 1);
		assert_int_equal(f.statuses[i], PC_CANCELLED);
	}
}

static void without_a_server_calls_fail_and_then_fail_at_once(void **state)
{
	int status;

	(void)state;
	server_stop();
	close(f.listener);
	if (f.files.path[0] != '\0')
		unlink(f.files.path);
	status = start(0, 5000, NULL);
	if (status == PC_OK) { /* TCP hears of it in the loop */
		run();
		status = f.statuses[0];
	}
	assert_int_equal(status, PC_UNAVAILABLE);
	if (f.files.path[0] != '\0')
		fake_listen_again(&f.files); /* it is back, and nobody asks yet */
	else
		f.files.listener = dup(0);
	f.listener = f.files.listener;
	assert_int_equal(start(1, 5000, NULL), PC_UNAVAILABLE);
	assert_int_equal(pc_async_error(f.async)->status, PC_UNAVAILABLE);
}

static void a_loop_that_was_busy_does_not_blame_the_server(void **state)
{
	const struct timespec busy = {.tv_nsec = 700 * 1000000}; /* beyond connect_timeout_ms */

	(void)state;
	assert_int_equal(start(0, 5000, NULL), PC_OK);
	nanosleep(&busy, NULL);
	run();
	assert_int_equal(f.statuses[0], PC_OK);
}

static void serve_goaway(struct peer *p, const struct message *m)
{
	struct message away = {.op = OP_GOAWAY};

	if (m->op != OP_QUERY)
		return;
	if (p == &f.peers[0] && f.held_count == 0) {
		MESSAGE_SET(&away.goaway, GOAWAY, last_id, m->id);
		put_message(&p->out, &away);
		serve_hold(p, m);
	} else {
		put_end_text(&p->out, m->id, SOURCE_EXACT, "from the new connection");
		if (p != &f.peers[0]) { /* only now the old one gets its answer */
			put_end_text(&f.peers[0].out, f.held[0], SOURCE_LLM, "from the old connection");
			peer_send(&f.peers[0]);
		}
	}
}

static void start_on_new(uv_timer_t *timer)
{
	assert_int_equal(start(1, 5000, NULL), PC_OK);
	uv_close((uv_handle_t *)timer, NULL);
}

static void after_goaway_new_calls_go_to_a_new_connection_and_old_ones_finish(void **state)
{
	uv_timer_t timer;

	(void)state;
	f.serve = serve_goaway;
	uv_timer_init(&f.loop, &timer);
	uv_timer_start(&timer, start_on_new, 30, 0);
	assert_int_equal(start(0, 5000, NULL), PC_OK);
	run();
	assert_int_equal(f.statuses[0], PC_OK);
	assert_int_equal(f.statuses[1], PC_OK);
	assert_int_equal(f.peer_count, 2);
	for (int i = 0; i < 5; i++)
		uv_run(&f.loop, UV_RUN_NOWAIT);
	assert_int_equal(f.peers[0].fd, -1); /* the old one was left when its last call had ended */
}

static void serve_cut(struct peer *p, const struct message *m)
{
	if (m->op == OP_QUERY && p == &f.peers[0]) {
		peer_send(p); /* HELLO's answer: it was a connection that lived */
		peer_close(p);
	} else {
		serve_text(p, m);
	}
}

static void a_lost_connection_ends_its_calls_and_the_next_one_connects_again(void **state)
{
	(void)state;
	f.serve = serve_cut;
	assert_int_equal(start(0, 5000, NULL), PC_OK);
	assert_int_equal(pc_async_ping(f.async, 0, on_done, (void *)1, NULL), PC_OK);
	f.waiting++;
	run();
	assert_int_equal(f.statuses[0], PC_UNAVAILABLE);
	assert_int_equal(start(2, 5000, NULL), PC_OK);
	run();
	assert_int_equal(f.statuses[2], PC_OK);
}

static void serve_stream(struct peer *p, const struct message *m)
{
	if (m->op != OP_QUERY)
		return;
	assert_true(m->request.stream);
	put_head(&p->out, m->id, SOURCE_LLM, "m");
	for (int i = 0; i < 5; i++)
		put_chunk(&p->out, m->id, PC_TEXT, 0, "piece");
	put_end_text(&p->out, m->id, SOURCE_LLM, "");
}

static void a_stream_hands_over_each_piece(void **state)
{
	struct pc_query q = PC_QUERY_INIT;

	(void)state;
	f.serve = serve_stream;
	q.prompt = "q";
	assert_int_equal(pc_async_query(f.async, &q, on_chunk, on_done, NULL, NULL), PC_OK);
	f.waiting++;
	run();
	assert_int_equal(f.statuses[0], PC_OK);
	assert_int_equal(f.chunks, 5);
}

static void a_large_request_leaves_in_the_pieces_the_socket_takes(void **state)
{
	static char big[8 << 20];
	struct pc_query q = PC_QUERY_INIT;

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	q.prompt = big;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(pc_async_query(f.async, &q, NULL, on_done, (void *)(uintptr_t)i, NULL), PC_OK);
		f.waiting++;
	}
	run();
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(f.statuses[i], PC_OK);
}

static void each_allocation_may_fail_and_every_call_ends_once(void **state)
{
	int status = PC_NO_MEMORY;

	(void)state;
	for (size_t i = 1; status != PC_OK; i++) {
		assert_true(i < 60);
		f.memory.fail_at = f.memory.count + i;
		f.ends[0] = 0;
		status = start(0, 5000, NULL);
		if (status == PC_OK) {
			run();
			assert_int_equal(f.ends[0], 1);
			status = f.statuses[0];
		}
		assert_true(status == PC_OK || status == PC_NO_MEMORY || status == PC_OVERLOADED);
		f.peer_count = f.peer_count > 4 ? 4 : f.peer_count;
		for (size_t p = 0; p < f.peer_count; p++)
			peer_close(&f.peers[p]);
		f.memory.fail_at = 0;
		for (int turn = 0; turn < 5; turn++)
			uv_run(&f.loop, UV_RUN_NOWAIT);
		f.peer_count = 0;
	}
}

#define CASE(name)                                                                                                     \
	{#name " (unix)", name, setup_unix, teardown, NULL}, { #name " (tcp)", name, setup_tcp, teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(calls_started_in_one_turn_leave_in_one_write),
		CASE(a_callback_may_start_the_next_call),
		CASE(a_cancelled_call_never_calls_back),
		CASE(each_call_has_a_deadline_of_its_own),
		CASE(a_handle_may_be_closed_inside_a_callback),
		CASE(closing_ends_what_runs_as_cancelled),
		CASE(without_a_server_calls_fail_and_then_fail_at_once),
		CASE(a_loop_that_was_busy_does_not_blame_the_server),
		CASE(after_goaway_new_calls_go_to_a_new_connection_and_old_ones_finish),
		CASE(a_lost_connection_ends_its_calls_and_the_next_one_connects_again),
		CASE(a_stream_hands_over_each_piece),
		CASE(a_large_request_leaves_in_the_pieces_the_socket_takes),
		CASE(each_allocation_may_fail_and_every_call_ends_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
