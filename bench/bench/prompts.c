#include "bench/bench/prompts.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench/memory.h"
#include "bench/mockai/random.h"

static const char *const words[] = {
	"the",	  "customer", "asks",	   "how",      "an",	  "invoice",	"that",	    "was",     "paid",
	"twice",  "can",      "be",	   "refunded", "and",	  "when",	"money",    "arrives", "on",
	"their",  "account",  "please",	   "explain",  "which",	  "steps",	"are",	    "needed",  "to",
	"move",	  "a",	      "project",   "from",     "one",	  "team",	"into",	    "other",   "without",
	"losing", "comments", "or",	   "attached", "files",	  "after",	"last",	    "update",  "export",
	"fails",  "with",     "message",   "about",    "missing", "rights",	"although", "user",    "is",
	"owner",  "of",	      "workspace", "what",     "should",  "we",		"answer",   "if",      "same",
	"error",  "shows",    "again",	   "tomorrow", "in",	  "our",	"billing",  "system",  "for",
	"every",  "member",   "who",	   "joined",   "by",	  "invite",	"link",	    "before",  "monthly",
	"plan",	  "started",  "not",	   "only",     "this",	  "workspaces", "but",	    "also",    "archived"};
#define WORDS (sizeof(words) / sizeof(words[0]))

void prompts_write_text(char *to, size_t size, uint64_t seed)
{
	struct random r = {seed};
	size_t at = 0;
	unsigned in_sentence = 0;

	while (at < size) {
		const char *word = words[random_next(&r) % WORDS];
		size_t length = strlen(word);

		for (size_t i = 0; i < length && at < size; i++)
			to[at++] = (char)(i == 0 && in_sentence == 0 ? word[i] - 'a' + 'A' : word[i]);
		in_sentence++;
		if (in_sentence > 8 + random_next(&r) % 8) {
			in_sentence = 0;
			if (at < size)
				to[at++] = '.';
		}
		if (at < size)
			to[at++] = ' ';
	}
}

/* At the front: whoever compares or hashes prompts sees the difference at the place where real ones differ, too. */
static void heading_write(char *prompt, const char *kind, uint64_t high, uint64_t low)
{
	char heading[PROMPTS_BYTES_MIN];
	int length = snprintf(heading, sizeof(heading), "%s %016llx-%llu: ", kind, (unsigned long long)high,
			      (unsigned long long)low);

	memcpy(prompt, heading, (size_t)length);
}

void prompts_init(struct prompts *p, size_t count, size_t size, uint64_t seed)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	*p = (struct prompts){.count = count, .size = size};
	p->run = random_mix((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + ((uint64_t)getpid() << 40));
	p->set = memory_need(count, size);
	p->fresh = memory_need(1, size);
	for (size_t i = 0; i < count; i++) {
		prompts_write_text(p->set + i * size, size, random_mix(seed) + i);
		heading_write(p->set + i * size, "Ticket", random_mix(seed), i);
	}
	prompts_write_text(p->fresh, size, random_mix(seed ^ p->run));
}

void prompts_free(struct prompts *p)
{
	free(p->set);
	free(p->fresh);
	*p = (struct prompts){0};
}

const char *prompts_get(const struct prompts *p, size_t i) { return p->set + i * p->size; }

const char *prompts_fresh(struct prompts *p)
{
	heading_write(p->fresh, "New", p->run, p->fresh_count++);
	return p->fresh;
}
