/* fuzz: any bytes as a provider's response: as a stream (cut in two ways, with the same pieces), as one JSON object,
 * and as the body of an error. Pieces have growing indices and stay within the limits; sentences can be sent. */
#include <assert.h>
#include <stdlib.h>

#include "server/upstream/chat_error.h"
#include "server/upstream/chat_json.h"
#include "server/upstream/chat_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct pieces {
	struct buf bytes;
	unsigned last;
};

static bool on_piece(void *owner, enum proto_segment kind, unsigned index, struct slice data)
{
	struct pieces *p = owner;
	const uint8_t head[2] = {(uint8_t)kind, (uint8_t)index};

	assert(data.n > 0 && slice_is_utf8(data));
	assert(index == p->last || index == p->last + 1);
	p->last = index;
	return buf_append(&p->bytes, head, 2) && buf_append(&p->bytes, data.p, data.n);
}

static void pieces_init(struct pieces *p)
{
	*p = (struct pieces){0};
	buf_init(&p->bytes, 2 * ANSWER_BYTES_MAX, NULL);
}

static void check_answer(const struct chat_answer *a)
{
	assert(a->bytes <= ANSWER_BYTES_MAX && a->tool_calls_count <= CHAT_TOOL_CALLS_MAX);
	assert(slice_is_utf8(slice_str(a->finish_reason)) && slice_is_utf8(slice_str(a->model)));
	assert(a->finished == (a->finish_reason[0] != '\0'));
}

/* As the loop does with what the pool has parsed. */
static enum chat_status resume(struct chat_stream *s)
{
	enum chat_status status = CHAT_OK;
	json_t *tree = chat_json_parse(buf_slice(&s->held), &status);

	status = chat_stream_resume(s, tree, status);
	json_decref(tree);
	return status;
}

static void read_stream(struct pieces *p, const uint8_t *data, size_t size, size_t step)
{
	struct chat_answer answer;
	struct chat_stream stream;
	enum chat_status status = CHAT_OK;

	pieces_init(p);
	chat_answer_init(&answer, on_piece, p);
	chat_stream_init(&stream, &answer);
	for (size_t at = 0; at < size && status == CHAT_OK; at += step)
		status = chat_stream_feed(&stream, slice_of(data + at, step < size - at ? step : size - at));
	while (chat_stream_is_held(&stream))
		status = resume(&stream);
	if (chat_stream_is_whole(&stream, true))
		status = chat_answer_finish(&answer);
	check_answer(&answer);
	chat_stream_free(&stream);
	chat_answer_free(&answer);
}

static void read_whole(struct slice body)
{
	enum chat_status status = CHAT_OK;
	json_t *tree = chat_json_parse(body, &status);
	struct chat_answer answer;
	struct pieces p;

	if (tree == NULL) {
		assert(status == CHAT_MALFORMED || status == CHAT_TOO_LARGE || status == CHAT_NO_MEMORY);
		return;
	}
	pieces_init(&p);
	chat_answer_init(&answer, on_piece, &p);
	if (chat_answer_take(&answer, tree) == CHAT_OK)
		status = chat_answer_finish(&answer);
	check_answer(&answer);
	chat_answer_free(&answer);
	buf_free(&p.bytes);
	json_decref(tree);
}

static void read_error(struct slice body)
{
	static const unsigned statuses[] = {302, 400, 401, 404, 429, 500};

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		struct chat_error e;

		chat_error_read(&e, statuses[i], body);
		assert(e.code != ERR_NONE && e.message[0] != '\0' && slice_is_utf8(slice_str(e.message)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pieces whole, cut;

	read_stream(&whole, data, size, size > 0 ? size : 1);
	read_stream(&cut, data, size, 5);
	assert(slice_eq(buf_slice(&whole.bytes), buf_slice(&cut.bytes)));
	buf_free(&whole.bytes);
	buf_free(&cut.bytes);
	read_whole(slice_of(data, size));
	read_error(slice_of(data, size));
	return 0;
}
