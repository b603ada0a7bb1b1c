#include "server/engine/freshness.h"

#include <assert.h>
#include <stdlib.h>

struct epoch {
	struct map_node node; /* key: the tag, then zeros */
	uint64_t stamp;
};

static void tag_key(const struct tag *tag, uint8_t key[MAP_KEY_BYTES])
{
	memcpy(key, tag->id, ENTRY_TAG_BYTES);
	memset(key + ENTRY_TAG_BYTES, 0, MAP_KEY_BYTES - ENTRY_TAG_BYTES);
}

int freshness_init(struct freshness *f)
{
	*f = (struct freshness){0};
	return map_init(&f->epochs);
}

static void epoch_forget(void *owner, struct map_node *node)
{
	struct freshness *f = owner;

	map_remove(&f->epochs, node);
	free(node);
}

static void epochs_clear(struct freshness *f)
{
	size_t cursor = 0;

	while (f->epochs.count > 0)
		map_walk(&f->epochs, &cursor, SIZE_MAX, epoch_forget, f);
}

void freshness_free(struct freshness *f)
{
	epochs_clear(f);
	map_free(&f->epochs);
}

uint64_t freshness_stamp(struct freshness *f, uint64_t wall_us)
{
	f->last = wall_us > f->last ? wall_us : f->last + 1;
	return f->last;
}

uint64_t freshness_as_of(const struct freshness *f, uint64_t wall_us) { return wall_us > f->last ? wall_us : f->last; }

void freshness_seen(struct freshness *f, uint64_t stamp)
{
	if (stamp > f->last)
		f->last = stamp;
}

static void floor_raise(struct freshness *f, uint64_t stamp)
{
	if (stamp > f->floor)
		f->floor = stamp;
}

/* One step of the loop may free 65,536 nodes here (about 2 ms), once per as many invalidations of different tags. */
static void epochs_fold(struct freshness *f)
{
	floor_raise(f, f->last); /* no epoch is greater */
	epochs_clear(f);
	f->folds++;
}

void freshness_invalidate(struct freshness *f, const struct tag *tag, uint64_t stamp)
{
	uint8_t key[MAP_KEY_BYTES];
	struct epoch *e;

	freshness_seen(f, stamp);
	tag_key(tag, key);
	e = (struct epoch *)map_find(&f->epochs, key);
	if (e == NULL) {
		if (f->epochs.count == FRESHNESS_EPOCHS_MAX)
			epochs_fold(f);
		e = calloc(1, sizeof *e);
		if (e == NULL) {
			floor_raise(f, stamp);
			return;
		}
		memcpy(e->node.key, key, sizeof key);
		map_insert(&f->epochs, &e->node);
	}
	if (stamp > e->stamp)
		e->stamp = stamp;
}

bool freshness_alive(struct freshness *f, uint64_t begun, const struct tag *tags, size_t count)
{
	if (begun <= f->floor)
		return false;
	if (f->epochs.count == 0)
		return true;
	for (size_t i = 0; i < count; i++) {
		uint8_t key[MAP_KEY_BYTES];
		const struct epoch *e;

		tag_key(&tags[i], key);
		e = (const struct epoch *)map_find(&f->epochs, key);
		if (e != NULL && begun <= e->stamp)
			return false;
	}
	return true;
}
