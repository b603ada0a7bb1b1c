/* map: a hash map with 32-byte keys that are uniformly distributed already (SHA-256), intrusive, seeded, resized a few
 * buckets at a time.
 *
 * Own code because uthash doubles its table in one go (79 ms at a million items: the loop may not be held longer than
 * one), aborts without memory, and is unseeded. Keys come from a hash an attacker can search in, so each map mixes its
 * own random seed in. Growth that finds no memory is put off: chains get longer, nothing fails. Deleting shrinks too.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAP_KEY_BYTES	   32
#define MAP_MOVES_PER_CALL 4 /* buckets that a find, insert or remove moves while the table is being resized */

/* Embedded first in what is kept. */
struct map_node {
	struct map_node *next;
	uint8_t key[MAP_KEY_BYTES];
};

struct map {
	struct map_node **table, **old; /* old: being emptied into table */
	size_t size, old_size, moved;	/* buckets; moved: of the smaller table, how many are done */
	size_t count;
	uint64_t seed;
	bool walking; /* inside map_walk: nothing is moved */
};

int map_init(struct map *m);  /* -1: no memory */
void map_free(struct map *m); /* the nodes are the caller's; accepts a zeroed map */
struct map_node *map_find(struct map *m, const uint8_t key[MAP_KEY_BYTES]); /* NULL: not there */
void map_insert(struct map *m, struct map_node *node);			    /* the key must not be there yet */
void map_remove(struct map *m, struct map_node *node);			    /* must be there */
size_t map_bytes(const struct map *m);					    /* memory of the tables */

/* A walk in slices: visits at least one bucket and about `budget` nodes from *cursor, and moves it on; 0 starts, 0
 * comes back at the end. Nodes that are there all the time are seen at least once; a resize in between may show some
 * twice. `each` may remove the node it is given. */
void map_walk(struct map *m, size_t *cursor, size_t budget, void (*each)(void *owner, struct map_node *node),
	      void *owner);

#endif
