/* What the tests of options share: a configuration of every type, and helpers that load, set and compare the sentence.
 */
#ifndef TESTS_OPTIONS_FIXTURE_H
#define TESTS_OPTIONS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/options.h"

struct top {
	struct option_strings listen;
	const char *model;
};

struct store {
	int kind;
	const char *path;
	uint64_t batch;
	bool sync;
};

struct memory {
	uint64_t limit;
};

struct flight {
	uint64_t age_ms;
	double ratio, any;
	uint64_t free;
};

struct upstream {
	const char *name, *url;
	struct option_strings models;
	uint64_t concurrency;
};

#define UPSTREAMS_MAX 4

static struct fixture {
	struct options *o;
	struct top top;
	struct store store;
	struct memory memory;
	struct flight flight;
	struct upstream upstreams[UPSTREAMS_MAX];
	size_t upstream_count;
	char error[512];
} f;

static const char *const kinds[] = {"none", "lmdb", NULL};

/* clang-format off */
static const struct option top_options[] = {
	{"listen", OPTION_STRINGS, offsetof(struct top, listen), "unix:/run/a.sock,tcp://127.0.0.1:7411", 0, 0, NULL, false, "where to listen"},
	{"default_model", OPTION_STRING, offsetof(struct top, model), "gpt-4o-mini", 0, 0, NULL, false, "for requests without one"},
};
static const struct option store_options[] = {
	{"kind", OPTION_CHOICE, offsetof(struct store, kind), "lmdb", 0, 0, kinds, false, "where answers are kept"},
	{"path", OPTION_STRING, offsetof(struct store, path), NULL, 0, 0, NULL, false, "the folder"},
	{"batch", OPTION_UINT, offsetof(struct store, batch), "64", 1, 1000, NULL, false, "writes of one commit"},
	{"sync", OPTION_BOOL, offsetof(struct store, sync), "true", 0, 0, NULL, false, "fsync at each commit"},
};
static const struct option memory_options[] = {
	{"limit", OPTION_BYTES, offsetof(struct memory, limit), "256MB", 1 << 20, (uint64_t)1 << 40, NULL, false, "of the memory tier"},
};
static const struct option flight_options[] = {
	{"age", OPTION_DURATION, offsetof(struct flight, age_ms), "2m", 1000, 3600000, NULL, false, "of a flight that is joined"},
	{"ratio", OPTION_F64, offsetof(struct flight, ratio), "0.5", 0, 1, NULL, false, "of something"},
	{"any", OPTION_F64, offsetof(struct flight, any), NULL, 0, 0, NULL, false, "any number"},
	{"free", OPTION_UINT, offsetof(struct flight, free), "7", 0, 0, NULL, false, "any whole number"},
};
static const struct option upstream_options[] = {
	{"name", OPTION_STRING, offsetof(struct upstream, name), NULL, 1, 8, NULL, true, "what it is called"},
	{"base_url", OPTION_STRING, offsetof(struct upstream, url), NULL, 0, 0, NULL, true, "where it is"},
	{"models", OPTION_STRINGS, offsetof(struct upstream, models), NULL, 0, 0, NULL, false, "what it serves"},
	{"concurrency", OPTION_UINT, offsetof(struct upstream, concurrency), "16", 1, 4096, NULL, false, "calls at once"},
};
/* clang-format on */

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static inline int setup(void **state)
{
	const struct option_group groups[] = {
		{"", top_options, COUNT(top_options), &f.top, 0, 0, NULL},
		{"store", store_options, COUNT(store_options), &f.store, 0, 0, NULL},
		{"memory", memory_options, COUNT(memory_options), &f.memory, 0, 0, NULL},
		{"engine.flight", flight_options, COUNT(flight_options), &f.flight, 0, 0, NULL},
		{"upstreams", upstream_options, COUNT(upstream_options), f.upstreams, sizeof(struct upstream),
		 UPSTREAMS_MAX, &f.upstream_count},
	};

	(void)state;
	memset(&f, 0xa5, sizeof(f)); /* defaults must not rely on zeroed memory */
	f.o = options_new();
	if (f.o == NULL)
		return -1;
	for (size_t i = 0; i < COUNT(groups); i++)
		options_add_group(f.o, &groups[i]);
	f.error[0] = '\0';
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	options_free(f.o);
	f.o = NULL;
	return 0;
}

static inline int load(const char *text)
{
	/* Exactly as many bytes as there are, so that a sanitizer sees a step too far. */
	size_t n = strlen(text);
	char *copy = malloc(n > 0 ? n : 1);
	int rc;

	assert_non_null(copy);
	memcpy(copy, text, n);
	rc = options_load_text(f.o, "c.yaml", copy, n, f.error, sizeof(f.error));
	free(copy);
	return rc;
}

static inline int set(const char *assignment) { return options_set(f.o, assignment, f.error, sizeof(f.error)); }

static inline void load_ok(const char *text)
{
	if (load(text) != 0)
		fail_msg("refused: %s", f.error);
}

static inline void set_ok(const char *assignment)
{
	if (set(assignment) != 0)
		fail_msg("refused: %s", f.error);
}

static inline void load_fails(const char *text, const char *sentence)
{
	assert_int_equal(load(text), -1);
	assert_string_equal(f.error, sentence);
}

static inline void set_fails(const char *assignment, const char *sentence)
{
	assert_int_equal(set(assignment), -1);
	assert_string_equal(f.error, sentence);
}

#endif
