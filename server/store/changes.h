/* changes: was this key written or removed after that moment? So that what a slow read brings back cannot undo what
 * happened meanwhile.
 *
 * A table of the last change per slot of keys, without allocation and without knowing who reads. Keys that share a slot
 * give a false yes, never a false no: the reader asks once more. */
#ifndef STORE_CHANGES_H
#define STORE_CHANGES_H

#include <stdbool.h>
#include <stdint.h>

/* 64 KB; at 1,000 writes a second and reads of 8 ms a false yes comes in 0.1 % of the reads. */
#define CHANGES_SLOTS 8192

struct changes {
	uint64_t now; /* readers keep it when they start */
	uint64_t last[CHANGES_SLOTS];
};

static inline uint64_t *changes_slot(struct changes *c, const uint8_t *key)
{
	return &c->last[(key[0] | (uint32_t)key[1] << 8) % CHANGES_SLOTS]; /* keys are uniform */
}

static inline void changes_note(struct changes *c, const uint8_t *key) { *changes_slot(c, key) = ++c->now; }

static inline bool changes_since(struct changes *c, const uint8_t *key, uint64_t since)
{
	return *changes_slot(c, key) > since;
}

#endif
