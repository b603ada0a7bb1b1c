#include "server/net/reply.h"

#include <stdlib.h>

#include "proto/frame.h"
#include "server/engine/payload.h"

bool reply_error(struct buf *out, uint64_t id, const struct reply_error *e)
{
	const struct fault *fault = e->fault;
	struct message m = {.op = OP_ERROR, .id = id};

	MESSAGE_SET(&m.error, ERROR, code, fault->code);
	MESSAGE_SET(&m.error, ERROR, name, slice_str(proto_error_name(fault->code)));
	MESSAGE_SET(&m.error, ERROR, message, slice_str(fault->message));
	if (fault->field[0] != '\0')
		MESSAGE_SET(&m.error, ERROR, field, slice_str(fault->field));
	MESSAGE_SET(&m.error, ERROR, retryable, proto_error_retryable(fault->code));
	if (e->retry_after_ms > 0)
		MESSAGE_SET(&m.error, ERROR, retry_after_ms, e->retry_after_ms);
	if (fault->code == ERR_INTERRUPTED)
		MESSAGE_SET(&m.error, ERROR, offset, e->offset);
	if (e->upstream_status > 0)
		MESSAGE_SET(&m.error, ERROR, upstream_status, e->upstream_status);
	return message_encode(out, &m);
}

bool reply_ping(struct buf *out, bool ack)
{
	return message_encode(out, &(struct message){.op = OP_PING, .flags = ack ? PROTO_FLAG_ACK : 0});
}

bool reply_goaway(struct buf *out, uint64_t grace_ms, uint64_t last_id, const char *reason)
{
	struct message m = {.op = OP_GOAWAY};

	MESSAGE_SET(&m.goaway, GOAWAY, grace_ms, grace_ms);
	MESSAGE_SET(&m.goaway, GOAWAY, last_id, last_id);
	MESSAGE_SET(&m.goaway, GOAWAY, reason, slice_str(reason));
	return message_encode(out, &m);
}

bool reply_end(struct buf *out, uint64_t id, const struct end_body *end)
{
	return message_encode(out, &(struct message){.op = OP_END, .id = id, .end = *end});
}

/* ---- STATS */

struct stats {
	msgpack_object_kv *items;
	uint32_t count, size;
};

static msgpack_object object_str(const char *s)
{
	return (msgpack_object){.type = MSGPACK_OBJECT_STR, .via.str = {(uint32_t)strlen(s), s}};
}

static msgpack_object object_uint(uint64_t value)
{
	return (msgpack_object){.type = MSGPACK_OBJECT_POSITIVE_INTEGER, .via.u64 = value};
}

static void stats_count(void *owner, const struct metric *metric, uint64_t value)
{
	struct stats *s = owner;

	(void)metric;
	(void)value;
	s->size += s->size < STATS_ITEMS_MAX;
}

static void stats_add(void *owner, const struct metric *metric, uint64_t value)
{
	struct stats *s = owner;

	if (s->count < s->size)
		s->items[s->count++] = (msgpack_object_kv){object_str(metric->name), object_uint(value)};
}

bool reply_stats(struct buf *out, uint64_t id, const struct metrics *m)
{
	struct end_body end = {0};
	struct stats s = {0};
	msgpack_object map;
	bool ok;

	metrics_walk(m, stats_count, &s);
	s.items = calloc(s.size + 1, sizeof *s.items);
	if (s.items == NULL)
		return false;
	metrics_walk(m, stats_add, &s);
	map = (msgpack_object){.type = MSGPACK_OBJECT_MAP, .via.map = {s.count, s.items}};
	MESSAGE_SET(&end, END, stats, &map);
	ok = reply_end(out, id, &end);
	free(s.items);
	return ok;
}

/* ---- answers */

bool reply_head(struct buf *out, uint64_t id, enum proto_source source, uint64_t age_ms)
{
	struct message m = {.op = OP_HEAD, .id = id};

	MESSAGE_SET(&m.head, HEAD, source, source);
	if (source == SOURCE_EXACT || source == SOURCE_SEMANTIC || source == SOURCE_STALE)
		MESSAGE_SET(&m.head, HEAD, age_ms, age_ms);
	return message_encode(out, &m);
}

#define X(number, name, ...) CHUNK_KEY_##name = (number),
enum {
	PROTO_CHUNK_KEYS(X)
};
#undef X

/* By hand: message_encode would want the data, and copy it. */
bool reply_chunk_begin(struct buf *out, uint64_t id, enum proto_segment kind, uint32_t index, size_t data_bytes)
{
	struct buf_packer p;
	size_t start, n;

	if (!message_encode_begin(out, OP_CHUNK, id, 0, &start))
		return false;
	buf_packer_init(&p, out);
	msgpack_pack_map(&p.packer, 3);
	msgpack_pack_uint64(&p.packer, CHUNK_KEY_kind);
	msgpack_pack_uint64(&p.packer, kind);
	msgpack_pack_uint64(&p.packer, CHUNK_KEY_index);
	msgpack_pack_uint64(&p.packer, index);
	msgpack_pack_uint64(&p.packer, CHUNK_KEY_data);
	msgpack_pack_bin(&p.packer, data_bytes);
	if (p.failed) {
		out->n = start;
		return false;
	}
	frame_end(out, start);
	n = out->n - start - PROTO_FRAME_PREFIX + data_bytes; /* the length counts what follows, too */
	out->p[start + 1] = (uint8_t)(n >> 24);
	out->p[start + 2] = (uint8_t)(n >> 16);
	out->p[start + 3] = (uint8_t)(n >> 8);
	out->p[start + 4] = (uint8_t)n;
	return true;
}

static uint32_t reply_stages(const struct query_outcome *o, msgpack_object_kv ret[STAGE_COUNT])
{
	uint32_t count = 0;
	int i;

	for (i = 0; i < STAGE_COUNT; i++)
		if (o->stages_us[i] > 0)
			ret[count++] = (msgpack_object_kv){object_str(proto_stage_name((enum proto_stage)i)),
							   object_uint(o->stages_us[i])};
	return count;
}

bool reply_query_end(struct buf *out, uint64_t id, const struct query *q, bool segments)
{
	const struct query_outcome *o = &q->outcome;
	msgpack_object_kv stages[STAGE_COUNT];
	msgpack_object map = {.type = MSGPACK_OBJECT_MAP, .via.map = {reply_stages(o, stages), stages}};
	struct end_body end = {0};

	MESSAGE_SET(&end, END, source, o->source);
	MESSAGE_SET(&end, END, stored, o->stored);
	MESSAGE_SET(&end, END, reason, o->reason);
	MESSAGE_SET(&end, END, as_of, o->as_of);
	if (o->source == SOURCE_EXACT || o->source == SOURCE_SEMANTIC || o->source == SOURCE_STALE)
		MESSAGE_SET(&end, END, age_ms, o->age_ms);
	if (map.via.map.size > 0)
		MESSAGE_SET(&end, END, stages_us, &map);
	if (o->source != SOURCE_NONE && o->source != SOURCE_LLM) {
		MESSAGE_SET(&end, END, tokens_saved, o->tokens_saved);
		MESSAGE_SET(&end, END, cost_saved_nusd, o->cost_saved_nusd);
	}
	if (q->entry == NULL)
		return reply_end(out, id, &end);
	return payload_encode_end(out, id, &end, entry_payload(q->entry), segments, q->mint);
}
