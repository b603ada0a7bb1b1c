/* Is the file sound? Walks all tables and LMDB's list of free pages, and touches both ends of every record, so that a
 * page that is missing, or not what it should be, shows itself here: in a child process, where a SIGBUS, an abort or an
 * endless walk costs nothing.
 *
 * A record that is damaged inside is no reason to set the file aside: its checksum finds it when it is read, and it is
 * left out. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/base/log.h"
#include "server/store/lmdb_internal.h"

#define CHECK_SECONDS	       30 /* at most, and one more for each CHECK_BYTES_PER_SECOND: then it is held for damaged */
#define CHECK_BYTES_PER_SECOND (16u * 1024 * 1024)
#define CHECK_POLL_US	       2000

/* How far the child is, in memory it shares with its parent. */
struct check_progress {
	uint64_t rows, rows_total;
	uint64_t entries;
};

struct check {
	MDB_txn *txn;
	struct check_progress *progress;
	uint64_t last_page;
	volatile uint8_t touched; /* keeps the compiler from leaving out the reads */
};

static void touch(struct check *c, const MDB_val *v)
{
	const volatile uint8_t *p = v->mv_data;

	if (v->mv_size > 0)
		c->touched = (uint8_t)(p[0] ^ p[v->mv_size - 1]);
}

/* key_bytes 0: any. value_bytes SIZE_MAX: any. */
static bool check_table(struct check *c, MDB_dbi dbi, size_t key_bytes, size_t value_bytes)
{
	MDB_cursor *cursor;
	MDB_stat stat;
	MDB_val k, v, before = {0};
	uint64_t rows = 0;
	int rc;

	if (mdb_stat(c->txn, dbi, &stat) != 0 || mdb_cursor_open(c->txn, dbi, &cursor) != 0)
		return false;
	while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
		bool sound = ++rows <= stat.ms_entries && k.mv_size > 0 && (key_bytes == 0 || k.mv_size == key_bytes) &&
			     (value_bytes == SIZE_MAX || v.mv_size == value_bytes) &&
			     (before.mv_data == NULL || mdb_cmp(c->txn, dbi, &before, &k) < 0);

		if (!sound)
			break;
		touch(c, &v);
		before = k;
		c->progress->rows++;
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND && rows == stat.ms_entries;
}

/* Rows of the list: a count, then so many page numbers, descending. */
static bool check_free_row(const struct check *c, const MDB_val *v)
{
	size_t count, before = SIZE_MAX, page;
	const uint8_t *p = v->mv_data;

	if (v->mv_size < sizeof count || v->mv_size % sizeof count != 0)
		return false;
	memcpy(&count, p, sizeof count);
	if (count > v->mv_size / sizeof count - 1)
		return false;
	for (size_t i = 1; i <= count; i++) {
		memcpy(&page, p + i * sizeof page, sizeof page);
		if (page < 2 || page > c->last_page || page >= before)
			return false;
		before = page;
	}
	return true;
}

static bool check_free_list(struct check *c)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc;

	if (mdb_cursor_open(c->txn, 0, &cursor) != 0)
		return false;
	while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0)
		if (k.mv_size != sizeof(size_t) || !check_free_row(c, &v))
			break;
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND;
}

static bool check_all(struct check *c)
{
	static const struct {
		const char *name;
		size_t key_bytes, value_bytes;
	} tables[] = {
		{"meta", 0, SIZE_MAX},
		{"epochs", ENTRY_TAG_BYTES, sizeof(uint64_t)},
		{"expiry", LMDB_EXPIRY_BYTES, 0},
		{"entries", ENTRY_KEY_BYTES, SIZE_MAX},
	};
	const size_t entries = sizeof tables / sizeof *tables - 1;
	MDB_dbi dbi[sizeof tables / sizeof *tables];
	bool there[sizeof tables / sizeof *tables] = {false};
	MDB_stat stat;

	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		int rc = mdb_dbi_open(c->txn, tables[i].name, 0, &dbi[i]);

		there[i] = rc == 0;
		if (rc != 0 && rc != MDB_NOTFOUND)
			return false;
		if (!there[i] || mdb_stat(c->txn, dbi[i], &stat) != 0)
			continue;
		c->progress->rows_total += stat.ms_entries;
		if (i == entries)
			c->progress->entries = stat.ms_entries;
	}
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		if (there[i] && !check_table(c, dbi[i], tables[i].key_bytes, tables[i].value_bytes))
			return false;
	return check_free_list(c);
}

static int check_walk(const char *path, struct check_progress *progress)
{
	struct check c = {.progress = progress};
	MDB_envinfo info;
	MDB_env *env;
	int damaged = 1;

	if (mdb_env_create(&env) != 0)
		return 1;
	if (mdb_env_set_maxdbs(env, 4) == 0 &&
	    mdb_env_open(env, path, MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS, 0600) == 0 && mdb_env_info(env, &info) == 0 &&
	    mdb_txn_begin(env, NULL, MDB_RDONLY, &c.txn) == 0) {
		c.last_page = info.me_last_pgno;
		damaged = check_all(&c) ? 0 : 1;
		mdb_txn_abort(c.txn);
	}
	mdb_env_close(env);
	return damaged;
}

/* ---- the child and its parent */

_Noreturn static void child_run(const char *path, struct check_progress *progress, pid_t parent)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTERM, SIGINT};
	const struct rlimit no_core = {0};
	FILE *quiet;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		signal(signals[i], SIG_DFL);
	setrlimit(RLIMIT_CORE, &no_core);
	quiet = freopen("/dev/null", "w", stderr); /* what a failed assertion in LMDB would say */
	_exit(quiet != NULL ? check_walk(path, progress) : 1);
}

static uint64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* 0 or 1 as check_walk; a child that died or took too long: 1. */
static int child_await(pid_t child, const struct check_progress *progress, uint64_t bytes)
{
	uint64_t began_ms = clock_ms(), said_ms = began_ms, now_ms;
	uint64_t limit_ms = (CHECK_SECONDS + bytes / CHECK_BYTES_PER_SECOND) * 1000;
	const struct timespec pause = {.tv_nsec = CHECK_POLL_US * 1000};
	int status;
	pid_t ended;

	while ((ended = waitpid(child, &status, WNOHANG)) == 0) {
		now_ms = clock_ms();
		if (now_ms - began_ms > limit_ms) {
			log_event(LOG_ERROR, "store.check_timeout", "after_ms=%llu", (unsigned long long)limit_ms);
			kill(child, SIGKILL);
			waitpid(child, &status, 0);
			return 1;
		}
		if (now_ms - said_ms >= LMDB_PROGRESS_MS) {
			said_ms = now_ms;
			log_event(LOG_INFO, "store.checking", "rows=%llu of=%llu elapsed_ms=%llu",
				  (unsigned long long)progress->rows, (unsigned long long)progress->rows_total,
				  (unsigned long long)(now_ms - began_ms));
		}
		nanosleep(&pause, NULL);
	}
	return ended == child && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

/* 0: sound, 1: damaged, -1: could not be found out; errno says why. */
static int check_in_child(const char *path, uint64_t file_bytes, uint64_t *ret_entries)
{
	struct check_progress *progress =
		mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t parent = getpid(), child;
	int rc = -1;

	if (progress == MAP_FAILED)
		return -1;
	child = fork();
	if (child == 0)
		child_run(path, progress, parent);
	if (child > 0)
		rc = child_await(child, progress, file_bytes);
	*ret_entries = progress->entries;
	munmap(progress, sizeof *progress);
	return rc;
}

int lmdb_check_in_child(const char *path, uint64_t file_bytes)
{
	uint64_t entries;

	log_event(LOG_INFO, "store.checking", "path=%s bytes=%llu reason=\"it was not closed, or changed since\"",
		  log_quote(path, -1), (unsigned long long)file_bytes);
	return check_in_child(path, file_bytes, &entries);
}

/* ---- a store that no daemon has open */

static enum lmdb_verdict check_unlocked(const char *path, const struct stat *st, uint64_t *ret_entries)
{
	uint64_t entries = 0;
	int rc = 0;

	if (!S_ISREG(st->st_mode))
		return LMDB_DAMAGED;
	if (st->st_size > 0) /* else it is filled at the next start */
		rc = check_in_child(path, (uint64_t)st->st_size, &entries);
	if (rc != 0)
		return rc < 0 ? LMDB_UNREADABLE : LMDB_DAMAGED;
	*ret_entries = entries;
	return LMDB_SOUND;
}

/* LMDB_SOUND: nobody has it open, and nobody can until *ret_fd is closed; -1: a copy without a file to lock. */
static enum lmdb_verdict check_take_lock(const char *path, int *ret_fd)
{
	char lock[PATH_MAX];
	int fd;

	snprintf(lock, sizeof lock, "%s/" LMDB_FILE_LOCK, path);
	fd = open(lock, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return LMDB_UNREADABLE;
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
		enum lmdb_verdict verdict = errno == EWOULDBLOCK ? LMDB_IN_USE : LMDB_UNREADABLE;

		close(fd);
		return verdict;
	}
	*ret_fd = fd;
	return LMDB_SOUND;
}

enum lmdb_verdict lmdb_check(const char *path, uint64_t *ret_entries)
{
	enum lmdb_verdict verdict;
	char data[PATH_MAX];
	struct stat st;
	int lock_fd;

	if (strlen(path) > PATH_MAX - 64) {
		errno = ENAMETOOLONG;
		return LMDB_UNREADABLE;
	}
	snprintf(data, sizeof data, "%s/" LMDB_FILE_DATA, path);
	if (stat(data, &st) != 0)
		return errno == ENOENT || errno == ENOTDIR ? LMDB_ABSENT : LMDB_UNREADABLE;
	verdict = check_take_lock(path, &lock_fd);
	if (verdict != LMDB_SOUND)
		return verdict;
	verdict = access(data, R_OK) == 0 ? check_unlocked(path, &st, ret_entries) : LMDB_UNREADABLE;
	if (lock_fd >= 0)
		close(lock_fd);
	return verdict;
}
