/* chat_json: JSON of a provider, parsed. What is longer than CHAT_POOL_BYTES belongs on a pool thread: jansson takes
 * 12–21 ms a MB. Pure: nothing but the bytes is touched. */
#ifndef UPSTREAM_CHAT_JSON_H
#define UPSTREAM_CHAT_JSON_H

#include "server/upstream/chat_answer.h"

#define CHAT_POOL_BYTES 32768u
#define CHAT_BODY_BYTES_MAX                                                                                            \
	((size_t)16 << 20) /* of an answer that is not streamed: twice ANSWER_BYTES_MAX, for escapes */

/* Values in one body or event. A tree costs up to 160 bytes for two of the body's, and its end comes on the loop: 16 MB
 * of "[]," took 1.9 GB and held the loop for 600 ms. Answers have a few hundred. */
#define CHAT_JSON_VALUES_MAX 65536u

/* The tree, which the caller owns (json_decref); NULL: *ret_status says MALFORMED, TOO_LARGE or NO_MEMORY. */
json_t *chat_json_parse(struct slice body, enum chat_status *ret_status);

#endif
