/* secret: reading and making the token file. */
#include "server/base/secret.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/schema.h"
#include "server/base/paths.h"
#include "server/base/random.h"

#define ATTEMPTS_MAX 3 /* read, make, read the other's; more only if somebody deletes it in between */

enum load {
	LOADED,
	LOAD_MISSING,
	LOAD_FAILED
};

struct report {
	const char *path;
	char *error;
	size_t error_bytes;
};

/* "path: sentence" */
__attribute__((format(printf, 2, 3))) static enum load fail(const struct report *r, const char *fmt, ...)
{
	char sentence[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, args);
	va_end(args);
	snprintf(r->error, r->error_bytes, "%s: %s", r->path, sentence);
	return LOAD_FAILED;
}

/* ---- reading */

static enum load check_file(const struct report *r, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail(r, "cannot look at the token file: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(r, "the token must be in a regular file");
	if (st.st_uid != geteuid())
		return fail(r, "the token file belongs to user %lu, not to us (%lu); chown it or name another",
			    (unsigned long)st.st_uid, (unsigned long)geteuid());
	if ((st.st_mode & 077) != 0) {
		snprintf(r->error, r->error_bytes, "%s: the token is open to others (mode %04o); chmod 600 %s", r->path,
			 (unsigned)(st.st_mode & 07777), r->path);
		return LOAD_FAILED;
	}
	return LOADED;
}

static enum load check_token(const struct report *r, const char *token, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (token[i] <= ' ' || token[i] > '~')
			return fail(r, "the token must be one line of printable characters without blanks");
	}
	if (n == 0)
		return fail(r, "the token file is empty; remove it, and the next start makes one");
	if (n < SECRET_TOKEN_BYTES_MIN)
		return fail(r, "the token is shorter than %d characters; remove the file, and the next start makes one",
			    SECRET_TOKEN_BYTES_MIN);
	if (n > SECRET_TOKEN_BYTES_MAX)
		return fail(r, "the token is longer than %d characters", SECRET_TOKEN_BYTES_MAX);
	return LOADED;
}

/* *n: in: room, out: bytes read. A short file comes in one read, a signal apart. */
static int read_some(int fd, char *p, size_t *n)
{
	ssize_t got;

	do
		got = read(fd, p, *n);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -1;
	*n = (size_t)got;
	return 0;
}

static enum load token_read(const struct report *r, char *ret_token)
{
	char text[SECRET_TOKEN_BYTES_MAX + 3]; /* a line end, and one byte more that shows that it is too long */
	size_t n = sizeof(text);
	enum load rc;
	int fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 && errno == ENOENT)
		return LOAD_MISSING;
	if (fd < 0 && errno == ELOOP)
		return fail(r, "the token must be in a regular file, not behind a link");
	if (fd < 0)
		return fail(r, "cannot open the token file: %s", strerror(errno));
	rc = check_file(r, fd);
	if (rc == LOADED && read_some(fd, text, &n) < 0)
		rc = fail(r, "cannot read the token file: %s", strerror(errno));
	close(fd);
	if (rc != LOADED)
		return rc;

	if (n > 0 && text[n - 1] == '\n')
		n--;
	if (n > 0 && text[n - 1] == '\r')
		n--;
	rc = check_token(r, text, n);
	if (rc == LOADED) {
		memcpy(ret_token, text, n);
		ret_token[n] = '\0';
	}
	OPENSSL_cleanse(text, sizeof(text));
	return rc;
}

/* ---- making */

static void hex_line(char *to, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		*to++ = "0123456789abcdef"[p[i] >> 4];
		*to++ = "0123456789abcdef"[p[i] & 15];
	}
	*to = '\n';
}

static int write_token(int fd)
{
	uint8_t chance[SECRET_TOKEN_RANDOM];
	char line[2 * SECRET_TOKEN_RANDOM + 1];
	ssize_t n;

	random_bytes(chance, sizeof(chance));
	hex_line(line, chance, sizeof(chance));
	n = write(fd, line, sizeof(line));
	OPENSSL_cleanse(chance, sizeof(chance));
	OPENSSL_cleanse(line, sizeof(line));
	if (n >= 0 && n != (ssize_t)sizeof(line))
		errno = ENOSPC;
	return n == (ssize_t)sizeof(line) && fsync(fd) == 0 ? 0 : -1;
}

/* Written beside it and linked into place: O_EXCL on the name itself would let the other process read a file that is
 * not yet written. LOADED: there is a file now, ours or another's. */
static enum load token_create(const struct report *r)
{
	char beside[PATHS_BYTES_MAX + 32];
	uint64_t mark;
	enum load rc = LOADED;
	int fd;

	if (paths_make_parents(r->path, r->error, r->error_bytes) < 0)
		return LOAD_FAILED;
	random_bytes(&mark, sizeof(mark));
	snprintf(beside, sizeof(beside), "%s.%016llx", r->path, (unsigned long long)mark);
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fail(r, "cannot make the token file: %s", strerror(errno));
	if (write_token(fd) < 0)
		rc = fail(r, "cannot write the token file: %s", strerror(errno));
	close(fd);
	if (rc == LOADED && link(beside, r->path) < 0 && errno != EEXIST)
		rc = fail(r, "cannot make the token file: %s", strerror(errno));
	unlink(beside);
	return rc;
}

int secret_token_load_or_create(const char *path, char *ret_token, size_t bytes, char *error, size_t error_bytes)
{
	const struct report r = {path, error, error_bytes};

	assert(bytes > SECRET_TOKEN_BYTES_MAX && SECRET_TOKEN_BYTES_MAX == TOKEN_BYTES_MAX);
	for (int i = 0; i < ATTEMPTS_MAX; i++) {
		enum load rc = token_read(&r, ret_token);

		if (rc == LOADED)
			return 0;
		if (rc == LOAD_FAILED || token_create(&r) == LOAD_FAILED)
			return -1;
	}
	(void)fail(&r, "the token file vanishes as often as it is made");
	return -1;
}

bool secret_equal(const char *a, size_t an, const char *b, size_t bn)
{
	return an == bn && an > 0 && CRYPTO_memcmp(a, b, an) == 0;
}
