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

static void field_pack(msgpack_packer *pk, const struct field_spec *f, const uint8_t *body)
{
	const void *at = body + f->offset;

	msgpack_pack_uint8(pk, f->key);
	switch ((enum field_type)f->type) {
	case TYPE_UINT:
		msgpack_pack_uint64(pk, *(const uint64_t *)at);
		break;
	case TYPE_BOOL:
		*(const bool *)at ? msgpack_pack_true(pk) : msgpack_pack_false(pk);
		break;
	case TYPE_F64:
		msgpack_pack_double(pk, *(const double *)at);
		break;
	case TYPE_STR: {
		const struct slice *s = at;

		msgpack_pack_str(pk, s->n);
		msgpack_pack_str_body(pk, s->p, s->n);
		break;
	}
	case TYPE_BIN: {
		const struct slice *s = at;

		msgpack_pack_bin(pk, s->n);
		msgpack_pack_bin_body(pk, s->p, s->n);
		break;
	}
	case TYPE_ARRAY:
	case TYPE_MAP:
		msgpack_pack_object(pk, **(const msgpack_object *const *)at);
		break;
	}
}

static void pairs_pack(msgpack_packer *pk, const struct op_spec *op, const struct message *m)
{
	const uint8_t *body = (const uint8_t *)&m->hello;

	for (uint64_t has = message_has_bits(op, m); has != 0; has &= has - 1) {
		unsigned bit = (unsigned)__builtin_ctzll(has);

		assert(bit < op->body->count);
		field_pack(pk, &op->body->fields[bit], body);
	}
}

bool message_encode_pairs(struct buf *out, const struct message *m, unsigned *ret_count)
{
	const struct op_spec *op = op_spec_find(m->op);
	size_t start = out->n;
	struct buf_packer p;

	assert(op != NULL);
	buf_packer_init(&p, out);
	pairs_pack(&p.packer, op, m);
	if (p.failed) {
		out->n = start;
		return false;
	}
	*ret_count = (unsigned)__builtin_popcountll(message_has_bits(op, m));
	return true;
}

bool message_encode(struct buf *out, const struct message *m)
{
	const struct op_spec *op = op_spec_find(m->op);
	struct buf_packer p;
	size_t start;

	assert(op != NULL);
	if (!frame_begin(out, &start))
		return false;
	buf_packer_init(&p, out);
	msgpack_pack_array(&p.packer, 4);
	msgpack_pack_uint64(&p.packer, m->op);
	msgpack_pack_uint64(&p.packer, m->id);
	msgpack_pack_uint64(&p.packer, m->flags);
	msgpack_pack_map(&p.packer, (size_t)__builtin_popcountll(message_has_bits(op, m)));
	pairs_pack(&p.packer, op, m);
	if (p.failed || out->n - start - PROTO_FRAME_PREFIX > UINT32_MAX) {
		out->n = start;
		return false;
	}
	frame_end(out, start);
	return true;
}
