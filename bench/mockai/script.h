/* script: one answer, written out before it is played. The renderers append bytes and mark where a step ends; the
 * connection plays a step when its time has come. Most faults are then a change of the script and need no code in the
 * connection.
 *
 *      wire  [head][event][event]......[event][event, usage, done]
 *      steps            ^      ^              ^                   ^      step_end[]
 *      time   latency   pace   pace    ...                               (head_alone: the head is a step of its own,
 *                                                                         first_byte_ms before the next one)
 *
 * `filler_bytes` of 'x' go before step number `filler_at`: gigabytes that are never in memory. */
#ifndef MOCKAI_SCRIPT_H
#define MOCKAI_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/mockai/buffer.h"
#include "bench/mockai/latency.h"

#define SCRIPT_BYTES_MAX (256u << 20) /* the largest: 16 MB in pieces of a few bytes; more becomes a 500 */

enum script_ending {
	SCRIPT_KEEP,  /* the connection is ready for the next request */
	SCRIPT_CLOSE, /* closed in good order */
	SCRIPT_CUT,   /* closed at once */
	SCRIPT_RESET, /* closed at once with a TCP reset */
	SCRIPT_HANG,  /* nothing more comes; the connection stays */
};

enum script_framing {
	SCRIPT_PLAIN, /* bytes as they are: the head names the length, or the end of the connection is the end */
	SCRIPT_CHUNKED,
};

struct script {
	struct buffer wire;
	size_t *step_end; /* owned */
	size_t step_count;
	size_t step_capacity;
	size_t head_bytes;
	enum script_framing framing;
	enum script_ending ending;
	double latency_ms;
	double first_byte_ms;
	struct latency pace;
	uint64_t filler_bytes;
	size_t filler_at;
	bool counted;	  /* a request to the provider, not to its control panel */
	const bool *hold; /* not begun while this is true (borrowed from the settings); NULL: never held */
	bool by_byte;	  /* after the head one byte each pace */
};

void script_init(struct script *s);
void script_free(struct script *s);
void script_reset(struct script *s);

/* The bytes appended since the last mark are a step. Without such bytes: nothing happens. */
void script_step(struct script *s);

/* Everything so far is the head; with `alone` a step of its own. */
void script_head_end(struct script *s, bool alone);

/* Body bytes in the framing of the script. */
void script_body(struct script *s, const void *data, size_t length);

/* That many filler bytes, as one piece of the body. */
void script_filler(struct script *s, uint64_t bytes);

/* The end of the body, as the framing wants it, and of the last step. */
void script_body_end(struct script *s);

/* Keeps the first half of the steps (of the body, if it is one step) and ends there. */
void script_halve(struct script *s, enum script_ending ending);

/* Drops every byte: the ending is all there is. */
void script_drop(struct script *s, enum script_ending ending);

#endif
