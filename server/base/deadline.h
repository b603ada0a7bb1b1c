/* deadline: all points in time that anybody waits for, in one intrusive heap.
 *
 * One structure for every timer of the process, so that arming one costs no system call and no allocation and can never
 * fail. Pure: time comes in as an argument (microseconds, monotonic). The loop owns one `struct deadlines` and asks it
 * what is due. */
#ifndef BASE_DEADLINE_H
#define BASE_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

struct deadline;
/* The deadline is no longer armed when it is called, and may be armed again in it. */
typedef void (*deadline_cb)(struct deadline *d);

/* Embedded in whoever waits; zeroed memory is a deadline that is not armed. */
struct deadline {
	uint64_t at_us;
	deadline_cb cb;
	struct deadline *child, *next, *prev; /* the heap's */
	bool armed;
};

struct deadlines {
	struct deadline *root;
	uint64_t count;
};

/* Arms it; one that is armed already is moved. */
void deadlines_arm(struct deadlines *h, struct deadline *d, uint64_t at_us, deadline_cb cb);
void deadlines_disarm(struct deadlines *h, struct deadline *d); /* accepts one that is not armed */

/* UINT64_MAX when nothing is armed. */
uint64_t deadlines_next_us(const struct deadlines *h);

/* Takes the earliest one that is due at now_us out of the heap; NULL when none is. Equal times come in no particular
 * order. */
struct deadline *deadlines_take_due(struct deadlines *h, uint64_t now_us);

#endif
