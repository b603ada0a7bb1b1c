#include "server/net/liveness.h"

struct liveness_next {
	uint64_t at_us;
	enum liveness_event event;
};

static void liveness_earlier(struct liveness_next *next, uint64_t since_us, uint64_t after_us,
			     enum liveness_event event)
{
	if (since_us == 0 || since_us + after_us >= next->at_us)
		return;
	next->at_us = since_us + after_us;
	next->event = event;
}

static uint64_t liveness_later(uint64_t a_us, uint64_t b_us) { return a_us > b_us ? a_us : b_us; }

void liveness_taken(struct liveness *l, uint64_t now_us)
{
	if (l->stalled_us == 0)
		return;
	l->stalled_us = 0;
	l->pinged_us = now_us;
	l->pings = 0;
}

uint64_t liveness_due_us(const struct liveness *l, const struct liveness_limits *limits, enum liveness_event *ret_event)
{
	struct liveness_next next = {UINT64_MAX, LIVENESS_IDLE};

	if (!l->greeted && !l->ending)
		liveness_earlier(&next, l->opened_us, limits->hello_us, LIVENESS_HELLO_TIMEOUT);
	liveness_earlier(&next, l->frame_us, limits->frame_us, LIVENESS_FRAME_TIMEOUT);
	liveness_earlier(&next, l->stalled_us, limits->write_us, LIVENESS_WRITE_TIMEOUT);
	liveness_earlier(&next, l->lingering_us, limits->linger_us, LIVENESS_LINGER_TIMEOUT);
	if (l->stalled_us == 0 && l->waiting_us != 0)
		liveness_earlier(&next, liveness_later(l->waiting_us, l->pinged_us), limits->ping_us,
				 l->pings < LIVENESS_PINGS_MAX ? LIVENESS_PING : LIVENESS_PING_TIMEOUT);
	else if (l->stalled_us == 0 && l->frame_us == 0 && !l->ending)
		liveness_earlier(&next, liveness_later(l->opened_us, l->heard_us), limits->idle_us, LIVENESS_IDLE);
	*ret_event = next.event;
	return next.at_us;
}
