/* chat_json: JSON of a provider, parsed. What is longer than CHAT_POOL_BYTES belongs on a pool thread: jansson takes
 * 12–21 ms a MB. Pure: nothing but the bytes is touched. */
#ifndef UPSTREAM_CHAT_JSON_H
#define UPSTREAM_CHAT_JSON_H

#include "server/upstream/chat_answer.h"

#define CHAT_POOL_BYTES 32768u
#define CHAT_BODY_BYTES_MAX                                                                                            \
	((size_t)16 << 20) /* of an answer that is not streamed: twice ANSWER_BYTES_MAX, for escapes */

/* The tree, which the caller owns (json_decref); NULL: *ret_status says MALFORMED or NO_MEMORY. */
json_t *chat_json_parse(struct slice body, enum chat_status *ret_status);

#endif
