/* slots: how many calls an upstream takes at once, and who is next. Those who wait stand in a bounded queue, in the
 * order in which they came; a gate holds them all back while the provider wants to be left alone (Retry-After).
 *
 *      slots_enter ──> WAITING ──(a place is free, the gate is open)──> HELD ──> slots_leave: the next one
 *      slots_return ─────^ at the head: a call between two attempts, that had a place before
 *
 * Law: `granted` comes from the loop's deferred tasks only, and not after slots_leave. Whoever entered leaves exactly
 * once, in any state. */
#ifndef UPSTREAM_SLOTS_H
#define UPSTREAM_SLOTS_H

#include "server/base/loop.h"

/* A grant builds a request and starts a transfer, about 0.1 ms: many at once would hold the loop. */
#define SLOTS_GRANTS_PER_ROUND 8

enum slot_state {
	SLOT_NONE,
	SLOT_WAITING,
	SLOT_HELD
};

/* Embedded in whoever wants a slot; zeroed memory is SLOT_NONE. */
struct slot {
	enum slot_state state; /* only slots.c changes it */
	void (*granted)(struct slot *s);
	TAILQ_ENTRY(slot) link;
};

struct slots {
	struct loop *loop;
	uint64_t limit, queue_max;
	uint64_t held, waiting_count;
	TAILQ_HEAD(, slot) waiting;
	struct loop_task grant_task;
	struct deadline gate;
	uint64_t opens_us; /* loop_now_us time until which the gate is closed */
};

void slots_init(struct slots *q, struct loop *l, uint64_t limit, uint64_t queue_max);
void slots_end(struct slots *q); /* nobody waits or holds */

/* False: the queue is full; nothing has changed. */
__attribute__((warn_unused_result)) bool slots_enter(struct slots *q, struct slot *s, void (*granted)(struct slot *s));
void slots_return(struct slots *q, struct slot *s, void (*granted)(struct slot *s)); /* never refused */
void slots_leave(struct slots *q, struct slot *s);				     /* accepts SLOT_NONE */

/* Nobody gets a slot before this time has passed. Never shortens what was said before. */
void slots_close(struct slots *q, uint64_t for_ms);
uint64_t slots_closed_ms(const struct slots *q); /* how long still; 0: open */

#endif
