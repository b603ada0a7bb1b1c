#include "bench/bench/echo.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench/echo_server.h"

#define BACKLOG 4096

/* Loopback and a free port; or a name that the kernel chooses in the abstract namespace, where no file is left. */
static int echo_listen(struct echo *e)
{
	struct sockaddr_in inet = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un local = {.sun_family = AF_UNIX};
	const struct sockaddr *address = e->local ? (struct sockaddr *)&local : (struct sockaddr *)&inet;
	socklen_t length = e->local ? sizeof(sa_family_t) : sizeof(inet);
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	e->address_length = sizeof(e->address);
	if (bind(fd, address, length) == 0 && listen(fd, BACKLOG) == 0 &&
	    getsockname(fd, (struct sockaddr *)&e->address, &e->address_length) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

bool echo_start(struct echo *e, enum floor_kind kind)
{
	pid_t parent = getpid();
	int fd;

	*e = (struct echo){.local = kind == FLOOR_UNIX};
	e->counts = mmap(NULL, sizeof(*e->counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (e->counts == MAP_FAILED)
		return false;
	fd = echo_listen(e);
	if (fd < 0)
		goto fail;
	e->pid = fork();
	if (e->pid == 0) {
		/* Whatever becomes of the parent, nothing is left running. */
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		_exit(echo_server_run(fd, e->local, e->counts));
	}
	(void)close(fd);
	if (e->pid > 0)
		return true;
fail:
	(void)munmap(e->counts, sizeof(*e->counts));
	return false;
}

void echo_stop(struct echo *e)
{
	if (e->pid <= 0)
		return;
	(void)kill(e->pid, SIGKILL);
	(void)waitpid(e->pid, NULL, 0);
	(void)munmap(e->counts, sizeof(*e->counts));
	*e = (struct echo){0};
}

int echo_connect(const struct echo *e, const struct echo_shape *shape)
{
	int fd = socket(e->local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0)
		return -1;
	if (!e->local)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, (const struct sockaddr *)&e->address, e->address_length) == 0 &&
	    send(fd, shape, sizeof(*shape), MSG_NOSIGNAL) == (ssize_t)sizeof(*shape))
		return fd;
	(void)close(fd);
	return -1;
}
