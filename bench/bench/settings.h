/* settings: what a run can be told, once in a table: --help, the parser and "parameters" of the JSON come from it, so
 * that a result always says how it was made. */
#ifndef BENCH_SETTINGS_H
#define BENCH_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* field, name, kind, default, least, most, argument, help. The argument of a CHOICE lists its values. */
/* clang-format off */
#define SETTINGS(X)                                                                                                             \
	X(server, "server", TEXT, NULL, 0, 0, "ADDR", "unix:/path or tcp://host:port (default: as the client library)")         \
	X(token_file, "token-file", TEXT, NULL, 0, 0, "FILE", "where the token is (default: as the client library)")            \
	X(connections, "connections", COUNT, "50", 1, 20000, "N", "connections to the server")                                  \
	X(depth, "depth", COUNT, "16", 1, 4096, "N", "requests in flight on each connection")                                   \
	X(requests, "requests", COUNT, "0", 0, 1e12, "N", "requests of a round (0: as many as fit in --seconds)")               \
	X(seconds, "seconds", REAL, "5", 0.01, 86400, "S", "length of a round, unless --requests is given")                     \
	X(rounds, "rounds", COUNT, "1", 1, 1000, "N", "rounds; with --floor they go ABBA, and medians and ranges are told")     \
	X(warmup, "warmup", REAL, "0", 0, 3600, "S", "seconds of the same load that are not counted, before the first round")   \
	X(operation, "operation", CHOICE, "query", 0, 0, "query|lookup", "what is asked")                                       \
	X(stream, "stream", FLAG, "false", 0, 0, "", "ask for streamed answers")                                                \
	X(model, "model", TEXT, NULL, 0, 0, "NAME", "model (default: the server's)")                                            \
	X(request_bytes, "request-bytes", COUNT, "4096", 64, 8388608, "N", "bytes of a prompt")                                 \
	X(answer_bytes, "answer-bytes", COUNT, "1024", 1, 4194304, "N", "bytes of an answer (what --prime put stores)")         \
	X(keys, "keys", COUNT, "1000", 1, 10000000, "N", "distinct prompts that hits are asked for")                            \
	X(hit_ratio, "hit-ratio", REAL, "1", 0, 1, "R", "part of the requests that asks one of --keys; others never repeat")    \
	X(prime, "prime", CHOICE, "put", 0, 0, "put|query|none", "how --keys come into the cache before the first round")       \
	X(storm, "storm", COUNT, "0", 0, 1000000, "N", "instead of load: N identical new questions over --connections")         \
	X(cut_after, "cut-after", COUNT, "0", 0, 3600000, "MS", "storm: close the connection of the first question after MS")   \
	X(floor, "floor", CHOICE, "none", 0, 0, "none|tcp|unix", "measure a libuv echo of the same bytes with one SHA-256, too") \
	X(server_pid, "server-pid", COUNT, "0", 0, 4194304, "PID", "process of the server, for its CPU time")                   \
	X(timeout, "timeout", COUNT, "30000", 1, 3600000, "MS", "how long a request may wait")                                  \
	X(seed, "seed", COUNT, "1", 0, 1e18, "N", "chooses the text of the prompts and the order of the questions")             \
	X(json, "json", FLAG, "false", 0, 0, "", "print one JSON object")
/* clang-format on */

#define SETTINGS_PROMPTS_BYTES_MAX (UINT64_C(1) << 30) /* --keys x --request-bytes: they are held in memory */

enum setting_kind {
	SETTING_TEXT,
	SETTING_COUNT,
	SETTING_REAL,
	SETTING_CHOICE,
	SETTING_FLAG
};

typedef const char *settings_TEXT; /* (borrowed from argv) NULL: not given */
typedef uint64_t settings_COUNT;
typedef double settings_REAL;
typedef unsigned settings_CHOICE; /* place in the list */
typedef bool settings_FLAG;

enum operation {
	OPERATION_QUERY,
	OPERATION_LOOKUP
};
enum prime {
	PRIME_PUT,
	PRIME_QUERY,
	PRIME_NONE
};
enum floor_kind {
	FLOOR_NONE,
	FLOOR_TCP,
	FLOOR_UNIX
};

struct settings {
#define X(field, name, kind, value, least, most, argument, help) settings_##kind field;
	SETTINGS(X)
#undef X
};

struct setting {
	const char *name;
	enum setting_kind kind;
	const char *value; /* default */
	double least, most;
	const char *argument;
	const char *help;
	size_t offset; /* of the field in struct settings */
};

/* The table, ended by a NULL name. */
extern const struct setting settings_table[];

/* What the caller does next. */
enum settings_outcome {
	SETTINGS_RUN,
	SETTINGS_SAID, /* --help, --version: all is printed */
	SETTINGS_USAGE /* the reason stands on stderr */
};
enum settings_outcome settings_read(struct settings *s, int argc, char **argv);

/* The name of a CHOICE's value, copied to text. */
void settings_choice_name(const struct setting *t, unsigned choice, char *text, size_t size);

#endif
