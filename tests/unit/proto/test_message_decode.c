/* message decode: each rule of the header, over every operation and key of the schema. */
#include "tests/unit/proto/proto_test.h"

#include <stdio.h>

#include "proto/message_internal.h"

struct fixture {
	struct message_decoder decoder;
	struct buf frame;
	struct message message;
	struct fault fault;
};

static struct fixture f;

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){0};
	buf_init(&f.frame, TEST_BYTES_MAX, NULL);
	return message_decoder_init(&f.decoder);
}

static int teardown(void **state)
{
	(void)state;
	message_decoder_free(&f.decoder);
	buf_free(&f.frame);
	return 0;
}

static int decode_from(enum proto_from from)
{
	return message_decode(&f.decoder, buf_slice(&f.frame), from, &f.message, &f.fault);
}

/* [op, 7, 0, {...}] with a body in hex. */
static int decode(uint64_t op, const char *body)
{
	char head[32];

	f.frame.n = 0;
	snprintf(head, sizeof(head), "94 cc%02x 07 00", (unsigned)op);
	put_hex(&f.frame, head);
	put_hex(&f.frame, body);
	return decode_from(op_spec_find(op) == NULL ? FROM_C : (enum proto_from)op_spec_find(op)->from);
}

static void assert_fault(int rc, enum proto_error code, const char *field)
{
	assert_int_equal(rc, -1);
	if (f.fault.code != code || strcmp(f.fault.field, field) != 0)
		fail_msg("%s \"%s\" (%s), expected %s \"%s\"", proto_error_name(f.fault.code), f.fault.field,
			 f.fault.message, proto_error_name(code), field);
	assert_true(f.fault.message[0] != '\0');
}

/* ---- over all keys */

/* One small value of each msgpack type, and the field types that take it. */
static const struct {
	const char *hex;
	unsigned taken_by;
} samples[] = {
	{"c0", 0},
	{"c2", 1 << TYPE_BOOL},
	{"01", 1 << TYPE_UINT | 1 << TYPE_F64},
	{"ff", 1 << TYPE_F64},
	{"ca3f000000", 1 << TYPE_F64},
	{"cb3fe0000000000000", 1 << TYPE_F64},
	{"a161", 1 << TYPE_STR | 1 << TYPE_BIN},
	{"c40161", 1 << TYPE_BIN},
	{"91c0", 1 << TYPE_ARRAY},
	{"81a16101", 1 << TYPE_MAP},
	{"d40501", 0},
};

/* A body with this field and all others that are required. */
static void body_with(const struct body_spec *body, const struct field_spec *field, const char *value, char *ret,
		      size_t size)
{
	size_t at, count = 1;

	for (size_t i = 0; i < body->count; i++)
		count += body->fields[i].required && &body->fields[i] != field;
	at = (size_t)snprintf(ret, size, "%02zx cc%02x %s", 0x80 + count, field->key, value);
	for (size_t i = 0; i < body->count; i++) {
		if (body->fields[i].required && &body->fields[i] != field)
			at += (size_t)snprintf(ret + at, size - at, " cc%02x %s", body->fields[i].key,
					       body->fields[i].type == TYPE_UINT ? "01" : "a161");
	}
}

static void each_key_takes_its_type_and_refuses_all_others_by_name(void **state)
{
	char body[256];
	size_t tried = 0;
	(void)state;

	for (uint64_t op = 0; op < 256; op++) {
		const struct op_spec *spec = op_spec_find(op);

		for (size_t i = 0; spec != NULL && i < spec->body->count; i++) {
			const struct field_spec *field = &spec->body->fields[i];

			for (size_t s = 0; s < COUNT(samples) && (field->in & spec->in); s++, tried++) {
				body_with(spec->body, field, samples[s].hex, body, sizeof(body));
				int rc = decode(op, body);

				if (!(samples[s].taken_by >> field->type & 1))
					assert_fault(rc, ERR_INVALID, field->name);
				else if (rc != 0 || !(f.message.hello.has >> i & 1))
					fail_msg("%s.%s: %s: %s", spec->name, field->name, samples[s].hex,
						 f.fault.message);
			}
		}
	}
	assert_true(tried > 800);
}

static void each_key_given_twice_is_refused_by_name(void **state)
{
	static const char *const values[] = {
		[TYPE_UINT] = "01",    [TYPE_BOOL] = "c2",  [TYPE_F64] = "01", [TYPE_STR] = "a161",
		[TYPE_BIN] = "c40161", [TYPE_ARRAY] = "90", [TYPE_MAP] = "80"};
	char body[256];
	(void)state;

	for (uint64_t op = 0; op < 256; op++) {
		const struct op_spec *spec = op_spec_find(op);

		for (size_t i = 0; spec != NULL && i < spec->body->count; i++) {
			const struct field_spec *field = &spec->body->fields[i];

			if (!(field->in & spec->in))
				continue;
			snprintf(body, sizeof(body), "82 cc%02x %s cc%02x %s", field->key, values[field->type],
				 field->key, values[field->type]);
			assert_fault(decode(op, body), ERR_INVALID, field->name);
		}
	}
}

static void each_required_key_is_missed_by_name(void **state)
{
	size_t required = 0;
	(void)state;

	for (uint64_t op = 0; op < 256; op++) {
		const struct op_spec *spec = op_spec_find(op);
		bool first = true;

		for (size_t i = 0; spec != NULL && i < spec->body->count; i++) {
			if (!spec->body->fields[i].required)
				continue;
			required++;
			if (first)
				assert_fault(decode(op, "80"), ERR_INVALID, spec->body->fields[i].name);
			first = false;
		}
	}
	assert_true(required >= 5);
}

static void put_sized(enum field_type type, uint64_t size)
{
	struct buf_packer p;

	buf_packer_init(&p, &f.frame);
	if (type == TYPE_UINT)
		msgpack_pack_uint64(&p.packer, size);
	else if (type == TYPE_ARRAY)
		msgpack_pack_array(&p.packer, size);
	else if (type == TYPE_MAP)
		msgpack_pack_map(&p.packer, size);
	else if (type == TYPE_BIN)
		msgpack_pack_bin(&p.packer, size);
	else
		msgpack_pack_str(&p.packer, size);
	if (type == TYPE_UINT)
		return;

	uint64_t bytes = type == TYPE_MAP ? 2 * size : size;

	assert_true(buf_reserve(&f.frame, bytes));
	memset(f.frame.p + f.frame.n, 0x61, bytes);
	f.frame.n += bytes;
}

static void each_limit_holds_to_the_byte(void **state)
{
	char head[64];
	size_t tried = 0;
	(void)state;

	for (uint64_t op = 0; op < 256; op++) {
		const struct op_spec *spec = op_spec_find(op);

		for (size_t i = 0; spec != NULL && i < spec->body->count; i++) {
			const struct field_spec *field = &spec->body->fields[i];

			if (field->max == 0 || !(field->in & spec->in) ||
			    spec->body->fields == op_spec_find(OP_CHUNK)->body->fields)
				continue;
			for (uint64_t extra = 0; extra < 2; extra++, tried++) {
				f.frame.n = 0;
				snprintf(head, sizeof(head), "94 cc%02x 07 00 81 cc%02x", (unsigned)op, field->key);
				put_hex(&f.frame, head);
				put_sized((enum field_type)field->type, field->max + extra);
				int rc = decode_from((enum proto_from)spec->from);

				if (extra > 0)
					assert_fault(rc, ERR_TOO_LARGE, field->name);
				else if (rc < 0 && f.fault.code == ERR_TOO_LARGE)
					fail_msg("%s: %s", field->name, f.fault.message);
			}
		}
	}
	assert_true(tried > 60);
}

/* ---- keys that are not known */

static void unknown_low_keys_are_skipped_in_every_operation(void **state)
{
	char body[256];
	(void)state;

	for (uint64_t op = 0; op < 256; op++) {
		const struct op_spec *spec = op_spec_find(op);
		const struct field_spec unknown = {.key = 0x7E};

		if (spec == NULL)
			continue;
		body_with(spec->body, &unknown, "82a16101a162920102", body, sizeof(body));
		assert_int_equal(decode(op, body), 0);
	}
	assert_int_equal(decode(OP_STATS, "82 7e01 7e01"), 0); /* not ours to count */
}

static void unknown_must_understand_keys_are_refused_by_number(void **state)
{
	(void)state;
	assert_fault(decode(OP_QUERY, "82 02a161 cc8ec0"), ERR_UNSUPPORTED, "0x8e (digest)");
	assert_fault(decode(OP_QUERY, "82 cc95c0 02a161"), ERR_UNSUPPORTED, "0x95");
	assert_fault(decode(OP_QUERY, "81 cd0100c0"), ERR_UNSUPPORTED, "0x100");
	assert_fault(decode(OP_QUERY, "81 cfffffffffffffffffc0"), ERR_UNSUPPORTED, "0xffffffffffffffff");
	assert_fault(decode(OP_HELLO, "82 0101 cc80c0"), ERR_UNSUPPORTED, "0x80");
	assert_fault(decode(OP_STATS, "81 ccffc0"), ERR_UNSUPPORTED, "0xff");
}

static void a_key_of_another_operation_counts_as_unknown(void **state)
{
	(void)state;
	assert_fault(decode(OP_LOOKUP, "81 cc84c3"), ERR_UNSUPPORTED, "0x84 (no_cache)");
	assert_fault(decode(OP_INVALIDATE, "81 cc8701"), ERR_UNSUPPORTED, "0x87 (ttl_ms)");
	assert_int_equal(decode(OP_QUERY, "81 20a161"), 0); /* answer belongs to PUT and is low */
	assert_int_equal(f.message.request.has, 0);
}

static void body_keys_must_be_unsigned_integers(void **state)
{
	(void)state;
	assert_fault(decode(OP_QUERY, "81 a16101"), ERR_INVALID, "body");
	assert_fault(decode(OP_QUERY, "81 ff01"), ERR_INVALID, "body");
	assert_fault(decode(OP_STATS, "81 c001"), ERR_INVALID, "body");
}

/* ---- the frame itself */

static void a_query_is_read_without_a_copy(void **state)
{
	(void)state;
	assert_int_equal(decode(OP_QUERY, "83 01a3677074 02a568656c6c6f cc8781 00"), -1); /* a map is no ttl_ms */
	assert_int_equal(decode(OP_QUERY, "83 01a3677074 02a568656c6c6f cc8719"), 0);
	assert_int_equal(f.message.op, OP_QUERY);
	assert_int_equal(f.message.id, 7);
	assert_true(slice_is(f.message.request.model, "gpt"));
	assert_true(slice_is(f.message.request.prompt, "hello"));
	assert_true(f.message.request.prompt.p > f.frame.p && f.message.request.prompt.p < f.frame.p + f.frame.n);
	assert_int_equal(f.message.request.ttl_ms, 0x19);
	assert_true(MESSAGE_HAS(&f.message.request, REQUEST, prompt));
	assert_false(MESSAGE_HAS(&f.message.request, REQUEST, system));
	assert_null(f.message.request.tools);
}

static void a_frame_cut_at_any_byte_is_a_protocol_fault_with_its_id_if_that_is_there(void **state)
{
	(void)state;
	assert_int_equal(decode(OP_QUERY, "82 01a3677074 02a568656c6c6f"), 0);
	size_t whole = f.frame.n;

	for (size_t n = 0; n < whole; n++) {
		f.frame.n = n;
		assert_fault(decode_from(FROM_C), ERR_PROTOCOL, "");
		assert_int_equal(f.message.id, n >= 4 ? 7 : 0);
		assert_int_equal(f.message.op, n >= 4 ? OP_QUERY : 0);
	}
}

static void a_frame_must_be_four_parts_of_the_right_types(void **state)
{
	static const struct {
		const char *hex, *field;
	} rows[] = {
		{"c0", ""},
		{"80", ""},
		{"93 10 01 00", ""},
		{"95 10 01 00 80 c0", ""},
		{"94 a110 01 00 80", "op"},
		{"94 10 c0 00 80", "id"},
		{"94 10 ff 00 80", "id"},
		{"94 10 01 c2 80", "flags"},
		{"94 10 01 00 90", "body"},
		{"94 10 01 00 c0", "body"},
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		f.frame.n = 0;
		put_hex(&f.frame, rows[i].hex);
		assert_fault(decode_from(FROM_C), ERR_PROTOCOL, rows[i].field);
	}
}

static void bytes_behind_the_frames_value_are_a_protocol_fault(void **state)
{
	(void)state;
	assert_fault(decode(OP_STATS, "80 c0"), ERR_PROTOCOL, "");
}

static void claims_and_depth_are_refused_before_anything_is_allocated(void **state)
{
	char deep[2 * 10000 + 8] = "";
	(void)state;

	assert_fault(decode(OP_QUERY, "81 04 dd10000000"), ERR_TOO_LARGE, "");
	assert_int_equal(f.message.id, 7);
	for (size_t i = 0; i < 10000; i++)
		memcpy(deep + 2 * i, "91", 2);
	f.frame.n = 0;
	put_hex(&f.frame, "94 10 07 00 81 04");
	put_hex(&f.frame, deep);
	put_hex(&f.frame, "c0");
	assert_fault(decode_from(FROM_C), ERR_TOO_LARGE, "");
}

static void the_deepest_frame_allowed_is_one_that_msgpack_c_can_read(void **state)
{
	(void)state;
	f.frame.n = 0;
	put_hex(&f.frame, "94 10 07 00 81 04");
	for (size_t i = 2; i < DEPTH_MAX; i++)
		put_hex(&f.frame, "91");
	put_hex(&f.frame, "c0");
	assert_int_equal(decode_from(FROM_C), 0);
}

static void operations_are_known_reserved_or_unknown(void **state)
{
	(void)state;
	for (uint64_t op = 0; op < 256; op++) {
		if (op_spec_find(op) == NULL)
			assert_fault(decode(op, "80"), ERR_UNSUPPORTED, "op");
	}
	assert_fault(decode(OP_WATCH, "80"), ERR_UNSUPPORTED, "op");
	assert_non_null(strstr(f.fault.message, "WATCH"));
	f.frame.n = 0;
	put_hex(&f.frame, "94 cdffff 05 00 80");
	assert_fault(decode_from(FROM_C), ERR_UNSUPPORTED, "op");
	assert_int_equal(f.message.id, 5);
}

static void an_operation_of_the_other_side_is_refused(void **state)
{
	(void)state;
	for (uint64_t op = 0; op < 256; op++) {
		const struct op_spec *spec = op_spec_find(op);

		if (spec == NULL || spec->from == FROM_B)
			continue;
		decode(op, "80");
		assert_fault(decode_from(spec->from == FROM_C ? FROM_S : FROM_C), ERR_UNSUPPORTED, "op");
	}
	decode(OP_PING, "80");
	assert_int_equal(decode_from(FROM_S), 0);
	assert_int_equal(decode_from(FROM_C), 0);
}

static void a_request_needs_an_id(void **state)
{
	(void)state;
	f.frame.n = 0;
	put_hex(&f.frame, "94 10 00 00 81 02 a161");
	assert_fault(decode_from(FROM_C), ERR_INVALID, "id");
	f.frame.n = 0;
	put_hex(&f.frame, "94 02 00 01 80");
	assert_int_equal(decode_from(FROM_C), 0);
	assert_int_equal(f.message.flags, PROTO_FLAG_ACK);
}

static void text_must_be_utf8_and_bytes_need_not(void **state)
{
	(void)state;
	assert_fault(decode(OP_QUERY, "81 02 a2c328"), ERR_INVALID, "prompt");
	assert_fault(decode(OP_QUERY, "81 01 a3eda080"), ERR_INVALID, "model");
	assert_int_equal(decode(OP_QUERY, "81 02 a4f09f9880"), 0);
	assert_int_equal(decode(OP_CHUNK, "83 0101 0200 03 a2c328"), 0);
	assert_true(slice_is(f.message.chunk.data, "\xC3\x28"));
}

static void a_number_may_come_as_an_integer_where_a_float_is_meant(void **state)
{
	(void)state;
	assert_int_equal(decode(OP_HEAD, "82 0101 04ff"), 0);
	assert_true(f.message.head.similarity == -1.0);
	assert_int_equal(decode(OP_HEAD, "82 0101 04ca3f000000"), 0);
	assert_true(f.message.head.similarity == 0.5);
}

static void what_a_decoder_read_before_does_not_show_in_the_next_message(void **state)
{
	(void)state;
	assert_int_equal(decode(OP_QUERY, "83 01a3677074 02a161 cc84c3"), 0);
	assert_int_equal(decode(OP_QUERY, "81 02a162"), 0);
	assert_int_equal(f.message.request.model.n, 0);
	assert_false(f.message.request.no_cache);
}

static void faults_are_cut_to_size_and_stay_utf8(void **state)
{
	char long_text[400] = "";
	(void)state;

	for (size_t i = 0; i + 3 < sizeof(long_text); i += 3)
		memcpy(long_text + i, "\xE2\x82\xAC", 4);
	assert_int_equal(fault_set(&f.fault, ERR_INVALID, long_text, "%s", long_text), -1);
	assert_true(slice_is_utf8(slice_str(f.fault.field)));
	assert_true(slice_is_utf8(slice_str(f.fault.message)));
	assert_true(strlen(f.fault.field) > sizeof(f.fault.field) - 4);
	fault_set(&f.fault, ERR_INVALID, "\xFF\xFE", "bad \xFF bytes");
	assert_string_equal(f.fault.field, "??");
	assert_string_equal(f.fault.message, "bad ? bytes");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(each_key_takes_its_type_and_refuses_all_others_by_name),
		CASE(each_key_given_twice_is_refused_by_name),
		CASE(each_required_key_is_missed_by_name),
		CASE(each_limit_holds_to_the_byte),
		CASE(unknown_low_keys_are_skipped_in_every_operation),
		CASE(unknown_must_understand_keys_are_refused_by_number),
		CASE(a_key_of_another_operation_counts_as_unknown),
		CASE(body_keys_must_be_unsigned_integers),
		CASE(a_query_is_read_without_a_copy),
		CASE(a_frame_cut_at_any_byte_is_a_protocol_fault_with_its_id_if_that_is_there),
		CASE(a_frame_must_be_four_parts_of_the_right_types),
		CASE(bytes_behind_the_frames_value_are_a_protocol_fault),
		CASE(claims_and_depth_are_refused_before_anything_is_allocated),
		CASE(the_deepest_frame_allowed_is_one_that_msgpack_c_can_read),
		CASE(operations_are_known_reserved_or_unknown),
		CASE(an_operation_of_the_other_side_is_refused),
		CASE(a_request_needs_an_id),
		CASE(text_must_be_utf8_and_bytes_need_not),
		CASE(a_number_may_come_as_an_integer_where_a_float_is_meant),
		CASE(what_a_decoder_read_before_does_not_show_in_the_next_message),
		CASE(faults_are_cut_to_size_and_stay_utf8),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
