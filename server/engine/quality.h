/* quality: is a finished answer fit to be kept? Asked before storing; the client gets its answer either way. Pure. */
#ifndef ENGINE_QUALITY_H
#define ENGINE_QUALITY_H

#include "proto/message.h"
#include "server/engine/answer.h"

/* REASON_STORED: keep it. UNFINISHED: the finish reason is neither stop nor tool_calls. EMPTY: nothing but white space,
 * and no tool call. */
enum proto_reason quality_check(const struct answer *a, struct slice finish_reason);
/* The same for what a client PUTs; its segments were checked (payload_from_put). */
enum proto_reason quality_check_put(const struct request_body *put, struct slice finish_reason);

#endif
