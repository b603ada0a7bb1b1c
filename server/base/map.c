/* Every node is in exactly one chain at any time, also in the middle of a resize. Both tables are powers of two and one
 * is twice the other; the buckets of the smaller one name *classes* of hashes. Classes below `moved` live in `table`,
 * the others still in `old`:
 *
 *      growing      old [ a │ b │ c │ d ]  ->  table [ a0 │ b0 │ c0 │ d0 │ a1 │ b1 │ c1 │ d1 ]
 *      shrinking    old [ a0 │ b0 │ a1 │ b1 ]  ->  table [ a │ b ]
 *
 * So a look-up reads one chain, and a new table needs no clearing (16 MB in one call at a million nodes):
 * a bucket is written for the first time when its class moves.
 *
 * Measured by hand (2 cores of an AMD Zen 4, gcc -O2, 1,000,000 nodes in and out of one map, 17 runs): 0.2 us an
 * insert, the longest 0.25-0.4 ms; 0.25 us a removal, the longest 0.45-0.72 ms: giving back a table of 8 MB. Four runs
 * had one call of 0.9-2.6 ms. */
#include "server/base/map.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/random.h"

#define MAP_SIZE_MIN 16 /* buckets; a power of two */

__extension__ typedef unsigned __int128 map_wide;

static uint64_t map_mix(uint64_t a, uint64_t b)
{
	map_wide product = (map_wide)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The key is uniform, but whoever chooses prompts can search for keys that agree in any bits; without the seed it
 * cannot know which bits meet here. */
static size_t map_hash(const struct map *m, const uint8_t key[MAP_KEY_BYTES])
{
	uint64_t k[4];

	memcpy(k, key, sizeof k);
	return (size_t)map_mix(map_mix(k[0] ^ m->seed, k[1] ^ UINT64_C(0xa0761d6478bd642f)) ^ k[2] ^ m->seed,
			       k[3] ^ UINT64_C(0xe7037ed1a0b428db));
}

/* How many classes there are: the buckets of the smaller table. */
static size_t map_classes(const struct map *m)
{
	return m->old != NULL && m->old_size < m->size ? m->old_size : m->size;
}

static struct map_node **map_bucket(const struct map *m, size_t hash)
{
	if (m->old != NULL && (hash & (map_classes(m) - 1)) >= m->moved)
		return &m->old[hash & (m->old_size - 1)];
	return &m->table[hash & (m->size - 1)];
}

static void map_push(struct map_node **bucket, struct map_node *node)
{
	node->next = *bucket;
	*bucket = node;
}

/* Moves the class that is next from old to table. */
static void map_move_class(struct map *m)
{
	size_t classes = map_classes(m), i;

	for (i = m->moved; i < m->size; i += classes)
		m->table[i] = NULL;
	for (i = m->moved; i < m->old_size; i += classes) {
		struct map_node *node = m->old[i];

		while (node != NULL) {
			struct map_node *next = node->next;

			map_push(&m->table[map_hash(m, node->key) & (m->size - 1)], node);
			node = next;
		}
	}
	m->moved++;
}

static void map_move_some(struct map *m)
{
	int i;

	if (m->old == NULL || m->walking)
		return;
	for (i = 0; i < MAP_MOVES_PER_CALL && m->moved < map_classes(m); i++)
		map_move_class(m);
	if (m->moved < map_classes(m))
		return;
	free(m->old);
	m->old = NULL;
	m->old_size = m->moved = 0;
}

/* Without memory the table stays as it is, and the next call tries again. */
static void map_resize(struct map *m, size_t size)
{
	struct map_node **table;

	if (m->old != NULL || m->walking || size > SIZE_MAX / sizeof *table)
		return;
	table = malloc(size * sizeof *table);
	if (table == NULL)
		return;
	m->old = m->table;
	m->old_size = m->size;
	m->table = table;
	m->size = size;
	m->moved = 0;
}

int map_init(struct map *m)
{
	struct map_node **table = calloc(MAP_SIZE_MIN, sizeof *table);

	if (table == NULL)
		return -1;
	*m = (struct map){.table = table, .size = MAP_SIZE_MIN};
	random_bytes(&m->seed, sizeof m->seed);
	return 0;
}

void map_free(struct map *m)
{
	free(m->table);
	free(m->old);
	*m = (struct map){0};
}

struct map_node *map_find(struct map *m, const uint8_t key[MAP_KEY_BYTES])
{
	struct map_node *node;

	map_move_some(m);
	for (node = *map_bucket(m, map_hash(m, key)); node != NULL; node = node->next)
		if (memcmp(node->key, key, MAP_KEY_BYTES) == 0)
			return node;
	return NULL;
}

void map_insert(struct map *m, struct map_node *node)
{
	map_move_some(m);
	if (m->count >= m->size)
		map_resize(m, m->size * 2);
	map_push(map_bucket(m, map_hash(m, node->key)), node);
	m->count++;
}

void map_remove(struct map *m, struct map_node *node)
{
	struct map_node **at;

	map_move_some(m);
	at = map_bucket(m, map_hash(m, node->key));
	while (*at != node) {
		assert(*at != NULL);
		at = &(*at)->next;
	}
	*at = node->next;
	node->next = NULL;
	m->count--;
	/* A quarter, not a half: a count that swings around one size must not resize all the time. */
	if (m->size > MAP_SIZE_MIN && m->count < m->size / 4)
		map_resize(m, m->size / 2);
}

size_t map_bytes(const struct map *m) { return (m->size + m->old_size) * sizeof *m->table; }

static size_t map_walk_chain(struct map_node *node, void (*each)(void *owner, struct map_node *node), void *owner)
{
	size_t seen = 0;

	while (node != NULL) {
		struct map_node *next = node->next;

		each(owner, node);
		seen++;
		node = next;
	}
	return seen;
}

/* The cursor after this one, counting from the highest bit down. In that order the classes that a table of another size
 * makes of those already visited are visited ones again, so that a resize between two slices hides nothing (the order
 * of Redis' SCAN). */
static size_t map_cursor_next(size_t cursor, size_t classes)
{
	size_t bit = classes >> 1;

	while (bit != 0 && (cursor & bit) != 0) {
		cursor ^= bit;
		bit >>= 1;
	}
	return bit != 0 ? cursor | bit : 0;
}

void map_walk(struct map *m, size_t *cursor, size_t budget, void (*each)(void *owner, struct map_node *node),
	      void *owner)
{
	size_t classes = map_classes(m), seen = 0;

	assert(!m->walking);
	m->walking = true; /* `each` may remove, and that must not move the chain it stands in */
	do {
		size_t class = *cursor & (classes - 1);
		bool in_old = m->old != NULL && class >= m->moved;
		size_t size = in_old ? m->old_size : m->size, i;

		for (i = class; i < size; i += classes)
			seen += map_walk_chain(in_old ? m->old[i] : m->table[i], each, owner);
		seen++; /* empty buckets cost something too */
		*cursor = map_cursor_next(class, classes);
	} while (*cursor != 0 && seen < budget);
	m->walking = false;
}
