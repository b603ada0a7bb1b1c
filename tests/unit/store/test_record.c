/* record: what was encoded comes back; what is anything else is told apart and harms nobody. */
#include "tests/unit/store/helpers.h"

#include "server/store/record.h"

struct fixture {
	struct buf bytes;
	struct entry *e;
	uint8_t key[ENTRY_KEY_BYTES];
};

static struct fixture f;

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){.e = entry_of(1, 300, 'a', 77)};
	buf_init(&f.bytes, SIZE_MAX, NULL);
	assert_true(record_encode(&f.bytes, f.e));
	key_of(1, f.key);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	entry_unref(f.e);
	buf_free(&f.bytes);
	return 0;
}

/* In memory of exactly that size, so that a read beyond it is seen by the sanitizer. */
static enum record_status decode(const uint8_t *p, size_t n, struct entry **ret)
{
	uint8_t *copy = malloc(n > 0 ? n : 1);
	enum record_status status;

	memcpy(copy, p, n);
	status = record_decode(slice_of(copy, n), f.key, ret);
	free(copy);
	return status;
}

static void every_field_comes_back(void **state)
{
	struct entry *e;

	(void)state;
	assert_int_equal(decode(f.bytes.p, f.bytes.n, &e), RECORD_OK);
	assert_entry(e, 1, 300, 'a');
	assert_int_equal(e->refs, 1);
	assert_int_equal(e->stored_us, 5);
	assert_int_equal(e->expires_us, 77);
	assert_int_equal(e->policy_revision, 7);
	assert_int_equal(e->saves_nusd, 8);
	assert_int_equal(e->saves_us, 9);
	assert_memory_equal(e->tags, f.e->tags, 2 * sizeof(struct tag));
	entry_unref(e);
}

static void an_entry_without_tags_and_payload_comes_back(void **state)
{
	struct entry_parts parts = {.begun = 3};
	struct entry *before = entry_new(&parts), *e;

	(void)state;
	f.bytes.n = 0;
	assert_true(record_encode(&f.bytes, before));
	assert_int_equal(record_decode(buf_slice(&f.bytes), before->node.key, &e), RECORD_OK);
	assert_int_equal(e->begun, 3);
	assert_int_equal(entry_payload(e).n, 0);
	entry_unref(before);
	entry_unref(e);
}

static void a_record_cut_anywhere_is_damaged(void **state)
{
	struct entry *e = NULL;

	(void)state;
	for (size_t n = 0; n < f.bytes.n; n++)
		assert_int_equal(decode(f.bytes.p, n, &e), RECORD_DAMAGED);
	assert_null(e);
}

static void a_flipped_bit_anywhere_is_noticed(void **state)
{
	struct entry *e = NULL;

	(void)state;
	for (size_t i = 0; i < f.bytes.n * 8; i++) {
		enum record_status status;

		f.bytes.p[i / 8] ^= (uint8_t)(1u << i % 8);
		status = decode(f.bytes.p, f.bytes.n, &e);
		assert_true(status == RECORD_DAMAGED || (i / 8 == 3 && status == RECORD_FOREIGN));
		f.bytes.p[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	assert_null(e);
}

static void bytes_behind_the_record_are_damage(void **state)
{
	struct entry *e;

	(void)state;
	assert_true(buf_append(&f.bytes, "x", 1));
	assert_int_equal(decode(f.bytes.p, f.bytes.n, &e), RECORD_DAMAGED);
}

static void a_record_of_another_version_is_foreign(void **state)
{
	struct entry *e;

	(void)state;
	f.bytes.p[3] = '2';
	assert_int_equal(decode(f.bytes.p, f.bytes.n, &e), RECORD_FOREIGN);
}

static void a_record_under_another_key_is_damaged(void **state)
{
	struct entry *e;

	(void)state;
	f.key[0] ^= 1;
	assert_int_equal(decode(f.bytes.p, f.bytes.n, &e), RECORD_DAMAGED);
	assert_int_equal(record_decode(buf_slice(&f.bytes), NULL, &e), RECORD_OK);
	entry_unref(e);
}

static void claimed_sizes_are_not_believed(void **state)
{
	struct entry *e;
	const size_t tags_count_at = 4 + 8 + 32 + 6 * 8;

	(void)state;
	memset(f.bytes.p + tags_count_at, 0xff, 8); /* tags and payload: 2^32 - 1 each */
	assert_int_equal(decode(f.bytes.p, f.bytes.n, &e), RECORD_DAMAGED);
}

static void the_expiry_is_read_without_the_rest(void **state)
{
	uint64_t expires_us = 0;

	(void)state;
	assert_true(record_expires_us(buf_slice(&f.bytes), &expires_us));
	assert_int_equal(expires_us, 77);
	assert_false(record_expires_us(slice_of(f.bytes.p, 50), &expires_us));
	assert_false(record_expires_us(slice_str("PC"), &expires_us));
}

static void encoding_beyond_the_ceiling_changes_nothing(void **state)
{
	struct buf small;

	(void)state;
	buf_init(&small, 100, NULL);
	assert_true(buf_append_str(&small, "before"));
	assert_false(record_encode(&small, f.e));
	assert_true(slice_is(buf_slice(&small), "before"));
	buf_free(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_field_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(an_entry_without_tags_and_payload_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(a_record_cut_anywhere_is_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(a_flipped_bit_anywhere_is_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(bytes_behind_the_record_are_damage, setup, teardown),
		cmocka_unit_test_setup_teardown(a_record_of_another_version_is_foreign, setup, teardown),
		cmocka_unit_test_setup_teardown(a_record_under_another_key_is_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(claimed_sizes_are_not_believed, setup, teardown),
		cmocka_unit_test_setup_teardown(the_expiry_is_read_without_the_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(encoding_beyond_the_ceiling_changes_nothing, setup, teardown),
	};
	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
