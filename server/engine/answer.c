#include "server/engine/answer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The first block is small because most answers are; later ones are large because long answers go on. */
#define BLOCK_BYTES_FIRST 2048u
#define BLOCK_BYTES_NEXT  16384u
#define SEGMENTS_FIRST	  4u

struct answer_block *answer_block_ref(struct answer_block *b)
{
	b->refs++;
	return b;
}

void answer_block_unref(struct answer_block *b)
{
	if (b == NULL)
		return;
	assert(b->refs > 0);
	if (--b->refs == 0)
		free(b);
}

struct answer *answer_new(void)
{
	struct answer *a = calloc(1, sizeof *a);

	if (a == NULL)
		return NULL;
	a->refs = 1;
	TAILQ_INIT(&a->blocks);
	a->memory_bytes = sizeof *a;
	return a;
}

struct answer *answer_ref(struct answer *a)
{
	a->refs++;
	return a;
}

void answer_unref(struct answer *a)
{
	struct answer_block *b;

	if (a == NULL)
		return;
	assert(a->refs > 0);
	if (--a->refs > 0)
		return;
	while ((b = TAILQ_FIRST(&a->blocks)) != NULL) {
		TAILQ_REMOVE(&a->blocks, b, link);
		answer_block_unref(b);
	}
	free(a->segments);
	free(a);
}

/* A block with room at the end of the log. NULL: no memory. */
static struct answer_block *answer_room(struct answer *a)
{
	struct answer_block *b = TAILQ_LAST(&a->blocks, answer_blocks);
	uint32_t size;

	if (b != NULL && b->used < b->size)
		return b;
	size = b == NULL ? BLOCK_BYTES_FIRST : BLOCK_BYTES_NEXT;
	b = malloc(sizeof *b + size);
	if (b == NULL)
		return NULL;
	*b = (struct answer_block){.refs = 1, .size = size};
	TAILQ_INSERT_TAIL(&a->blocks, b, link);
	a->memory_bytes += sizeof *b + size;
	return b;
}

static bool answer_open_segment(struct answer *a, enum proto_segment kind)
{
	if (a->segments_count == a->segments_size) {
		uint32_t size = a->segments_size == 0 ? SEGMENTS_FIRST : 2 * a->segments_size;
		struct answer_segment *grown = realloc(a->segments, size * sizeof *grown);

		if (grown == NULL)
			return false;
		a->memory_bytes += (size - a->segments_size) * sizeof *grown;
		a->segments = grown;
		a->segments_size = size;
	}
	a->segments[a->segments_count++] = (struct answer_segment){.kind = (uint8_t)kind, .begin = a->bytes};
	return true;
}

bool answer_append(struct answer *a, enum proto_segment kind, unsigned index, struct slice data)
{
	assert(a->state == ANSWER_GROWING);
	assert(index == a->segments_count || index + 1 == a->segments_count);

	if (data.n > ANSWER_BYTES_MAX - a->bytes || index >= SEGMENTS_MAX)
		return false;
	if (index == a->segments_count && !answer_open_segment(a, kind))
		return false;
	assert(a->segments[index].kind == kind);
	while (data.n > 0) {
		struct answer_block *b = answer_room(a);
		size_t n;

		if (b == NULL)
			return false;
		n = data.n < b->size - b->used ? data.n : b->size - b->used;
		memcpy(b->bytes + b->used, data.p, n);
		b->used += (uint32_t)n;
		a->bytes += (uint32_t)n;
		data.p += n;
		data.n -= n;
	}
	return true;
}

void answer_finish(struct answer *a, enum answer_state state)
{
	assert(a->state == ANSWER_GROWING && state != ANSWER_GROWING);
	a->state = state;
}

/* Where segment i ends, as far as it has grown. */
static uint32_t segment_end(const struct answer *a, uint32_t i)
{
	return i + 1 < a->segments_count ? a->segments[i + 1].begin : a->bytes;
}

bool answer_read(const struct answer *a, struct answer_reader *r, size_t max_bytes, struct answer_piece *ret)
{
	size_t n;

	assert(max_bytes > 0);
	while (r->segment < a->segments_count && r->offset == segment_end(a, r->segment)) {
		if (r->segment + 1 == a->segments_count)
			return false; /* it may still grow: stay in it */
		r->segment++;
	}
	if (r->offset == a->bytes)
		return false;
	if (r->block == NULL)
		r->block = TAILQ_FIRST(&a->blocks);
	else if (r->block_offset == r->block->size) {
		r->block = TAILQ_NEXT(r->block, link);
		r->block_offset = 0;
	}
	n = segment_end(a, r->segment) - r->offset;
	if (n > r->block->used - r->block_offset)
		n = r->block->used - r->block_offset;
	if (n > max_bytes)
		n = max_bytes;
	*ret = (struct answer_piece){
		.kind = a->segments[r->segment].kind,
		.index = r->segment,
		.data = {r->block->bytes + r->block_offset, n},
		.block = r->block,
	};
	r->block_offset += (uint32_t)n;
	r->offset += (uint32_t)n;
	return true;
}
