/* fuzz: any bytes as a request. A request that has a digest has the same one after it was written again, and with its
 * prompt spelt out as messages; a canonical form is its own canonical form. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "proto/digest.h"
#include "proto/frame.h"

static struct message_decoder first, second;
static struct digester *digester;
static struct buf frame_again, form, form_again;
static msgpack_zone *zone;

static void assert_stable_form(const msgpack_object *value)
{
	msgpack_object again;
	struct fault fault;
	size_t off = 0;

	form.n = form_again.n = 0;
	if (canonical_append(&form, value, "value", &fault) < 0) {
		assert(form.n == 0 && fault.code != ERR_NO_MEMORY);
		return;
	}
	msgpack_zone_clear(zone);
	if (msgpack_unpack((const char *)form.p, form.n, &off, zone, &again) != MSGPACK_UNPACK_SUCCESS ||
	    canonical_append(&form_again, &again, "value", &fault) < 0)
		abort();
	assert(off == form.n);
	assert(slice_eq(buf_slice(&form), buf_slice(&form_again)));
}

static void assert_same_when_written_again(const struct message *m, const uint8_t *digest)
{
	uint8_t again[PROTO_DIGEST_BYTES];
	struct message read;
	struct fault fault;

	frame_again.n = 0;
	if (!message_encode(&frame_again, m) ||
	    message_decode(&second, frame_next(buf_slice(&frame_again), UINT32_MAX).frame, FROM_C, &read, &fault) < 0 ||
	    request_digest(digester, &read.request, slice_str("m"), again, &fault) < 0)
		abort();
	assert(memcmp(digest, again, sizeof(again)) == 0);
}

static msgpack_object text(struct slice s)
{
	return (msgpack_object){.type = MSGPACK_OBJECT_STR, .via.str = {(uint32_t)s.n, (const char *)s.p}};
}

static void assert_same_as_messages(struct request_body r, const uint8_t *digest)
{
	msgpack_object_kv entries[2][2] = {
		{{text(slice_str("role")), text(slice_str("system"))}, {text(slice_str("content")), text(r.system)}},
		{{text(slice_str("role")), text(slice_str("user"))}, {text(slice_str("content")), text(r.prompt)}},
	};
	msgpack_object messages[2] = {
		{.type = MSGPACK_OBJECT_MAP, .via.map = {2, entries[0]}},
		{.type = MSGPACK_OBJECT_MAP, .via.map = {2, entries[1]}},
	};
	bool has_system = MESSAGE_HAS(&r, REQUEST, system);
	msgpack_object all = {.type = MSGPACK_OBJECT_ARRAY,
			      .via.array = {has_system ? 2 : 1, has_system ? messages : messages + 1}};
	uint8_t again[PROTO_DIGEST_BYTES];
	struct fault fault;

	r.has &= ~(UINT64_C(1) << REQUEST_BIT_prompt | UINT64_C(1) << REQUEST_BIT_system);
	MESSAGE_SET(&r, REQUEST, messages, &all);
	if (request_digest(digester, &r, slice_str("m"), again, &fault) < 0)
		abort();
	assert(memcmp(digest, again, sizeof(again)) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	digester = digester_new();
	zone = msgpack_zone_new(8192);
	buf_init(&frame_again, SIZE_MAX / 2, NULL);
	buf_init(&form, SIZE_MAX / 2, NULL);
	buf_init(&form_again, SIZE_MAX / 2, NULL);
	return digester == NULL || zone == NULL || message_decoder_init(&first) < 0 ||
	       message_decoder_init(&second) < 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t digest[PROTO_DIGEST_BYTES];
	struct message m;
	struct fault fault = {.code = ERR_NONE};

	if (message_decode(&first, slice_of(data, size), FROM_C, &m, &fault) < 0)
		return 0;
	if (m.op != OP_QUERY && m.op != OP_LOOKUP && m.op != OP_PUT && m.op != OP_INVALIDATE)
		return 0;
	if (m.request.messages != NULL)
		assert_stable_form(m.request.messages);
	if (m.request.tools != NULL)
		assert_stable_form(m.request.tools);
	if (m.request.params != NULL)
		assert_stable_form(m.request.params);
	if (request_digest(digester, &m.request, slice_str("m"), digest, &fault) < 0) {
		assert(proto_error_name(fault.code) != NULL && fault.code != ERR_NO_MEMORY);
		assert(fault.field[0] != '\0' && slice_is_utf8(slice_str(fault.field)));
		return 0;
	}
	assert_same_when_written_again(&m, digest);
	if (MESSAGE_HAS(&m.request, REQUEST, prompt))
		assert_same_as_messages(m.request, digest);
	return 0;
}
