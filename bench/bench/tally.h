/* tally: what became of the requests of one phase: how many, from where, how long, and which errors. */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H

#include "bench/bench/histogram.h"

#define TALLY_NAMES_MAX	  32 /* different names of one kind; what comes later counts as the last, "other" */
#define TALLY_NAME_LENGTH 40

struct tally_names {
	struct tally_name {
		char text[TALLY_NAME_LENGTH];
		uint64_t count;
	} name[TALLY_NAMES_MAX];
	unsigned count;
};

/* Zeroed memory is an empty one. */
struct tally {
	uint64_t answered; /* ended with an answer, a LOOKUP's miss among them */
	uint64_t failed;
	struct tally_names sources; /* of the answers */
	struct tally_names errors;  /* of the failures */
	struct histogram latency;   /* of the answers */
};

void tally_answer(struct tally *t, const char *source, uint64_t latency_ns);
void tally_failure(struct tally *t, const char *error);
void tally_merge(struct tally *to, const struct tally *from);
uint64_t tally_ended(const struct tally *t);

/* 0 when there is no such name. */
uint64_t tally_names_get(const struct tally_names *names, const char *text);

#endif
