/* record: an entry as bytes for a durable store, and back. What is read is hostile input: it may be damaged, cut, of
 * another version, or somebody else's.
 *
 *      "PCR1" | sha256 of the rest, first 8 bytes | header, fixed and little-endian | tags | payload
 *
 * Pure. A later version takes another magic; records of an unknown one are treated as not there. */
#ifndef STORE_RECORD_H
#define STORE_RECORD_H

#include "server/store/entry.h"

/* False: no memory; out is as before. */
__attribute__((warn_unused_result)) bool record_encode(struct buf *out, const struct entry *e);

enum record_status {
	RECORD_OK,
	RECORD_DAMAGED,
	RECORD_FOREIGN /* another version */,
	RECORD_NO_MEMORY
};

/* expect_key: the key under which it was found; another one inside is RECORD_DAMAGED. NULL: any.
 * RECORD_OK: *ret holds one reference, the caller's. */
__attribute__((warn_unused_result)) enum record_status record_decode(struct slice bytes, const uint8_t *expect_key,
								     struct entry **ret);

/* When it ends, without a look at the rest: the durable store finds the row of its expiry table with it. False: not a
 * record. */
__attribute__((warn_unused_result)) bool record_expires_us(struct slice bytes, uint64_t *ret);

#endif
