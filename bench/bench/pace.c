#include "bench/bench/pace.h"

#include <assert.h>
#include <stdio.h>
#include <unistd.h>

static void on_end(uv_timer_t *timer) { ((struct pace *)timer->data)->stopping = true; }

static void on_progress(uv_timer_t *timer)
{
	struct pace *p = timer->data;
	double seconds = (double)(uv_hrtime() - p->began_ns) / 1e9;
	uint64_t ended = p->started - p->running;

	(void)fprintf(stderr, "%s: %.0f s, %llu requests, %.0f/s\n", p->name, seconds, (unsigned long long)ended,
		      (double)ended / seconds);
}

void pace_init(struct pace *p, uv_loop_t *loop)
{
	*p = (struct pace){.loop = loop};
	(void)uv_timer_init(loop, &p->end);
	(void)uv_timer_init(loop, &p->progress);
	p->end.data = p;
	p->progress.data = p;
}

void pace_close(struct pace *p)
{
	uv_close((uv_handle_t *)&p->end, NULL);
	uv_close((uv_handle_t *)&p->progress, NULL);
}

uint64_t pace_run(struct pace *p, const char *name, struct pace_extent extent, void (*first)(void *owner), void *owner)
{
	p->name = name;
	p->limit = extent.requests > 0 ? extent.requests : UINT64_MAX;
	p->started = 0;
	p->running = 0;
	p->stopping = false;
	p->began_ns = uv_hrtime();
	uv_update_time(p->loop);
	if (extent.requests == 0)
		(void)uv_timer_start(&p->end, on_end, (uint64_t)(extent.seconds * 1000), 0);
	if (isatty(STDERR_FILENO))
		(void)uv_timer_start(&p->progress, on_progress, PACE_PROGRESS_MS, PACE_PROGRESS_MS);
	first(owner);
	while (p->running > 0) /* a stop from before this run ends the first one at once */
		(void)uv_run(p->loop, UV_RUN_DEFAULT);
	(void)uv_timer_stop(&p->end);
	(void)uv_timer_stop(&p->progress);
	return uv_hrtime() - p->began_ns;
}

bool pace_start(struct pace *p)
{
	if (p->stopping || p->started == p->limit)
		return false;
	p->started++;
	p->running++;
	return true;
}

void pace_end(struct pace *p)
{
	assert(p->running > 0);
	if (--p->running == 0)
		uv_stop(p->loop);
}
