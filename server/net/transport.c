/* Listeners of the real connection door. */
#include "server/net/transport.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/log.h"
#include "server/net/transport_internal.h"

struct listener {
	uv_poll_t poll;
	struct transport *transport;
	const struct listener_events *events; /* (borrowed) */
	void *owner;			      /* (borrowed) */
	struct endpoint endpoint;
	int fd;
	struct deadline pause;
	dev_t device; /* of the Unix socket's file, so that only our own one is removed */
	ino_t inode;
};

static int transport_open_reserve(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

struct transport *transport_new(struct loop *l)
{
	struct transport *t = calloc(1, sizeof *t);

	if (t == NULL)
		return NULL;
	t->loop = l;
	t->reserve_fd = transport_open_reserve();
	return t;
}

void transport_free(struct transport *t)
{
	if (t == NULL)
		return;
	assert(t->listeners == 0 && t->streams == 0);
	if (t->reserve_fd >= 0)
		close(t->reserve_fd);
	free(t);
}

const struct transport_counters *transport_counters(const struct transport *t) { return &t->counters; }

uint64_t transport_raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 1024;
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
			getrlimit(RLIMIT_NOFILE, &limit);
	}
	return limit.rlim_cur;
}

/* ---- accepting */

static void listener_on_readable(uv_poll_t *poll, int status, int events);

static void listener_watch(struct listener *l)
{
	int rc = uv_poll_start(&l->poll, UV_READABLE, listener_on_readable);

	assert(rc == 0);
	(void)rc;
}

static void listener_on_pause_over(struct deadline *d)
{
	listener_watch((struct listener *)((char *)d - offsetof(struct listener, pause)));
}

/* Without it a connection that cannot be accepted would wake the loop again and again. */
static void listener_pause(struct listener *l)
{
	uv_poll_stop(&l->poll);
	loop_arm(l->transport->loop, &l->pause, TRANSPORT_ACCEPT_PAUSE_MS * 1000, listener_on_pause_over);
}

static void transport_set_starved(struct transport *t, bool starved)
{
	if (t->starved == starved)
		return;
	t->starved = starved;
	if (starved)
		log_event(LOG_WARN, "transport.starved",
			  "no descriptor left: new connections are closed; raise the limit of open files");
	else
		log_event(LOG_INFO, "transport.recovered", "descriptors are there again; shed=%llu",
			  (unsigned long long)t->counters.shed);
}

/* No descriptor is left: the reserve is one, for as long as it takes to accept and close. False: not even so. */
static bool listener_shed(struct listener *l)
{
	struct transport *t = l->transport;
	int fd;

	transport_set_starved(t, true);
	if (t->reserve_fd >= 0)
		close(t->reserve_fd);
	fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		t->counters.shed++;
		close(fd);
	}
	t->reserve_fd = transport_open_reserve();
	return fd >= 0;
}

/* False: enough for this turn. */
static bool listener_accept_one(struct listener *l)
{
	struct transport *t = l->transport;
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct stream *s;

	if (fd >= 0) {
		transport_set_starved(t, false);
		t->counters.accepted++;
		s = stream_new(t, fd, endpoint_is_unix(&l->endpoint));
		if (s != NULL)
			l->events->accepted(l->owner, s);
		else
			t->counters.failures++;
		return true;
	}
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return false;
	if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO)
		return true;
	if ((errno == EMFILE || errno == ENFILE) && listener_shed(l))
		return true;
	t->counters.failures++;
	listener_pause(l);
	return false;
}

static void listener_on_readable(uv_poll_t *poll, int status, int events)
{
	struct listener *l = poll->data;
	int i;

	(void)events;
	if (status != 0) {
		l->transport->counters.failures++;
		listener_pause(l);
		return;
	}
	for (i = 0; i < TRANSPORT_ACCEPTS_PER_TURN_MAX && l->fd >= 0; i++)
		if (!listener_accept_one(l))
			return;
}

/* ---- listening */

__attribute__((format(printf, 4, 5))) static int listen_fail(const struct endpoint *e, char *error, size_t error_bytes,
							     const char *fmt, ...)
{
	char text[ENDPOINT_TEXT_BYTES], what[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof what, fmt, args);
	va_end(args);
	endpoint_text(e, text);
	snprintf(error, error_bytes, "%s: %s", text, what);
	return -1;
}

/* A socket file that is there: somebody listens (then not we), or it was left behind (then it goes). */
static int listen_clear_path(const struct endpoint *e, char *error, size_t error_bytes)
{
	const char *path = e->addr.un.sun_path;
	struct stat st;
	int fd, rc, reason;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? 0 : listen_fail(e, error, error_bytes, "%s", strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return listen_fail(e, error, error_bytes, "there is a file of this name that is not a socket");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return listen_fail(e, error, error_bytes, "%s", strerror(errno));
	rc = connect(fd, &e->addr.any, e->bytes);
	reason = errno;
	close(fd);
	if (rc == 0 || reason == EAGAIN || reason == EINPROGRESS) /* EAGAIN: somebody with a full queue */
		return listen_fail(e, error, error_bytes, "another daemon listens there");
	if (reason != ECONNREFUSED)
		return listen_fail(e, error, error_bytes, "%s", strerror(reason));
	if (unlink(path) != 0 && errno != ENOENT)
		return listen_fail(e, error, error_bytes, "cannot remove the socket that was left behind: %s",
				   strerror(errno));
	return 0;
}

static void listen_set_options(int fd, int family)
{
	const int on = 1;

	if (family == AF_UNIX)
		return;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on); /* [::] and 0.0.0.0 may stand side by side */
}

/* ENOENT: the folder of a Unix socket is missing. */
static int listen_fail_folder(const struct endpoint *e, char *error, size_t error_bytes)
{
	static const char run[] =
		"/run/"; /* systemd makes folders there, and empties it at each start of the machine */
	const char *path = e->addr.un.sun_path, *slash = strrchr(path, '/');
	int n = slash != NULL ? (int)(slash - path) : 0, below = n - (int)strlen(run);

	if (path[0] != '/')
		return listen_fail(e, error, error_bytes,
				   "the folder %.*s is not there: make it, or give an absolute path; a relative one "
				   "starts where promptcached was started",
				   n, path);
	if (below > 0 && strncmp(path, run, strlen(run)) == 0)
		return listen_fail(e, error, error_bytes,
				   "the folder %.*s is not there: make it (systemd: RuntimeDirectory=%.*s)", n, path,
				   below, path + strlen(run));
	return listen_fail(e, error, error_bytes, "the folder %.*s is not there: make it", n, path);
}

static int listen_fail_bind(const struct endpoint *e, int reason, char *error, size_t error_bytes)
{
	if (endpoint_is_unix(e) && reason == ENOENT)
		return listen_fail_folder(e, error, error_bytes);
	if (reason != EADDRINUSE)
		return listen_fail(e, error, error_bytes, "%s", strerror(reason));
	if (endpoint_is_unix(e))
		return listen_fail(e, error, error_bytes, "another process listens there");
	return listen_fail(e, error, error_bytes,
			   "another process listens there: choose another port or only a Unix socket: --set "
			   "listen=unix:/path/sock");
}

/* The descriptor, or -1 with a sentence. */
static int listen_open(const struct endpoint *e, char *error, size_t error_bytes)
{
	const int family = e->addr.any.sa_family;
	int fd;

	if (family == AF_UNIX && listen_clear_path(e, error, error_bytes) != 0)
		return -1;
	fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return listen_fail(e, error, error_bytes, "%s", strerror(errno));
	listen_set_options(fd, family);
	if (bind(fd, &e->addr.any, e->bytes) != 0) {
		listen_fail_bind(e, errno, error, error_bytes);
		close(fd);
		return -1;
	}
	/* Between bind and listen nobody can connect: the mode is right before the first one can. */
	if ((family == AF_UNIX && chmod(e->addr.un.sun_path, 0600) != 0) || listen(fd, TRANSPORT_BACKLOG) != 0) {
		listen_fail(e, error, error_bytes, "%s", strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

/* What the system made of it: the port, and the socket's file. */
static void listener_learn(struct listener *l)
{
	struct stat st;

	if (!endpoint_is_unix(&l->endpoint)) {
		l->endpoint.bytes = sizeof l->endpoint.addr;
		getsockname(l->fd, &l->endpoint.addr.any, &l->endpoint.bytes);
	} else if (lstat(l->endpoint.addr.un.sun_path, &st) == 0) {
		l->device = st.st_dev;
		l->inode = st.st_ino;
	}
}

int transport_listen(struct transport *t, const struct endpoint *e, const struct listener_events *events, void *owner,
		     struct listener **ret, char *error, size_t error_bytes)
{
	struct listener *l = calloc(1, sizeof *l);

	if (l == NULL)
		return listen_fail(e, error, error_bytes, "no memory");
	*l = (struct listener){.transport = t, .events = events, .owner = owner, .endpoint = *e};
	l->fd = listen_open(e, error, error_bytes);
	if (l->fd < 0)
		goto fail;
	if (uv_poll_init(loop_uv(t->loop), &l->poll, l->fd) != 0) {
		listen_fail(e, error, error_bytes, "cannot be watched");
		goto fail_fd;
	}
	l->poll.data = l;
	listener_learn(l);
	listener_watch(l);
	t->listeners++;
	*ret = l;
	return 0;

fail_fd:
	close(l->fd);
fail:
	free(l);
	return -1;
}

const struct endpoint *listener_endpoint(const struct listener *l) { return &l->endpoint; }

static void listener_on_closed(uv_handle_t *handle) { free(handle->data); }

void listener_close(struct listener *l)
{
	struct stat st;

	if (l == NULL)
		return;
	if (endpoint_is_unix(&l->endpoint) && lstat(l->endpoint.addr.un.sun_path, &st) == 0 && st.st_dev == l->device &&
	    st.st_ino == l->inode)
		unlink(l->endpoint.addr.un.sun_path);
	assert(l->transport->listeners > 0);
	l->transport->listeners--;
	loop_disarm(l->transport->loop, &l->pause);
	uv_close((uv_handle_t *)&l->poll, listener_on_closed);
	close(l->fd);
	l->fd = -1;
}
