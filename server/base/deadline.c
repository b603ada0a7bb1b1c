/* A pairing heap: arming is one comparison, removing O(log n) amortised, and all links live in the deadlines
 * themselves. `prev` is the left sibling, or the parent for a first child; the root has neither siblings nor a prev. */
#include "server/base/deadline.h"

#include <assert.h>
#include <stddef.h>

/* Two roots become one: the later one is the first child of the earlier. */
static struct deadline *deadline_meld(struct deadline *a, struct deadline *b)
{
	struct deadline *first = a, *second = b;

	if (b->at_us < a->at_us) {
		first = b;
		second = a;
	}
	second->prev = first;
	second->next = first->child;
	if (second->next != NULL)
		second->next->prev = second;
	first->child = second;
	first->next = first->prev = NULL;
	return first;
}

/* A list of siblings becomes one tree: pairs from left to right, then the pairs from right to left. Both passes are
 * needed for the logarithm, and neither recurses: a heap into which only was armed is one list as long as the heap. */
static struct deadline *deadline_meld_siblings(struct deadline *first)
{
	struct deadline *pairs = NULL, *root = NULL;

	while (first != NULL) {
		struct deadline *a = first, *b = a->next;

		first = b != NULL ? b->next : NULL;
		if (b != NULL)
			a = deadline_meld(a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs != NULL) {
		struct deadline *pair = pairs;

		pairs = pair->next;
		pair->next = pair->prev = NULL;
		root = root != NULL ? deadline_meld(root, pair) : pair;
	}
	return root;
}

/* Takes d out of its parent's list of children. */
static void deadline_cut(struct deadline *d)
{
	if (d->prev->child == d)
		d->prev->child = d->next;
	else
		d->prev->next = d->next;
	if (d->next != NULL)
		d->next->prev = d->prev;
	d->next = d->prev = NULL;
}

void deadlines_arm(struct deadlines *h, struct deadline *d, uint64_t at_us, deadline_cb cb)
{
	assert(cb != NULL);

	deadlines_disarm(h, d);
	*d = (struct deadline){.at_us = at_us, .cb = cb, .armed = true};
	h->root = h->root != NULL ? deadline_meld(h->root, d) : d;
	h->count++;
}

void deadlines_disarm(struct deadlines *h, struct deadline *d)
{
	struct deadline *below;

	if (!d->armed)
		return;
	assert(h->count > 0);
	below = deadline_meld_siblings(d->child);
	if (d == h->root) {
		h->root = below;
	} else {
		deadline_cut(d);
		if (below != NULL)
			h->root = deadline_meld(h->root, below);
	}
	d->child = NULL;
	d->armed = false;
	h->count--;
}

uint64_t deadlines_next_us(const struct deadlines *h) { return h->root != NULL ? h->root->at_us : UINT64_MAX; }

struct deadline *deadlines_take_due(struct deadlines *h, uint64_t now_us)
{
	struct deadline *d = h->root;

	if (d == NULL || d->at_us > now_us)
		return NULL;
	deadlines_disarm(h, d);
	return d;
}
