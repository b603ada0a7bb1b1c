/* What the tests of the blocking face share: a handle whose memory is counted, and a peer to talk to. */
#ifndef CLIENT_BLOCKING_TEST_H
#define CLIENT_BLOCKING_TEST_H

#include "tests/unit/client/client_test.h"

#include <time.h>

struct fixture {
	struct fake_server server;
	struct test_memory memory;
	struct pc *pc;
	struct pc_answer *answer;
};

static struct fixture f;

static inline int setup(void **state)
{
	struct pc_options options = PC_OPTIONS_INIT;

	(void)state;
	f = (struct fixture){0};
	fake_listen(&f.server);
	options.address = f.server.address;
	options.token = "secret";
	options.resize = test_resize;
	options.resize_owner = &f.memory;
	options.connect_timeout_ms = 1000;
	assert_int_equal(pc_open_with(&f.pc, &options), PC_OK);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	pc_answer_free(f.answer);
	pc_close(f.pc);
	fake_join(&f.server);
	fake_close(&f.server);
	assert_int_equal(f.memory.live, 0);
	return 0;
}

static inline uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline int ask(const char *prompt, unsigned timeout_ms)
{
	struct pc_query q = PC_QUERY_INIT;

	q.model = "gpt-4o";
	q.prompt = prompt;
	q.timeout_ms = timeout_ms;
	pc_answer_free(f.answer);
	f.answer = NULL;
	return pc_query(f.pc, &q, &f.answer);
}

static inline void read_op(struct fake_peer *p, struct message *m, enum proto_op op)
{
	FAKE_CHECK(fake_read(p, m));
	FAKE_CHECK(m->op == op);
}

static inline void answer_ping(struct fake_peer *p)
{
	struct message m;

	read_op(p, &m, OP_PING);
	put_message(&p->out, &(struct message){.op = OP_END, .id = m.id});
	fake_send(p);
}

static inline void read_close(struct fake_peer *p)
{
	struct message m;

	while (fake_read(p, &m))
		FAKE_CHECK(m.op == OP_CANCEL || m.op == OP_WINDOW);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
