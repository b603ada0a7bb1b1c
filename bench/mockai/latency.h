/* latency: a duration drawn from a distribution.
 *
 *      2s | 200ms | fixed:200ms            always the same
 *      uniform:100ms-500ms                 evenly between the two
 *      lognormal:median=800ms,sigma=0.5    what providers look like: a long tail to the right
 *      exp:mean=300ms                      arrivals without memory
 *
 * Durations are a number and us, ms, s or m; a bare number is milliseconds. Pure: the random sequence is an argument.
 */
#ifndef MOCKAI_LATENCY_H
#define MOCKAI_LATENCY_H

#include <stdbool.h>
#include <stddef.h>

#include "bench/mockai/random.h"

#define LATENCY_MAX_MS	   3600000.0 /* a draw is never longer: a tail must not outlive the test */
#define LATENCY_TEXT_BYTES 64

struct latency {
	enum {
		LATENCY_FIXED,
		LATENCY_UNIFORM,
		LATENCY_LOGNORMAL,
		LATENCY_EXP,
	} kind;
	double a_ms; /* the value, the lower end, the median or the mean */
	double b;    /* the upper end in ms, or sigma */
	char text[LATENCY_TEXT_BYTES];
};

/* False: `text` is no distribution, *ret_latency is untouched. */
bool latency_parse(const char *text, struct latency *ret_latency);

double latency_sample_ms(const struct latency *l, struct random *random);

#endif
