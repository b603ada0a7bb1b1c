#include "server/upstream/slots.h"

#include <assert.h>
#include <stddef.h>

static void slots_on_grant(struct loop_task *t);

/* Whoever makes a grant possible says so: a place, a waiter, the gate. */
static void slots_wake(struct slots *q)
{
	if (!TAILQ_EMPTY(&q->waiting) && q->held < q->limit && slots_closed_ms(q) == 0)
		loop_defer(q->loop, &q->grant_task, slots_on_grant);
}

static void slots_take_out(struct slots *q, struct slot *s)
{
	TAILQ_REMOVE(&q->waiting, s, link);
	q->waiting_count--;
}

static void slots_on_grant(struct loop_task *t)
{
	struct slots *q = (struct slots *)((char *)t - offsetof(struct slots, grant_task));

	for (unsigned i = 0; i < SLOTS_GRANTS_PER_ROUND; i++) {
		struct slot *s = TAILQ_FIRST(&q->waiting);

		if (s == NULL || q->held >= q->limit || slots_closed_ms(q) > 0)
			return;
		slots_take_out(q, s);
		s->state = SLOT_HELD;
		q->held++;
		s->granted(s); /* s may be gone from here on */
	}
	slots_wake(q);
}

static void slots_on_gate(struct deadline *d)
{
	slots_wake((struct slots *)((char *)d - offsetof(struct slots, gate)));
}

void slots_init(struct slots *q, struct loop *l, uint64_t limit, uint64_t queue_max)
{
	assert(limit > 0);
	*q = (struct slots){.loop = l, .limit = limit, .queue_max = queue_max};
	TAILQ_INIT(&q->waiting);
}

void slots_end(struct slots *q)
{
	assert(q->held == 0 && q->waiting_count == 0);
	loop_disarm(q->loop, &q->gate);
	loop_undefer(q->loop, &q->grant_task);
}

static void slots_wait(struct slots *q, struct slot *s, void (*granted)(struct slot *s), bool first)
{
	assert(s->state == SLOT_NONE);
	s->state = SLOT_WAITING;
	s->granted = granted;
	if (first)
		TAILQ_INSERT_HEAD(&q->waiting, s, link);
	else
		TAILQ_INSERT_TAIL(&q->waiting, s, link);
	q->waiting_count++;
	slots_wake(q);
}

bool slots_enter(struct slots *q, struct slot *s, void (*granted)(struct slot *s))
{
	uint64_t free_places = q->held < q->limit ? q->limit - q->held : 0;

	if (q->waiting_count >= q->queue_max + free_places)
		return false;
	slots_wait(q, s, granted, false);
	return true;
}

void slots_return(struct slots *q, struct slot *s, void (*granted)(struct slot *s)) { slots_wait(q, s, granted, true); }

void slots_leave(struct slots *q, struct slot *s)
{
	if (s->state == SLOT_WAITING) {
		slots_take_out(q, s);
	} else if (s->state == SLOT_HELD) {
		assert(q->held > 0);
		q->held--;
		slots_wake(q);
	}
	s->state = SLOT_NONE;
}

void slots_close(struct slots *q, uint64_t for_ms)
{
	uint64_t opens_us = loop_now_us(q->loop) + for_ms * 1000;

	if (opens_us <= q->opens_us)
		return;
	q->opens_us = opens_us;
	loop_arm(q->loop, &q->gate, for_ms * 1000, slots_on_gate);
}

uint64_t slots_closed_ms(const struct slots *q)
{
	uint64_t now_us = loop_now_us(q->loop);

	return q->opens_us > now_us ? (q->opens_us - now_us + 999) / 1000 : 0;
}
