/* memory: allocation that ends the process when there is none: a measurement that goes on without it would lie. */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include <stdio.h>
#include <stdlib.h>

/* Zeroed; never NULL. free() it. */
static inline void *memory_need(size_t count, size_t size)
{
	void *p = calloc(count > 0 ? count : 1, size);

	if (p == NULL) {
		(void)fputs("promptcache-bench: no memory\n", stderr);
		exit(1);
	}
	return p;
}

#endif
