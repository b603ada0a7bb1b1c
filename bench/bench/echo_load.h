/* echo_load: the same closed loop as load.h, against the echo. */
#ifndef BENCH_ECHO_LOAD_H
#define BENCH_ECHO_LOAD_H

#include "bench/bench/echo.h"
#include "bench/bench/pace.h"
#include "bench/bench/tally.h"

/* One phase on connections of its own. *ret_elapsed_ns is what it took. False: cannot connect; errno. */
bool echo_load_run(const struct echo *e, const struct echo_shape *shape, const struct settings *s, struct pace *pace,
		   struct pace_extent extent, struct tally *tally, uint64_t *ret_elapsed_ns);

#endif
