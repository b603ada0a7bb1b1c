/* answer: gathering the pieces, and making the answer in one block. */
#include "client/answer_internal.h"

#include <assert.h>
#include <limits.h>

#define PLAIN_PIECES_MAX 8 /* an END with so few whole segments needs no memory but the answer's */

static bool piece_set(uint64_t kind, uint64_t index, struct slice data, struct piece *ret)
{
	if (kind < 1 || kind > INT_MAX || index >= SEGMENTS_MAX)
		return false;
	*ret = (struct piece){.kind = (int)kind, .index = (unsigned)index, .data = data};
	return true;
}

bool piece_of_object(const msgpack_object *o, struct piece *ret)
{
	if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size != 3)
		return false;

	const msgpack_object *kind = &o->via.array.ptr[0], *index = &o->via.array.ptr[1], *data = &o->via.array.ptr[2];
	struct slice bytes;

	if (kind->type != MSGPACK_OBJECT_POSITIVE_INTEGER || index->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
		return false;
	if (data->type == MSGPACK_OBJECT_STR)
		bytes = slice_of(data->via.str.ptr, data->via.str.size);
	else if (data->type == MSGPACK_OBJECT_BIN)
		bytes = slice_of(data->via.bin.ptr, data->via.bin.size);
	else
		return false;
	return piece_set(kind->via.u64, index->via.u64, bytes, ret);
}

bool piece_of_chunk(const struct chunk_body *c, struct piece *ret)
{
	return piece_set(c->kind, c->index, c->data, ret);
}

/* ---- gathering */

void gather_init(struct gather *g, const struct mem *mem) { *g = (struct gather){.mem = mem}; }

void gather_free(struct gather *g)
{
	for (size_t i = 0; i < g->count; i++)
		buf_free(&g->segments[i].data);
	mem_free(g->mem, g->segments);
	g->segments = NULL;
	g->count = 0;
	g->bytes = 0;
}

static bool gather_reach(struct gather *g, size_t index)
{
	if (index < g->count)
		return true;

	/* Segments come one after the other, so this grows by one at a time; a peer that skips gets what it asks for,
	 * up to the limit. */
	struct gathered *segments = mem_resize(g->mem, g->segments, (index + 1) * sizeof(*segments));

	if (segments == NULL)
		return false;
	g->segments = segments;
	for (; g->count <= index; g->count++) {
		segments[g->count].kind = 0;
		buf_init(&segments[g->count].data, ANSWER_BYTES_MAX, g->mem);
	}
	return true;
}

int gather_add(struct gather *g, const struct piece *p)
{
	if (p->data.n > ANSWER_BYTES_MAX - g->bytes)
		return PC_PROTOCOL;
	if (!gather_reach(g, p->index))
		return PC_NO_MEMORY;

	struct gathered *s = &g->segments[p->index];

	if (s->kind != 0 && s->kind != p->kind)
		return PC_PROTOCOL;
	s->kind = p->kind;
	if (!buf_append(&s->data, p->data.p, p->data.n))
		return PC_NO_MEMORY;
	g->bytes += p->data.n;
	return PC_OK;
}

/* ---- making */

static size_t array_size(const msgpack_object *o) { return o != NULL ? o->via.array.size : 0; }

/* True if END brings whole segments, few and each once, and nothing came before: then `ret` is the answer. */
static bool pieces_plain(const struct gather *g, const msgpack_object *segments, struct piece *ret, size_t *ret_count)
{
	size_t count = array_size(segments), bytes = 0;

	if (g->count > 0 || count > PLAIN_PIECES_MAX)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (!piece_of_object(&segments->via.array.ptr[i], &ret[i]) ||
		    (i > 0 && ret[i].index <= ret[i - 1].index))
			return false;
		bytes += ret[i].data.n;
	}
	*ret_count = count;
	return bytes <= ANSWER_BYTES_MAX;
}

static int pieces_gather(struct gather *g, const msgpack_object *segments, struct piece **ret, size_t *ret_count)
{
	for (size_t i = 0; i < array_size(segments); i++) {
		struct piece p;

		if (!piece_of_object(&segments->via.array.ptr[i], &p))
			return PC_PROTOCOL;

		int status = gather_add(g, &p);

		if (status != PC_OK)
			return status;
	}
	if (g->count == 0) {
		*ret_count = 0;
		return PC_OK;
	}

	struct piece *pieces = mem_resize(g->mem, NULL, g->count * sizeof(*pieces));
	size_t count = 0;

	if (pieces == NULL)
		return PC_NO_MEMORY;
	for (size_t i = 0; i < g->count; i++) {
		if (g->segments[i].kind == 0)
			continue;
		pieces[count++] = (struct piece){
			.kind = g->segments[i].kind, .index = (unsigned)i, .data = buf_slice(&g->segments[i].data)};
	}
	*ret = pieces;
	*ret_count = count;
	return PC_OK;
}

/* A name and a number; other shapes are a later version's and are skipped. */
static bool number_of(const msgpack_object_kv *kv, double *ret)
{
	if (kv->key.type != MSGPACK_OBJECT_STR)
		return false;
	switch (kv->val.type) {
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		*ret = (double)kv->val.via.u64;
		return true;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		*ret = (double)kv->val.via.i64;
		return true;
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		*ret = kv->val.via.f64;
		return true;
	default:
		return false;
	}
}

static void numbers_measure(const msgpack_object *map, size_t *count, size_t *text_size)
{
	double ignored;

	for (size_t i = 0; map != NULL && i < map->via.map.size; i++) {
		if (!number_of(&map->via.map.ptr[i], &ignored))
			continue;
		*count += 1;
		*text_size += map->via.map.ptr[i].key.via.str.size + 1;
	}
}

/* The block: structures first, characters behind them. Both were counted before. */
struct block {
	unsigned char *at; /* next structure */
	char *text;	   /* next character */
};

static char *block_text(struct block *b, struct slice s)
{
	char *text = b->text;

	if (s.n > 0)
		memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	b->text += s.n + 1;
	return text;
}

static struct answer_number *block_numbers(struct block *b, const msgpack_object *map, size_t *ret_count)
{
	struct answer_number *numbers = (struct answer_number *)(void *)b->at;
	size_t count = 0;

	for (size_t i = 0; map != NULL && i < map->via.map.size; i++) {
		const msgpack_object_str *key = &map->via.map.ptr[i].key.via.str;
		double value;

		if (!number_of(&map->via.map.ptr[i], &value))
			continue;
		numbers[count++] =
			(struct answer_number){.name = block_text(b, slice_of(key->ptr, key->size)), .value = value};
	}
	b->at += count * sizeof(*numbers);
	*ret_count = count;
	return numbers;
}

/* Text segments side by side, so that they read as one string; the others behind its NUL. */
static void block_segments(struct block *b, struct pc_answer *a, const struct piece *pieces, size_t count)
{
	a->segments = (struct pc_segment *)(void *)b->at;
	a->segment_count = count;
	b->at += count * sizeof(*a->segments);
	a->text = b->text;
	for (int is_text = 1; is_text >= 0; is_text--) {
		for (size_t i = 0; i < count; i++) {
			if ((pieces[i].kind == PC_TEXT) != is_text)
				continue;
			if (pieces[i].data.n > 0)
				memcpy(b->text, pieces[i].data.p, pieces[i].data.n);
			a->segments[i] =
				(struct pc_segment){.kind = pieces[i].kind, .data = b->text, .len = pieces[i].data.n};
			b->text += pieces[i].data.n;
		}
		if (is_text)
			a->text_len = (size_t)(b->text - a->text);
		*b->text++ = '\0';
	}
}

static void answer_fill(struct pc_answer *a, const struct end_body *end)
{
	a->has = end->has;
	a->source = end->source;
	a->reason = end->reason;
	a->prompt_tokens = end->prompt_tokens;
	a->completion_tokens = end->completion_tokens;
	a->cached_tokens = end->cached_tokens;
	a->tokens_saved = end->tokens_saved;
	a->cost_saved_nusd = end->cost_saved_nusd;
	a->age_ms = end->age_ms;
	a->as_of = end->as_of;
	a->removed = end->removed;
	a->similarity = end->similarity;
	a->confidence = end->confidence;
	a->stored = end->stored;
}

static const char *block_hex(struct block *b, struct slice bytes)
{
	static const char digits[] = "0123456789abcdef";
	char *text = b->text;

	for (size_t i = 0; i < bytes.n; i++) {
		*b->text++ = digits[bytes.p[i] >> 4];
		*b->text++ = digits[bytes.p[i] & 15];
	}
	*b->text++ = '\0';
	return text;
}

static struct pc_answer *answer_build(const struct mem *mem, const struct end_body *end, const struct piece *pieces,
				      size_t count)
{
	size_t text_size = 2 + end->model.n + 1 + end->upstream.n + 1 + end->finish_reason.n + 1 + 2 * end->entry.n + 1;
	size_t number_count = 0;

	for (size_t i = 0; i < count; i++)
		text_size += pieces[i].data.n;
	numbers_measure(end->stages_us, &number_count, &text_size);
	numbers_measure(end->stats, &number_count, &text_size);

	size_t structs = sizeof(struct pc_answer) + count * sizeof(struct pc_segment) +
			 number_count * sizeof(struct answer_number);
	struct pc_answer *a = mem_resize(mem, NULL, structs + text_size);

	if (a == NULL)
		return NULL;

	struct block b = {.at = (unsigned char *)(a + 1), .text = (char *)a + structs};

	*a = (struct pc_answer){.mem = *mem};
	answer_fill(a, end);
	block_segments(&b, a, pieces, count);
	a->stages = block_numbers(&b, end->stages_us, &a->stage_count);
	a->stats = block_numbers(&b, end->stats, &a->stat_count);
	a->model = block_text(&b, end->model);
	a->upstream = block_text(&b, end->upstream);
	a->finish_reason = block_text(&b, end->finish_reason);
	a->entry = block_hex(&b, end->entry);
	assert((size_t)(b.text - (char *)a) == structs + text_size);
	return a;
}

int answer_make(struct gather *g, const struct end_body *end, uint64_t latency_us, struct pc_answer **ret)
{
	struct piece plain[PLAIN_PIECES_MAX], *many = NULL;
	size_t count = 0;
	bool is_plain = pieces_plain(g, end->segments, plain, &count);

	if (!is_plain) {
		int status = pieces_gather(g, end->segments, &many, &count);

		if (status != PC_OK)
			return status;
	}

	struct pc_answer *a = answer_build(g->mem, end, is_plain ? plain : many, count);

	mem_free(g->mem, many);
	if (a == NULL)
		return PC_NO_MEMORY;
	a->latency_us = latency_us;
	*ret = a;
	return PC_OK;
}
