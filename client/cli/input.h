/* input: what a command line asks, as a query of the library: texts from files and standard input, an OpenAI chat
 * request as JSON. */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include <msgpack.h>

#include "client/cli/options.h"
#include "client/promptcache.h"

struct cli_input {
	struct pc_query query; /* its pointers stand in what is below, or in the options */
	struct pc_content content;
	bool stream;	  /* --stream, or "stream": true in the body */
	bool has_content; /* of put */
	char *question;	  /* (owned) read from standard input */
	char *answer;
	json_t *body;
	msgpack_sbuffer messages;
	msgpack_sbuffer tools;
	msgpack_sbuffer params;
};

/* 0, or the exit status after saying on stderr what is wrong. Freed in both cases with cli_input_free. */
__attribute__((warn_unused_result)) int cli_input_read(struct cli_input *in, const struct cli_options *o);
void cli_input_free(struct cli_input *in);

#endif
