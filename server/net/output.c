#include "server/net/output.h"

#include <assert.h>
#include <stdlib.h>

#define OUTPUT_COMPACT_BYTES 65536 /* so many sent bytes at the front are worth moving the rest */

void output_spares_free(struct output_spares *s)
{
	while (s->count > 0)
		buf_free(&s->items[--s->count]);
}

static void output_give_copied(struct output *o, struct output_spares *s)
{
	if (o->copied.p == NULL)
		return;
	o->copied.n = 0;
	o->copied_sent = 0;
	if (o->copied.cap <= OUTPUT_SPARE_BYTES && s->count < OUTPUT_SPARES_MAX)
		s->items[s->count++] = o->copied;
	else
		buf_free(&o->copied);
	o->copied = (struct buf){0};
}

struct buf *output_buf(struct output *o, struct output_spares *s)
{
	if (o->copied.p != NULL)
		return &o->copied;
	if (s->count > 0) {
		o->copied = s->items[--s->count];
		return &o->copied;
	}
	buf_init(&o->copied, OUTPUT_COPIED_MAX, NULL);
	if (!buf_reserve(&o->copied, OUTPUT_SPARE_BYTES))
		o->copied.p = NULL; /* no memory: the append that follows will say so */
	return &o->copied;
}

void output_free(struct output *o, struct output_spares *s)
{
	uint32_t i;

	for (i = o->refs_first; i < o->refs_count; i++)
		answer_block_unref(o->refs[i].block);
	free(o->refs);
	output_give_copied(o, s);
	*o = (struct output){0};
}

static bool output_grow_refs(struct output *o)
{
	uint32_t size = o->refs_size > 0 ? o->refs_size * 2 : 8;
	struct output_ref *refs;

	if (o->refs_first > 0) { /* there is room at the front */
		o->refs_count -= o->refs_first;
		memmove(o->refs, o->refs + o->refs_first, o->refs_count * sizeof *o->refs);
		o->refs_first = 0;
		return true;
	}
	refs = realloc(o->refs, size * sizeof *refs);
	if (refs == NULL)
		return false;
	o->refs = refs;
	o->refs_size = size;
	return true;
}

bool output_append_block(struct output *o, struct output_spares *s, struct answer_block *block, struct slice data)
{
	struct buf *copied = output_buf(o, s);

	if (data.n < OUTPUT_REF_BYTES_MIN)
		return buf_append(copied, data.p, data.n);
	if (o->refs_count == o->refs_size && !output_grow_refs(o))
		return false;
	o->refs[o->refs_count++] = (struct output_ref){answer_block_ref(block), data, copied->n};
	o->ref_bytes += data.n;
	return true;
}

int output_gather(const struct output *o, struct iovec iov[OUTPUT_IOV_MAX])
{
	size_t at = o->copied_sent;
	uint32_t i;
	int n = 0;

	for (i = o->refs_first; i < o->refs_count && n + 2 <= OUTPUT_IOV_MAX; i++) {
		const struct output_ref *ref = &o->refs[i];

		if (ref->at > at)
			iov[n++] = (struct iovec){o->copied.p + at, ref->at - at};
		iov[n++] = (struct iovec){(void *)ref->data.p, ref->data.n};
		at = ref->at;
	}
	if (i == o->refs_count && n < OUTPUT_IOV_MAX && o->copied.n > at)
		iov[n++] = (struct iovec){o->copied.p + at, o->copied.n - at};
	return n;
}

static size_t output_min(size_t a, size_t b) { return a < b ? a : b; }

static void output_compact(struct output *o)
{
	uint32_t i;

	if (o->copied_sent < OUTPUT_COMPACT_BYTES || o->copied_sent < o->copied.n / 2)
		return;
	for (i = o->refs_first; i < o->refs_count; i++)
		o->refs[i].at -= o->copied_sent;
	buf_consume(&o->copied, o->copied_sent);
	o->copied_sent = 0;
}

void output_sent(struct output *o, struct output_spares *s, size_t n)
{
	assert(n <= output_bytes(o));

	while (o->refs_first < o->refs_count) {
		struct output_ref *ref = &o->refs[o->refs_first];
		size_t before = output_min(n, ref->at - o->copied_sent), part;

		o->copied_sent += before;
		n -= before;
		part = output_min(n, ref->data.n);
		ref->data = slice_of(ref->data.p + part, ref->data.n - part);
		o->ref_bytes -= part;
		n -= part;
		if (ref->data.n > 0) /* so n is 0 */
			break;
		answer_block_unref(ref->block);
		o->refs_first++;
	}
	o->copied_sent += n;
	if (output_bytes(o) > 0) {
		output_compact(o);
		return;
	}
	free(o->refs);
	o->refs = NULL;
	o->refs_first = o->refs_count = o->refs_size = 0;
	output_give_copied(o, s);
}
