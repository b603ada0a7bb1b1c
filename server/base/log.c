/* Lines go into a ring, and once a turn (a deferred task) from there to the descriptor. The descriptor is often one
 * that other processes share, so O_NONBLOCK is not ours to set: poll says whether a write of PIPE_BUF bytes can be
 * taken without waiting. While it cannot, a deadline tries again. An error is written at once: it may be the last thing
 * this process says. */
#include "server/base/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/bytes.h"
#include "server/base/loop.h"

#define LOG_RETRY_US	      20000
#define LOG_CLOSE_MS	      100
#define LOG_QUOTE_BYTES_MAX   512
#define LOG_QUOTES	      4
#define LOG_DROPPED_BYTES_MAX 128 /* of a log.dropped line */
#define LOG_CUT		      "…"

_Static_assert(LOG_LINE_BYTES_MAX <= PIPE_BUF, "a write takes whole lines");

static struct {
	struct loop *loop; /* (borrowed) NULL: not open, lines go straight to standard error */
	int fd;		   /* (borrowed) */
	enum log_level level;
	char *ring;
	size_t head, used;		  /* the oldest byte, and how many there are */
	uint64_t dropped, dropped_unsaid; /* lines; unsaid: not yet told by a log.dropped line */
	struct loop_task flush;
	struct deadline retry;
} log_state = {.fd = STDERR_FILENO, .level = LOG_INFO};

static const char *const log_level_names[] = {"error", "warn", "info", "debug"};

enum log_room {
	LOG_ROOM,
	LOG_STALLED,
	LOG_BROKEN
};

static enum log_room log_poll(int timeout_ms)
{
	struct pollfd p = {.fd = log_state.fd, .events = POLLOUT};

	if (poll(&p, 1, timeout_ms) <= 0)
		return LOG_STALLED;
	return p.revents & (POLLERR | POLLNVAL) ? LOG_BROKEN : LOG_ROOM;
}

static void log_count_dropped(uint64_t lines)
{
	log_state.dropped += lines;
	log_state.dropped_unsaid += lines;
}

/* ---- one line */

/* The length of the longest part of text, at most max bytes, that does not end inside a UTF-8 character. */
static size_t log_cut(const char *text, size_t n, size_t max)
{
	if (n <= max)
		return n;
	n = max;
	while (n > 0 && max - n < 3 && ((unsigned char)text[n] & 0xC0) == 0x80)
		n--;
	return n;
}

static size_t log_print_time(char *to, size_t size)
{
	struct timespec t = {0};
	struct tm utc;
	size_t n;

	if (log_state.loop != NULL) {
		uint64_t wall_us = loop_wall_us(log_state.loop);

		t = (struct timespec){.tv_sec = (time_t)(wall_us / 1000000),
				      .tv_nsec = (long)(wall_us % 1000000) * 1000};
	} else {
		clock_gettime(CLOCK_REALTIME, &t);
	}
	gmtime_r(&t.tv_sec, &utc);
	n = strftime(to, size, "%Y-%m-%dT%H:%M:%S", &utc);
	return n + (size_t)snprintf(to + n, size - n, ".%03ldZ", t.tv_nsec / 1000000);
}

/* Writes the line with its newline to `to` (LOG_LINE_BYTES_MAX + 1 bytes) and returns its length. */
static size_t log_print_line(char *to, enum log_level level, const char *event, const char *fmt, va_list args)
{
	const size_t max = LOG_LINE_BYTES_MAX - 1; /* without the newline */
	size_t n = log_print_time(to, max), i;
	int more;

	n += (size_t)snprintf(to + n, max - n, " %s %.64s ", log_level_names[level], event);
	more = vsnprintf(to + n, max + 1 - n, fmt, args);
	if (more > 0 && n + (size_t)more > max) {
		n = log_cut(to, max, max - strlen(LOG_CUT));
		memcpy(to + n, LOG_CUT, strlen(LOG_CUT));
		n += strlen(LOG_CUT);
	} else {
		n += more > 0 ? (size_t)more : 0;
		n -= to[n - 1] == ' ';
	}
	for (i = 0; i < n; i++)
		if ((unsigned char)to[i] < ' ' || to[i] == 0x7F)
			to[i] = '?'; /* one event, one line, whatever the values are */
	to[n] = '\n';
	return n + 1;
}

/* ---- the ring */

static void log_ring_append(const char *line, size_t n)
{
	size_t tail = (log_state.head + log_state.used) % LOG_RING_BYTES;
	size_t first = n < LOG_RING_BYTES - tail ? n : LOG_RING_BYTES - tail;

	memcpy(log_state.ring + tail, line, first);
	memcpy(log_state.ring, line + first, n - first);
	log_state.used += n;
}

/* As many whole lines as fit into one write. */
static size_t log_ring_peek(char to[PIPE_BUF])
{
	size_t n = log_state.used < PIPE_BUF ? log_state.used : PIPE_BUF;
	size_t first = n < LOG_RING_BYTES - log_state.head ? n : LOG_RING_BYTES - log_state.head;
	size_t whole = n;

	memcpy(to, log_state.ring + log_state.head, first);
	memcpy(to + first, log_state.ring, n - first);
	while (whole > 0 && to[whole - 1] != '\n')
		whole--;
	return whole > 0 ? whole : n;
}

static void log_ring_consume(size_t n)
{
	log_state.head = (log_state.head + n) % LOG_RING_BYTES;
	log_state.used -= n;
}

/* The descriptor is gone: what waits for it is lost, line by line. */
static void log_ring_drop(void)
{
	uint64_t lines = 0;

	for (; log_state.used > 0; log_ring_consume(1))
		lines += log_state.ring[log_state.head] == '\n';
	log_count_dropped(lines);
}

__attribute__((format(printf, 3, 4))) static size_t log_print(char *to, const char *event, const char *fmt, ...)
{
	va_list args;
	size_t n;

	va_start(args, fmt);
	n = log_print_line(to, LOG_WARN, event, fmt, args);
	va_end(args);
	return n;
}

/* Only when a line of n bytes fits behind it: else a full ring would be told of its own fullness, one lost line at a
 * time. */
static void log_say_dropped(size_t n_behind)
{
	char line[LOG_LINE_BYTES_MAX + 1];
	size_t n;

	if (log_state.dropped_unsaid == 0 || log_state.used + LOG_DROPPED_BYTES_MAX + n_behind > LOG_RING_BYTES)
		return;
	n = log_print(line, "log.dropped", "lines=%llu total=%llu", (unsigned long long)log_state.dropped_unsaid,
		      (unsigned long long)log_state.dropped);
	assert(n <= LOG_DROPPED_BYTES_MAX);
	log_ring_append(line, n);
	log_state.dropped_unsaid = 0;
}

/* ---- to the descriptor */

static void log_on_retry(struct deadline *d);

/* Writes what the descriptor takes; waits at most timeout_ms for room before each write. False: the descriptor is gone.
 */
static bool log_write_ring(int timeout_ms)
{
	char chunk[PIPE_BUF];

	while (log_state.used > 0) {
		enum log_room room = log_poll(timeout_ms);
		ssize_t n = -1;

		if (room == LOG_STALLED)
			return true;
		errno = 0;
		if (room == LOG_ROOM)
			n = write(log_state.fd, chunk, log_ring_peek(chunk));
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (n <= 0) {
			log_ring_drop();
			return false;
		}
		log_ring_consume((size_t)n);
	}
	return true;
}

static void log_flush(void)
{
	if (log_write_ring(0) && log_state.dropped_unsaid > 0 && log_state.used == 0) {
		log_say_dropped(0);
		log_write_ring(0);
	}
	if (log_state.used == 0)
		loop_disarm(log_state.loop, &log_state.retry);
	else if (!log_state.retry.armed)
		loop_arm(log_state.loop, &log_state.retry, LOG_RETRY_US, log_on_retry);
}

static void log_on_retry(struct deadline *d)
{
	(void)d;
	log_flush();
}

static void log_on_flush(struct loop_task *t)
{
	(void)t;
	log_flush();
}

/* Before log_open and after log_close. A reader of standard error that stalls does not stop us here either. */
static void log_write_straight(const char *line, size_t n)
{
	if (log_poll(0) != LOG_ROOM || write(log_state.fd, line, n) != (ssize_t)n)
		log_count_dropped(1);
}

int log_open(struct loop *l, int fd, enum log_level level)
{
	char *ring;

	assert(l != NULL && log_state.loop == NULL);
	ring = malloc(LOG_RING_BYTES);
	if (ring == NULL)
		return -1;
	log_state.loop = l;
	log_state.fd = fd;
	log_state.level = level;
	log_state.ring = ring;
	log_state.head = log_state.used = 0;
	return 0;
}

static uint64_t log_clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void log_close(void)
{
	uint64_t end_ms = log_clock_ms() + LOG_CLOSE_MS, now_ms;

	if (log_state.loop == NULL)
		return;
	log_say_dropped(0);
	/* Real time: a scenario's clock stands still here. */
	while (log_state.used > 0 && (now_ms = log_clock_ms()) < end_ms)
		log_write_ring((int)(end_ms - now_ms));
	log_ring_drop();
	loop_undefer(log_state.loop, &log_state.flush);
	loop_disarm(log_state.loop, &log_state.retry);
	free(log_state.ring);
	log_state.ring = NULL;
	log_state.loop = NULL;
	log_state.fd = STDERR_FILENO;
}

bool log_wants(enum log_level level) { return level <= log_state.level; }

uint64_t log_dropped(void) { return log_state.dropped; }

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
	char line[LOG_LINE_BYTES_MAX + 1];
	va_list args;
	size_t n;

	if (!log_wants(level))
		return;
	va_start(args, fmt);
	n = log_print_line(line, level, event, fmt, args);
	va_end(args);
	if (log_state.loop == NULL) {
		log_write_straight(line, n);
		return;
	}
	log_say_dropped(n);
	if (log_state.dropped_unsaid == 0 && log_state.used + n <= LOG_RING_BYTES)
		log_ring_append(line, n);
	else
		log_count_dropped(1);
	if (level == LOG_ERROR)
		log_flush();
	else
		loop_defer(log_state.loop, &log_state.flush, log_on_flush);
}

/* ---- quoting */

static size_t log_quote_byte(char *to, unsigned char c, bool utf8)
{
	static const char named[] = "\"\"\\\\\nn\rr\tt";
	size_t i;

	for (i = 0; i < sizeof named - 1; i += 2)
		if (c == (unsigned char)named[i]) {
			to[0] = '\\';
			to[1] = named[i + 1];
			return 2;
		}
	if (c < ' ' || c == 0x7F || (c >= 0x80 && !utf8))
		return (size_t)snprintf(to, 5, "\\x%02x", c);
	to[0] = (char)c;
	return 1;
}

const char *log_quote(const char *text, int n)
{
	static char quotes[LOG_QUOTES][LOG_QUOTE_BYTES_MAX * 4 + sizeof "\"" LOG_CUT "\""];
	static unsigned turn;
	char *quote = quotes[turn++ % LOG_QUOTES], *to = quote;
	size_t given = text == NULL ? 0 : n < 0 ? strlen(text) : (size_t)n;
	size_t kept = log_cut(text, given, LOG_QUOTE_BYTES_MAX), i;
	bool utf8 = slice_is_utf8(slice_of(text, kept));

	*to++ = '"';
	for (i = 0; i < kept; i++)
		to += log_quote_byte(to, (unsigned char)text[i], utf8);
	if (kept < given) {
		memcpy(to, LOG_CUT, strlen(LOG_CUT));
		to += strlen(LOG_CUT);
	}
	*to++ = '"';
	*to = '\0';
	return quote;
}
