/* What the client's tests share: an allocator that counts and fails, the server's frames, and a scripted server in a child process (the
 * blocking face blocks, so its peer cannot live in the same thread). */
#ifndef CLIENT_TEST_H
#define CLIENT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/core.h"
#include "client/promptcache.h"
#include "proto/frame.h"

/* ---- memory: `live` blocks now; the allocation number `fail_at` (from 1) fails, 0: none */

struct test_memory {
	size_t live;
	size_t count;
	size_t fail_at;
};

static inline void *test_resize(void *owner, void *p, size_t size)
{
	struct test_memory *m = owner;

	if (size == 0) {
		m->live -= p != NULL;
		free(p);
		return NULL;
	}
	if (++m->count == m->fail_at)
		return NULL;
	m->live += p == NULL;
	return realloc(p, size);
}

/* ---- frames of the server */

#define TEST_OUT_MAX (32u << 20)

static inline void put_message(struct buf *out, const struct message *m) { assert_true(message_encode(out, m)); }

static inline void put_hello_end(struct buf *out)
{
	struct message m = {.op = OP_END, .id = 1};

	MESSAGE_SET(&m.end, END, version, 1);
	MESSAGE_SET(&m.end, END, features, 7);
	put_message(out, &m);
}

static inline void put_chunk(struct buf *out, uint64_t id, uint64_t kind, uint64_t index, const char *text)
{
	struct message m = {.op = OP_CHUNK, .id = id};

	MESSAGE_SET(&m.chunk, CHUNK, kind, kind);
	MESSAGE_SET(&m.chunk, CHUNK, index, index);
	MESSAGE_SET(&m.chunk, CHUNK, data, slice_str(text));
	put_message(out, &m);
}

static inline void put_head(struct buf *out, uint64_t id, uint64_t source, const char *model)
{
	struct message m = {.op = OP_HEAD, .id = id};

	MESSAGE_SET(&m.head, HEAD, source, source);
	MESSAGE_SET(&m.head, HEAD, model, slice_str(model));
	put_message(out, &m);
}

static inline void put_error(struct buf *out, uint64_t id, uint64_t code)
{
	struct message m = {.op = OP_ERROR, .id = id};

	MESSAGE_SET(&m.error, ERROR, code, code);
	put_message(out, &m);
}

static inline msgpack_object object_of_uint(uint64_t n)
{
	return (msgpack_object){.type = MSGPACK_OBJECT_POSITIVE_INTEGER, .via.u64 = n};
}

/* END with `count` segments of these kinds and texts, numbered from 0. */
static inline void put_end(struct buf *out, uint64_t id, uint64_t source, size_t count, const int *kinds,
			   const char *const *texts)
{
	struct message m = {.op = OP_END, .id = id};
	msgpack_object array, items[16], parts[48];

	assert_true(count <= 16);
	for (size_t i = 0; i < count; i++) {
		parts[3 * i] = object_of_uint((uint64_t)kinds[i]);
		parts[3 * i + 1] = object_of_uint(i);
		parts[3 * i + 2] = (msgpack_object){.type = MSGPACK_OBJECT_BIN,
						    .via.bin = {.size = (uint32_t)strlen(texts[i]), .ptr = texts[i]}};
		items[i] =
			(msgpack_object){.type = MSGPACK_OBJECT_ARRAY, .via.array = {.size = 3, .ptr = &parts[3 * i]}};
	}
	array = (msgpack_object){.type = MSGPACK_OBJECT_ARRAY, .via.array = {.size = (uint32_t)count, .ptr = items}};
	MESSAGE_SET(&m.end, END, source, source);
	MESSAGE_SET(&m.end, END, segments, &array);
	MESSAGE_SET(&m.end, END, model, slice_str("gpt-4o"));
	MESSAGE_SET(&m.end, END, finish_reason, slice_str("stop"));
	MESSAGE_SET(&m.end, END, stored, true);
	MESSAGE_SET(&m.end, END, reason, REASON_STORED);
	put_message(out, &m);
}

static inline void put_end_text(struct buf *out, uint64_t id, uint64_t source, const char *text)
{
	put_end(out, id, source, 1, (const int[]){PC_TEXT}, &text);
}

/* ---- a scripted server in a child process */

struct fake_server {
	int listener;
	pid_t child;
	char directory[64];
	char path[80];
	char address[96];
};

/* In the child: no cmocka there. */
#define FAKE_CHECK(what)                                                                                               \
	do {                                                                                                           \
		if (!(what)) {                                                                                         \
			fprintf(stderr, "fake server, line %d: %s\n", __LINE__, #what);                                \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)

/* Where it was before. */
static inline void fake_listen_again(struct fake_server *f)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", f->path);
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(f->listener >= 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(f->listener, 16), 0);
}

static inline void fake_listen(struct fake_server *f)
{
	f->child = -1;
	snprintf(f->directory, sizeof(f->directory), "/tmp/promptcache-test-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->path, sizeof(f->path), "%s/sock", f->directory);
	snprintf(f->address, sizeof(f->address), "unix:%s", f->path);
	fake_listen_again(f);
}

static inline void fake_spawn(struct fake_server *f, void (*script)(struct fake_server *f))
{
	fflush(NULL);
	f->child = fork();
	assert_true(f->child >= 0);
	if (f->child == 0) {
		alarm(20);
		script(f);
		_exit(0);
	}
}

/* The script has run to its end and found all as it should be. */
static inline void fake_join(struct fake_server *f)
{
	int status = -1;

	if (f->child > 0)
		assert_int_equal(waitpid(f->child, &status, 0), f->child);
	assert_true(f->child <= 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	f->child = -1;
}

static inline void fake_close(struct fake_server *f)
{
	close(f->listener);
	unlink(f->path);
	rmdir(f->directory);
}

/* One connection, as the child sees it. */
struct fake_peer {
	int fd;
	struct buf in;
	size_t taken;
	struct buf out;
	struct message_decoder decoder;
};

static inline void fake_accept(struct fake_server *f, struct fake_peer *p)
{
	*p = (struct fake_peer){.fd = accept(f->listener, NULL, NULL)};
	FAKE_CHECK(p->fd >= 0);
	buf_init(&p->in, TEST_OUT_MAX, NULL);
	buf_init(&p->out, TEST_OUT_MAX, NULL);
	FAKE_CHECK(message_decoder_init(&p->decoder) == 0);
}

/* The next message, which lives until the next call. False: the client closed. */
static inline bool fake_read(struct fake_peer *p, struct message *ret)
{
	struct fault fault;

	buf_consume(&p->in, p->taken);
	p->taken = 0;
	for (;;) {
		struct frame_result r = frame_next(buf_slice(&p->in), FRAME_BYTES_MAX);
		ssize_t n;

		if (r.status == FRAME_READY) {
			p->taken = r.taken;
			if (message_decode(&p->decoder, r.frame, FROM_C, ret, &fault) == 0)
				return true;
			fprintf(stderr, "fake server: %s: %s\n", fault.field, fault.message);
			_exit(1);
		}
		FAKE_CHECK(r.status == FRAME_MORE);
		FAKE_CHECK(buf_reserve(&p->in, 65536));
		n = recv(p->fd, p->in.p + p->in.n, 65536, 0);
		if (n <= 0)
			return false;
		p->in.n += (size_t)n;
	}
}

static inline void fake_send(struct fake_peer *p)
{
	FAKE_CHECK(send(p->fd, p->out.p, p->out.n, MSG_NOSIGNAL) == (ssize_t)p->out.n);
	p->out.n = 0;
}

/* Accepts, and answers HELLO. */
static inline void fake_greet(struct fake_server *f, struct fake_peer *p)
{
	struct message m;

	fake_accept(f, p);
	FAKE_CHECK(fake_read(p, &m) && m.op == OP_HELLO && m.id == 1 && m.hello.version == 1);
	put_hello_end(&p->out);
	fake_send(p);
}

#endif
