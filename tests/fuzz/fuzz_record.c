/* Records as they may stand in a damaged store. Each input is tried as it is, and once more with its checksum put
 * right: past the checksum nothing but sizes and versions protects the decoder. What decodes must encode to the same
 * bytes. */
#include <assert.h>
#include <stdlib.h>

#include <openssl/sha.h>

#include "server/store/record.h"

#define CHECKSUM_AT 4
#define BODY_AT	    12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_record(struct slice bytes, const uint8_t *expect_key)
{
	struct entry *e = NULL;
	struct buf again;
	uint64_t expires_us;
	bool encoded;

	if (record_decode(bytes, expect_key, &e) != RECORD_OK) {
		assert(e == NULL);
		return;
	}
	assert(record_expires_us(bytes, &expires_us) && expires_us == e->expires_us);
	buf_init(&again, SIZE_MAX, NULL);
	encoded = record_encode(&again, e);
	assert(encoded && slice_eq(buf_slice(&again), bytes));
	buf_free(&again);
	entry_unref(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t key[ENTRY_KEY_BYTES] = {0};
	uint8_t digest[SHA256_DIGEST_LENGTH], *copy;
	uint64_t expires_us;

	try_record(slice_of(data, size), NULL);
	(void)!record_expires_us(slice_of(data, size), &expires_us);
	if (size < BODY_AT)
		return 0;
	copy = malloc(size);
	assert(copy != NULL);
	memcpy(copy, data, size);
	SHA256(copy + BODY_AT, size - BODY_AT, digest);
	memcpy(copy + CHECKSUM_AT, digest, BODY_AT - CHECKSUM_AT);
	try_record(slice_of(copy, size), NULL);
	try_record(slice_of(copy, size), key);
	free(copy);
	return 0;
}
