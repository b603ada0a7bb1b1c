/* due: which of many calls runs out of time first: a binary heap that knows each item's place, so that any can be taken
 * out. */
#ifndef CLIENT_DUE_H
#define CLIENT_DUE_H

#include "proto/bytes.h"

struct due {
	uint64_t at_us;
	size_t place; /* in the heap, from 1; 0: not in it */
};

struct due_heap {
	const struct mem *mem; /* (borrowed) */
	struct due **items;    /* (borrowed) items[0] is due first */
	size_t count;
	size_t cap;
};

void due_init(struct due_heap *h, const struct mem *mem);
void due_free(struct due_heap *h); /* must be empty */

__attribute__((warn_unused_result)) bool due_add(struct due_heap *h, struct due *d); /* false: no memory */
void due_remove(struct due_heap *h, struct due *d);				     /* accepts one that is not in it */

/* The one that is due first; NULL: none. */
static inline struct due *due_first(const struct due_heap *h) { return h->count > 0 ? h->items[0] : NULL; }

#endif
