/* address: parsing, the default, resolving, connecting. */
#include "client/address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_PATH_BYTES 4096

/* ---- parsing */

static bool starts_with(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

static bool path_set(struct address *a, const char *path)
{
	size_t n = strlen(path);

	if (n == 0 || n >= sizeof(a->path))
		return false;
	memcpy(a->path, path, n + 1);
	a->kind = ADDRESS_UNIX;
	return true;
}

static bool port_ok(const char *port)
{
	size_t n = strspn(port, "0123456789");

	return n > 0 && n <= 5 && port[n] == '\0' && atoi(port) > 0 && atoi(port) <= 65535;
}

/* host, host:port, [v6], [v6]:port */
static bool host_set(struct address *a, const char *text)
{
	bool bracket = text[0] == '[';
	const char *host = text + bracket;
	size_t n = strcspn(host, bracket ? "]" : ":");
	const char *rest = host + n;

	if (bracket && *rest++ != ']')
		return false;
	if (n == 0 || n >= sizeof(a->host))
		return false;
	if (*rest != '\0' && (*rest != ':' || !port_ok(rest + 1)))
		return false;
	memcpy(a->host, host, n);
	a->host[n] = '\0';
	snprintf(a->port, sizeof(a->port), "%s", *rest == ':' ? rest + 1 : ADDRESS_DEFAULT_PORT);
	a->kind = ADDRESS_TCP;
	return true;
}

int address_parse(const char *text, struct address *ret, struct failure *failure)
{
	struct address a = {.kind = ADDRESS_DEFAULT};

	if (text == NULL)
		text = getenv("PROMPTCACHE_SERVER");
	if (text == NULL || text[0] == '\0') {
		*ret = a;
		return PC_OK;
	}
	if (starts_with(text, "tls://"))
		return failure_set(failure, PC_UNSUPPORTED, "address", "tls:// is not built into this version");
	if (!(starts_with(text, "unix:") && path_set(&a, text + strlen("unix:"))) &&
	    !(starts_with(text, "tcp://") && host_set(&a, text + strlen("tcp://"))))
		return failure_set(failure, PC_INVALID, "address",
				   "\"%.200s\" is neither unix:/path nor tcp://host:port", text);
	*ret = a;
	return PC_OK;
}

/* ---- the default */

/* False: the directory in /tmp is there, and is not one that only we can write to: whoever made it could take our
 * token. */
static bool tmp_directory_safe(const char *directory)
{
	struct stat st;

	if (lstat(directory, &st) != 0)
		return true;
	return S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 0777) == 0700;
}

static int default_path(char path[], size_t size, struct failure *failure)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char directory[64];

	if (runtime != NULL && runtime[0] == '/') {
		snprintf(path, size, "%s/promptcached.sock", runtime);
		return PC_OK;
	}
	snprintf(directory, sizeof(directory), "/tmp/promptcached-%lu", (unsigned long)geteuid());
	if (!tmp_directory_safe(directory))
		return failure_set(failure, PC_UNAVAILABLE, "address", "%s is not a directory of ours with mode 0700",
				   directory);
	snprintf(path, size, "%s/sock", directory);
	return PC_OK;
}

static int default_find(struct address *ret, struct failure *failure)
{
	char path[DEFAULT_PATH_BYTES];
	struct stat st;
	int status = default_path(path, sizeof(path), failure);

	if (status != PC_OK)
		return status;
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && path_set(ret, path))
		return PC_OK;
	return host_set(ret, "127.0.0.1") ? PC_OK : PC_INVALID;
}

/* ---- resolving */

static void endpoint_unix(const char *path, struct endpoint *ret)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	memset(ret, 0, sizeof(*ret));
	memcpy(&ret->address, &un, sizeof(un));
	ret->size = sizeof(un);
}

static int resolve_host(const struct address *a, struct endpoint *ret, size_t *ret_count, struct failure *failure)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list;
	int error = getaddrinfo(a->host, a->port, &hints, &list);
	size_t count = 0;

	if (error != 0)
		return failure_set(failure, PC_UNAVAILABLE, "address", "%s: %s", a->host, gai_strerror(error));
	for (struct addrinfo *i = list; i != NULL && count < ADDRESS_ENDPOINTS_MAX; i = i->ai_next) {
		memset(&ret[count], 0, sizeof(ret[count]));
		memcpy(&ret[count].address, i->ai_addr, i->ai_addrlen);
		ret[count++].size = i->ai_addrlen;
	}
	freeaddrinfo(list);
	*ret_count = count;
	return PC_OK;
}

int address_resolve(const struct address *a, struct endpoint ret[ADDRESS_ENDPOINTS_MAX], size_t *ret_count,
		    struct failure *failure)
{
	struct address found = *a;

	if (a->kind == ADDRESS_DEFAULT) {
		int status = default_find(&found, failure);

		if (status != PC_OK)
			return status;
	}
	if (found.kind == ADDRESS_TCP)
		return resolve_host(&found, ret, ret_count, failure);
	endpoint_unix(found.path, &ret[0]);
	*ret_count = 1;
	return PC_OK;
}

void endpoint_print(const struct endpoint *e, char *text, size_t size)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];
	struct sockaddr_un un;

	if (e->address.ss_family == AF_UNIX) {
		memcpy(&un, &e->address, sizeof(un));
		snprintf(text, size, "unix:%s", un.sun_path);
	} else if (getnameinfo((const struct sockaddr *)&e->address, e->size, host, sizeof(host), port, sizeof(port),
			       NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
		snprintf(text, size, e->address.ss_family == AF_INET6 ? "tcp://[%s]:%s" : "tcp://%s:%s", host, port);
	} else {
		snprintf(text, size, "an address of family %d", e->address.ss_family);
	}
}

/* ---- connecting */

bool address_is_guess(const struct address *a, const struct endpoint *e)
{
	return a->kind == ADDRESS_DEFAULT && e->address.ss_family != AF_UNIX;
}

int address_failed(const struct address *a, const struct endpoint *e, int error, struct failure *failure)
{
	char name[FAILURE_SERVER_BYTES], path[DEFAULT_PATH_BYTES];

	endpoint_print(e, name, sizeof(name));
	if (!address_is_guess(a, e))
		return failure_set(failure, PC_UNAVAILABLE, NULL, "%s: %s", name, strerror(error));
	if (default_path(path, sizeof(path), failure) != PC_OK)
		return PC_UNAVAILABLE;
	return failure_set(failure, PC_UNAVAILABLE, NULL,
			   "no promptcached at unix:%.500s or %s (last: %s); is it running?", path, name,
			   strerror(error));
}

int endpoint_connect(const struct endpoint *e, int *ret_fd)
{
	int fd = socket(e->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1, error;

	if (fd < 0)
		return errno;
	if (e->address.ss_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
			   sizeof(one)); /* costs latency if it fails, nothing else */
	if (connect(fd, (const struct sockaddr *)&e->address, e->size) != 0 && errno != EINPROGRESS) {
		error = errno;
		close(fd);
		return error;
	}
	*ret_fd = fd;
	return 0;
}

int endpoint_connect_result(int fd)
{
	int error = 0;
	socklen_t size = sizeof(error);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}
