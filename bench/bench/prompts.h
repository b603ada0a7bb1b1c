/* prompts: the questions of a run: a working set that repeats, and others that never do.
 *
 * All have the same size and read like support tickets, so that nothing of them is cheaper to hash, compare or compress
 * than real text. The working set is the same for the same seed, also in a later run; the others contain a number drawn
 * for this run. */
#ifndef BENCH_PROMPTS_H
#define BENCH_PROMPTS_H

#include <stddef.h>
#include <stdint.h>

#define PROMPTS_BYTES_MIN 64 /* room for the heading that makes a prompt distinct */

struct prompts {
	char *set; /* count x size bytes */
	char *fresh;
	size_t count;
	size_t size;
	uint64_t run; /* a number that no other run has */
	uint64_t fresh_count;
};

void prompts_init(struct prompts *p, size_t count, size_t size, uint64_t seed);
void prompts_free(struct prompts *p);

/* p->size bytes, without a NUL. (borrowed) */
const char *prompts_get(const struct prompts *p, size_t i);

/* One that nobody has asked before. (borrowed until the next one is made) */
const char *prompts_fresh(struct prompts *p);

/* `size` bytes of English-like text. */
void prompts_write_text(char *to, size_t size, uint64_t seed);

#endif
