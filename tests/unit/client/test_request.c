/* request: the user's structures as a message, and what is refused before it is sent. */
#include "tests/unit/client/client_test.h"

#include <math.h>

#include "client/request.h"

static struct pc_query q;
static struct pc_content content;
static struct request request;
static struct failure failure;

static int setup(void **state)
{
	(void)state;
	q = (struct pc_query)PC_QUERY_INIT;
	content = (struct pc_content)PC_CONTENT_INIT;
	request = (struct request){0};
	failure_clear(&failure);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	request_free(&request);
	return 0;
}

static int make(enum proto_op op)
{
	request_free(&request);
	return request_make(&(struct ask){.op = op, .query = &q, .content = &content}, &request, &failure);
}

static void refused(enum proto_op op, const char *field)
{
	assert_int_equal(make(op), PC_INVALID);
	assert_string_equal(failure.seen.field, field);
}

/* What the server would decode. */
static const struct request_body *sent(void)
{
	static struct message m;
	static struct message_decoder decoder;
	static struct buf out;
	struct fault fault;

	if (decoder.zone == NULL)
		assert_int_equal(message_decoder_init(&decoder), 0);
	buf_free(&out);
	buf_init(&out, TEST_OUT_MAX, NULL);
	request.message.id = 2;
	assert_true(message_encode(&out, &request.message));
	assert_int_equal(
		message_decode(&decoder, frame_next(buf_slice(&out), FRAME_BYTES_MAX).frame, FROM_C, &m, &fault), 0);
	return &m.request;
}

static void what_is_not_given_is_not_sent(void **state)
{
	(void)state;
	q.prompt = "q";
	assert_int_equal(make(OP_QUERY), PC_OK);
	assert_int_equal(sent()->has, 1u << REQUEST_BIT_prompt | 1u << REQUEST_BIT_timeout_ms);
	assert_int_equal(request.timeout_ms, PC_QUERY_TIMEOUT_MS);
	assert_int_equal(make(OP_LOOKUP), PC_OK);
	assert_int_equal(request.timeout_ms, PC_CALL_TIMEOUT_MS);
}

static void messages_become_the_array_of_the_api(void **state)
{
	const struct pc_message messages[] = {{"system", "be brief"}, {"user", "hi"}};
	const msgpack_object *array;

	(void)state;
	q.messages = messages;
	q.messages_count = 2;
	assert_int_equal(make(OP_QUERY), PC_OK);
	array = sent()->messages;
	assert_int_equal(array->via.array.size, 2);
	assert_memory_equal(array->via.array.ptr[1].via.map.ptr[1].val.via.str.ptr, "hi", 2);
}

static void parameters_keep_their_types(void **state)
{
	const struct pc_param params[] = {pc_param_number("temperature", 0.5), pc_param_integer("seed", INT64_MIN),
					  pc_param_bool("logprobs", 0), pc_param_string("stop", "x")};
	const msgpack_object_kv *kv;

	(void)state;
	q.prompt = "q";
	q.params = params;
	q.params_count = 4;
	assert_int_equal(make(OP_QUERY), PC_OK);
	kv = sent()->params->via.map.ptr;
	assert_true(kv[0].val.via.f64 == 0.5);
	assert_true(kv[1].val.via.i64 == INT64_MIN);
	assert_int_equal(kv[2].val.type, MSGPACK_OBJECT_BOOLEAN);
	assert_memory_equal(kv[3].val.via.str.ptr, "x", 1);
}

static void msgpack_values_go_through_and_are_checked(void **state)
{
	(void)state;
	q.messages_msgpack = "\x91\x81\xA4role\xA4user";
	q.messages_msgpack_len = 12;
	q.tools_msgpack = "\x90";
	q.tools_msgpack_len = 1;
	q.params_msgpack = "\x81\xA1n\x02";
	q.params_msgpack_len = 4;
	assert_int_equal(make(OP_QUERY), PC_OK);
	assert_int_equal(sent()->messages->via.array.size, 1);
	assert_int_equal(sent()->tools->via.array.size, 0);
	assert_int_equal(sent()->params->via.map.ptr[0].val.via.u64, 2);

	q.params_msgpack_len = 3;
	refused(OP_QUERY, "params"); /* truncated */
	q.params_msgpack = "\x91\x01";
	q.params_msgpack_len = 2;
	refused(OP_QUERY, "params"); /* no map */
	q.params_msgpack_len = 0;
	q.tools_msgpack = "\xDD\x10\x00\x00\x00";
	q.tools_msgpack_len = 5;
	refused(OP_QUERY, "tools"); /* claims 2^28 elements */
}

static void contradictions_are_refused(void **state)
{
	const struct pc_message message = {"user", "hi"}, no_role = {NULL, "hi"};
	const struct pc_param param = pc_param_number("temperature", NAN);

	(void)state;
	refused(OP_QUERY, "prompt");
	q.prompt = "q";
	q.messages = &message;
	q.messages_count = 1;
	refused(OP_QUERY, "prompt");
	q.prompt = NULL;
	q.system = "s";
	refused(OP_QUERY, "system");
	q.system = NULL;
	q.messages = &no_role;
	refused(OP_QUERY, "messages");
	q.messages_count = 0;
	q.prompt = "q";
	q.no_cache = 1;
	refused(OP_LOOKUP, "no_cache");
	q.no_cache = 0;
	q.no_store = 1;
	content.text = "a";
	refused(OP_PUT, "no_store");
	q.no_store = 0;
	q.params = &param;
	q.params_count = 1;
	refused(OP_QUERY, "params");
	q.params_count = 0;
	q.timeout_ms = PC_TIMEOUT_MS_MAX + 1;
	refused(OP_QUERY, "timeout_ms");
}

static void one_query_serves_a_lookup_and_the_put_after_it(void **state)
{
	(void)state;
	q.prompt = "q";
	q.ttl_ms = 1000;
	q.max_age_ms = 500;
	content.text = "answer";
	assert_int_equal(make(OP_LOOKUP), PC_OK);
	assert_false(MESSAGE_HAS(sent(), REQUEST, ttl_ms));
	assert_true(MESSAGE_HAS(sent(), REQUEST, max_age_ms));
	assert_int_equal(make(OP_PUT), PC_OK);
	assert_true(MESSAGE_HAS(sent(), REQUEST, ttl_ms));
	assert_false(MESSAGE_HAS(sent(), REQUEST, max_age_ms));
	assert_false(MESSAGE_HAS(sent(), REQUEST, timeout_ms));
	assert_int_equal(make(OP_INVALIDATE), PC_OK);
	assert_false(MESSAGE_HAS(sent(), REQUEST, ttl_ms));
}

static void a_put_takes_a_text_or_segments(void **state)
{
	const struct pc_segment segments[] = {{PC_TEXT, "text", 4}, {PC_TOOL_CALL, "{}", 2}};

	(void)state;
	q.prompt = "q";
	refused(OP_PUT, "answer");
	content.segments = segments;
	content.segments_count = 2;
	assert_int_equal(make(OP_PUT), PC_OK);
	assert_int_equal(sent()->segments->via.array.size, 2);
	content.text = "t";
	refused(OP_PUT, "answer");
}

static void a_structure_of_another_version_is_taken_if_it_asks_for_nothing_new(void **state)
{
	struct {
		struct pc_query query;
		size_t later;
	} wide = {.query = PC_QUERY_INIT};
	struct ask ask = {.op = OP_QUERY, .query = &wide.query};

	(void)state;
	wide.query.size = sizeof(wide);
	wide.query.prompt = "q";
	assert_int_equal(request_make(&ask, &request, &failure), PC_OK);
	wide.later = 1;
	assert_int_equal(request_make(&ask, &request, &failure), PC_INVALID);
	wide.query.size = sizeof(wide.query);
	wide.query.unused = 1; /* a field of a later one that fits into the same size */
	assert_int_equal(request_make(&ask, &request, &failure), PC_INVALID);
	wide.query.unused = 0;
	wide.query.size = offsetof(struct pc_query, timeout_ms); /* an older one */
	wide.query.timeout_ms = 7;
	assert_int_equal(request_make(&ask, &request, &failure), PC_OK);
	assert_int_equal(request.timeout_ms, PC_QUERY_TIMEOUT_MS);
	wide.query.size = 0; /* nobody called PC_QUERY_INIT */
	assert_int_equal(request_make(&ask, &request, &failure), PC_INVALID);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(what_is_not_given_is_not_sent),
		CASE(messages_become_the_array_of_the_api),
		CASE(parameters_keep_their_types),
		CASE(msgpack_values_go_through_and_are_checked),
		CASE(contradictions_are_refused),
		CASE(one_query_serves_a_lookup_and_the_put_after_it),
		CASE(a_put_takes_a_text_or_segments),
		CASE(a_structure_of_another_version_is_taken_if_it_asks_for_nothing_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
