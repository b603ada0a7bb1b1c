/* settings: what can be changed, once in a table. The same names are options (--piece-bytes 8), keys of POST /control
 * ("piece_bytes": 8) and, where they make sense for one request, markers in a message ([[piece-bytes:8]]). */
#ifndef MOCKAI_SETTINGS_H
#define MOCKAI_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/mockai/fault.h"
#include "bench/mockai/latency.h"

#define SETTINGS_ERROR_BYTES 200

/* field, name, kind, default, may a marker set it, argument, help */
#define SETTINGS(X)                                                                                                    \
	X(latency, "latency", DURATION, "0", true, "DIST", "time to the first byte of a chat answer")                  \
	X(first_byte, "first-byte", DURATION, "0", true, "DIST", "time between the headers and the first event")       \
	X(pace, "pace", DURATION, "0", true, "DIST", "time between streamed pieces")                                   \
	X(embeddings_latency, "embeddings-latency", DURATION, "0", true, "DIST",                                       \
	  "time to the first byte of embeddings")                                                                      \
	X(piece_bytes, "piece-bytes", COUNT, "24", true, "N", "size of a streamed piece")                              \
	X(answer_bytes, "answer-bytes", SIZE, "0", true, "N", "size of an answer (0: a few sentences)")                \
	X(dimensions, "dimensions", COUNT, "1536", false, "N", "size of an embedding when the request names none")     \
	X(seed, "seed", SEED, "1", false, "N", "chooses the filler text and all random draws")                         \
	X(hold, "hold", FLAG, "false", false, "BOOL", "keep chat answers back until it is false again")                \
	X(embeddings_hold, "embeddings-hold", FLAG, "false", false, "BOOL", "the same for embeddings")                 \
	X(faults, "fault", FAULT, "", true, "FAULT", "a fault of chat answers; repeatable")                            \
	X(embeddings_faults, "embeddings-fault", FAULT, "", true, "FAULT", "a fault of embeddings; repeatable")

#define SETTINGS_ANSWER_BYTES_MAX (16u << 20)
#define SETTINGS_COUNT_MAX	  8192u

typedef struct latency settings_DURATION;
typedef size_t settings_SIZE;  /* 0 .. SETTINGS_ANSWER_BYTES_MAX */
typedef size_t settings_COUNT; /* 1 .. SETTINGS_COUNT_MAX */
typedef uint64_t settings_SEED;
typedef bool settings_FLAG;
typedef struct fault_rules settings_FAULT;

struct settings {
#define X(field, name, kind, value, marker, argument, help) settings_##kind field;
	SETTINGS(X)
#undef X
};

struct setting {
	const char *name;
	const char *value;
	bool marker;
	const char *argument;
	const char *help;
};

/* The table, ended by a NULL name. */
extern const struct setting settings_table[];

void settings_init(struct settings *s);

/* Sets one by name. False: `error` says why in a sentence, nothing is changed. Faults are added to those there are. */
bool settings_set(struct settings *s, const char *name, size_t name_length, const char *value,
		  char error[SETTINGS_ERROR_BYTES]);

/* Applies an object of POST /control, all or nothing. A list of faults replaces the one before. */
bool settings_apply(struct settings *s, const json_t *object, char error[SETTINGS_ERROR_BYTES]);

/* The settings in force, as POST /control takes them. The caller owns it. */
json_t *settings_json(const struct settings *s);

#endif
