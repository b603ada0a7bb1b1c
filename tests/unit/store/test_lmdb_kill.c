/* lmdb: a process that writes, removes and tells what was acknowledged is killed at a random moment, again and again on
 * one directory; the next one finds every acknowledged change. */
#include "tests/unit/store/helpers.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "server/base/random.h"
#include "server/store/lmdb.h"

#define ROUNDS	40
#define KEYS	300
#define FLYING	64 /* changes at once */
#define OPS_MAX 200000

/* What the child says about change number `op`, before it is issued and after its ack. */
struct message {
	uint32_t op, key;
	uint8_t removes, acked;
};

/* ---- the child */

struct change {
	struct durable_ack ack; /* first */
	struct message message;
};

static struct {
	struct loop *loop;
	struct durable d;
	struct random_state random;
	struct change changes[FLYING];
	uint32_t next;
} child;

static void say(struct message m)
{
	if (write(STDOUT_FILENO, &m, sizeof m) != (ssize_t)sizeof m)
		_exit(3);
}

static void change_done(struct durable_ack *ack);

static void change_start(struct change *c)
{
	struct entry_parts parts = {.expires_us = UINT64_MAX};
	uint8_t payload[3000] = {0};
	struct entry *e;

	c->message = (struct message){.op = child.next++, .key = (uint32_t)random_below(&child.random, KEYS)};
	c->message.removes = random_below(&child.random, 5) == 0;
	c->ack = (struct durable_ack){.done = change_done};
	say(c->message);
	key_of(c->message.key, parts.key);
	if (c->message.removes) {
		child.d.ops->remove(child.d.impl, parts.key, &c->ack);
		return;
	}
	memcpy(payload, &c->message.op, sizeof c->message.op);
	parts.payload = slice_of(payload, 4 + random_below(&child.random, sizeof payload - 4));
	e = entry_new(&parts);
	if (child.d.ops->write(child.d.impl, e, &c->ack) != DURABLE_OK)
		_exit(4);
	entry_unref(e);
}

static void change_done(struct durable_ack *ack)
{
	struct change *c = (struct change *)ack;

	if (ack->status != DURABLE_OK)
		_exit(5);
	c->message.acked = 1;
	say(c->message);
	change_start(c);
}

static int child_main(const char *path, uint32_t first)
{
	struct lmdb_options options = {.path = path, .limit_bytes = 256 << 20, .commit_interval_ms = 1};
	const struct durable_events events = {0};
	char error[256];

	child.loop = loop_new();
	child.next = first;
	random_seed(&child.random, first);
	if (lmdb_open(&child.d, child.loop, &options, &events, error, sizeof error) != 0)
		return 2;
	for (int i = 0; i < FLYING; i++)
		change_start(&child.changes[i]);
	loop_run(child.loop);
	return 6; /* it does not end by itself */
}

/* ---- the parent */

static struct {
	char path[64];
	struct message ops[OPS_MAX];
	bool issued[OPS_MAX];
	uint32_t next; /* number of the first change of the next round */
	struct random_state random;
} parent;

static pid_t start_child(int *ret_pipe)
{
	char first[16];
	int pipes[2];
	pid_t pid;

	assert_int_equal(pipe(pipes), 0);
	snprintf(first, sizeof first, "%u", parent.next);
	pid = fork();
	if (pid == 0) {
		dup2(pipes[1], STDOUT_FILENO);
		close(pipes[0]);
		close(pipes[1]);
		execl("/proc/self/exe", "test", parent.path, first, (char *)NULL);
		_exit(1);
	}
	close(pipes[1]);
	*ret_pipe = pipes[0];
	return pid;
}

static void take_messages(int fd, bool wait)
{
	struct message m;

	while (read(fd, &m, sizeof m) == (ssize_t)sizeof m) {
		assert_true(m.op < OPS_MAX);
		parent.ops[m.op] = m;
		parent.issued[m.op] = true;
		if (m.op >= parent.next)
			parent.next = m.op + 1;
		if (!wait)
			return;
	}
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void kill_one(void)
{
	int fd, status;
	pid_t pid = start_child(&fd);
	uint64_t until_us;

	take_messages(fd, false); /* it runs */
	until_us = now_us() + random_below(&parent.random, 80000);
	while (now_us() < until_us)
		take_messages(fd, false);
	kill(pid, SIGKILL);
	take_messages(fd, true);
	close(fd);
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* What a key may show: the state of its last acknowledged change, or of one that was issued after that. */
static void check_key(struct loop *loop, struct durable *d, uint32_t key)
{
	struct seen_read r = {.read.done = seen_read_done};
	int64_t shown = -1; /* number of the change that is seen; -1: no entry */
	bool fits = true;   /* nothing was acknowledged: none may be there */

	key_of(key, r.read.key);
	d->ops->read(d->impl, &r.read);
	wait_for(loop, &r.done);
	if (r.read.status == DURABLE_OK) {
		uint32_t op;

		memcpy(&op, entry_payload(r.read.entry).p, sizeof op);
		shown = op;
		entry_unref(r.read.entry);
	}
	for (uint32_t op = 0; op < parent.next; op++) {
		const struct message *m = &parent.ops[op];
		bool shows_this;

		if (!parent.issued[op] || m->key != key)
			continue;
		shows_this = m->removes ? shown == -1 : shown == op;
		fits = m->acked ? shows_this : fits || shows_this;
	}
	if (shown == -1 && !fits)
		fail_msg("key %u: an acknowledged entry is lost", key);
	if (!fits)
		fail_msg("key %u shows change %lld, which a later acknowledged one undid", key, (long long)shown);
}

static void check_all(void)
{
	struct loop *loop = loop_new();
	struct lmdb_options options = {.path = parent.path, .limit_bytes = 256 << 20, .commit_interval_ms = 1};
	const struct durable_events events = {0};
	struct durable d;
	char error[256];
	bool closed = false;

	assert_int_equal(lmdb_open(&d, loop, &options, &events, error, sizeof error), 0);
	for (uint32_t key = 0; key < KEYS; key++)
		check_key(loop, &d, key);
	assert_int_equal(lmdb_metrics(&d)->lmdb_damaged_total, 0);
	d.ops->close(d.impl, set_true, &closed);
	wait_for(loop, &closed);
	loop_free(loop);
}

static void nothing_acknowledged_is_lost_by_a_kill(void **state)
{
	uint32_t acked = 0;

	(void)state;
	random_seed(&parent.random, 1);
	make_scratch(parent.path);
	for (int round = 0; round < ROUNDS; round++) {
		kill_one();
		check_all();
	}
	for (uint32_t op = 0; op < parent.next; op++)
		acked += parent.ops[op].acked;
	print_message("%d kills, %u changes acknowledged, none lost\n", ROUNDS, acked);
	assert_true(acked > ROUNDS);
	remove_scratch(parent.path);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_acknowledged_is_lost_by_a_kill)};

	if (argc == 3)
		return child_main(argv[1], (uint32_t)strtoul(argv[2], NULL, 10));
	return cmocka_run_group_tests_name("lmdb_kill", tests, NULL, NULL);
}
