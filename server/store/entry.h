/* entry: one stored answer. Immutable once made, shared by reference: the memory tier, a write on its way and a client
 * being served hold the same bytes.
 *
 * The store knows when an entry began, when it ends, what may invalidate it and what it is worth; the payload is the
 * engine's business. */
#ifndef STORE_ENTRY_H
#define STORE_ENTRY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "proto/bytes.h"
#include "server/base/map.h"

#define ENTRY_KEY_BYTES		MAP_KEY_BYTES
#define ENTRY_TAG_BYTES		16
#define ENTRY_TAGS_MAX		72 /* tenant, namespace, prompt version, model, upstream, and up to 64 sources */
#define ENTRY_PAYLOAD_BYTES_MAX (16u * 1024 * 1024) /* an answer of ANSWER_BYTES_MAX with room for its wire form */

/* What an invalidation names: the first 16 bytes of a SHA-256 over kind and name (engine/freshness.h makes them). */
struct tag {
	uint8_t id[ENTRY_TAG_BYTES];
};

/* The parts of an entry before it is made. Slices and tags are borrowed. */
struct entry_parts {
	uint8_t key[ENTRY_KEY_BYTES];
	uint64_t begun;	     /* stamp at which its generation began */
	uint64_t stored_us;  /* wall clock */
	uint64_t expires_us; /* wall clock; fresh until then */
	uint64_t policy_revision;
	uint64_t saves_nusd;   /* what one hit saves, in 1e-9 dollars */
	uint64_t saves_us;     /* and in time */
	uint64_t saves_tokens; /* and in tokens */
	const struct tag *tags;
	size_t tags_count;
	struct slice payload;
};

struct entry {
	struct map_node node;	 /* the memory tier's; node.key is the key */
	TAILQ_ENTRY(entry) link; /* the memory tier's */
	uint32_t refs;
	uint8_t queue, hits; /* the memory tier's */
	bool in_memory;	     /* the memory tier holds a reference */
	uint64_t begun, stored_us, expires_us, policy_revision, saves_nusd, saves_us, saves_tokens;
	uint32_t tags_count, payload_bytes;
	struct tag tags[]; /* tags_count of them, then the payload */
};

/* With one reference, the caller's. NULL: no memory. Asserts the limits above. */
struct entry *entry_new(const struct entry_parts *parts);
struct entry *entry_ref(struct entry *e);
void entry_unref(struct entry *e); /* accepts NULL */

static inline struct slice entry_payload(const struct entry *e)
{
	return (struct slice){(const uint8_t *)(e->tags + e->tags_count), e->payload_bytes};
}
static inline size_t entry_bytes(const struct entry *e)
{
	return sizeof *e + e->tags_count * sizeof(struct tag) + e->payload_bytes;
}

#endif
