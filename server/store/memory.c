/* Bytes in use = entries + what the map's tables need for them + ghosts. The ghosts are a fixed table of fingerprints,
 * four to a bucket, each with the number of the eviction that left it: old ones are overwritten or too old to count, so
 * that remembering and forgetting cost no list and no memory. */
#include "server/store/memory.h"

#include <assert.h>
#include <stdlib.h>

#define MEMORY_SMALL_PERCENT   10
#define MEMORY_ROOMY_PERCENT   80
#define MEMORY_LARGEST_PART    8  /* an entry may have this part of the limit */
#define MEMORY_HITS_MAX	       3  /* rounds in the main queue that popularity can buy */
#define MEMORY_CHANCES_MAX     64 /* second chances given within one eviction: it may not hold the loop */
#define MEMORY_ALLOC_BYTES     16 /* what the allocator adds to an entry */
#define MEMORY_TABLE_BYTES     24 /* per entry: the most a map needs while it grows, so that growing makes no jump */
#define MEMORY_GHOST_WAYS      4
#define MEMORY_BYTES_PER_GHOST 1024 /* of the limit: 8 bytes each, below 1 % */

enum memory_queue {
	QUEUE_SMALL,
	QUEUE_MAIN,
	QUEUES
};

struct ghost {
	uint32_t fingerprint; /* 0: free */
	uint32_t left_at;     /* number of the eviction */
};

TAILQ_HEAD(memory_list, entry);

struct memory {
	struct map map;
	struct memory_list queue[QUEUES]; /* new ones at the head */
	uint64_t bytes[QUEUES];
	size_t count[QUEUES];
	struct ghost *ghosts;
	size_t ghost_buckets; /* a power of two */
	uint32_t evictions;   /* that left a ghost */
	uint64_t limit_bytes;
	struct memory_metrics metrics;

	/* Of the sweep that runs. */
	bool (*alive)(void *owner, const struct entry *e);
	void *alive_owner;
	size_t swept;
};

static uint64_t memory_cost(const struct entry *e) { return entry_bytes(e) + MEMORY_ALLOC_BYTES; }

static uint64_t memory_bytes(const struct memory *m)
{
	uint64_t tables = map_bytes(&m->map), foreseen = m->map.count * MEMORY_TABLE_BYTES;

	return sizeof *m + m->ghost_buckets * MEMORY_GHOST_WAYS * sizeof(struct ghost) + m->bytes[QUEUE_SMALL] +
	       m->bytes[QUEUE_MAIN] + (tables > foreseen ? tables : foreseen);
}

struct memory *memory_new(uint64_t limit_bytes)
{
	struct memory *m = calloc(1, sizeof *m);

	if (m == NULL)
		return NULL;
	m->limit_bytes = limit_bytes;
	m->ghost_buckets = 1;
	while (m->ghost_buckets * 2 * MEMORY_GHOST_WAYS <= limit_bytes / MEMORY_BYTES_PER_GHOST)
		m->ghost_buckets *= 2;
	m->ghosts = calloc(m->ghost_buckets * MEMORY_GHOST_WAYS, sizeof *m->ghosts);
	if (m->ghosts == NULL || map_init(&m->map) != 0) {
		free(m->ghosts);
		free(m);
		return NULL;
	}
	TAILQ_INIT(&m->queue[QUEUE_SMALL]);
	TAILQ_INIT(&m->queue[QUEUE_MAIN]);
	return m;
}

/* ---- queues */

static void memory_push(struct memory *m, struct entry *e, enum memory_queue to)
{
	e->queue = (uint8_t)to;
	TAILQ_INSERT_HEAD(&m->queue[to], e, link);
	m->bytes[to] += memory_cost(e);
	m->count[to]++;
}

static void memory_pull(struct memory *m, struct entry *e)
{
	TAILQ_REMOVE(&m->queue[e->queue], e, link);
	m->bytes[e->queue] -= memory_cost(e);
	m->count[e->queue]--;
}

/* Out of queue and map; the reference goes too. */
static void memory_forget(struct memory *m, struct entry *e)
{
	assert(e->in_memory);
	memory_pull(m, e);
	map_remove(&m->map, &e->node);
	e->in_memory = false;
	entry_unref(e);
}

void memory_free(struct memory *m)
{
	struct entry *e;

	if (m == NULL)
		return;
	for (int q = 0; q < QUEUES; q++) {
		while ((e = TAILQ_FIRST(&m->queue[q])) != NULL) {
			TAILQ_REMOVE(&m->queue[q], e, link);
			e->in_memory = false;
			entry_unref(e);
		}
	}
	map_free(&m->map);
	free(m->ghosts);
	free(m);
}

/* ---- ghosts. The key is a SHA-256: any bits of it are a fingerprint. */

static struct ghost *ghost_bucket(const struct memory *m, const uint8_t *key, uint32_t *ret_fingerprint)
{
	uint64_t place;

	memcpy(&place, key, sizeof place);
	memcpy(ret_fingerprint, key + sizeof place, sizeof *ret_fingerprint);
	*ret_fingerprint |= 1;
	return &m->ghosts[(place & (m->ghost_buckets - 1)) * MEMORY_GHOST_WAYS];
}

static void ghost_leave(struct memory *m, const uint8_t *key)
{
	uint32_t fingerprint;
	struct ghost *bucket = ghost_bucket(m, key, &fingerprint), *oldest = bucket;

	for (struct ghost *g = bucket; g < bucket + MEMORY_GHOST_WAYS; g++) {
		if (g->fingerprint == 0 || g->fingerprint == fingerprint) {
			oldest = g;
			break;
		}
		if (m->evictions - g->left_at > m->evictions - oldest->left_at)
			oldest = g;
	}
	*oldest = (struct ghost){fingerprint, m->evictions++};
}

/* A ghost counts while fewer have come after it than there are entries, and is used up by it. */
static bool ghost_take(struct memory *m, const uint8_t *key)
{
	uint32_t fingerprint;
	struct ghost *bucket = ghost_bucket(m, key, &fingerprint);

	for (struct ghost *g = bucket; g < bucket + MEMORY_GHOST_WAYS; g++) {
		if (g->fingerprint != fingerprint)
			continue;
		g->fingerprint = 0;
		return m->evictions - g->left_at <= m->map.count;
	}
	return false;
}

/* ---- eviction */

/* Gives the oldest of the small queue its due: up, or out. */
static void memory_evict_small(struct memory *m)
{
	struct entry *e = TAILQ_LAST(&m->queue[QUEUE_SMALL], memory_list);

	if (e->hits > 0) {
		memory_pull(m, e);
		e->hits = 0;
		memory_push(m, e, QUEUE_MAIN);
		m->metrics.memory_promoted_total++;
		return;
	}
	ghost_leave(m, e->node.key);
	memory_forget(m, e);
	m->metrics.memory_evicted_total++;
}

static void memory_evict_main(struct memory *m)
{
	struct entry *e;

	for (int chances = 0; chances < MEMORY_CHANCES_MAX; chances++) {
		e = TAILQ_LAST(&m->queue[QUEUE_MAIN], memory_list);
		if (e->hits == 0)
			break;
		memory_pull(m, e);
		e->hits--;
		memory_push(m, e, QUEUE_MAIN);
	}
	e = TAILQ_LAST(&m->queue[QUEUE_MAIN], memory_list);
	memory_forget(m, e);
	m->metrics.memory_evicted_total++;
}

static void memory_fit(struct memory *m)
{
	while (memory_bytes(m) > m->limit_bytes && m->map.count > 0) {
		bool small_is_over = m->bytes[QUEUE_SMALL] > m->limit_bytes * MEMORY_SMALL_PERCENT / 100;

		/* The last one of the small queue may be the one that has just come in. */
		if (m->count[QUEUE_MAIN] == 0 || (small_is_over && m->count[QUEUE_SMALL] > 1))
			memory_evict_small(m);
		else
			memory_evict_main(m);
	}
}

/* ---- calls */

struct entry *memory_peek(struct memory *m, const uint8_t key[ENTRY_KEY_BYTES])
{
	return (struct entry *)map_find(&m->map, key); /* node is its first member */
}

struct entry *memory_find(struct memory *m, const uint8_t key[ENTRY_KEY_BYTES])
{
	struct entry *e = memory_peek(m, key);

	if (e != NULL && e->hits < MEMORY_HITS_MAX)
		e->hits++;
	return e;
}

bool memory_insert(struct memory *m, struct entry *e)
{
	struct entry *before = memory_peek(m, e->node.key);
	enum memory_queue to = QUEUE_SMALL;

	if (before == e)
		return true;
	assert(!e->in_memory);
	e->hits = 0;
	if (before != NULL) { /* it inherits the place that the key has earned */
		to = before->queue;
		e->hits = before->hits;
		memory_forget(m, before);
	}
	if (memory_cost(e) > m->limit_bytes / MEMORY_LARGEST_PART) {
		m->metrics.memory_refused_total++;
		return false;
	}
	if (ghost_take(m, e->node.key))
		to = QUEUE_MAIN;
	map_insert(&m->map, &entry_ref(e)->node);
	e->in_memory = true;
	memory_push(m, e, to);
	memory_fit(m);
	return e->in_memory;
}

bool memory_remove(struct memory *m, const uint8_t key[ENTRY_KEY_BYTES])
{
	struct entry *e = memory_peek(m, key);

	if (e == NULL)
		return false;
	memory_forget(m, e);
	return true;
}

static void memory_sweep_one(void *owner, struct map_node *node)
{
	struct memory *m = owner;
	struct entry *e = (struct entry *)node;

	if (m->alive(m->alive_owner, e))
		return;
	memory_forget(m, e);
	m->swept++;
}

size_t memory_sweep(struct memory *m, size_t *cursor, size_t budget, bool (*alive)(void *owner, const struct entry *e),
		    void *owner)
{
	m->alive = alive;
	m->alive_owner = owner;
	m->swept = 0;
	map_walk(&m->map, cursor, budget, memory_sweep_one, m);
	return m->swept;
}

bool memory_is_roomy(const struct memory *m) { return memory_bytes(m) < m->limit_bytes / 100 * MEMORY_ROOMY_PERCENT; }

/* ---- metrics */

static const struct metric memory_table[] = {METRICS_TABLE(MEMORY_METRICS, struct memory_metrics)};

const struct metric *memory_metrics_table(size_t *ret_count)
{
	*ret_count = sizeof memory_table / sizeof *memory_table;
	return memory_table;
}

struct memory_metrics *memory_metrics(struct memory *m)
{
	m->metrics.memory_entries = m->map.count;
	m->metrics.memory_bytes = memory_bytes(m);
	m->metrics.memory_limit_bytes = m->limit_bytes;
	return &m->metrics;
}
