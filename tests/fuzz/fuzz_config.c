/* fuzz: any bytes as a configuration file, and its first line as --set. What is accepted must lie within its limits,
 * and an error must be a terminated sentence. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/options.h"

#define ITEMS_MAX 4

struct values {
	struct option_strings listen;
	const char *model;
	int kind;
	bool sync;
	uint64_t batch, limit, age_ms;
	double ratio;
};

struct item {
	const char *name;
	struct option_strings models;
	uint64_t concurrency;
};

static const char *const kinds[] = {"none", "lmdb", "redis", NULL};

/* clang-format off */
#define FIELD(name) offsetof(struct values, name)
static const struct option top_options[] = {
	{"listen", OPTION_STRINGS, FIELD(listen), "a,b", 0, 0, NULL, false, "a list"},
	{"default_model", OPTION_STRING, FIELD(model), "m", 0, 0, NULL, false, "a text"},
};
static const struct option store_options[] = {
	{"kind", OPTION_CHOICE, FIELD(kind), "lmdb", 0, 0, kinds, false, "a choice"},
	{"sync", OPTION_BOOL, FIELD(sync), NULL, 0, 0, NULL, false, "a bool"},
	{"batch", OPTION_UINT, FIELD(batch), "64", 1, 1000, NULL, false, "a number"},
};
static const struct option deep_options[] = {
	{"limit", OPTION_BYTES, FIELD(limit), "256MB", 1024, (uint64_t)1 << 40, NULL, false, "a size"},
	{"age", OPTION_DURATION, FIELD(age_ms), "2m", 1000, 3600000, NULL, false, "a duration"},
	{"ratio", OPTION_F64, FIELD(ratio), "0.5", 0, 1, NULL, false, "a fraction"},
};
static const struct option item_options[] = {
	{"name", OPTION_STRING, offsetof(struct item, name), NULL, 0, 0, NULL, true, "a name"},
	{"models", OPTION_STRINGS, offsetof(struct item, models), NULL, 0, 0, NULL, false, "names"},
	{"concurrency", OPTION_UINT, offsetof(struct item, concurrency), "16", 1, 64, NULL, false, "a number"},
};
/* clang-format on */

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct values v;
static struct item items[ITEMS_MAX];
static size_t item_count;

static void check_strings(const struct option_strings *s)
{
	assert(s->count <= OPTION_STRINGS_MAX);
	for (size_t i = 0; i < s->count; i++)
		assert(strlen(s->items[i]) > 0);
}

static void check_values(void)
{
	check_strings(&v.listen);
	assert(v.model == NULL || strlen(v.model) <= OPTION_VALUE_BYTES_MAX);
	assert(v.kind >= 0 && v.kind < (int)COUNT(kinds) - 1);
	assert(v.batch >= 1 && v.batch <= 1000);
	assert(v.limit >= 1024 && v.limit <= (uint64_t)1 << 40);
	assert(v.age_ms >= 1000 && v.age_ms <= 3600000);
	assert(v.ratio >= 0 && v.ratio <= 1);
	assert(item_count <= ITEMS_MAX);
	for (size_t i = 0; i < item_count; i++) {
		check_strings(&items[i].models);
		assert(items[i].concurrency >= 1 && items[i].concurrency <= 64);
	}
}

static struct options *options_make(void)
{
	const struct option_group groups[] = {
		{"", top_options, COUNT(top_options), &v, 0, 0, NULL},
		{"store", store_options, COUNT(store_options), &v, 0, 0, NULL},
		{"engine.flight", deep_options, COUNT(deep_options), &v, 0, 0, NULL},
		{"upstreams", item_options, COUNT(item_options), items, sizeof(struct item), ITEMS_MAX, &item_count},
	};
	struct options *o = options_new();

	if (o == NULL)
		abort();
	for (size_t i = 0; i < COUNT(groups); i++)
		options_add_group(o, &groups[i]);
	return o;
}

static void check_sentence(int rc, const char *error, size_t n)
{
	assert(rc == 0 || rc == -1);
	assert(rc == 0 || (strnlen(error, n) < n && error[0] != '\0'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct options *o = options_make();
	char error[256] = "", line[512];
	size_t m = n < sizeof(line) - 1 ? n : sizeof(line) - 1;

	check_sentence(options_load_text(o, "f", (const char *)data, n, error, sizeof(error)), error, sizeof(error));
	check_values();
	if (m > 0)
		memcpy(line, data, m);
	line[m] = '\0';
	line[strcspn(line, "\n")] = '\0';
	check_sentence(options_set(o, line, error, sizeof(error)), error, sizeof(error));
	check_values();
	check_sentence(options_finish(o, error, sizeof(error)), error, sizeof(error));
	options_free(o);
	return 0;
}
