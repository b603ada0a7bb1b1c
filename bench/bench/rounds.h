/* rounds: phases of load against the server and, with --floor, against the echo, in turn, so that what drifts on the
 * machine hits all of them alike.
 *
 *      round 1: server, echo with SHA-256, echo      round 2: echo, echo with SHA-256, server      round 3: as round 1 …
 *
 * The ratio is told for each round from the CPU time of phases that lie side by side. */
#ifndef BENCH_ROUNDS_H
#define BENCH_ROUNDS_H

#include "bench/bench/echo.h"
#include "bench/bench/load.h"

/* X(NAME, name in reports) */
#define PHASES(X)                                                                                                      \
	X(SERVER, "server")                                                                                            \
	X(FLOOR, "echo + SHA-256")                                                                                     \
	X(ECHO, "echo")

enum phase_kind {
#define X(name, text) PHASE_##name,
	PHASES(X)
#undef X
	PHASE_KINDS
};

const char *rounds_phase_text(enum phase_kind kind);

/* One phase of one round. What is not known is 0. */
struct measure {
	uint64_t ended; /* requests */
	uint64_t elapsed_ns;
	uint64_t cpu_ns; /* of the process that served them */
	uint64_t reads, writes;
	uint64_t received_bytes, sent_bytes;
};

struct rounds {
	size_t count;
	size_t phase_kinds;		      /* PHASE_KINDS with --floor, else only the server */
	struct tally *tally;		      /* one for each kind, over all rounds */
	struct measure *measure[PHASE_KINDS]; /* one for each round */
	double *sha_us;			      /* one SHA-256 of a prompt alone, measured in each round */
	struct echo_shape shape;
	struct tally prime;
	const char *error; /* a phase could not run; NULL: all could */
};

/* echo: NULL without --floor. */
void rounds_run(struct rounds *r, struct load *load, const struct echo *echo);
void rounds_free(struct rounds *r);

/* Over the rounds. All 0 where nothing is known. */
struct spread {
	double median, least, most;
};
struct spread spread_of(const double *values, size_t count);

struct spread rounds_cpu_us(const struct rounds *r, enum phase_kind kind);     /* of one request */
struct spread rounds_per_second(const struct rounds *r, enum phase_kind kind); /* requests */
struct spread rounds_per_read(const struct rounds *r, enum phase_kind kind);   /* requests */
struct spread rounds_sha_us(const struct rounds *r);
struct spread rounds_ratio(const struct rounds *r);	  /* server / (echo with SHA-256 in it) */
struct spread rounds_ratio_parts(const struct rounds *r); /* server / (echo + SHA-256 alone) */

/* Bytes of one request and one answer on the wire; 0: the server did not tell. */
double rounds_request_bytes(const struct rounds *r);
double rounds_answer_bytes(const struct rounds *r);

#endif
