#include "server/engine/quality.h"

enum proto_reason quality_check_finish(struct slice finish_reason)
{
	return slice_is(finish_reason, "stop") || slice_is(finish_reason, "tool_calls") ? REASON_STORED
											: REASON_UNFINISHED;
}

/* Reasoning alone is no answer; a refusal is one, in words. */
static bool says_something(const struct answer_piece *piece)
{
	if (piece->kind == SEGMENT_TOOL_CALL)
		return true;
	if (piece->kind == SEGMENT_REASONING)
		return false;
	for (size_t i = 0; i < piece->data.n; i++)
		if (strchr(" \t\r\n", piece->data.p[i]) == NULL)
			return true;
	return false;
}

enum proto_reason quality_check(const struct answer *a, struct slice finish_reason)
{
	enum proto_reason reason = quality_check_finish(finish_reason);
	struct answer_reader r = {0};
	struct answer_piece piece;

	if (reason != REASON_STORED)
		return reason;
	while (answer_read(a, &r, SIZE_MAX, &piece))
		if (says_something(&piece))
			return REASON_STORED;
	return REASON_EMPTY;
}
