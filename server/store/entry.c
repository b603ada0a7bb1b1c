#include "server/store/entry.h"

#include <assert.h>
#include <stdlib.h>

struct entry *entry_new(const struct entry_parts *parts)
{
	size_t tags_bytes = parts->tags_count * sizeof(struct tag);
	struct entry *e;

	assert(parts->tags_count <= ENTRY_TAGS_MAX);
	assert(parts->payload.n <= ENTRY_PAYLOAD_BYTES_MAX);

	e = malloc(sizeof *e + tags_bytes + parts->payload.n);
	if (e == NULL)
		return NULL;
	*e = (struct entry){
		.refs = 1,
		.begun = parts->begun,
		.stored_us = parts->stored_us,
		.expires_us = parts->expires_us,
		.policy_revision = parts->policy_revision,
		.saves_nusd = parts->saves_nusd,
		.saves_us = parts->saves_us,
		.saves_tokens = parts->saves_tokens,
		.tags_count = (uint32_t)parts->tags_count,
		.payload_bytes = (uint32_t)parts->payload.n,
	};
	memcpy(e->node.key, parts->key, ENTRY_KEY_BYTES);
	if (tags_bytes > 0)
		memcpy(e->tags, parts->tags, tags_bytes);
	if (parts->payload.n > 0)
		memcpy((uint8_t *)e->tags + tags_bytes, parts->payload.p, parts->payload.n);
	return e;
}

/* Not atomic: references are counted on the loop only; a pool thread reads an entry for which the loop holds one. */
struct entry *entry_ref(struct entry *e)
{
	assert(e->refs > 0 && e->refs < UINT32_MAX);

	e->refs++;
	return e;
}

void entry_unref(struct entry *e)
{
	if (e == NULL)
		return;
	assert(e->refs > 0);
	if (--e->refs > 0)
		return;
	assert(!e->in_memory);
	free(e);
}
