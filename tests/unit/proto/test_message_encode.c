/* message encode: what is written is read again, for every operation with every key; and nothing is written when it
 * does not fit. */
#include "tests/unit/proto/proto_test.h"

#include "proto/frame.h"
#include "proto/message_internal.h"

static msgpack_object object_int = {.type = MSGPACK_OBJECT_POSITIVE_INTEGER, .via.u64 = 70000};
static msgpack_object object_str = {.type = MSGPACK_OBJECT_STR, .via.str = {4, "text"}};
static msgpack_object object_array = {.type = MSGPACK_OBJECT_ARRAY, .via.array = {1, &object_int}};
static msgpack_object_kv object_entry;
static msgpack_object object_map = {.type = MSGPACK_OBJECT_MAP, .via.map = {1, &object_entry}};

/* A message of the operation with every key it knows. */
static struct message filled(uint64_t op)
{
	const struct op_spec *spec = op_spec_find(op);
	struct message m = {.op = (enum proto_op)op, .id = 0x123456789A, .flags = 0x81};
	uint64_t has = 0;

	object_entry = (msgpack_object_kv){object_str, object_int};
	for (size_t i = 0; i < spec->body->count; i++) {
		const struct field_spec *field = &spec->body->fields[i];
		void *at = (uint8_t *)&m.hello + field->offset;

		if (!(field->in & spec->in))
			continue;
		has |= UINT64_C(1) << i;
		switch ((enum field_type)field->type) {
		case TYPE_UINT:
			*(uint64_t *)at = field->max > 0 ? field->max : UINT64_MAX - i;
			break;
		case TYPE_BOOL:
			*(bool *)at = true;
			break;
		case TYPE_F64:
			*(double *)at = 0.1;
			break;
		case TYPE_STR:
			*(struct slice *)at = slice_str("h\xC3\xA9llo");
			break;
		case TYPE_BIN:
			*(struct slice *)at = BYTES("\0\xFF\x80");
			break;
		case TYPE_ARRAY:
			*(const msgpack_object **)at = &object_array;
			break;
		case TYPE_MAP:
			*(const msgpack_object **)at = &object_map;
			break;
		}
	}
	if (spec->body->count > 0)
		m.hello.has = has;
	return m;
}

static void assert_same_field(const struct field_spec *field, const struct message *a, const struct message *b)
{
	const uint8_t *pa = (const uint8_t *)&a->hello + field->offset,
		      *pb = (const uint8_t *)&b->hello + field->offset;

	switch ((enum field_type)field->type) {
	case TYPE_UINT:
		assert_true(*(const uint64_t *)pa == *(const uint64_t *)pb);
		break;
	case TYPE_BOOL:
		assert_true(*(const bool *)pa == *(const bool *)pb);
		break;
	case TYPE_F64:
		assert_true(*(const double *)pa == *(const double *)pb);
		break;
	case TYPE_STR:
	case TYPE_BIN:
		assert_true(slice_eq(*(const struct slice *)pa, *(const struct slice *)pb));
		break;
	case TYPE_ARRAY:
	case TYPE_MAP:
		assert_true(
			msgpack_object_equal(**(const msgpack_object *const *)pa, **(const msgpack_object *const *)pb));
		break;
	}
}

static void every_operation_with_every_key_survives_the_round_trip(void **state)
{
	struct message_decoder d;
	struct buf out;
	(void)state;

	assert_int_equal(message_decoder_init(&d), 0);
	buf_init(&out, TEST_BYTES_MAX, NULL);
	for (uint64_t op = 0; op < 256; op++) {
		const struct op_spec *spec = op_spec_find(op);
		struct message got;
		struct fault fault;

		if (spec == NULL)
			continue;
		struct message sent = filled(op);

		out.n = 0;
		assert_true(message_encode(&out, &sent));
		struct frame_result r = frame_next(buf_slice(&out), FRAME_BYTES_MAX);

		assert_int_equal(r.status, FRAME_READY);
		assert_int_equal(r.taken, out.n);
		if (message_decode(&d, r.frame, (enum proto_from)spec->from, &got, &fault) < 0)
			fail_msg("%s: %s", spec->name, fault.message);
		assert_true(got.op == sent.op && got.id == sent.id && got.flags == sent.flags);
		if (spec->body->count > 0)
			assert_true(got.hello.has == sent.hello.has);
		for (size_t i = 0; i < spec->body->count; i++) {
			if (sent.hello.has >> i & 1)
				assert_same_field(&spec->body->fields[i], &sent, &got);
		}
	}
	buf_free(&out);
	message_decoder_free(&d);
}

static void a_frame_that_does_not_fit_leaves_no_trace(void **state)
{
	struct buf whole, out;
	(void)state;

	buf_init(&whole, TEST_BYTES_MAX, NULL);
	struct message m = filled(OP_QUERY);

	assert_true(message_encode(&whole, &m));
	for (size_t max = 3; max < whole.n + 3; max++) {
		buf_init(&out, max, NULL);
		put(&out, slice_str("abc"));
		assert_false(message_encode(&out, &m));
		assert_true(slice_is(buf_slice(&out), "abc"));
		buf_free(&out);
	}
	buf_init(&out, whole.n + 3, NULL);
	put(&out, slice_str("abc"));
	assert_true(message_encode(&out, &m));
	assert_true(slice_eq(slice_of(out.p + 3, out.n - 3), buf_slice(&whole)));
	buf_free(&out);
	buf_free(&whole);
}

static void a_frame_without_memory_leaves_no_trace(void **state)
{
	struct message m = filled(OP_END);
	struct scarce_mem mem;
	bool done = false;
	(void)state;

	for (size_t granted = 0; !done; granted++) {
		struct buf out;

		scarce_init(&mem, granted);
		buf_init(&out, TEST_BYTES_MAX, &mem.mem);
		done = message_encode(&out, &m);
		assert_true(done || out.n == 0);
		buf_free(&out);
		assert_int_equal(mem.live, 0);
	}
}

static void keys_stand_in_the_order_of_the_table_whatever_the_order_of_setting(void **state)
{
	struct message m = {.op = OP_ERROR, .id = 9};
	struct buf out, expected;
	(void)state;

	MESSAGE_SET(&m.error, ERROR, field, slice_str("x"));
	MESSAGE_SET(&m.error, ERROR, code, ERR_INVALID);
	buf_init(&out, 1024, NULL);
	buf_init(&expected, 1024, NULL);
	put_hex(&expected, "ce0000000a 94 44 09 00 82 01 03 04 a178");
	assert_true(message_encode(&out, &m));
	assert_true(slice_eq(buf_slice(&out), buf_slice(&expected)));
	buf_free(&out);
	buf_free(&expected);
}

static void a_packer_says_that_something_did_not_fit_and_stays_silent_from_there(void **state)
{
	struct buf_packer p;
	struct buf out;
	(void)state;

	buf_init(&out, 3, NULL);
	buf_packer_init(&p, &out);
	msgpack_pack_uint8(&p.packer, 200);
	assert_false(p.failed);
	msgpack_pack_uint8(&p.packer, 200);
	assert_true(p.failed);
	msgpack_pack_nil(&p.packer);
	assert_int_equal(out.n, 2);
	buf_free(&out);
}

static void a_body_alone_is_what_stands_in_the_frame(void **state)
{
	struct message sent = filled(OP_END), got;
	struct message_decoder d;
	struct fault fault;
	struct buf pairs, body;
	unsigned count = 0;
	(void)state;

	assert_int_equal(message_decoder_init(&d), 0);
	buf_init(&pairs, TEST_BYTES_MAX, NULL);
	buf_init(&body, TEST_BYTES_MAX, NULL);
	assert_true(message_encode_pairs(&pairs, &sent, &count));
	assert_int_equal(count, __builtin_popcountll(sent.end.has));
	const uint8_t head[] = {0xDE, 0, (uint8_t)count};

	put(&body, slice_of(head, sizeof(head)));
	put(&body, buf_slice(&pairs));
	assert_int_equal(message_decode_body(&d, OP_END, buf_slice(&body), &got, &fault), 0);
	assert_true(got.op == OP_END && got.id == 0 && got.end.has == sent.end.has);
	for (size_t i = 0; i < op_spec_find(OP_END)->body->count; i++)
		assert_same_field(&op_spec_find(OP_END)->body->fields[i], &sent, &got);

	struct buf whole;

	buf_init(&whole, TEST_BYTES_MAX, NULL);
	assert_true(message_encode(&whole, &sent));
	assert_memory_equal(whole.p + whole.n - pairs.n, pairs.p, pairs.n);
	buf_free(&whole);
	buf_free(&pairs);
	buf_free(&body);
	message_decoder_free(&d);
}

static void a_body_alone_follows_the_rules_of_decoding(void **state)
{
	struct message_decoder d;
	struct message got;
	struct fault fault;
	(void)state;

	assert_int_equal(message_decoder_init(&d), 0);
	assert_int_equal(message_decode_body(&d, OP_END, BYTES("\x90"), &got, &fault), -1);
	assert_int_equal(fault.code, ERR_PROTOCOL);
	assert_int_equal(message_decode_body(&d, OP_END, BYTES("\x82\x01\x01"), &got, &fault), -1);
	assert_int_equal(fault.code, ERR_PROTOCOL);
	assert_int_equal(message_decode_body(&d, OP_END, BYTES("\x81\x01\xC0"), &got, &fault), -1);
	assert_string_equal(fault.field, "source");
	message_decoder_free(&d);
}

static void pairs_that_do_not_fit_leave_no_trace(void **state)
{
	struct message m = filled(OP_ERROR);
	unsigned count = 99;
	struct buf out;
	(void)state;

	buf_init(&out, 8, NULL);
	put(&out, slice_str("abc"));
	assert_false(message_encode_pairs(&out, &m, &count));
	assert_true(slice_is(buf_slice(&out), "abc"));
	assert_int_equal(count, 99);
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_operation_with_every_key_survives_the_round_trip),
		cmocka_unit_test(a_frame_that_does_not_fit_leaves_no_trace),
		cmocka_unit_test(a_frame_without_memory_leaves_no_trace),
		cmocka_unit_test(keys_stand_in_the_order_of_the_table_whatever_the_order_of_setting),
		cmocka_unit_test(a_body_alone_is_what_stands_in_the_frame),
		cmocka_unit_test(a_body_alone_follows_the_rules_of_decoding),
		cmocka_unit_test(pairs_that_do_not_fit_leave_no_trace),
		cmocka_unit_test(a_packer_says_that_something_did_not_fit_and_stays_silent_from_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
