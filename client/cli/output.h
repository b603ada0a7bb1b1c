/* output: the answer for people (text on stdout, one line about it on stderr) or for programs (one JSON object on
 * stdout). */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "client/cli/options.h"
#include "client/promptcache.h"

/* Where the cursor is, for people: each segment starts on a line of its own. Zeroed at the start. */
struct cli_line {
	bool open; /* something was printed, and no line feed behind it */
	unsigned segment;
};

/* False: stdout cannot be written to. */
bool output_answer(const struct cli_options *o, struct cli_line *line, bool streamed, const struct pc_answer *a);

/* A piece of a stream, for people. */
bool output_chunk(const struct cli_options *o, struct cli_line *line, const struct pc_chunk *chunk);

/* Ends the line if it is open. */
void output_line_end(struct cli_line *line);

/* "promptcache: RATE_LIMITED: …" on stderr. */
void output_failure(const struct pc_failure *failure);

#endif
