/* canonical: one form for each value, and a fault that names the place for what JSON does not have. */
#include "tests/unit/proto/proto_test.h"

#include "proto/digest.h"

struct fixture {
	msgpack_zone *zone;
	struct buf in, out, expected;
	struct fault fault;
};

static struct fixture f;

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){.zone = msgpack_zone_new(4096)};
	buf_init(&f.in, TEST_BYTES_MAX, NULL);
	buf_init(&f.out, TEST_BYTES_MAX, NULL);
	buf_init(&f.expected, TEST_BYTES_MAX, NULL);
	return f.zone == NULL;
}

static int teardown(void **state)
{
	(void)state;
	msgpack_zone_free(f.zone);
	buf_free(&f.in);
	buf_free(&f.out);
	buf_free(&f.expected);
	return 0;
}

/* f.in becomes its canonical form in f.out. */
static int canonical_in(void)
{
	msgpack_object o;
	size_t off = 0;

	assert_int_equal(msgpack_unpack((const char *)f.in.p, f.in.n, &off, f.zone, &o), MSGPACK_UNPACK_SUCCESS);
	f.out.n = 0;
	return canonical_append(&f.out, &o, "x", &f.fault);
}

static int canonical(const char *hex)
{
	f.in.n = 0;
	put_hex(&f.in, hex);
	return canonical_in();
}

static void becomes(const char *hex, const char *expected)
{
	if (canonical(hex) < 0)
		fail_msg("%s: %s", hex, f.fault.message);
	f.expected.n = 0;
	put_hex(&f.expected, expected);
	if (!slice_eq(buf_slice(&f.out), buf_slice(&f.expected)))
		fail_msg("%s does not become %s", hex, expected);
}

#define MAP_KEYS_LIMIT 4096 /* MAP_KEYS_MAX, for the size of an array */

static void refused(const char *hex, const char *field)
{
	assert_int_equal(canonical(hex), -1);
	assert_int_equal(f.fault.code, ERR_INVALID);
	assert_string_equal(f.fault.field, field);
	assert_int_equal(f.out.n, 0);
}

static void integers_take_their_shortest_form(void **state)
{
	(void)state;
	becomes("cf0000000000000005", "05");
	becomes("d300000000000000ff", "ccff");
	becomes("d20000ffff", "cdffff");
	becomes("cf00000000ffffffff", "ceffffffff");
	becomes("cfffffffffffffffff", "cfffffffffffffffff");
	becomes("d3ffffffffffffffff", "ff");
	becomes("d3ffffffffffffff80", "d080");
	becomes("d38000000000000000", "d38000000000000000");
}

static void a_float_that_is_a_whole_number_becomes_that_integer(void **state)
{
	(void)state;
	becomes("cb3ff0000000000000", "01");		     /* 1.0 */
	becomes("cb8000000000000000", "00");		     /* -0.0 */
	becomes("cbc000000000000000", "fe");		     /* -2.0 */
	becomes("cb4340000000000000", "cf0020000000000000"); /* 2^53 */
	becomes("cbc340000000000000", "d3ffe0000000000000"); /* -2^53 */
	becomes("cb4340000000000001", "cb4340000000000001"); /* 2^53 + 2 stays */
	becomes("cb7e37e43c8800759c", "cb7e37e43c8800759c"); /* 1e300 */
	becomes("ca3f800000", "01");
}

static void other_floats_are_64_bit(void **state)
{
	(void)state;
	becomes("ca3f000000", "cb3fe0000000000000"); /* 0.5f */
	becomes("ca3dcccccd", "cb3fb99999a0000000"); /* 0.1f is not 0.1 */
	becomes("cb3fb999999999999a", "cb3fb999999999999a");
}

static void numbers_that_json_lacks_are_refused(void **state)
{
	(void)state;
	refused("cb7ff0000000000000", "x");
	refused("cbfff0000000000000", "x");
	refused("cb7ff8000000000000", "x");
	refused("ca7fc00000", "x");
}

static void strings_take_their_shortest_form_and_are_otherwise_kept(void **state)
{
	(void)state;
	becomes("db00000003 206120", "a3 206120");
	becomes("da0000", "a0");
	becomes("d903 e282ac", "a3 e282ac");
	refused("a2c328", "x");
	refused("92 a161 a2c328", "x[1]");
}

static void maps_are_sorted_by_the_bytes_of_their_keys(void **state)
{
	(void)state;
	becomes("83 a162 01 a161 02 a26161 03", "83 a161 02 a26161 03 a162 01");
	becomes("83 a161 02 a26161 03 a162 01", "83 a161 02 a26161 03 a162 01");
	becomes("82 a2c3a9 01 a17a 02", "82 a17a 02 a2c3a9 01");
	becomes("de0001 a0 de0000", "81 a0 80");
	becomes("92 82 a162 01 a161 02 dc0000", "92 82 a161 02 a162 01 90");
}

static void put_entry(size_t i, uint8_t value)
{
	const uint8_t entry[] = {0xA2, (uint8_t)('a' + i / 26), (uint8_t)('a' + i % 26), value};

	put(&f.in, slice_of(entry, sizeof(entry)));
}

static void a_map_of_many_keys_is_sorted_too(void **state)
{
	(void)state;
	for (size_t n = 14; n < 200; n++) {
		const uint8_t head[] = {0xDE, (uint8_t)(n >> 8), (uint8_t)n};

		f.in.n = 0;
		put(&f.in, slice_of(head, sizeof(head)));
		for (size_t i = 0; i < n; i++)
			put_entry((i * 7 + 3) % n, 1);
		if (n % 7 == 0)
			continue; /* the walk above would meet keys twice */
		assert_int_equal(canonical_in(), 0);
		size_t at = n < 16 ? 1 : 3;

		for (size_t i = 1; i < n; i++)
			assert_true(memcmp(f.out.p + at + 4 * (i - 1), f.out.p + at + 4 * i, 3) < 0);
	}
}

static void a_doubled_key_is_refused_by_name(void **state)
{
	(void)state;
	refused("82 a161 01 a161 02", "x.a");
	refused("83 a162 01 a161 01 a162 02", "x.b");
	refused("91 81 a16d 82 a161 01 d90161 02", "x[0].m.a");
}

static void keys_must_be_strings(void **state)
{
	(void)state;
	refused("81 01 01", "x");
	refused("81 c40161 01", "x");
	refused("81 a16d 81 c0 01", "x.m");
	refused("81 a1ff 01", "x");
}

static void bytes_and_extensions_are_refused_where_they_stand(void **state)
{
	(void)state;
	refused("c40161", "x");
	refused("81 a161 93 01 02 d40501", "x.a[2]");
}

static void a_deep_place_is_named_as_far_as_there_is_room(void **state)
{
	(void)state;
	f.in.n = 0;
	for (size_t i = 0; i < 20; i++)
		put_hex(&f.in, "81 a5 6162636465");
	put_hex(&f.in, "c400");
	assert_int_equal(canonical_in(), -1);
	assert_int_equal(strlen(f.fault.field), sizeof(f.fault.field) - 1);
	assert_memory_equal(f.fault.field, "x.abcde.abcde.", 14);
}

static void what_a_client_nests_too_deeply_is_refused(void **state)
{
	msgpack_object chain[64];
	(void)state;

	chain[0] = (msgpack_object){.type = MSGPACK_OBJECT_NIL};
	for (size_t i = 1; i < COUNT(chain); i++)
		chain[i] = (msgpack_object){.type = MSGPACK_OBJECT_ARRAY, .via.array = {1, &chain[i - 1]}};
	assert_int_equal(canonical_append(&f.out, &chain[DEPTH_MAX], "x", &f.fault), 0);
	f.out.n = 0;
	assert_int_equal(canonical_append(&f.out, &chain[DEPTH_MAX + 1], "x", &f.fault), -1);
	assert_int_equal(f.fault.code, ERR_TOO_LARGE);
	assert_int_equal(f.out.n, 0);
}

static void a_map_of_too_many_keys_is_refused_before_it_is_sorted(void **state)
{
	static char keys[MAP_KEYS_LIMIT + 1][8];
	static msgpack_object_kv kv[MAP_KEYS_LIMIT + 1];
	msgpack_object map = {.type = MSGPACK_OBJECT_MAP, .via.map = {.ptr = kv, .size = MAP_KEYS_LIMIT}};
	(void)state;

	assert_int_equal(MAP_KEYS_LIMIT, MAP_KEYS_MAX);
	for (size_t i = 0; i < COUNT(kv); i++) {
		(void)snprintf(keys[i], sizeof(keys[i]), "%05zu", COUNT(kv) - i);
		kv[i].key = (msgpack_object){.type = MSGPACK_OBJECT_STR, .via.str = {.size = 5, .ptr = keys[i]}};
	}
	assert_int_equal(canonical_append(&f.out, &map, "x", &f.fault), 0);
	f.out.n = 0;
	map.via.map.size++;
	assert_int_equal(canonical_append(&f.out, &map, "x", &f.fault), -1);
	assert_int_equal(f.fault.code, ERR_TOO_LARGE);
	assert_string_equal(f.fault.field, "x");
}

static void lack_of_memory_leaves_the_output_as_it_was(void **state)
{
	struct scarce_mem mem;
	msgpack_object o;
	size_t off = 0;
	int rc = -1;
	(void)state;

	put_hex(&f.in, "de0014");
	for (size_t i = 20; i > 0; i--)
		put_entry(i, 1);
	assert_int_equal(msgpack_unpack((const char *)f.in.p, f.in.n, &off, f.zone, &o), MSGPACK_UNPACK_SUCCESS);
	for (size_t granted = 0; rc < 0; granted++) {
		struct buf out;

		scarce_init(&mem, granted);
		buf_init(&out, TEST_BYTES_MAX, &mem.mem);
		rc = canonical_append(&out, &o, "x", &f.fault);
		assert_true(rc == 0 || (out.n == 0 && f.fault.code == ERR_NO_MEMORY));
		buf_free(&out);
		assert_int_equal(mem.live, 0);
	}
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(integers_take_their_shortest_form),
		CASE(a_float_that_is_a_whole_number_becomes_that_integer),
		CASE(other_floats_are_64_bit),
		CASE(numbers_that_json_lacks_are_refused),
		CASE(strings_take_their_shortest_form_and_are_otherwise_kept),
		CASE(maps_are_sorted_by_the_bytes_of_their_keys),
		CASE(a_map_of_many_keys_is_sorted_too),
		CASE(a_doubled_key_is_refused_by_name),
		CASE(keys_must_be_strings),
		CASE(bytes_and_extensions_are_refused_where_they_stand),
		CASE(a_deep_place_is_named_as_far_as_there_is_room),
		CASE(what_a_client_nests_too_deeply_is_refused),
		CASE(a_map_of_too_many_keys_is_refused_before_it_is_sorted),
		CASE(lack_of_memory_leaves_the_output_as_it_was),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
