/* output: the answer for people (text on stdout, one line about it on stderr) or for programs (one JSON object on stdout). */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "client/cli/options.h"
#include "client/promptcache.h"

/* False: stdout cannot be written to. */
bool cli_output_answer(const struct cli_options *o, bool streamed, const struct pc_answer *a);

/* A piece of a stream, for people. */
bool cli_output_chunk(const struct cli_options *o, const struct pc_chunk *chunk);

/* "promptcache: RATE_LIMITED: …" on stderr. */
void cli_output_failure(const struct pc_failure *failure);

#endif
