/* freshness: when something began, and what has been invalidated since. O(1): invalidating touches no entry.
 *
 * A stamp is max(wall clock in us, greatest stamp seen + 1): it never repeats and never goes back, also when the clock
 * does. What may be invalidated together carries a tag; a tag's epoch is the stamp of its last invalidation; whatever
 * began before the epoch of one of its tags is dead, whether it is stored or still being made.
 *
 * The table is bounded: at FRESHNESS_EPOCHS_MAX all epochs fold into the floor (the greatest of them), and whatever
 * began before the floor is dead too. That forgets more than was asked, never less: a missing epoch does not read as
 * "none". Pure: time is an argument. */
#ifndef ENGINE_FRESHNESS_H
#define ENGINE_FRESHNESS_H

#include "server/store/entry.h"

#define FRESHNESS_EPOCHS_MAX 65536

struct freshness {
	struct map epochs;
	uint64_t last;	/* greatest stamp given out or seen */
	uint64_t floor; /* what began before is dead */
	uint64_t folds; /* how often the table was full */
};

int freshness_init(struct freshness *f); /* -1: no memory */
void freshness_free(struct freshness *f);

uint64_t freshness_stamp(struct freshness *f, uint64_t wall_us);       /* a new one */
uint64_t freshness_as_of(const struct freshness *f, uint64_t wall_us); /* the present one */
void freshness_seen(struct freshness *f, uint64_t stamp);	       /* from a store: ours must be greater */

/* Sets a tag's epoch (the greater of old and new wins). Without memory the floor rises instead: nothing dead comes
 * back. */
void freshness_invalidate(struct freshness *f, const struct tag *tag, uint64_t stamp);

/* May something that began at `begun` and carries these tags still be served or stored? */
bool freshness_alive(struct freshness *f, uint64_t begun, const struct tag *tags, size_t count);

#endif
