/* What async.c (calls, the face) and async_link.c (connections) share.
 *
 *      pc_async ──> links: the current one, and those that the server asked us to leave, until their calls have ended
 *          │          └── core ──> requests = pc_calls
 *          └── due: the calls' deadlines
 *
 * Nothing is freed inside its own call stack: what a callback dooms is dropped by async_leave of the outermost entry.
 */
#ifndef CLIENT_ASYNC_INTERNAL_H
#define CLIENT_ASYNC_INTERNAL_H

#include <sys/queue.h>
#include <sys/types.h>

#include "client/due.h"
#include "client/request.h"
#include "client/settings.h"

struct link {
	struct pc_async *async; /* (borrowed) */
	TAILQ_ENTRY(link) entry;
	struct core core;
	struct endpoint endpoints[ADDRESS_ENDPOINTS_MAX];
	size_t endpoint_count;
	size_t endpoint_next; /* to try when this one fails */
	int fd;		      /* -1: waiting for retry_at_us */
	int watched;	      /* events asked of the loop */
	bool connecting;
	bool deaf;		 /* the peer takes no more bytes; what it sent before may still be read */
	bool doomed;		 /* to be dropped when the stack is unwound */
	uint64_t retry_at_us;	 /* the listener's queue was full; UINT64_MAX: no */
	uint64_t hello_until_us; /* connected, and HELLO answered, until then */
};

struct pc_async {
	struct settings settings;
	struct pc_loop loop;
	pid_t pid;
	TAILQ_HEAD(, link) links;
	struct link *current;				  /* takes new calls; NULL: none yet */
	struct endpoint endpoints[ADDRESS_ENDPOINTS_MAX]; /* of a TCP address, resolved when it was opened */
	size_t endpoint_count;
	struct due_heap due;
	size_t inflight;
	unsigned depth; /* entries on the stack */
	bool closing;
	bool woken;	      /* the loop was asked to call pc_async_run */
	uint64_t timer_at_us; /* what the loop's timer is set to; UINT64_MAX: not */
	uint64_t fail_until_us;
	struct failure away;	/* why the last connect failed; repeated until fail_until_us */
	struct failure failure; /* of the last start */
};

/* Each way in; async_leave of the outermost one writes what is to be sent, drops what is doomed, sets the timer, ends a
 * closed handle. */
void async_enter(struct pc_async *a);
void async_leave(struct pc_async *a);

/* A link that takes calls: *ret. PC_OK, or the status with a->failure. */
__attribute__((warn_unused_result)) int link_ready(struct pc_async *a, struct link **ret);

void link_on_events(struct link *l, int events);
void link_on_time(struct link *l, uint64_t now_us);
void link_flush(struct link *l);
uint64_t link_next_us(const struct link *l); /* when link_on_time is wanted */

/* Ends it and its calls, with the core's failure. The memory is gone. Not inside core callbacks. */
void link_drop(struct link *l);

#endif
