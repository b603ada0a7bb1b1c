/* options, inside: what its five files share. Nobody else includes this.
 *
 *      options_yaml.c ── flattened keys ──┐
 *      options_set ─── key=value ─────────┴─> option_assign ─> option_key_find ─> option_value_parse
 *                                                                                         └─> the module's field */
#ifndef BASE_OPTIONS_INTERNAL_H
#define BASE_OPTIONS_INTERNAL_H

#include "server/base/options.h"

#define OPTION_INDEXES_MAX  2	 /* upstreams[0].models[1] */
#define OPTION_INDEX_MAX    9999 /* four digits; no list is that long */
#define OPTION_REASON_BYTES 512	 /* the last part of an error sentence */

/* A string that lives as long as the options. */
struct option_text {
	struct option_text *next;
	char bytes[];
};

/* One place in a list of groups. */
struct option_item {
	uint64_t given;	    /* bit i: option i of the group was given */
	const char *origin; /* where the item began: "promptcached.yaml:12" */
};

struct options {
	struct option_group groups[OPTION_GROUPS_MAX];
	struct option_item *items[OPTION_GROUPS_MAX]; /* of lists: item_max each; else NULL */
	size_t count;
	struct option_text *texts;
	bool no_memory; /* a group could not be added whole; every later call says so */
};

/* Where an error happened and where its sentence goes. */
struct option_report {
	const char *origin; /* "promptcached.yaml:12" or "--set" */
	char *error;
	size_t error_bytes;
};

/* Writes "origin: key: reason" (key may be NULL), control bytes as '?'. Always -1, so that a caller can return it. */
__attribute__((format(printf, 3, 4))) int option_fail(const struct option_report *r, const char *key, const char *fmt,
						      ...);

/* ---- keys */
enum option_key_kind {
	OPTION_KEY_UNKNOWN,
	OPTION_KEY_OPTION,  /* store.path, upstreams[0].name */
	OPTION_KEY_ELEMENT, /* listen[1]: one place of an OPTION_STRINGS */
	OPTION_KEY_SECTION, /* store */
	OPTION_KEY_LIST,    /* upstreams */
	OPTION_KEY_ITEM,    /* upstreams[0] */
};

struct option_key {
	enum option_key_kind kind;
	size_t group, option; /* of a SECTION: the first one below it */
	size_t item, element;
};

struct option_key option_key_find(const struct options *o, const char *key);

/* The key with every [n] as [], and the numbers; false: an index is malformed or there are too many. The pattern is
 * always filled. */
bool option_key_pattern(const char *key, char pattern[OPTION_KEY_BYTES_MAX + 1], size_t indexes[OPTION_INDEXES_MAX],
			size_t *ret_count);

/* The nearest known key in the same form, or "" when none is near. */
void option_key_suggest(const struct options *o, const char *key, char ret[OPTION_KEY_BYTES_MAX + 1]);

/* The pattern of one option: "store.path", "upstreams[].name". */
void option_pattern(const struct option_group *g, const struct option *opt, char ret[OPTION_KEY_BYTES_MAX + 1]);

/* ---- values */
struct option_value {
	bool boolean;
	uint64_t uint; /* UINT, BYTES, DURATION */
	double f64;
	int choice;
	const char *string;
	struct option_strings strings;
};

/* What a file or --set says for a key. */
struct option_scalar {
	const char *p; /* (borrowed) */
	size_t n;
	bool quoted; /* a quoted null is a string */
};

bool option_scalar_is_null(const struct option_scalar *s); /* plain: null, ~ */

/* 0, or -1 with the reason: what is expected, an example, the range. The text becomes part of the value: it must live
 * as long as the options, and a list is cut up in place. */
int option_value_parse(const struct option *opt, char *text, struct option_value *ret,
		       char reason[OPTION_REASON_BYTES]);
void option_value_store(const struct option *opt, void *base, const struct option_value *v);

/* The default, or zero, NULL and an empty list where there is none. -1: no memory. */
int option_value_reset(struct options *o, const struct option *opt, void *base);

char *option_text_copy(struct options *o, const char *p, size_t n); /* NULL: no memory */

/* ---- words, for errors and the reference */
#define OPTION_WORDS_BYTES 256
void option_words_type(const struct option *opt, char ret[OPTION_WORDS_BYTES]);	 /* "a size such as 64MB" */
bool option_words_range(const struct option *opt, char ret[OPTION_WORDS_BYTES]); /* "1MB to 1TB"; false: any */
void option_words_value(const struct option *opt, uint64_t value, char ret[64]); /* "64MB", "30s", "16" */

/* ---- assignment */
int option_assign(struct options *o, const struct option_report *r, const char *key, const struct option_scalar *s);

/* A list in a file replaces what was there: empties an OPTION_STRINGS or a list of groups. */
void option_list_clear(struct options *o, const struct option_key *k);

/* Makes item k->item exist, with its defaults; it may be the next one of the list, not one further. */
int option_item_ensure(struct options *o, const struct option_report *r, const char *key, const struct option_key *k);

#endif
