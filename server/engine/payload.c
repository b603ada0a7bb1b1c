#include "server/engine/payload.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/frame.h"
#include "server/base/random.h"

/* The segments stand first and in one fixed form, so that their size can be told without decoding:
 *   DE count:u16 | 02 DD n:u32 ( 93 kind CE index:u32 C6 length:u32 data )* | the other pairs */
#define MAP_HEADER_BYTES     3
#define SEGMENTS_BEGIN_BYTES 6
#define SEGMENT_HEADER_BYTES 12
#define KEY_SEGMENTS	     0x02

static uint8_t *put_u32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
	return p + 4;
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool payload_begin(struct buf *out, uint32_t segments)
{
	uint8_t head[MAP_HEADER_BYTES + SEGMENTS_BEGIN_BYTES] = {0xDE, 0, 0, KEY_SEGMENTS, 0xDD};

	put_u32(head + 5, segments);
	return buf_append(out, head, sizeof head);
}

static bool segment_begin(struct buf *out, unsigned kind, uint32_t index, size_t bytes)
{
	uint8_t head[SEGMENT_HEADER_BYTES] = {0x93, (uint8_t)kind, 0xCE};

	head[7] = 0xC6;
	put_u32(head + 3, index);
	put_u32(head + 8, (uint32_t)bytes);
	return buf_append(out, head, sizeof head);
}

/* The other pairs, and the count of all in the map's header. */
static bool payload_finish(struct buf *out, size_t start, const struct end_body *end)
{
	struct message m = {.op = OP_END, .end = *end};
	unsigned count;

	assert(!MESSAGE_HAS(end, END, segments));
	if (!message_encode_pairs(out, &m, &count))
		return false;
	count++;
	out->p[start + 1] = (uint8_t)(count >> 8);
	out->p[start + 2] = (uint8_t)count;
	return true;
}

static bool answer_segments_append(struct buf *out, const struct answer *a)
{
	struct answer_reader r = {0};
	struct answer_piece piece;
	uint32_t opened = 0;

	while (answer_read(a, &r, SIZE_MAX, &piece)) {
		if (piece.index == opened) {
			uint32_t end = opened + 1 < a->segments_count ? a->segments[opened + 1].begin : a->bytes;

			if (!segment_begin(out, piece.kind, opened, end - a->segments[opened].begin))
				return false;
			opened++;
		}
		if (!buf_append(out, piece.data.p, piece.data.n))
			return false;
	}
	assert(opened == a->segments_count);
	return true;
}

bool payload_from_answer(struct buf *out, const struct end_body *end, const struct answer *a)
{
	size_t start = out->n;

	if (!payload_begin(out, a->segments_count) || !answer_segments_append(out, a) ||
	    !payload_finish(out, start, end)) {
		out->n = start;
		return false;
	}
	return true;
}

/* One [kind, index, data] of a client. -1: *fault. */
static int segment_read(const msgpack_object *o, uint32_t expect_index, struct answer_piece *ret, struct fault *fault)
{
	const msgpack_object *part = o->via.array.ptr;
	char field[32];

	snprintf(field, sizeof field, "segments[%u]", expect_index);
	if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size != 3)
		return fault_set(fault, ERR_INVALID, field, "a segment is an array of three: kind, index, data");
	if (part[0].type != MSGPACK_OBJECT_POSITIVE_INTEGER || proto_segment_name(part[0].via.u64) == NULL)
		return fault_set(fault, ERR_INVALID, field,
				 "the kind of a segment is one of the numbers of PROTO_SEGMENTS");
	if (part[1].type != MSGPACK_OBJECT_POSITIVE_INTEGER || part[1].via.u64 != expect_index)
		return fault_set(fault, ERR_INVALID, field, "the segments' indexes count up from 0");
	if (part[2].type == MSGPACK_OBJECT_STR)
		ret->data = slice_of(part[2].via.str.ptr, part[2].via.str.size);
	else if (part[2].type == MSGPACK_OBJECT_BIN)
		ret->data = slice_of(part[2].via.bin.ptr, part[2].via.bin.size);
	else
		return fault_set(fault, ERR_INVALID, field, "the data of a segment is a string or bytes");
	if (ret->data.n == 0 || !slice_is_utf8(ret->data))
		return fault_set(fault, ERR_INVALID, field, "the data of a segment is text in UTF-8 and not empty");
	ret->kind = (enum proto_segment)part[0].via.u64;
	ret->index = expect_index;
	return 0;
}

static int put_segments_append(struct buf *out, const msgpack_object *segments, struct fault *fault)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < segments->via.array.size; i++) {
		struct answer_piece piece = {0};

		if (segment_read(&segments->via.array.ptr[i], i, &piece, fault) < 0)
			return -1;
		total += piece.data.n;
		if (total > ANSWER_BYTES_MAX)
			return fault_set(fault, ERR_TOO_LARGE, "segments", "an answer has at most %llu bytes",
					 (unsigned long long)ANSWER_BYTES_MAX);
		if (!segment_begin(out, piece.kind, i, piece.data.n) || !buf_append(out, piece.data.p, piece.data.n))
			return fault_set(fault, ERR_NO_MEMORY, "", "there is no memory for the answer");
	}
	return 0;
}

static int put_append(struct buf *out, size_t start, const struct end_body *end, const struct request_body *put,
		      struct fault *fault)
{
	bool one_text = MESSAGE_HAS(put, REQUEST, answer);
	uint32_t count = one_text ? 1 : put->segments->via.array.size;

	if (!payload_begin(out, count))
		return fault_set(fault, ERR_NO_MEMORY, "", "there is no memory for the answer");
	if (one_text &&
	    (!segment_begin(out, SEGMENT_TEXT, 0, put->answer.n) || !buf_append(out, put->answer.p, put->answer.n)))
		return fault_set(fault, ERR_NO_MEMORY, "", "there is no memory for the answer");
	if (!one_text && put_segments_append(out, put->segments, fault) < 0)
		return -1;
	if (!payload_finish(out, start, end))
		return fault_set(fault, ERR_NO_MEMORY, "", "there is no memory for the answer");
	return 0;
}

int payload_from_put(struct buf *out, const struct end_body *end, const struct request_body *put, struct fault *fault)
{
	size_t start = out->n;

	if (MESSAGE_HAS(put, REQUEST, answer) == MESSAGE_HAS(put, REQUEST, segments))
		return fault_set(fault, ERR_INVALID, "answer", "a PUT carries either answer or segments");
	if (MESSAGE_HAS(put, REQUEST, answer) ? put->answer.n == 0 : put->segments->via.array.size == 0)
		return fault_set(fault, ERR_INVALID, MESSAGE_HAS(put, REQUEST, answer) ? "answer" : "segments",
				 "the answer is empty");
	if (put_append(out, start, end, put, fault) < 0) {
		out->n = start;
		return -1;
	}
	return 0;
}

int payload_decode(struct message_decoder *d, struct slice payload, struct end_body *ret)
{
	struct message m;
	struct fault fault;

	if (message_decode_body(d, OP_END, payload, &m, &fault) < 0 || !MESSAGE_HAS(&m.end, END, segments))
		return -1;
	*ret = m.end;
	return 0;
}

/* A tool call begins with its id, as upstream/ writes it and as PUT asks for it; one that does not is left alone. */
#define TOOL_CALL_BEGIN "{\"id\":\""

static void tool_call_mint(uint8_t *data, size_t n, struct random_state *random)
{
	static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	size_t begin = sizeof TOOL_CALL_BEGIN - 1, end, from;

	if (n <= begin || memcmp(data, TOOL_CALL_BEGIN, begin) != 0)
		return;
	for (end = begin; end < n && data[end] != '"'; end++)
		if (data[end] == '\\' || data[end] >= 0x80)
			return; /* no id of a known form */
	for (from = begin; from < end && data[from] != '_' && data[from] != '-'; from++)
		;
	if (from == end)
		from = begin;
	for (size_t i = from; i < end; i++)
		if (data[i] != '_' && data[i] != '-')
			data[i] = (uint8_t)letters[random_below(random, sizeof letters - 1)];
}

/* Appends a segment of a decoded payload. */
static bool segment_replay(struct answer *a, const struct answer_piece *piece, struct random_state *random)
{
	uint8_t *copy;
	bool ok;

	if (random == NULL || piece->kind != SEGMENT_TOOL_CALL)
		return answer_append(a, piece->kind, piece->index, piece->data);
	copy = malloc(piece->data.n);
	if (copy == NULL)
		return false;
	memcpy(copy, piece->data.p, piece->data.n);
	tool_call_mint(copy, piece->data.n, random);
	ok = answer_append(a, piece->kind, piece->index, slice_of(copy, piece->data.n));
	free(copy);
	return ok;
}

struct answer *payload_answer(struct message_decoder *d, struct slice payload, uint64_t mint)
{
	struct answer *a = answer_new();
	struct random_state random;
	struct end_body end;

	random_seed(&random, mint);
	if (a == NULL || payload_decode(d, payload, &end) < 0)
		goto fail;
	for (uint32_t i = 0; i < end.segments->via.array.size; i++) {
		struct answer_piece piece = {0};
		struct fault fault;

		if (segment_read(&end.segments->via.array.ptr[i], i, &piece, &fault) < 0 ||
		    !segment_replay(a, &piece, mint != 0 ? &random : NULL))
			goto fail;
	}
	answer_finish(a, ANSWER_COMPLETE);
	return a;
fail:
	answer_unref(a);
	return NULL;
}

/* Where the segments end within the payload; 0: not in the form above. *ret_bytes is the sum of their data. */
static size_t segments_end(struct slice payload, uint64_t *ret_bytes)
{
	size_t at = MAP_HEADER_BYTES + SEGMENTS_BEGIN_BYTES;
	uint32_t count;

	*ret_bytes = 0;
	if (payload.n < at || payload.p[0] != 0xDE || payload.p[3] != KEY_SEGMENTS || payload.p[4] != 0xDD)
		return 0;
	count = get_u32(payload.p + 5);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t n;

		if (payload.n - at < SEGMENT_HEADER_BYTES)
			return 0;
		n = get_u32(payload.p + at + 8);
		at += SEGMENT_HEADER_BYTES;
		if (payload.n - at < n)
			return 0;
		at += n;
		*ret_bytes += n;
	}
	return at;
}

uint64_t payload_segments_bytes(struct slice payload)
{
	uint64_t bytes;

	return segments_end(payload, &bytes) == 0 ? UINT64_MAX : bytes;
}

/* The fields of END that a payload may have; the others are put in front of it, and must not come twice. */
#define BIT(name) (UINT64_C(1) << END_BIT_##name)
static const uint64_t payload_fields = BIT(segments) | BIT(finish_reason) | BIT(model) | BIT(prompt_tokens) |
				       BIT(completion_tokens) | BIT(cached_tokens) | BIT(entry) | BIT(upstream);
#undef BIT

bool payload_is_sound(struct message_decoder *d, struct slice payload)
{
	struct answer_piece piece;
	struct fault fault;
	struct end_body end;
	uint64_t bytes;

	if (segments_end(payload, &bytes) == 0 || payload_decode(d, payload, &end) < 0 ||
	    (end.has & ~payload_fields) != 0)
		return false;
	for (uint32_t i = 0; i < end.segments->via.array.size; i++)
		if (segment_read(&end.segments->via.array.ptr[i], i, &piece, &fault) < 0)
			return false;
	return true;
}

/* New ids for the tool calls in a copy of a payload whose form was checked. The map's header is not looked at. */
static void payload_mint(uint8_t *payload, uint64_t mint)
{
	size_t at = MAP_HEADER_BYTES + SEGMENTS_BEGIN_BYTES;
	struct random_state random;

	random_seed(&random, mint);
	for (uint32_t i = get_u32(payload + 5); i > 0; i--) {
		uint32_t length = get_u32(payload + at + 8);

		if (payload[at + 1] == SEGMENT_TOOL_CALL)
			tool_call_mint(payload + at + SEGMENT_HEADER_BYTES, length, &random);
		at += SEGMENT_HEADER_BYTES + length;
	}
}

bool payload_encode_end(struct buf *out, uint64_t id, const struct end_body *more, struct slice payload, bool segments,
			uint64_t mint)
{
	struct message m = {.op = OP_END, .end = *more};
	unsigned count, own = payload.n >= MAP_HEADER_BYTES ? (unsigned)payload.p[1] << 8 | payload.p[2] : 0;
	size_t start = out->n, skip = MAP_HEADER_BYTES, map_at, others_at = 0;
	uint64_t bytes;

	if (!segments || mint != 0)
		others_at = segments_end(payload, &bytes);
	if (!segments) {
		if (others_at == 0)
			return false;
		skip = others_at;
		own--;
	}
	if (!buf_reserve(out, payload.n + 256) || !message_encode_begin(out, OP_END, id, 0, &start))
		goto fail;
	map_at = out->n;
	if (!buf_append(out, "\xDE\0\0", MAP_HEADER_BYTES) || !message_encode_pairs(out, &m, &count) ||
	    !buf_append(out, payload.p + skip, payload.n - skip))
		goto fail;
	if (mint != 0 && segments && others_at != 0)
		payload_mint(out->p + out->n - payload.n, mint);
	count += own;
	out->p[map_at + 1] = (uint8_t)(count >> 8);
	out->p[map_at + 2] = (uint8_t)count;
	frame_end(out, start);
	return true;
fail:
	out->n = start;
	return false;
}
