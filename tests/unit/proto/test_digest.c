/* digest: what makes two requests one question, what makes them two, and what is no question. Exact values:
 * test_vectors.c. */
#include "tests/unit/proto/proto_test.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "proto/digest.h"

struct fixture {
	struct digester *digester;
	struct message_decoder a, b;
	struct buf frame_a, frame_b;
	struct fault fault;
};

static struct fixture f;

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){.digester = digester_new()};
	buf_init(&f.frame_a, TEST_BYTES_MAX, NULL);
	buf_init(&f.frame_b, TEST_BYTES_MAX, NULL);
	return f.digester == NULL || message_decoder_init(&f.a) < 0 || message_decoder_init(&f.b) < 0;
}

static int teardown(void **state)
{
	(void)state;
	digester_free(f.digester);
	message_decoder_free(&f.a);
	message_decoder_free(&f.b);
	buf_free(&f.frame_a);
	buf_free(&f.frame_b);
	return 0;
}

/* The digest of a QUERY whose body is given in hex. */
static int digest_of(struct message_decoder *d, struct buf *frame, const char *body, uint8_t *ret)
{
	struct message m;

	frame->n = 0;
	put_hex(frame, "94 10 01 00");
	put_hex(frame, body);
	if (message_decode(d, buf_slice(frame), FROM_C, &m, &f.fault) < 0)
		fail_msg("%s: %s", body, f.fault.message);
	return request_digest(f.digester, &m.request, slice_str("the-default"), ret, &f.fault);
}

static bool same(const char *a, const char *b)
{
	uint8_t da[PROTO_DIGEST_BYTES], db[PROTO_DIGEST_BYTES];

	if (digest_of(&f.a, &f.frame_a, a, da) < 0)
		fail_msg("%s: %s", a, f.fault.message);
	if (digest_of(&f.b, &f.frame_b, b, db) < 0)
		fail_msg("%s: %s", b, f.fault.message);
	return memcmp(da, db, sizeof(da)) == 0;
}

static void refused(const char *body, const char *field)
{
	uint8_t digest[PROTO_DIGEST_BYTES] = {1, 2, 3}, before[PROTO_DIGEST_BYTES] = {1, 2, 3};

	assert_int_equal(digest_of(&f.a, &f.frame_a, body, digest), -1);
	assert_string_equal(f.fault.field, field);
	assert_int_equal(f.fault.code, ERR_INVALID);
	assert_memory_equal(digest, before, sizeof(digest));
}

#define ROLE	"a4726f6c65"	   /* "role" */
#define CONTENT "a7636f6e74656e74" /* "content" */
#define USER	"a475736572"	   /* "user" */
#define SYSTEM	"a673797374656d"   /* "system" */
#define HI	"a26869"	   /* "hi" */
#define USER_HI "82" CONTENT HI ROLE USER
#define MODEL	"a56d6f64656c" /* "model" */

static void a_prompt_is_the_messages_it_stands_for(void **state)
{
	(void)state;
	assert_true(same("81 02" HI, "81 04 91" USER_HI));
	assert_true(same("82 02" HI "03 a3626521", "81 04 92 82" ROLE SYSTEM CONTENT "a3626521" USER_HI));
	assert_false(same("82 02" HI "03 a3626521", "81 02" HI));
}

static void a_prompt_of_any_length_is_the_message_it_stands_for(void **state)
{
	static const size_t sizes[] = {1, 31, 32, 255, 256, 65535, 65536, 200000};
	(void)state;

	for (size_t i = 0; i < COUNT(sizes); i++) {
		uint8_t da[PROTO_DIGEST_BYTES], db[PROTO_DIGEST_BYTES];
		struct request_body a = {0}, b = {0};
		char *text = calloc(1, sizes[i]);

		assert_non_null(text);
		memset(text, 'q', sizes[i]);
		msgpack_object_kv kv[2] = {
			{{.type = MSGPACK_OBJECT_STR, .via.str = {4, "role"}},
			 {.type = MSGPACK_OBJECT_STR, .via.str = {4, "user"}}},
			{{.type = MSGPACK_OBJECT_STR, .via.str = {7, "content"}},
			 {.type = MSGPACK_OBJECT_STR, .via.str = {(uint32_t)sizes[i], text}}},
		};
		msgpack_object message = {.type = MSGPACK_OBJECT_MAP, .via.map = {2, kv}};
		msgpack_object messages = {.type = MSGPACK_OBJECT_ARRAY, .via.array = {1, &message}};

		MESSAGE_SET(&a, REQUEST, prompt, slice_of(text, sizes[i]));
		MESSAGE_SET(&b, REQUEST, messages, &messages);
		assert_int_equal(request_digest(f.digester, &a, slice_str("m"), da, &f.fault), 0);
		assert_int_equal(request_digest(f.digester, &b, slice_str("m"), db, &f.fault), 0);
		assert_memory_equal(da, db, sizeof(da));
		free(text);
	}
}

static void what_is_not_given_counts_as_its_default(void **state)
{
	(void)state;
	assert_true(same("81 02" HI, "82 02" HI "01 ab7468652d64656661756c74")); /* model: the-default */
	assert_true(same("81 02" HI, "82 02" HI "cc80 a764656661756c74"));	 /* namespace: default */
	assert_true(same("81 02" HI, "82 02" HI "cc81 a0"));			 /* prompt_version */
	assert_true(same("81 02" HI, "82 02" HI "cc82 90"));			 /* tools */
	assert_true(same("81 02" HI, "82 02" HI "cc83 80"));			 /* params */
	assert_true(same("81 02" HI, "82 02" HI "cc83 82 a16e c0 a4"
				     "73746f70"
				     "c0")); /* params: nil */
}

static void every_digest_field_makes_a_question_of_its_own(void **state)
{
	static const char *const bodies[] = {
		"81 02" HI,
		"81 02 a26848",
		"81 02 a3686920",
		"82 02" HI "01 a178",
		"82 02" HI "03 a0",
		"82 02" HI "cc80 a178",
		"82 02" HI "cc81 a178",
		"82 02" HI "cc82 91 80",
		"82 02" HI "cc83 81 a16e 01",
		"82 02" HI "cc83 81 a16e 02",
		"82 02" HI "cc83 81 a16e cb3fe0000000000000",
		"82 02" HI "cc83 81 a16e a131",
		"82 02" HI "cc83 81 a16e 90",
		"81 04 92" USER_HI USER_HI,
		"81 04 91 83" CONTENT HI ROLE USER "a46e616d65 a178",
		"81 04 91 82" CONTENT "c0" ROLE USER,
		"81 04 91 81" ROLE USER,
	};
	(void)state;

	for (size_t i = 0; i < COUNT(bodies); i++) {
		for (size_t k = 0; k < COUNT(bodies); k++) {
			if (same(bodies[i], bodies[k]) != (i == k))
				fail_msg("%s and %s", bodies[i], bodies[k]);
		}
	}
}

static void parts_of_the_header_do_not_run_into_each_other(void **state)
{
	(void)state;
	assert_false(same("83 02" HI "cc80 a16e 01 a16d", "83 02" HI "cc80 a26e6d 01 a161"));
	assert_false(same("83 02" HI "cc80 a161 01 a162", "83 02" HI "cc80 a162 01 a161"));
	assert_false(same("83 02" HI "01 a161 cc81 a0", "83 02" HI "01 a162 cc81 a161"));
}

static void what_is_not_part_of_the_question_changes_nothing(void **state)
{
	(void)state;
	assert_true(same("81 02" HI, "89 02" HI "10 19 11 c3 12 64 13 81 a161 01 cc84 c3 cc85 c3 cc86 05 cc87 05"));
}

static void the_order_of_keys_and_the_form_of_numbers_change_nothing(void **state)
{
	(void)state;
	assert_true(same("82 02" HI "cc83 82 a161 01 a162 ca3f000000",
			 "82 cc83 de0002 a162 cb3fe0000000000000 a161 cb3ff0000000000000 02" HI));
	assert_true(same("81 04 91" USER_HI, "81 04 91 82" ROLE USER CONTENT "d9026869"));
}

static void a_memorised_header_is_not_taken_for_another(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_false(same("82 02" HI "01 a161", "82 02" HI "01 a162"));
		assert_true(same("82 02" HI "01 a161", "82 02" HI "01 a161"));
	}
}

static void a_header_too_long_for_the_memo_has_a_digest_too(void **state)
{
	struct request_body r = {0};
	uint8_t da[PROTO_DIGEST_BYTES], db[PROTO_DIGEST_BYTES];
	char model[2000];
	(void)state;

	memset(model, 'm', sizeof(model));
	MESSAGE_SET(&r, REQUEST, prompt, slice_str("hi"));
	MESSAGE_SET(&r, REQUEST, model, slice_of(model, sizeof(model)));
	assert_int_equal(request_digest(f.digester, &r, slice_str("m"), da, &f.fault), 0);
	model[1999] = 'n';
	assert_int_equal(request_digest(f.digester, &r, slice_str("m"), db, &f.fault), 0);
	assert_memory_not_equal(da, db, sizeof(da));
}

static void a_request_needs_exactly_one_question(void **state)
{
	(void)state;
	refused("80", "prompt");
	refused("81 01 a161", "prompt");
	refused("81 02 a0", "prompt");
	refused("82 02" HI "04 91" USER_HI, "prompt");
	refused("81 04 90", "messages");
	refused("82 03 a178 04 91" USER_HI, "system");
	refused("81 03 a178", "prompt");
}

static void empty_names_are_refused(void **state)
{
	(void)state;
	refused("82 02" HI "01 a0", "model");
	refused("82 02" HI "cc80 a0", "namespace");
}

static void each_message_is_a_map_with_a_role(void **state)
{
	(void)state;
	refused("81 04 91 01", "messages[0]");
	refused("81 04 92" USER_HI "90", "messages[1]");
	refused("81 04 91 80", "messages[0].role");
	refused("81 04 91 81" ROLE "01", "messages[0].role");
	refused("81 04 92" USER_HI "81" ROLE "a0", "messages[1].role");
	refused("81 04 91 82" ROLE USER CONTENT "01", "messages[0].content");
	refused("81 04 91 82" ROLE USER CONTENT "80", "messages[0].content");
	refused("81 04 91 82" ROLE USER "01 01", "messages[0]");
	refused("81 04 91 83" ROLE USER CONTENT HI ROLE USER, "messages[0].role");
	refused("81 04 91 82" ROLE USER CONTENT "a2c328", "messages[0].content");
	refused("81 04 91 82" ROLE USER CONTENT "91 81 a474657874 c40161", "messages[0].content[0].text");
}

static void content_may_be_nil_or_parts(void **state)
{
	(void)state;
	assert_false(same("81 04 91 82" ROLE USER CONTENT "c0", "81 04 91 82" ROLE USER CONTENT "90"));
	assert_true(same("81 04 91 82" ROLE USER CONTENT "91 82 a161 01 a162 02",
			 "81 04 91 82" ROLE USER CONTENT "91 82 a162 02 a161 01"));
}

static void params_that_have_a_place_of_their_own_are_refused_by_name(void **state)
{
	(void)state;
	refused("82 02" HI "cc83 81" MODEL "a178", "params.model");
	assert_non_null(strstr(f.fault.message, "field model"));
	refused("82 02" HI "cc83 81 a86d65737361676573 90", "params.messages");
	refused("82 02" HI "cc83 81 a5746f6f6c73 90", "params.tools");
	refused("82 02" HI "cc83 81 a673747265616d c3", "params.stream");
	refused("82 02" HI "cc83 81 ae73747265616d5f6f7074696f6e73 80", "params.stream_options");
	refused("82 02" HI "cc83 81" USER "a178", "params.user");
	refused("82 02" HI "cc83 81 a86d65746164617461 80", "params.metadata");
	assert_true(same("81 02" HI, "82 02" HI "cc83 81" MODEL "c0"));
}

static void params_and_tools_follow_the_canonical_rules(void **state)
{
	(void)state;
	refused("82 02" HI "cc83 82 a16e 01 a16e 02", "params.n");
	refused("82 02" HI "cc83 82 a16e 01 a16e c0", "params.n");
	refused("82 02" HI "cc83 81 01 02", "params");
	refused("82 02" HI "cc83 81 a174 cb7ff8000000000000", "params.t");
	refused("82 02" HI "cc82 92 80 81 a161 c400", "tools[1].a");
}

static void after_a_fault_the_digester_works_on(void **state)
{
	(void)state;
	refused("82 02" HI "cc83 82 a16e 01 a16e 02", "params.n");
	assert_true(same("81 02" HI, "81 04 91" USER_HI));
}

static void the_sha_of_parts_is_that_of_the_whole(void **state)
{
	const struct slice parts[] = {slice_str("ab"), slice_of(NULL, 0), slice_str("c")};
	uint8_t digest[PROTO_DIGEST_BYTES], expected[PROTO_DIGEST_BYTES];
	(void)state;

	assert_int_equal(digest_parts(f.digester, parts, COUNT(parts), digest), 0);
	assert_int_equal(EVP_Digest("abc", 3, expected, NULL, EVP_sha256(), NULL), 1);
	assert_memory_equal(digest, expected, sizeof(digest));
}

static void a_digester_that_never_was_can_be_freed(void **state)
{
	(void)state;
	digester_free(NULL);
}

/* OpenSSL's allocations that still succeed; -1: all of them. */
static int openssl_grants = -1;

static void *openssl_resize(void *p, size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	if (openssl_grants == 0)
		return NULL;
	openssl_grants -= openssl_grants > 0;
	return realloc(p, n);
}

static void *openssl_malloc(size_t n, const char *file, int line) { return openssl_resize(NULL, n, file, line); }

static void openssl_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	free(p);
}

static void a_digester_without_memory_is_not_made(void **state)
{
	struct digester *d = NULL;
	int granted = 0;
	(void)state;

	for (; d == NULL; granted++) {
		openssl_grants = granted;
		d = digester_new();
		openssl_grants = -1;
		assert_true(granted < 1000);
	}
	assert_true(granted > 1);
	digester_free(d);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(a_prompt_is_the_messages_it_stands_for),
		CASE(a_prompt_of_any_length_is_the_message_it_stands_for),
		CASE(what_is_not_given_counts_as_its_default),
		CASE(every_digest_field_makes_a_question_of_its_own),
		CASE(parts_of_the_header_do_not_run_into_each_other),
		CASE(what_is_not_part_of_the_question_changes_nothing),
		CASE(the_order_of_keys_and_the_form_of_numbers_change_nothing),
		CASE(a_memorised_header_is_not_taken_for_another),
		CASE(a_header_too_long_for_the_memo_has_a_digest_too),
		CASE(a_request_needs_exactly_one_question),
		CASE(empty_names_are_refused),
		CASE(each_message_is_a_map_with_a_role),
		CASE(content_may_be_nil_or_parts),
		CASE(params_that_have_a_place_of_their_own_are_refused_by_name),
		CASE(params_and_tools_follow_the_canonical_rules),
		CASE(after_a_fault_the_digester_works_on),
		CASE(the_sha_of_parts_is_that_of_the_whole),
		CASE(a_digester_that_never_was_can_be_freed),
		CASE(a_digester_without_memory_is_not_made),
	};
	if (CRYPTO_set_mem_functions(openssl_malloc, openssl_resize, openssl_free) != 1)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
