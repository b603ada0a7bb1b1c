/* failing_malloc: makes an allocation of the module under test fail. Included before the module's .c file, which the
 * test compiles into itself: its symbols win over those of the archive, and only its own calls of malloc and calloc are
 * replaced. */
#ifndef UNIT_FAILING_MALLOC_H
#define UNIT_FAILING_MALLOC_H

#include <stdbool.h>
#include <stdlib.h>

static int failing_malloc_after = -1; /* allocations that still succeed before all others fail; -1: none fails */

static inline bool failing_malloc_refuses(void)
{
	if (failing_malloc_after > 0)
		failing_malloc_after--;
	else if (failing_malloc_after == 0)
		return true;
	return false;
}

static inline void *failing_malloc(size_t n) { return failing_malloc_refuses() ? NULL : malloc(n); }
static inline void *failing_calloc(size_t count, size_t n)
{
	return failing_malloc_refuses() ? NULL : calloc(count, n);
}

#define malloc failing_malloc
#define calloc failing_calloc

#endif
