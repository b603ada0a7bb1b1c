/* due: the heap. */
#include "client/due.h"

#include <assert.h>

#define DUE_CAP_FIRST 16

void due_init(struct due_heap *h, const struct mem *mem) { *h = (struct due_heap){.mem = mem}; }

void due_free(struct due_heap *h)
{
	assert(h->count == 0);
	mem_free(h->mem, h->items);
	h->items = NULL;
	h->cap = 0;
}

static void place(struct due_heap *h, size_t i, struct due *d)
{
	h->items[i] = d;
	d->place = i + 1;
}

static void sift_up(struct due_heap *h, size_t i, struct due *d)
{
	while (i > 0 && h->items[(i - 1) / 2]->at_us > d->at_us) {
		place(h, i, h->items[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	place(h, i, d);
}

static void sift_down(struct due_heap *h, size_t i, struct due *d)
{
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= h->count)
			break;
		if (child + 1 < h->count && h->items[child + 1]->at_us < h->items[child]->at_us)
			child++;
		if (h->items[child]->at_us >= d->at_us)
			break;
		place(h, i, h->items[child]);
		i = child;
	}
	place(h, i, d);
}

bool due_add(struct due_heap *h, struct due *d)
{
	assert(d->place == 0);
	if (h->count == h->cap) {
		size_t cap = h->cap > 0 ? 2 * h->cap : DUE_CAP_FIRST;
		struct due **items = mem_resize(h->mem, h->items, cap * sizeof(struct due *));

		if (items == NULL)
			return false;
		h->items = items;
		h->cap = cap;
	}
	h->count++;
	sift_up(h, h->count - 1, d);
	return true;
}

void due_remove(struct due_heap *h, struct due *d)
{
	if (d->place == 0)
		return;

	size_t i = d->place - 1;
	struct due *last = h->items[--h->count];

	assert(h->items[i] == d);
	d->place = 0;
	if (last == d)
		return;
	if (i > 0 && h->items[(i - 1) / 2]->at_us > last->at_us)
		sift_up(h, i, last);
	else
		sift_down(h, i, last);
}
