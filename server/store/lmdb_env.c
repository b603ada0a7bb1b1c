/* The environment: its directory, its lock, the marker of a clean end, and what happens to a file that is damaged.
 *
 *      new, or marker fits ──────────────────────────────> open
 *      no marker, or it does not fit ──> child checks ──> sound ──> open
 *                                              └> damaged ──> set aside ──> open an empty one
 *
 * The marker `clean` holds the size and the time of data.mdb at the last close; it is removed at open. So a daemon that
 * was killed, and a file that somebody changed, are looked at once; and the daemon itself maps only what a child has
 * survived: a page behind the end of the file is a SIGBUS, not an error. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/base/log.h"
#include "server/store/lmdb_internal.h"

#define FILE_MARKER  "clean"
#define FILE_READERS "lock.mdb" /* LMDB's own table of readers */

#define READERS_BYTES 16384 /* places for about 250 */

/* Of the map, besides an eighth of the limit: for pages that a transaction copies, and large records in a row. */
#define MAP_SLACK_BYTES (32u * 1024 * 1024)

enum file_state {
	FILE_NEW,
	FILE_CLEAN,
	FILE_DOUBTFUL,
	FILE_DAMAGED
};

const char *lmdb_env_text(int rc)
{
	if (rc == MDB_PANIC)
		return "LMDB has given up its environment";
	return rc == ETIMEDOUT ? "the disk does not answer" : mdb_strerror(rc);
}

bool lmdb_env_is_damage(int rc)
{
	return rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH || rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND ||
	       rc == MDB_INCOMPATIBLE;
}

static void lmdb_path(const struct lmdb *l, const char *name, char ret[PATH_MAX])
{
	snprintf(ret, PATH_MAX, "%s/%s", l->path, name); /* lmdb_env_prepare has seen to its length */
}

/* ---- directory and lock */

/* Is it the place that is wrong, and not the disk? */
static int misplaced_or_failed(int reason)
{
	switch (reason) {
	case EACCES:
	case EPERM:
	case EROFS:
	case ENOENT:
	case ENOTDIR:
	case EISDIR:
	case EEXIST:
	case ELOOP:
	case ENAMETOOLONG:
		return LMDB_MISPLACED;
	default:
		return -1;
	}
}

/* With its parents. -1: errno says why. */
static int make_directory(const char *path)
{
	char part[PATH_MAX];
	struct stat st;
	size_t n = strlen(path);

	memcpy(part, path, n + 1);
	for (size_t i = 1; i <= n; i++) {
		if (part[i] != '/' && part[i] != 0)
			continue;
		part[i] = 0;
		if (mkdir(part, 0700) != 0 && errno != EEXIST)
			return -1;
		part[i] = path[i];
	}
	if (stat(path, &st) != 0)
		return -1;
	errno = ENOTDIR;
	return S_ISDIR(st.st_mode) ? 0 : -1;
}

int lmdb_env_prepare(struct lmdb *l, char *error, size_t error_bytes)
{
	char lock[PATH_MAX];
	int reason;

	if (l->path[0] == 0 || strlen(l->path) > PATH_MAX - 64) {
		snprintf(error, error_bytes, "store.path is %s", l->path[0] == 0 ? "empty" : "too long");
		return LMDB_MISPLACED;
	}
	if (make_directory(l->path) != 0) {
		reason = errno;
		snprintf(error, error_bytes, "store.path %s cannot be made: %s", l->path, strerror(reason));
		return misplaced_or_failed(reason);
	}
	lmdb_path(l, LMDB_FILE_LOCK, lock);
	l->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (l->lock_fd < 0) {
		reason = errno;
		snprintf(error, error_bytes, "%s cannot be opened: %s; check owner and mode of store.path", lock,
			 strerror(reason));
		return misplaced_or_failed(reason);
	}
	if (flock(l->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK) {
		snprintf(error, error_bytes,
			 "store.path %s is in use by another process; stop it, or give this one another store.path",
			 l->path);
		return LMDB_LOCKED;
	}
	snprintf(error, error_bytes, "%s cannot be locked: %s", lock, strerror(errno));
	return -1;
}

/* ---- the marker */

static void marker_text(const struct stat *st, char ret[96])
{
	snprintf(ret, 96, "%lld %lld.%09ld\n", (long long)st->st_size, (long long)st->st_mtim.tv_sec,
		 (long)st->st_mtim.tv_nsec);
}

static bool marker_fits(const struct lmdb *l, const struct stat *st)
{
	char path[PATH_MAX], expected[96], found[96] = {0};
	int fd;
	ssize_t n;

	lmdb_path(l, FILE_MARKER, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, found, sizeof found - 1);
	close(fd);
	marker_text(st, expected);
	return n > 0 && strcmp(found, expected) == 0;
}

/* Without one the next start checks the file: nothing is lost but time. */
static void marker_leave(const struct lmdb *l)
{
	char path[PATH_MAX], text[96];
	struct stat st;
	ssize_t n = -1;
	int fd;

	lmdb_path(l, LMDB_FILE_DATA, path);
	if (stat(path, &st) != 0)
		return;
	marker_text(&st, text);
	lmdb_path(l, FILE_MARKER, path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd >= 0) {
		n = write(fd, text, strlen(text));
		close(fd);
	}
	if (n != (ssize_t)strlen(text))
		log_event(LOG_WARN, "store.unmarked", "path=%s error=%s", log_quote(path, -1),
			  log_quote(strerror(errno), -1));
}

/* ---- damage */

static enum file_state look_at_file(const struct lmdb *l, uint64_t *ret_bytes)
{
	char path[PATH_MAX];
	struct stat st;

	lmdb_path(l, LMDB_FILE_DATA, path);
	if (lstat(path, &st) != 0)
		return FILE_NEW;
	if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
		return FILE_DAMAGED;
	if (S_ISLNK(st.st_mode) && stat(path, &st) != 0)
		return FILE_DAMAGED;
	*ret_bytes = (uint64_t)st.st_size;
	if (st.st_size == 0)
		return FILE_NEW;
	return marker_fits(l, &st) ? FILE_CLEAN : FILE_DOUBTFUL;
}

static int set_aside(const struct lmdb *l, char *error, size_t error_bytes)
{
	char path[PATH_MAX], kept[PATH_MAX];
	char name[64];

	snprintf(name, sizeof name, LMDB_FILE_DATA ".damaged-%lld", (long long)time(NULL));
	lmdb_path(l, LMDB_FILE_DATA, path);
	lmdb_path(l, name, kept);
	if (rename(path, kept) != 0) {
		snprintf(error, error_bytes, "%s is damaged and cannot be renamed: %s; move it away", path,
			 strerror(errno));
		return -1;
	}
	log_event(LOG_ERROR, "store.damaged",
		  "path=%s kept_as=%s remedy=\"answers are collected anew; mdb_dump may still read the old file, else "
		  "delete it\"",
		  log_quote(path, -1), log_quote(kept, -1));
	return 0;
}

/* ---- opening */

static int open_tables(struct lmdb *l)
{
	const struct {
		const char *name;
		MDB_dbi *dbi;
	} tables[] = {{"entries", &l->tables.entries},
		      {"expiry", &l->tables.expiry},
		      {"epochs", &l->tables.epochs},
		      {"meta", &l->tables.meta}};
	MDB_txn *txn;
	int rc = mdb_txn_begin(l->env, NULL, 0, &txn);

	if (rc != 0)
		return rc;
	for (size_t i = 0; i < sizeof tables / sizeof *tables && rc == 0; i++)
		rc = mdb_dbi_open(txn, tables[i].name, MDB_CREATE, tables[i].dbi);
	if (rc != 0) {
		mdb_txn_abort(txn);
		return rc;
	}
	l->batch.usage = lmdb_usage(txn, &l->tables);
	return mdb_txn_commit(txn);
}

/* LMDB's table of readers, new: the lock is ours, and what stands in the old one is of the dead. With its blocks: LMDB
 * would make it sparse and write through a map, which on a full disk is a SIGBUS. 0 or errno. */
static int make_readers(const struct lmdb *l)
{
	char path[PATH_MAX];
	int fd, rc;

	lmdb_path(l, FILE_READERS, path);
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno;
	rc = posix_fallocate(fd, 0, READERS_BYTES);
	close(fd);
	return rc;
}

/* A file that grew under a higher limit fills its map to the last page; without a free one even deleting fails. */
static int widen_map(MDB_env *env, uint64_t slack_bytes)
{
	MDB_envinfo info;
	MDB_stat stat;
	uint64_t used_bytes;

	if (mdb_env_info(env, &info) != 0 || mdb_env_stat(env, &stat) != 0)
		return EINVAL;
	used_bytes = (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
	if (used_bytes + slack_bytes / 2 <= info.me_mapsize)
		return 0;
	return mdb_env_set_mapsize(env, (used_bytes + slack_bytes) / stat.ms_psize * stat.ms_psize);
}

/* Opens, without looking into any page but the first two. */
static int open_mapped(struct lmdb *l)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t map_bytes = (l->limit_bytes + l->limit_bytes / 8 + MAP_SLACK_BYTES) / page * page;
	MDB_env *env;
	int rc = make_readers(l);

	if (rc == 0)
		rc = mdb_env_create(&env);
	if (rc != 0)
		return rc;
	rc = mdb_env_set_maxdbs(env, 4);
	if (rc == 0)
		rc = mdb_env_set_mapsize(env, map_bytes);
	if (rc == 0) /* entries mostly fit a page: reading ahead would fill the page cache with what nobody asked for */
		rc = mdb_env_open(env, l->path, MDB_NOTLS | MDB_NORDAHEAD, 0600);
	if (rc != 0) {
		mdb_env_close(env);
		return rc;
	}
	rc = widen_map(env, l->limit_bytes / 8 + MAP_SLACK_BYTES);
	if (rc != 0) {
		mdb_env_close(env);
		return rc;
	}
	l->env = env;
	return 0;
}

static bool file_is_short(const struct lmdb *l, uint64_t file_bytes)
{
	MDB_envinfo info;
	MDB_stat stat;

	return mdb_env_info(l->env, &info) != 0 || mdb_env_stat(l->env, &stat) != 0 ||
	       (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize > file_bytes;
}

int lmdb_env_reopen(struct lmdb *l)
{
	int rc;

	lmdb_env_close(l, false);
	rc = open_mapped(l);
	if (rc == 0)
		rc = open_tables(l);
	return rc;
}

void lmdb_env_close(struct lmdb *l, bool clean)
{
	if (l->env == NULL)
		return;
	mdb_env_close(l->env);
	l->env = NULL;
	if (clean)
		marker_leave(l);
}

/* A file that was given up right after a clean end may be short all the same; LMDB leaves out free pages at its end, so
 * only the child can tell. */
static int open_checked(struct lmdb *l, enum file_state state, uint64_t file_bytes)
{
	bool checked = state != FILE_CLEAN;
	int rc;

	if (state == FILE_DAMAGED || (state == FILE_DOUBTFUL && lmdb_check_in_child(l->path, file_bytes) == 1))
		return MDB_CORRUPTED;
	rc = open_mapped(l);
	if (rc != 0)
		return rc;
	if (!checked && file_is_short(l, file_bytes)) {
		lmdb_env_close(l, false);
		if (lmdb_check_in_child(l->path, file_bytes) == 1)
			return MDB_CORRUPTED;
		rc = open_mapped(l);
	}
	return rc != 0 ? rc : open_tables(l);
}

int lmdb_env_open(struct lmdb *l, char *error, size_t error_bytes)
{
	char path[PATH_MAX];
	uint64_t file_bytes = 0;
	enum file_state state = look_at_file(l, &file_bytes);
	int rc;

	lmdb_path(l, FILE_MARKER, path);
	unlink(path);
	rc = open_checked(l, state, file_bytes);
	if (lmdb_env_is_damage(rc)) {
		lmdb_env_close(l, false);
		if (set_aside(l, error, error_bytes) != 0)
			return -1;
		rc = open_checked(l, FILE_NEW, 0);
	}
	if (rc == 0)
		return 0;
	lmdb_path(l, LMDB_FILE_DATA, path);
	snprintf(error, error_bytes, "%s cannot be opened: %s; check space, owner and mode of store.path", path,
		 lmdb_env_text(rc));
	lmdb_env_close(l, false);
	return misplaced_or_failed(rc);
}
