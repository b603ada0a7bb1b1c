/* filler: sends bytes whose content does not matter, as a good event-driven server would: one uv_try_write for all of
 * them, uv_write for what the socket does not take. */
#ifndef BENCH_FILLER_H
#define BENCH_FILLER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* False: the stream is broken; its reader will be told. */
bool filler_send(uv_stream_t *stream, uint64_t bytes);

#endif
