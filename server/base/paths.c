/* paths: default places, and folders made with care. */
#include "server/base/paths.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_BYTES_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

__attribute__((format(printf, 3, 4))) static int fail(char *error, size_t error_bytes, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(error, error_bytes, fmt, args);
	va_end(args);
	return -1;
}

static const char *absolute_env(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && value[0] == '/' ? value : NULL;
}

/* Joins base and rest into ret; max is the place's own limit. */
static int join(const char *base, const char *rest, size_t max, char *ret, size_t bytes, char *error,
		size_t error_bytes)
{
	size_t n = strlen(base), m = strlen(rest);

	max = max < bytes ? max : bytes;
	if (n + m >= max)
		return fail(error, error_bytes, "%s%s: longer than %zu bytes", base, rest, max - 1);
	memcpy(ret, base, n);
	memcpy(ret + n, rest, m + 1);
	return 0;
}

static int state_join(const char *rest_xdg, const char *rest_home, char *ret, size_t bytes, char *error,
		      size_t error_bytes)
{
	const char *xdg = absolute_env("XDG_STATE_HOME"), *home = absolute_env("HOME");

	if (xdg != NULL)
		return join(xdg, rest_xdg, PATHS_BYTES_MAX, ret, bytes, error, error_bytes);
	if (home != NULL)
		return join(home, rest_home, PATHS_BYTES_MAX, ret, bytes, error, error_bytes);
	return fail(error, error_bytes,
		    "no place for state: neither XDG_STATE_HOME nor HOME is an absolute path; set XDG_STATE_HOME, or "
		    "token_file and store.path");
}

int paths_state(char *ret, size_t bytes, char *error, size_t error_bytes)
{
	return state_join("/promptcached", "/.local/state/promptcached", ret, bytes, error, error_bytes);
}

int paths_token(char *ret, size_t bytes, char *error, size_t error_bytes)
{
	return state_join("/promptcached/token", "/.local/state/promptcached/token", ret, bytes, error, error_bytes);
}

int paths_socket(char *ret, size_t bytes, char *error, size_t error_bytes)
{
	const char *runtime = absolute_env("XDG_RUNTIME_DIR");
	char dir[64];

	if (runtime != NULL)
		return join(runtime, "/promptcached.sock", SOCKET_BYTES_MAX, ret, bytes, error, error_bytes);
	snprintf(dir, sizeof(dir), "/tmp/promptcached-%lu", (unsigned long)geteuid());
	if (paths_private_dir(dir, error, error_bytes) < 0)
		return -1;
	return join(dir, "/sock", SOCKET_BYTES_MAX, ret, bytes, error, error_bytes);
}

int paths_private_dir(const char *path, char *error, size_t error_bytes)
{
	struct stat st;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return fail(error, error_bytes, "%s: cannot make the folder: %s", path, strerror(errno));
	if (lstat(path, &st) < 0)
		return fail(error, error_bytes, "%s: cannot look at the folder: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return fail(error, error_bytes, "%s: not a folder; remove it", path);
	if (st.st_uid != geteuid())
		return fail(error, error_bytes,
			    "%s: belongs to user %lu, not to us (%lu); remove it, or name another place", path,
			    (unsigned long)st.st_uid, (unsigned long)geteuid());
	if ((st.st_mode & 077) != 0)
		return fail(error, error_bytes, "%s: open to others (mode %04o); chmod 700 %s", path,
			    (unsigned)(st.st_mode & 07777), path);
	return 0;
}

int paths_make_parents(const char *path, char *error, size_t error_bytes)
{
	char part[PATHS_BYTES_MAX];

	if (join(path, "", sizeof(part), part, sizeof(part), error, error_bytes) < 0)
		return -1;
	for (char *slash = part; *slash != '\0' && (slash = strchr(slash + 1, '/')) != NULL;) {
		*slash = '\0';
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return fail(error, error_bytes, "%s: cannot make the folder: %s", part, strerror(errno));
		*slash = '/';
	}
	return 0;
}
