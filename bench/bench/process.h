/* process: what another process has cost. */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* CPU time of all its threads that live, from the scheduler's own counts in nanoseconds; where the kernel keeps none,
 * from its clock ticks (10 ms). False: there is no such process. */
bool process_cpu_ns(pid_t pid, uint64_t *ret);

#endif
