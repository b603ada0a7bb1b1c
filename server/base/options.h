/* options: configuration from tables. Each module describes its options beside the code that uses them; YAML files,
 * `--set`, defaults, checks, line numbers in errors, the sample configuration and the reference all come from these
 * tables.
 *
 * A YAML file is flattened to dotted keys (`upstreams[0].base_url`), and each goes the same way as `--set key=value`.
 * An error names the key, the file and line (or "--set"), what is wrong, what is allowed, and for an unknown key the
 * nearest known one.
 *
 * `null` and `~`, and a key with nothing behind it in a file, stand for the default. A list in a file or a `--set` of a
 * whole list replaces what was there; `--set upstreams[0].x=…` changes one item or adds the next. Nothing in a value is
 * expanded, neither `~/` nor `$HOME`.
 *
 * Values live in the modules' own structs; strings belong to the `struct options` and live as long as it does. */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum option_type {
	OPTION_BOOL,	 /* bool: true, false, yes, no, on, off */
	OPTION_UINT,	 /* uint64_t within [min, max] */
	OPTION_BYTES,	 /* uint64_t: 512, 64KB, 1.5GB (powers of 1024; K, KB, KiB are one) */
	OPTION_DURATION, /* uint64_t in ms: 250ms, 30s, 5m, 12h, 7d; a bare number is seconds */
	OPTION_F64,	 /* double within [min, max] */
	OPTION_STRING,	 /* const char *; NULL when not given and without default */
	OPTION_STRINGS,	 /* struct option_strings: a YAML list, or values with commas */
	OPTION_CHOICE,	 /* int: index into choices */
};

#define OPTION_STRINGS_MAX 64

#define OPTIONS_FILE_BYTES_MAX 1048576 /* a larger file is refused */
#define OPTIONS_DEPTH_MAX      16      /* nesting within a file */
#define OPTION_KEY_BYTES_MAX   128     /* a whole dotted key */
#define OPTION_VALUE_BYTES_MAX 8192    /* one value */

struct option_strings {
	const char *items[OPTION_STRINGS_MAX];
	size_t count;
};

struct option {
	const char *name; /* last part of the key: "limit" of memory.limit */
	enum option_type type;
	size_t offset;	      /* of the field within the group's struct */
	const char *fallback; /* default, in the same form as in a file; NULL: none */
	uint64_t min, max; /* UINT, BYTES, DURATION (ms), F64; STRING: its bytes; both 0: any; max 0: no upper bound */
	const char *const *choices; /* CHOICE: names, NULL at the end */
	bool required;		    /* in items of a list: must be given */
	const char *text;	    /* one line of help, with the unit where it is not the type's */
};

/* A group of options under one prefix; with item_bytes it is a list of such groups: prefix[0].name, prefix[1].name, …
 */
struct option_group {
	const char *prefix; /* "store"; "" for keys without one (listen, default_model) */
	const struct option *options;
	size_t count;
	void *base;	    /* (borrowed) the struct, or the array of structs for a list */
	size_t item_bytes;  /* list: size of one struct; else 0 */
	size_t item_max;    /* list: places in the array */
	size_t *item_count; /* list: (borrowed) how many are in use */
};

#define OPTION_GROUPS_MAX 32

struct options; /* groups and the memory of strings */

struct options *options_new(void);    /* NULL: no memory */
void options_free(struct options *o); /* accepts NULL; strings die with it */

/* Sets the fields to their defaults, a list to no items (its places are used as scratch here). Asserts that defaults
 * parse and that no key has two meanings. No memory is told by the next call that can fail. */
void options_add_group(struct options *o, const struct option_group *g);

/* All return 0, or -1 with a sentence in error (always terminated): `promptcached.yaml:12: memory.limt: unknown key;
 * did you mean memory.limit?` Nothing stays half-set that matters: a caller that gets -1 throws the configuration away.
 */
__attribute__((warn_unused_result)) int options_load_file(struct options *o, const char *path, char *error,
							  size_t error_bytes);
__attribute__((warn_unused_result)) int options_load_text(struct options *o, const char *name, const char *text,
							  size_t n, char *error, size_t error_bytes);
__attribute__((warn_unused_result)) int options_set(struct options *o, const char *assignment, char *error,
						    size_t error_bytes);

/* After all files and sets: required fields of list items. */
__attribute__((warn_unused_result)) int options_finish(struct options *o, char *error, size_t error_bytes);

/* The reference (`--describe config`): text, type, range and default of each key, as a YAML file whose key lines have
 * one '#' put before them. It loads as it is (and sets nothing), and with any of those '#' taken away. */
void options_describe(const struct options *o, FILE *out);

#endif
