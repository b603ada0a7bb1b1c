/* message encode: a structure becomes a frame; the keys in the order of the schema. */
#include "proto/frame.h"
#include "proto/message_internal.h"

#include <assert.h>

static int packer_write(void *owner, const char *p, size_t n)
{
	struct buf_packer *bp = owner;

	if (!bp->failed && !buf_append(bp->out, p, n))
		bp->failed = true;
	return bp->failed ? -1 : 0;
}

void buf_packer_init(struct buf_packer *p, struct buf *out)
{
	p->out = out;
	p->failed = false;
	msgpack_packer_init(&p->packer, p, packer_write);
}

/* What stands before a string's bytes and every small value is written by hand: msgpack-c's packer calls back for each of
 * the thirty runs of bytes of an END, which took 1,200 of a hit's 11,000 instructions (callgrind, bench/exact_hit.sh's
 * load). Arrays and maps go through the library. */
#define HEADER_BYTES_MAX 9

static uint8_t *put_number(uint8_t *p, uint8_t mark, uint64_t v, unsigned bytes)
{
	*p++ = mark;
	while (bytes-- > 0)
		*p++ = (uint8_t)(v >> (8 * bytes));
	return p;
}

static uint8_t *put_uint(uint8_t *p, uint64_t v)
{
	if (v < 0x80) {
		*p = (uint8_t)v;
		return p + 1;
	}
	if (v <= UINT8_MAX)
		return put_number(p, 0xCC, v, 1);
	if (v <= UINT16_MAX)
		return put_number(p, 0xCD, v, 2);
	if (v <= UINT32_MAX)
		return put_number(p, 0xCE, v, 4);
	return put_number(p, 0xCF, v, 8);
}

static uint8_t *put_f64(uint8_t *p, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	return put_number(p, 0xCB, bits, 8);
}

static uint8_t *put_str_header(uint8_t *p, size_t n)
{
	if (n < 32) {
		*p = (uint8_t)(0xA0 | n);
		return p + 1;
	}
	return n <= UINT8_MAX	 ? put_number(p, 0xD9, n, 1)
	       : n <= UINT16_MAX ? put_number(p, 0xDA, n, 2)
				 : put_number(p, 0xDB, n, 4);
}

static uint8_t *put_bin_header(uint8_t *p, size_t n)
{
	return n <= UINT8_MAX	 ? put_number(p, 0xC4, n, 1)
	       : n <= UINT16_MAX ? put_number(p, 0xC5, n, 2)
				 : put_number(p, 0xC6, n, 4);
}

/* One of ARRAY, MAP. */
static bool object_append(struct buf *out, const msgpack_object *o)
{
	struct buf_packer p;

	buf_packer_init(&p, out);
	msgpack_pack_object(&p.packer, *o);
	return !p.failed;
}

static bool field_append(struct buf *out, const struct field_spec *f, const uint8_t *body)
{
	const void *at = body + f->offset;
	const struct slice *s = at;
	uint8_t *begin, *p;

	if (!buf_reserve(out, 2 + HEADER_BYTES_MAX))
		return false;
	begin = out->p + out->n;
	p = put_uint(begin, f->key);
	switch ((enum field_type)f->type) {
	case TYPE_UINT:
		p = put_uint(p, *(const uint64_t *)at);
		break;
	case TYPE_BOOL:
		*p++ = *(const bool *)at ? 0xC3 : 0xC2;
		break;
	case TYPE_F64:
		p = put_f64(p, *(const double *)at);
		break;
	case TYPE_STR:
		p = put_str_header(p, s->n);
		break;
	case TYPE_BIN:
		p = put_bin_header(p, s->n);
		break;
	case TYPE_ARRAY:
	case TYPE_MAP:
		break;
	}
	out->n += (size_t)(p - begin);
	if (f->type == TYPE_ARRAY || f->type == TYPE_MAP)
		return object_append(out, *(const msgpack_object *const *)at);
	return (f->type != TYPE_STR && f->type != TYPE_BIN) || buf_append(out, s->p, s->n);
}

static bool pairs_append(struct buf *out, const struct op_spec *op, const struct message *m)
{
	const uint8_t *body = (const uint8_t *)&m->hello;

	for (uint64_t has = message_has_bits(op, m); has != 0; has &= has - 1) {
		unsigned bit = (unsigned)__builtin_ctzll(has);

		assert(bit < op->body->count);
		if (!field_append(out, &op->body->fields[bit], body))
			return false;
	}
	return true;
}

bool message_encode_pairs(struct buf *out, const struct message *m, unsigned *ret_count)
{
	const struct op_spec *op = op_spec_find(m->op);
	size_t start = out->n;

	assert(op != NULL);
	if (!pairs_append(out, op, m)) {
		out->n = start;
		return false;
	}
	*ret_count = (unsigned)__builtin_popcountll(message_has_bits(op, m));
	return true;
}

bool message_encode_begin(struct buf *out, uint64_t op, uint64_t id, uint64_t flags, size_t *ret_start)
{
	uint8_t *begin, *p;

	if (!buf_reserve(out, PROTO_FRAME_PREFIX + 1 + 3 * HEADER_BYTES_MAX) || !frame_begin(out, ret_start))
		return false;
	begin = p = out->p + out->n;
	*p++ = 0x94;
	p = put_uint(p, op);
	p = put_uint(p, id);
	p = put_uint(p, flags);
	out->n += (size_t)(p - begin);
	return true;
}

bool message_encode(struct buf *out, const struct message *m)
{
	const struct op_spec *op = op_spec_find(m->op);
	struct buf_packer p;
	size_t start;

	assert(op != NULL);
	if (!message_encode_begin(out, m->op, m->id, m->flags, &start))
		return false;
	buf_packer_init(&p, out);
	msgpack_pack_map(&p.packer, (size_t)__builtin_popcountll(message_has_bits(op, m)));
	if (p.failed || !pairs_append(out, op, m) || out->n - start - PROTO_FRAME_PREFIX > UINT32_MAX) {
		out->n = start;
		return false;
	}
	frame_end(out, start);
	return true;
}
