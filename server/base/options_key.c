/* options, keys: from a dotted key to the option it names, and from a misspelt one to the nearest that exists. */
#include "server/base/options_internal.h"

#include <assert.h>
#include <string.h>

#define WORDS_MAX (OPTION_KEY_BYTES_MAX + 1)

void option_pattern(const struct option_group *g, const struct option *opt, char ret[OPTION_KEY_BYTES_MAX + 1])
{
	const char *list = g->item_bytes > 0 ? "[]" : "";
	int n = snprintf(ret, OPTION_KEY_BYTES_MAX + 1, "%s%s%s%s", g->prefix, list, g->prefix[0] != '\0' ? "." : "",
			 opt->name);

	assert(n > 0 && n < OPTION_KEY_BYTES_MAX - 8); /* room for the indexes */
}

/* Reads "[12]" at p; returns the byte after it, NULL when it is not an index. */
static const char *index_read(const char *p, size_t *ret)
{
	size_t value = 0;
	const char *first = ++p;

	for (; *p >= '0' && *p <= '9'; p++) {
		value = value * 10 + (size_t)(*p - '0');
		if (value > OPTION_INDEX_MAX)
			return NULL;
	}
	if (*p != ']' || p == first || (*first == '0' && p - first > 1))
		return NULL;
	*ret = value;
	return p + 1;
}

bool option_key_pattern(const char *key, char pattern[OPTION_KEY_BYTES_MAX + 1], size_t indexes[OPTION_INDEXES_MAX],
			size_t *ret_count)
{
	size_t n = 0, count = 0;
	bool good = strlen(key) <= OPTION_KEY_BYTES_MAX;

	while (*key != '\0' && n < OPTION_KEY_BYTES_MAX) {
		const char *after = NULL;
		size_t value = 0;

		if (*key == '[' && count < OPTION_INDEXES_MAX)
			after = index_read(key, &value);
		if (*key == '[' && after == NULL)
			good = false;
		if (after != NULL) {
			indexes[count++] = value;
			pattern[n++] = '[';
			key = after - 1;
		}
		pattern[n++] = *key++;
	}
	pattern[n] = '\0';
	*ret_count = count;
	return good;
}

/* Whether the pattern names this option, an element of it, or a section above it. */
static enum option_key_kind match_option(const char *pattern, const struct option_group *g, const struct option *opt)
{
	char known[OPTION_KEY_BYTES_MAX + 1];
	size_t n = strlen(pattern);

	option_pattern(g, opt, known);
	if (strcmp(pattern, known) == 0)
		return OPTION_KEY_OPTION;
	if (strncmp(pattern, known, strlen(known)) == 0 && strcmp(pattern + strlen(known), "[]") == 0)
		return opt->type == OPTION_STRINGS ? OPTION_KEY_ELEMENT : OPTION_KEY_UNKNOWN;
	if (n == 0 || strncmp(pattern, known, n) != 0)
		return OPTION_KEY_UNKNOWN;
	if (known[n] == '.')
		return g->item_bytes > 0 && n == strlen(g->prefix) + 2 ? OPTION_KEY_ITEM : OPTION_KEY_SECTION;
	return g->item_bytes > 0 && n == strlen(g->prefix) ? OPTION_KEY_LIST : OPTION_KEY_UNKNOWN;
}

struct option_key option_key_find(const struct options *o, const char *key)
{
	struct option_key k = {.kind = OPTION_KEY_UNKNOWN};
	char pattern[OPTION_KEY_BYTES_MAX + 1];
	size_t indexes[OPTION_INDEXES_MAX] = {0}, count;

	if (!option_key_pattern(key, pattern, indexes, &count))
		return k;
	for (size_t i = 0; i < o->count; i++) {
		const struct option_group *g = &o->groups[i];

		for (size_t j = 0; j < g->count; j++) {
			enum option_key_kind kind = match_option(pattern, g, &g->options[j]);

			/* A section is known by the first option below it; an option of that very name goes before. */
			if (kind == OPTION_KEY_UNKNOWN || (kind == OPTION_KEY_SECTION && k.kind != OPTION_KEY_UNKNOWN))
				continue;
			k = (struct option_key){.kind = kind, .group = i, .option = j};
			k.item = g->item_bytes > 0 ? indexes[0] : 0;
			k.element = kind == OPTION_KEY_ELEMENT ? indexes[count - 1] : 0;
			if (kind != OPTION_KEY_SECTION)
				return k;
		}
	}
	return k;
}

/* ---- the nearest key */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

/* Edits (insert, delete, replace, swap of neighbours) from a to b; both are bounded by OPTION_KEY_BYTES_MAX. */
static unsigned edit_distance(const char *a, const char *b)
{
	unsigned rows[3][WORDS_MAX];
	unsigned *before = rows[0], *last = rows[1], *row = rows[2];
	size_t an = strlen(a), bn = strlen(b);

	assert(an < WORDS_MAX && bn < WORDS_MAX);
	memset(rows, 0, sizeof(rows));
	for (size_t j = 0; j <= bn; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= an; i++) {
		unsigned *swap = before;

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= bn; j++) {
			row[j] = min3(row[j - 1] + 1, last[j] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
		before = last;
		last = row;
		row = swap;
	}
	return last[bn];
}

static const char *last_part(const char *key)
{
	const char *dot = strrchr(key, '.');

	return dot != NULL ? dot + 1 : key;
}

/* Lower is nearer; 0 stands for "not near at all". The right name in the wrong section counts as near, behind a
 * misspelling. */
static unsigned nearness(const char *pattern, const char *known)
{
	unsigned whole = edit_distance(pattern, known);
	size_t n = strlen(known);

	if (strncmp(pattern, known, n) == 0 && pattern[n] == '.') /* the section above it is no news */
		return 0;
	if (whole <= 1 + strlen(pattern) / 4)
		return 1 + whole;
	if (strcmp(last_part(pattern), last_part(known)) == 0)
		return 1000 + whole;
	if (edit_distance(last_part(pattern), last_part(known)) <= strlen(last_part(pattern)) / 4)
		return 2000 + whole;
	return 0;
}

/* Puts the numbers of the asked key (0 where it has none) into the [] of a pattern. */
static void pattern_expand(const char *pattern, const size_t indexes[OPTION_INDEXES_MAX], size_t count,
			   char ret[OPTION_KEY_BYTES_MAX + 1])
{
	size_t n = 0, at = 0;

	for (const char *p = pattern; *p != '\0' && n < OPTION_KEY_BYTES_MAX; p++) {
		ret[n++] = *p;
		if (*p == '[') {
			size_t left = OPTION_KEY_BYTES_MAX + 1 - n;
			int m = snprintf(ret + n, left, "%zu", at < count ? indexes[at] : 0);

			assert(m > 0 && (size_t)m < left);
			n += (size_t)m;
			at++;
		}
	}
	ret[n] = '\0';
}

void option_key_suggest(const struct options *o, const char *key, char ret[OPTION_KEY_BYTES_MAX + 1])
{
	char pattern[OPTION_KEY_BYTES_MAX + 1], known[OPTION_KEY_BYTES_MAX + 1], best[OPTION_KEY_BYTES_MAX + 1] = "";
	size_t indexes[OPTION_INDEXES_MAX] = {0}, count;
	unsigned best_score = 0;

	(void)option_key_pattern(key, pattern, indexes, &count);
	for (size_t i = 0; i < o->count; i++) {
		const struct option_group *g = &o->groups[i];

		for (size_t j = 0; j <= g->count; j++) { /* the last round: the section or list itself */
			unsigned score;

			if (j < g->count)
				option_pattern(g, &g->options[j], known);
			else
				snprintf(known, sizeof(known), "%s", g->prefix);
			score = known[0] != '\0' ? nearness(pattern, known) : 0;
			if (score == 0 || (best_score != 0 && score >= best_score))
				continue;
			best_score = score;
			memcpy(best, known, sizeof(best));
		}
	}
	pattern_expand(best, indexes, count, ret);
}
