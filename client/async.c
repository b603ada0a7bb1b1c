/* async: the event face: calls, their deadlines, and what the loop calls. */
#include "client/async_internal.h"
#include "client/clock.h"

#include <assert.h>
#include <unistd.h>

struct pc_call {
	struct core_request request;
	struct due due;
	struct pc_async *async; /* (borrowed) */
	struct link *link;	/* (borrowed) lives as long as the call */
	pc_chunk_cb chunk;
	pc_done_cb done;
	void *owner;
};

static struct pc_call *call_of_due(struct due *d)
{
	return (struct pc_call *)(void *)((char *)d - offsetof(struct pc_call, due));
}

/* ---- the loop's services */

static void timer_update(struct pc_async *a)
{
	uint64_t next_us = a->woken && a->loop.wake == NULL ? 0 : UINT64_MAX, now_us;
	struct due *first = due_first(&a->due);
	struct link *l;

	if (first != NULL && first->at_us < next_us)
		next_us = first->at_us;
	TAILQ_FOREACH (l, &a->links, entry) {
		uint64_t link_us = link_next_us(l);

		if (link_us < next_us)
			next_us = link_us;
	}
	/* A timer that comes too early does no harm and is cheaper than moving it with every call. */
	if (next_us >= a->timer_at_us)
		return;
	a->timer_at_us = next_us;
	now_us = clock_now_us();
	a->loop.timer(a->loop.owner, next_us > now_us ? (int64_t)((next_us - now_us + 999) / 1000) : 0);
}

static void wake(struct pc_async *a)
{
	if (a->depth > 0 || a->woken)
		return;
	a->woken = true;
	if (a->loop.wake != NULL)
		a->loop.wake(a->loop.owner);
}

static void async_end(struct pc_async *a)
{
	struct settings settings = a->settings;
	struct pc_loop loop = a->loop;

	assert(a->inflight == 0);
	loop.timer(loop.owner, -1);
	due_free(&a->due);
	mem_free(&settings.mem, a);
	settings_free(&settings);
	if (loop.closed != NULL)
		loop.closed(loop.owner);
}

static bool link_over(struct link *l)
{
	if (l->async->closing)
		failure_set(&l->core.failure, PC_CANCELLED, NULL, "the handle was closed");
	return l->doomed || l->async->closing || (l->core.leaving && l->core.inflight == 0);
}

/* Dropping one link calls back, and a callback may doom another: start over until none is left. */
static void links_settle(struct pc_async *a)
{
	struct link *l;

	do {
		TAILQ_FOREACH (l, &a->links, entry) {
			link_flush(l);
			if (link_over(l))
				break;
		}
		if (l != NULL)
			link_drop(l);
	} while (l != NULL);
}

void async_enter(struct pc_async *a) { a->depth++; }

void async_leave(struct pc_async *a)
{
	assert(a->depth > 0);
	if (a->depth > 1) {
		a->depth--;
		return;
	}
	links_settle(a);
	a->depth--;
	if (a->closing)
		async_end(a);
	else
		timer_update(a);
}

/* ---- calls */

/* What every end of a call does; its memory is gone. */
static void call_free(struct pc_call *call)
{
	struct pc_async *a = call->async;

	due_remove(&a->due, &call->due);
	a->inflight--;
	mem_free(&a->settings.mem, call);
}

static void call_on_done(struct core_request *r, int status, struct pc_answer *answer, const struct pc_failure *failure)
{
	struct pc_call *call = r->owner;
	pc_done_cb done = call->done;
	void *owner = call->owner;

	call_free(call);
	done(owner, status, answer, failure);
}

static int call_on_chunk(struct core_request *r, const struct pc_chunk *chunk)
{
	struct pc_call *call = r->owner;

	return call->chunk(call->owner, chunk);
}

/* Tells the server, and forgets the call; without memory for telling, the connection has to go. */
static void call_forget(struct pc_call *call)
{
	struct link *l = call->link;

	if (!core_forget(&l->core, &call->request)) {
		failure_set(&l->core.failure, PC_NO_MEMORY, NULL, "no memory to cancel a request");
		l->doomed = true;
	}
	call_free(call);
}

static void call_expire(struct pc_call *call)
{
	pc_done_cb done = call->done;
	void *owner = call->owner;
	struct failure failure;

	call_forget(call);
	failure_set(&failure, PC_TIMEOUT, NULL, "no answer within the time allowed");
	done(owner, PC_TIMEOUT, NULL, &failure.seen);
}

static int call_submit(struct pc_async *a, struct pc_call *call, struct request *request)
{
	uint64_t now_us = clock_now_us();
	int status = link_ready(a, &call->link);

	if (status != PC_OK)
		return status;
	call->due.at_us = now_us + 1000 * request->timeout_ms;
	if (!due_add(&a->due, &call->due))
		return failure_set(&a->failure, PC_NO_MEMORY, NULL, "no memory for a call");
	call->request.started_us = now_us;
	status = core_submit(&call->link->core, &call->request, &request->message, now_us, &a->failure);
	if (status != PC_OK)
		due_remove(&a->due, &call->due);
	return status;
}

static int call_make(struct pc_async *a, const struct ask *ask, pc_chunk_cb chunk, pc_done_cb done, void *owner,
		     struct pc_call **ret)
{
	struct request request;
	int status = request_make(ask, &request, &a->failure);

	if (status != PC_OK)
		return status;

	struct pc_call *call = mem_resize(&a->settings.mem, NULL, sizeof(*call));

	if (call == NULL) {
		status = failure_set(&a->failure, PC_NO_MEMORY, NULL, "no memory for a call");
		goto out_request;
	}
	*call = (struct pc_call){.async = a, .chunk = chunk, .done = done, .owner = owner};
	call->request.on_done = call_on_done;
	call->request.on_chunk = chunk != NULL ? call_on_chunk : NULL;
	call->request.owner = call;
	call->request.window = request.window;
	status = call_submit(a, call, &request);
	if (status != PC_OK) {
		mem_free(&a->settings.mem, call);
		goto out_request;
	}
	a->inflight++;
	*ret = call;
out_request:
	request_free(&request);
	return status;
}

static int call_start(struct pc_async *a, const struct ask *ask, pc_chunk_cb chunk, pc_done_cb done, void *owner,
		      struct pc_call **ret_call)
{
	struct pc_call *call;

	failure_clear(&a->failure);
	if (done == NULL)
		return failure_set(&a->failure, PC_INVALID, "done", "a call needs a callback");
	if (a->closing)
		return failure_set(&a->failure, PC_INVALID, NULL, "the handle is closed");
	if (a->pid != getpid())
		return failure_set(&a->failure, PC_INVALID, NULL, "the handle belongs to another process");

	int status = call_make(a, ask, chunk, done, owner, &call);

	if (status != PC_OK)
		return status;
	if (ret_call != NULL)
		*ret_call = call;
	wake(a);
	if (a->depth == 0)
		timer_update(a);
	return PC_OK;
}

void pc_async_cancel(struct pc_async *a, struct pc_call *call)
{
	assert(call->async == a);
	call_forget(call);
	wake(a);
	if (a->depth == 0)
		timer_update(a);
}

/* ---- what the loop calls */

void pc_async_ready(struct pc_async *a, int fd, int events)
{
	struct link *l;

	async_enter(a);
	TAILQ_FOREACH (l, &a->links, entry) {
		if (l->fd == fd)
			break;
	}
	if (l != NULL)
		link_on_events(l, events);
	async_leave(a);
}

void pc_async_timeout(struct pc_async *a)
{
	uint64_t now_us = clock_now_us();
	struct link *l;
	struct due *d;

	async_enter(a);
	a->timer_at_us = UINT64_MAX;
	if (a->loop.wake == NULL)
		a->woken = false;
	while ((d = due_first(&a->due)) != NULL && d->at_us <= now_us)
		call_expire(call_of_due(d));
	TAILQ_FOREACH (l, &a->links, entry)
		link_on_time(l, now_us);
	async_leave(a);
}

void pc_async_run(struct pc_async *a)
{
	async_enter(a);
	a->woken = false;
	async_leave(a);
}

/* ---- the face */

int pc_async_open(struct pc_async **ret, const struct pc_options *options, const struct pc_loop *loop)
{
	struct settings settings;
	struct failure failure;
	struct pc_loop own;
	int status;

	if (loop == NULL || !request_copy_sized(&own, sizeof(own), loop) || own.watch == NULL || own.timer == NULL)
		return PC_INVALID;
	status = settings_init(&settings, options, &failure);
	if (status != PC_OK)
		return status;

	struct pc_async *a = mem_resize(&settings.mem, NULL, sizeof(*a));

	if (a == NULL) {
		settings_free(&settings);
		return PC_NO_MEMORY;
	}
	memset(a, 0, sizeof(*a));
	a->settings = settings;
	a->loop = own;
	a->pid = getpid();
	a->timer_at_us = UINT64_MAX;
	TAILQ_INIT(&a->links);
	due_init(&a->due, &a->settings.mem);
	failure_clear(&a->failure);
	failure_clear(&a->away);
	/* A name that cannot be resolved now is tried again by the first call. */
	if (settings.address.kind == ADDRESS_TCP &&
	    address_resolve(&settings.address, a->endpoints, &a->endpoint_count, &failure) != PC_OK)
		a->endpoint_count = 0;
	*ret = a;
	return PC_OK;
}

void pc_async_close(struct pc_async *a)
{
	if (a == NULL || a->closing)
		return;
	async_enter(a);
	a->closing = true;
	async_leave(a);
}

int pc_async_query(struct pc_async *a, const struct pc_query *q, pc_chunk_cb chunk, pc_done_cb done, void *owner,
		   struct pc_call **ret_call)
{
	return call_start(a, &(struct ask){.op = OP_QUERY, .query = q, .stream = chunk != NULL}, chunk, done, owner,
			  ret_call);
}

int pc_async_lookup(struct pc_async *a, const struct pc_query *q, pc_done_cb done, void *owner,
		    struct pc_call **ret_call)
{
	return call_start(a, &(struct ask){.op = OP_LOOKUP, .query = q}, NULL, done, owner, ret_call);
}

int pc_async_put(struct pc_async *a, const struct pc_query *q, const struct pc_content *content, pc_done_cb done,
		 void *owner, struct pc_call **ret_call)
{
	return call_start(a, &(struct ask){.op = OP_PUT, .query = q, .content = content}, NULL, done, owner, ret_call);
}

int pc_async_invalidate(struct pc_async *a, const struct pc_query *q, enum pc_target target, pc_done_cb done,
			void *owner, struct pc_call **ret_call)
{
	return call_start(a, &(struct ask){.op = OP_INVALIDATE, .query = q, .target = target}, NULL, done, owner,
			  ret_call);
}

int pc_async_stats(struct pc_async *a, unsigned timeout_ms, pc_done_cb done, void *owner, struct pc_call **ret_call)
{
	return call_start(a, &(struct ask){.op = OP_STATS, .timeout_ms = timeout_ms}, NULL, done, owner, ret_call);
}

int pc_async_ping(struct pc_async *a, unsigned timeout_ms, pc_done_cb done, void *owner, struct pc_call **ret_call)
{
	return call_start(a, &(struct ask){.op = OP_PING, .timeout_ms = timeout_ms}, NULL, done, owner, ret_call);
}

size_t pc_async_inflight(const struct pc_async *a) { return a->inflight; }

const struct pc_failure *pc_async_error(const struct pc_async *a) { return &a->failure.seen; }
