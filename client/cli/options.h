/* options: the command line as a structure. One table makes parsing, checks and --help. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cli_exit {
	EXIT_ANSWERED = 0,
	EXIT_MISS = 1,
	EXIT_USAGE = 2,
	EXIT_NO_SERVER = 3,
	EXIT_FAILED = 4,
	EXIT_INTERRUPTED = 130,
};

/* X(NAME, word, arguments, text) */
/* clang-format off */
#define CLI_COMMANDS(X)                                                                                                         \
	X(QUERY, "query", "[QUESTION|-]", "answer from the cache, else from the LLM")                                           \
	X(LOOKUP, "lookup", "[QUESTION|-]", "answer from the cache; exit 1 if there is none; the LLM is never asked")           \
	X(PUT, "put", "[QUESTION|-] --answer TEXT|-", "store an answer that you got yourself")                                  \
	X(INVALIDATE, "invalidate", "[QUESTION|-]", "forget one request, or with --namespace alone a whole namespace")          \
	X(STATS, "stats", "", "all counters of the server")                                                                     \
	X(PING, "ping", "", "is the server there, and how far away")
/* clang-format on */

/* X(word): commands of later versions */
#define CLI_COMMANDS_LATER(X)                                                                                          \
	X("feedback")                                                                                                  \
	X("explain")                                                                                                   \
	X("show")                                                                                                      \
	X("watch")

enum cli_command {
#define X(name, word, arguments, text) COMMAND_##name,
	CLI_COMMANDS(X)
#undef X
	COMMAND_COUNT
};

struct cli_options {
	enum cli_command command;
	const char *question; /* NULL: none, or it stands in the body */
	const char *server;
	const char *model;
	const char *namespace_name;
	const char *prompt_version;
	const char *system;
	const char *body; /* a file name, or "-" */
	const char *answer;
	const char *token_file;
	json_t *params; /* an object; (owned) */
	uint64_t ttl_ms;
	uint64_t max_age_ms;
	uint64_t timeout_ms;
	bool no_cache;
	bool no_store;
	bool stream;
	bool json;
	bool verbose;
};

/* True: the command is to be run. False: --help or --version was printed, or what is wrong was said on stderr:
 * *ret_exit. */
__attribute__((warn_unused_result)) bool cli_options_parse(struct cli_options *o, int argc, char **argv, int *ret_exit);
void cli_options_free(struct cli_options *o);

/* An invalidation of a whole namespace: nothing but --namespace was given. */
bool cli_options_space(const struct cli_options *o);

/* "promptcache: …" on stderr. Returns EXIT_USAGE. */
__attribute__((format(printf, 1, 2))) int cli_options_usage(const char *fmt, ...);

#endif
