/* log: one line an event, key=value, to a file descriptor that may never stall the loop.
 *
 *      2026-01-31T12:00:00.123Z info conn.closed id=17 reason="idle for 300 s"
 *
 * Lines go into a ring of LOG_RING_BYTES and from there to the descriptor as far as it takes them without waiting (poll
 * before each write of at most PIPE_BUF bytes; a regular file is always ready). When the ring is full, lines are
 * dropped and counted, and the next line that fits says how many: the reader stalls, no client waits. Secrets, prompts
 * and answers are never logged.
 *
 * Only from the loop's thread. While lines wait for a stalled reader a deadline is armed, which keeps loop_run from
 * returning by itself: whoever shuts down by running the loop empty calls log_close first (lines then go to standard
 * error, also without waiting). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

struct loop;

#define LOG_LINE_BYTES_MAX 2048	  /* longer lines are cut and end in … */
#define LOG_RING_BYTES	   262144 /* lines that wait for a slow reader */

enum log_level {
	LOG_ERROR,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG
};

/* The process has one log: it is the only global state (a fault anywhere must be able to speak). Before log_open lines
 * go straight to standard error. */
int log_open(struct loop *l, int fd, enum log_level level); /* -1: no memory */
void log_close(void);					    /* writes what it can within 100 ms */
bool log_wants(enum log_level level);
uint64_t log_dropped(void);

/* event: "noun.verb". The rest is a printf format of key=value pairs; put values that may contain spaces or foreign
 * bytes through log_quote: log_event(LOG_WARN, "store.failed", "op=put error=%s", log_quote(text, n)). */
__attribute__((format(printf, 3, 4))) void log_event(enum log_level level, const char *event, const char *fmt, ...);

/* The text in quotes with control bytes and quotes escaped, cut at 512 bytes. Valid until four more calls. */
const char *log_quote(const char *text, int n); /* n < 0: up to the NUL */

#endif
