/* echo_server: what the child of echo.h runs. */
#ifndef BENCH_ECHO_SERVER_H
#define BENCH_ECHO_SERVER_H

#include "bench/bench/echo.h"

/* Serves until it is killed. Takes the listening socket. Returns only when it cannot begin. */
int echo_server_run(int listener, bool local, struct echo_counts *counts);

#endif
