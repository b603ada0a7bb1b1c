/* transport: real sockets on the real loop, TCP and Unix as a parameter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/log.h"
#include "server/net/transport.h"

#define STREAMS 300

struct fixture {
	struct loop *loop;
	struct transport *transport;
	struct listener *listener;
	struct stream *streams[STREAMS];
	size_t accepted, readables, writables, brokens;
	char directory[64];
	struct deadline stop;
};

static struct fixture f;

static void on_readable(void *owner)
{
	(void)owner;
	f.readables++;
	loop_stop(f.loop);
}

static void on_writable(void *owner)
{
	(void)owner;
	f.writables++;
	loop_stop(f.loop);
}

static void on_broken(void *owner)
{
	(void)owner;
	f.brokens++;
	loop_stop(f.loop);
}

static const struct stream_events events = {on_readable, on_writable, on_broken};

static void on_accepted(void *owner, struct stream *s)
{
	(void)owner;
	assert_true(f.accepted < STREAMS);
	f.streams[f.accepted++] = s;
	stream_start(s, &events, NULL);
	loop_stop(f.loop);
}

static const struct listener_events listener_events = {on_accepted};

static void on_time(struct deadline *d)
{
	(void)d;
	loop_stop(f.loop);
}

/* Until something happens or the time is over. */
static void turn(uint64_t ms)
{
	loop_arm(f.loop, &f.stop, ms * 1000, on_time);
	loop_run(f.loop);
	loop_disarm(f.loop, &f.stop);
}

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){.loop = loop_new()};
	f.transport = transport_new(f.loop);
	strcpy(f.directory, "/tmp/promptcached-test-XXXXXX");
	assert_non_null(mkdtemp(f.directory));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < f.accepted; i++)
		if (f.streams[i] != NULL)
			stream_close(f.streams[i]);
	listener_close(f.listener);
	transport_free(f.transport);
	loop_free(f.loop);
	assert_int_equal(rmdir(f.directory), 0); /* the socket's file is gone */
	return 0;
}

static void path_of(char ret[128]) { snprintf(ret, 128, "%s/sock", f.directory); }

static struct endpoint endpoint_of(const char *text)
{
	struct endpoint e[ADDRESS_ENDPOINTS_MAX];
	struct address a;
	char error[256];
	size_t count;

	assert_int_equal(address_parse(&a, text, error, sizeof error), 0);
	assert_int_equal(address_resolve(&a, e, &count, error, sizeof error), 0);
	return e[0];
}

static struct endpoint unix_endpoint(void)
{
	char path[128], text[160];

	path_of(path);
	snprintf(text, sizeof text, "unix:%s", path);
	return endpoint_of(text);
}

static int listen_on(struct endpoint e, struct listener **ret, char error[256])
{
	return transport_listen(f.transport, &e, &listener_events, NULL, ret, error, 256);
}

static void start(struct endpoint e)
{
	char error[256];

	if (listen_on(e, &f.listener, error) < 0)
		fail_msg("%s", error);
}

static int connect_client(void)
{
	const struct endpoint *e = listener_endpoint(f.listener);
	int fd = socket(e->addr.any.sa_family, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &e->addr.any, e->bytes), 0);
	return fd;
}

static ssize_t read_into(struct stream *s, void *p, size_t n)
{
	const struct iovec iov = {p, n};

	return stream_read(s, &iov, 1);
}

static void a_stream_carries_bytes_both_ways(struct endpoint e)
{
	struct iovec iov[2] = {{(char[]){"ab"}, 2}, {(char[]){"cde"}, 3}};
	char got[16];
	int fd;

	start(e);
	fd = connect_client();
	turn(1000);
	assert_int_equal(f.accepted, 1);
	assert_int_equal(read_into(f.streams[0], got, sizeof got), STREAM_AGAIN);
	assert_int_equal(write(fd, "hello", 5), 5);
	turn(1000);
	assert_int_equal(f.readables, 1);
	assert_int_equal(read_into(f.streams[0], got, sizeof got), 5);
	assert_memory_equal(got, "hello", 5);
	assert_int_equal(stream_write(f.streams[0], iov, 2), 5);
	assert_int_equal(read(fd, got, sizeof got), 5);
	assert_memory_equal(got, "abcde", 5);
	stream_shutdown(f.streams[0]);
	assert_int_equal(read(fd, got, sizeof got), 0);
	close(fd);
	turn(1000);
	assert_int_equal(read_into(f.streams[0], got, sizeof got), STREAM_EOF);
}

static void tcp_carries_bytes_both_ways(void **state)
{
	struct stream_peer peer;

	(void)state;
	a_stream_carries_bytes_both_ways(endpoint_of("tcp://127.0.0.1:0"));
	assert_true(listener_endpoint(f.listener)->addr.in.sin_port != 0); /* the one that the system chose */
	stream_peer(f.streams[0], &peer);
	assert_false(peer.local);
}

static void unix_carries_bytes_both_ways(void **state)
{
	struct stream_peer peer;

	(void)state;
	a_stream_carries_bytes_both_ways(unix_endpoint());
	stream_peer(f.streams[0], &peer);
	assert_true(peer.local);
	assert_int_equal(peer.uid, geteuid());
	assert_int_equal(peer.pid, getpid());
}

static void a_full_socket_says_again_and_then_writable(void **state)
{
	static char bytes[1 << 16];
	const struct iovec iov = {bytes, sizeof bytes};
	int fd;

	(void)state;
	start(unix_endpoint());
	fd = connect_client();
	turn(1000);
	while (stream_write(f.streams[0], &iov, 1) > 0)
		;
	assert_int_equal(stream_write(f.streams[0], &iov, 1), STREAM_AGAIN);
	stream_want_write(f.streams[0], true);
	turn(20);
	assert_int_equal(f.writables, 0);
	while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
		;
	turn(1000);
	assert_int_equal(f.writables, 1);
	close(fd);
}

static void a_peer_that_is_gone_breaks_writing_without_a_signal(void **state)
{
	const struct iovec iov = {(char[]){"x"}, 1};

	(void)state;
	start(unix_endpoint());
	close(connect_client());
	turn(1000);
	assert_int_equal(stream_write(f.streams[0], &iov, 1), STREAM_BROKEN);
}

static void reading_can_wait(void **state)
{
	int fd;

	(void)state;
	start(unix_endpoint());
	fd = connect_client();
	turn(1000);
	stream_want_read(f.streams[0], false);
	assert_int_equal(write(fd, "x", 1), 1);
	turn(20);
	assert_int_equal(f.readables, 0);
	stream_want_read(f.streams[0], true);
	turn(1000);
	assert_int_equal(f.readables, 1);
	close(fd);
}

static void at_most_64_are_accepted_in_a_turn(void **state)
{
	int fds[200];

	(void)state;
	start(unix_endpoint());
	for (int i = 0; i < 200; i++)
		fds[i] = connect_client();
	turn(1000);
	assert_int_equal(f.accepted, TRANSPORT_ACCEPTS_PER_TURN_MAX);
	turn(1000);
	assert_int_equal(f.accepted, 2 * TRANSPORT_ACCEPTS_PER_TURN_MAX);
	while (f.accepted < 200)
		turn(1000);
	assert_int_equal(transport_counters(f.transport)->accepted, 200);
	for (int i = 0; i < 200; i++)
		close(fds[i]);
}

/* ---- the socket's file */

static void a_unix_socket_is_for_its_user_only(void **state)
{
	char path[128];
	struct stat st;

	(void)state;
	start(unix_endpoint());
	path_of(path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_socket_that_somebody_answers_is_refused(void **state)
{
	struct listener *second = NULL;
	char error[256];

	(void)state;
	start(unix_endpoint());
	assert_int_equal(listen_on(unix_endpoint(), &second, error), -1);
	assert_non_null(strstr(error, "another daemon listens there"));
	assert_null(second);
}

static void a_socket_that_was_left_behind_is_replaced(void **state)
{
	struct endpoint e = unix_endpoint();
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(bind(fd, &e.addr.any, e.bytes), 0);
	close(fd); /* the file stays */
	start(e);
	close(connect_client());
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
	struct listener *l = NULL;
	char path[128], error[256];
	FILE *file;

	(void)state;
	path_of(path);
	file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(listen_on(unix_endpoint(), &l, error), -1);
	assert_non_null(strstr(error, "not a socket"));
	assert_int_equal(unlink(path), 0);
}

static void a_file_that_took_our_place_is_not_removed(void **state)
{
	char path[128];
	FILE *file;

	(void)state;
	start(unix_endpoint());
	path_of(path);
	assert_int_equal(unlink(path), 0);
	file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
	listener_close(f.listener);
	f.listener = NULL;
	assert_int_equal(unlink(path), 0);
}

static void a_port_in_use_is_refused(void **state)
{
	struct listener *second = NULL;
	char error[256];

	(void)state;
	start(endpoint_of("tcp://127.0.0.1:0"));
	assert_int_equal(listen_on(*listener_endpoint(f.listener), &second, error), -1);
	assert_non_null(strstr(error, "another process listens there"));
}

/* ---- descriptors */

static void without_descriptors_connections_are_shed_and_later_accepted(void **state)
{
	struct rlimit before, tight;
	int fds[4], next;
	char byte;

	(void)state;
	assert_int_equal(log_open(f.loop, STDERR_FILENO, LOG_ERROR), 0);
	start(unix_endpoint());
	for (int i = 0; i < 4; i++)
		fds[i] = connect_client();
	next = dup(0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	tight = before;
	tight.rlim_cur = (rlim_t)next; /* not one more */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	turn(50);
	assert_int_equal(f.accepted, 0);
	assert_int_equal(transport_counters(f.transport)->shed, 4);
	assert_int_equal(read(fds[0], &byte, 1), 0); /* closed, not left hanging */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	fds[0] = connect_client();
	turn(1000);
	assert_int_equal(f.accepted, 1);
	close(fds[0]);
	log_close();
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(tcp_carries_bytes_both_ways),
		CASE(unix_carries_bytes_both_ways),
		CASE(a_full_socket_says_again_and_then_writable),
		CASE(a_peer_that_is_gone_breaks_writing_without_a_signal),
		CASE(reading_can_wait),
		CASE(at_most_64_are_accepted_in_a_turn),
		CASE(a_unix_socket_is_for_its_user_only),
		CASE(a_socket_that_somebody_answers_is_refused),
		CASE(a_socket_that_was_left_behind_is_replaced),
		CASE(a_file_that_is_no_socket_is_left_alone),
		CASE(a_file_that_took_our_place_is_not_removed),
		CASE(a_port_in_use_is_refused),
		CASE(without_descriptors_connections_are_shed_and_later_accepted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
