/* marker: `[[NAME:VALUE]]` in the text of a request steers the answer to this one request.
 *
 *      [[fault:cut]]  [[fault:500#2]]  [[latency:300ms]]  [[pace:5ms]]  [[piece-bytes:4]]  [[answer-bytes:9000]]
 *      in embedded texts: [[embeddings-fault:429=2]]  [[embeddings-latency:2s]]
 *
 * Chat and embeddings read different names, because a cache embeds the same prompt that it then sends to the model.
 * `#COUNT` counts the calls with this prompt: [[fault:500#2]] fails twice and then answers.
 * Two brackets with another name, or without a colon, are ordinary text. */
#ifndef MOCKAI_MARKER_H
#define MOCKAI_MARKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/mockai/buffer.h"
#include "bench/mockai/fault.h"
#include "bench/mockai/settings.h"

/* What steers one request. */
struct orders {
	struct latency latency; /* to the first byte */
	struct latency first_byte;
	struct latency pace;
	size_t piece_bytes;
	size_t answer_bytes;
	uint64_t seed;
	struct fault_set faults;
};

/* Applies the markers of `text` to a copy of the settings and appends the text without them to `ret_plain`.
 * `call` is how often this prompt was asked, from 1. False: a marker with a wrong value, `error` says which. */
bool marker_read(const char *text, size_t length, bool embeddings, uint64_t call, struct settings *settings,
		 struct fault_set *faults, struct random *random, struct buffer *ret_plain,
		 char error[SETTINGS_ERROR_BYTES]);

#endif
