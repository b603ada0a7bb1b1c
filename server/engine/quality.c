#include "server/engine/quality.h"

static enum proto_reason check_finish(struct slice finish_reason)
{
	return slice_is(finish_reason, "stop") || slice_is(finish_reason, "tool_calls") ? REASON_STORED
											: REASON_UNFINISHED;
}

/* Reasoning alone is no answer; a refusal is one, in words. */
static bool says_something(enum proto_segment kind, struct slice data)
{
	if (kind == SEGMENT_TOOL_CALL)
		return true;
	if (kind == SEGMENT_REASONING)
		return false;
	for (size_t i = 0; i < data.n; i++)
		if (memchr(" \t\r\n", data.p[i], 4) == NULL)
			return true;
	return false;
}

enum proto_reason quality_check(const struct answer *a, struct slice finish_reason)
{
	enum proto_reason reason = check_finish(finish_reason);
	struct answer_reader r = {0};
	struct answer_piece piece;

	if (reason != REASON_STORED)
		return reason;
	while (answer_read(a, &r, SIZE_MAX, &piece))
		if (says_something(piece.kind, piece.data))
			return REASON_STORED;
	return REASON_EMPTY;
}

enum proto_reason quality_check_put(const struct request_body *put, struct slice finish_reason)
{
	enum proto_reason reason = check_finish(finish_reason);

	if (reason != REASON_STORED)
		return reason;
	if (MESSAGE_HAS(put, REQUEST, answer))
		return says_something(SEGMENT_TEXT, put->answer) ? REASON_STORED : REASON_EMPTY;
	for (uint32_t i = 0; i < put->segments->via.array.size; i++) {
		const msgpack_object *part = put->segments->via.array.ptr[i].via.array.ptr;
		struct slice data = slice_of(part[2].via.bin.ptr, part[2].via.bin.size); /* str and bin look alike */

		if (says_something((enum proto_segment)part[0].via.u64, data))
			return REASON_STORED;
	}
	return REASON_EMPTY;
}
