#include "server/store/record.h"

#include <openssl/sha.h>

#define RECORD_MAGIC	      "PCR1"
#define RECORD_MAGIC_BYTES    4
#define RECORD_FAMILY_BYTES   3 /* "PCR": what all versions have in common */
#define RECORD_CHECKSUM_BYTES 8
#define RECORD_BODY_AT	      (RECORD_MAGIC_BYTES + RECORD_CHECKSUM_BYTES) /* what the checksum covers starts here */

/* Where the fields of the header stand. */
#define RECORD_KEY_AT		  RECORD_BODY_AT
#define RECORD_BEGUN_AT		  (RECORD_KEY_AT + ENTRY_KEY_BYTES)
#define RECORD_STORED_AT	  (RECORD_BEGUN_AT + 8)
#define RECORD_EXPIRES_AT	  (RECORD_STORED_AT + 8)
#define RECORD_POLICY_REVISION_AT (RECORD_EXPIRES_AT + 8)
#define RECORD_SAVES_NUSD_AT	  (RECORD_POLICY_REVISION_AT + 8)
#define RECORD_SAVES_US_AT	  (RECORD_SAVES_NUSD_AT + 8)
#define RECORD_SAVES_TOKENS_AT	  (RECORD_SAVES_US_AT + 8)
#define RECORD_TAGS_COUNT_AT	  (RECORD_SAVES_TOKENS_AT + 8)
#define RECORD_PAYLOAD_BYTES_AT	  (RECORD_TAGS_COUNT_AT + 4)
#define RECORD_TAGS_AT		  (RECORD_PAYLOAD_BYTES_AT + 4)

static void put_le(uint8_t *p, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *p, int bytes)
{
	uint64_t value = 0;

	for (int i = 0; i < bytes; i++)
		value |= (uint64_t)p[i] << (8 * i);
	return value;
}

/* False: OpenSSL found no memory. */
static bool record_checksum(struct slice bytes, uint8_t ret[RECORD_CHECKSUM_BYTES])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	if (SHA256(bytes.p + RECORD_BODY_AT, bytes.n - RECORD_BODY_AT, digest) == NULL)
		return false;
	memcpy(ret, digest, RECORD_CHECKSUM_BYTES);
	return true;
}

bool record_encode(struct buf *out, const struct entry *e)
{
	size_t tags_bytes = e->tags_count * sizeof(struct tag), n = RECORD_TAGS_AT + tags_bytes + e->payload_bytes;
	uint8_t *p;

	if (!buf_reserve(out, n))
		return false;
	p = out->p + out->n;
	memcpy(p, RECORD_MAGIC, RECORD_MAGIC_BYTES);
	memcpy(p + RECORD_KEY_AT, e->node.key, ENTRY_KEY_BYTES);
	put_le(p + RECORD_BEGUN_AT, e->begun, 8);
	put_le(p + RECORD_STORED_AT, e->stored_us, 8);
	put_le(p + RECORD_EXPIRES_AT, e->expires_us, 8);
	put_le(p + RECORD_POLICY_REVISION_AT, e->policy_revision, 8);
	put_le(p + RECORD_SAVES_NUSD_AT, e->saves_nusd, 8);
	put_le(p + RECORD_SAVES_US_AT, e->saves_us, 8);
	put_le(p + RECORD_SAVES_TOKENS_AT, e->saves_tokens, 8);
	put_le(p + RECORD_TAGS_COUNT_AT, e->tags_count, 4);
	put_le(p + RECORD_PAYLOAD_BYTES_AT, e->payload_bytes, 4);
	memcpy(p + RECORD_TAGS_AT, e->tags, tags_bytes + e->payload_bytes);
	if (!record_checksum(slice_of(p, n), p + RECORD_MAGIC_BYTES))
		return false;
	out->n += n;
	return true;
}

bool record_expires_us(struct slice bytes, uint64_t *ret)
{
	if (bytes.n < RECORD_TAGS_AT || memcmp(bytes.p, RECORD_MAGIC, RECORD_MAGIC_BYTES) != 0)
		return false;
	*ret = get_le(bytes.p + RECORD_EXPIRES_AT, 8);
	return true;
}

enum record_status record_decode(struct slice bytes, const uint8_t *expect_key, struct entry **ret)
{
	struct entry_parts parts = {0};
	struct tag tags[ENTRY_TAGS_MAX];
	uint8_t checksum[RECORD_CHECKSUM_BYTES];
	uint64_t tags_count, payload_bytes;
	struct entry *e;

	if (bytes.n < RECORD_MAGIC_BYTES || memcmp(bytes.p, RECORD_MAGIC, RECORD_FAMILY_BYTES) != 0)
		return RECORD_DAMAGED;
	if (memcmp(bytes.p, RECORD_MAGIC, RECORD_MAGIC_BYTES) != 0)
		return RECORD_FOREIGN;
	if (bytes.n < RECORD_TAGS_AT)
		return RECORD_DAMAGED;
	/* Sizes before the checksum: they are cheap, and a record that is merely cut needs no hashing. */
	tags_count = get_le(bytes.p + RECORD_TAGS_COUNT_AT, 4);
	payload_bytes = get_le(bytes.p + RECORD_PAYLOAD_BYTES_AT, 4);
	if (tags_count > ENTRY_TAGS_MAX || payload_bytes > ENTRY_PAYLOAD_BYTES_MAX ||
	    bytes.n != RECORD_TAGS_AT + tags_count * sizeof(struct tag) + payload_bytes)
		return RECORD_DAMAGED;
	if (expect_key != NULL && memcmp(bytes.p + RECORD_KEY_AT, expect_key, ENTRY_KEY_BYTES) != 0)
		return RECORD_DAMAGED;
	if (!record_checksum(bytes, checksum))
		return RECORD_NO_MEMORY;
	if (memcmp(checksum, bytes.p + RECORD_MAGIC_BYTES, RECORD_CHECKSUM_BYTES) != 0)
		return RECORD_DAMAGED;

	memcpy(parts.key, bytes.p + RECORD_KEY_AT, ENTRY_KEY_BYTES);
	parts.begun = get_le(bytes.p + RECORD_BEGUN_AT, 8);
	parts.stored_us = get_le(bytes.p + RECORD_STORED_AT, 8);
	parts.expires_us = get_le(bytes.p + RECORD_EXPIRES_AT, 8);
	parts.policy_revision = get_le(bytes.p + RECORD_POLICY_REVISION_AT, 8);
	parts.saves_nusd = get_le(bytes.p + RECORD_SAVES_NUSD_AT, 8);
	parts.saves_us = get_le(bytes.p + RECORD_SAVES_US_AT, 8);
	parts.saves_tokens = get_le(bytes.p + RECORD_SAVES_TOKENS_AT, 8);
	memcpy(tags, bytes.p + RECORD_TAGS_AT, tags_count * sizeof(struct tag));
	parts.tags = tags;
	parts.tags_count = tags_count;
	parts.payload = slice_of(bytes.p + bytes.n - payload_bytes, payload_bytes);
	e = entry_new(&parts);
	if (e == NULL)
		return RECORD_NO_MEMORY;
	*ret = e;
	return RECORD_OK;
}
