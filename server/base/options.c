/* options: the groups, keys to fields, and the one way in which a value reaches a field. */
#include "server/base/options_internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct options *options_new(void) { return calloc(1, sizeof(struct options)); }

void options_free(struct options *o)
{
	if (o == NULL)
		return;
	while (o->texts != NULL) {
		struct option_text *t = o->texts;

		o->texts = t->next;
		free(t);
	}
	for (size_t i = 0; i < o->count; i++)
		free(o->items[i]);
	free(o);
}

char *option_text_copy(struct options *o, const char *p, size_t n)
{
	struct option_text *t = malloc(sizeof(*t) + n + 1);

	if (t == NULL)
		return NULL;
	if (n > 0)
		memcpy(t->bytes, p, n);
	t->bytes[n] = '\0';
	t->next = o->texts;
	o->texts = t;
	return t->bytes;
}

int option_fail(const struct option_report *r, const char *key, const char *fmt, ...)
{
	char reason[2 * OPTION_REASON_BYTES];
	va_list args;

	va_start(args, fmt);
	vsnprintf(reason, sizeof(reason), fmt, args);
	va_end(args);
	if (key != NULL)
		snprintf(r->error, r->error_bytes, "%s: %s: %s", r->origin, key, reason);
	else
		snprintf(r->error, r->error_bytes, "%s: %s", r->origin, reason);
	for (char *p = r->error; r->error_bytes > 0 && *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	}
	return -1;
}

/* ---- groups */

static void *group_base(const struct option_group *g, size_t item) { return (char *)g->base + item * g->item_bytes; }

static int group_reset(struct options *o, const struct option_group *g, size_t item)
{
	for (size_t i = 0; i < g->count; i++) {
		if (option_value_reset(o, &g->options[i], group_base(g, item)) < 0)
			return -1;
	}
	return 0;
}

static void group_check(const struct options *o, const struct option_group *g)
{
	for (size_t i = 0; i < g->count; i++) {
		const struct option *opt = &g->options[i];
		char pattern[OPTION_KEY_BYTES_MAX + 1];

		option_pattern(g, opt, pattern);
		assert(option_key_find(o, pattern).kind != OPTION_KEY_OPTION); /* one key, one meaning */
		assert(opt->type != OPTION_CHOICE || opt->choices != NULL);
		assert(opt->max == 0 || opt->min <= opt->max);
	}
}

/* The defaults of a list are tried on its first place, so that a bad one is found here and not with the first user's
 * item. */
void options_add_group(struct options *o, const struct option_group *g)
{
	assert(o->count < OPTION_GROUPS_MAX && g->count > 0);
	assert(g->item_bytes == 0 || (g->item_count != NULL && g->item_max > 0 && g->count <= 64));
	assert(g->item_bytes == 0 || g->prefix[0] != '\0');

	group_check(o, g);
	if (group_reset(o, g, 0) < 0)
		o->no_memory = true;
	if (g->item_bytes > 0) {
		*g->item_count = 0;
		o->items[o->count] = calloc(g->item_max, sizeof(struct option_item));
		if (o->items[o->count] == NULL)
			o->no_memory = true;
	}
	o->groups[o->count++] = *g;
}

/* ---- lists */

void option_list_clear(struct options *o, const struct option_key *k)
{
	const struct option_group *g = &o->groups[k->group];

	if (k->kind == OPTION_KEY_LIST) {
		*g->item_count = 0;
	} else {
		const struct option_value none = {0};

		option_value_store(&g->options[k->option], group_base(g, k->item), &none);
	}
}

int option_item_ensure(struct options *o, const struct option_report *r, const char *key, const struct option_key *k)
{
	const struct option_group *g = &o->groups[k->group];
	struct option_item *item;

	if (g->item_bytes == 0 || k->item < *g->item_count)
		return 0;
	if (k->item >= g->item_max)
		return option_fail(r, key, "too many: %s takes at most %zu items", g->prefix, g->item_max);
	if (k->item > *g->item_count)
		return option_fail(r, key, "leaves a gap: the next item of the list is %s[%zu]", g->prefix,
				   *g->item_count);

	item = &o->items[k->group][k->item];
	*item = (struct option_item){.origin = option_text_copy(o, r->origin, strlen(r->origin))};
	memset(group_base(g, k->item), 0, g->item_bytes);
	if (item->origin == NULL || group_reset(o, g, k->item) < 0)
		return option_fail(r, key, "out of memory");
	*g->item_count = k->item + 1;
	return 0;
}

/* ---- assignment */

static int assign_option(struct options *o, const struct option_report *r, const char *key, const struct option_key *k,
			 const struct option_scalar *s)
{
	const struct option_group *g = &o->groups[k->group];
	const struct option *opt = &g->options[k->option];
	bool reset = option_scalar_is_null(s);
	char reason[OPTION_REASON_BYTES], *text;
	struct option_value v;

	if (memchr(s->p, '\0', s->n) != NULL)
		return option_fail(r, key, "contains a NUL byte");
	text = option_text_copy(o, s->p, s->n);
	if (text == NULL)
		return option_fail(r, key, "out of memory");
	if (!reset && option_value_parse(opt, text, &v, reason) < 0)
		return option_fail(r, key, "%s", reason);
	if (option_item_ensure(o, r, key, k) < 0)
		return -1;
	if (!reset)
		option_value_store(opt, group_base(g, k->item), &v);
	else if (option_value_reset(o, opt, group_base(g, k->item)) < 0)
		return option_fail(r, key, "out of memory");
	if (g->item_bytes > 0) {
		uint64_t bit = UINT64_C(1) << k->option;
		uint64_t *given = &o->items[k->group][k->item].given;

		*given = reset ? *given & ~bit : *given | bit;
	}
	return 0;
}

static int assign_element(struct options *o, const struct option_report *r, const char *key, const struct option_key *k,
			  const struct option_scalar *s)
{
	const struct option_group *g = &o->groups[k->group];
	const struct option *opt = &g->options[k->option];
	struct option_strings *strings;
	const char *text;

	if (option_scalar_is_null(s) || s->n == 0)
		return option_fail(r, key, "is empty");
	if (k->element >= OPTION_STRINGS_MAX)
		return option_fail(r, key, "too many: the list takes at most %d values", OPTION_STRINGS_MAX);
	if (memchr(s->p, '\0', s->n) != NULL)
		return option_fail(r, key, "contains a NUL byte");
	if (option_item_ensure(o, r, key, k) < 0)
		return -1;
	strings = (struct option_strings *)((char *)group_base(g, k->item) + opt->offset);
	if (k->element > strings->count)
		return option_fail(r, key, "leaves a gap: the next place of the list is [%zu]", strings->count);
	text = option_text_copy(o, s->p, s->n);
	if (text == NULL)
		return option_fail(r, key, "out of memory");
	strings->items[k->element] = text;
	if (k->element == strings->count)
		strings->count++;
	if (g->item_bytes > 0)
		o->items[k->group][k->item].given |= UINT64_C(1) << k->option;
	return 0;
}

static int fail_unknown(struct options *o, const struct option_report *r, const char *key)
{
	char near[OPTION_KEY_BYTES_MAX + 1];

	option_key_suggest(o, key, near);
	if (near[0] == '\0')
		return option_fail(r, key, "unknown key; --describe config lists all");
	return option_fail(r, key, "unknown key; did you mean %s?", near);
}

int option_assign(struct options *o, const struct option_report *r, const char *key, const struct option_scalar *s)
{
	struct option_key k = option_key_find(o, key);
	char pattern[OPTION_KEY_BYTES_MAX + 1];

	if (s->n > OPTION_VALUE_BYTES_MAX)
		return option_fail(r, key, "the value is longer than %d bytes", OPTION_VALUE_BYTES_MAX);
	switch (k.kind) {
	case OPTION_KEY_OPTION:
		return assign_option(o, r, key, &k, s);
	case OPTION_KEY_ELEMENT:
		return assign_element(o, r, key, &k, s);
	case OPTION_KEY_SECTION: /* a section whose keys are all commented out is null */
		if (option_scalar_is_null(s))
			return 0;
		option_pattern(&o->groups[k.group], &o->groups[k.group].options[k.option], pattern);
		return option_fail(r, key, "is a section, not a value; set keys below it, such as %s", pattern);
	case OPTION_KEY_LIST:
		if (option_scalar_is_null(s)) {
			option_list_clear(o, &k);
			return 0;
		}
		return option_fail(r, key, "expected a list of items; set keys such as %s[0].%s", key,
				   o->groups[k.group].options[0].name);
	case OPTION_KEY_ITEM:
		return option_fail(r, key, "is an item with keys, not a value; set keys such as %s.%s", key,
				   o->groups[k.group].options[0].name);
	case OPTION_KEY_UNKNOWN:
		break;
	}
	return fail_unknown(o, r, key);
}

int options_set(struct options *o, const char *assignment, char *error, size_t error_bytes)
{
	const struct option_report r = {"--set", error, error_bytes};
	const char *equals = strchr(assignment, '=');
	char key[OPTION_KEY_BYTES_MAX + 1];
	size_t n = equals != NULL ? (size_t)(equals - assignment) : strlen(assignment);

	if (o->no_memory)
		return option_fail(&r, NULL, "out of memory");
	if (n > OPTION_KEY_BYTES_MAX)
		return option_fail(&r, NULL, "the key is longer than %d bytes", OPTION_KEY_BYTES_MAX);
	memcpy(key, assignment, n);
	key[n] = '\0';
	if (equals == NULL || n == 0)
		return option_fail(&r, n > 0 ? key : NULL, "expected key=value, such as memory.limit=64MB");
	return option_assign(o, &r, key, &(struct option_scalar){equals + 1, strlen(equals + 1), false});
}

static int finish_list(const struct options *o, size_t group, char *error, size_t error_bytes)
{
	const struct option_group *g = &o->groups[group];

	for (size_t item = 0; g->item_bytes > 0 && item < *g->item_count; item++) {
		const struct option_item *it = &o->items[group][item];
		const struct option_report r = {it->origin, error, error_bytes};

		for (size_t i = 0; i < g->count; i++) {
			char key[OPTION_KEY_BYTES_MAX + 1];

			if (!g->options[i].required || (it->given & UINT64_C(1) << i))
				continue;
			snprintf(key, sizeof(key), "%s[%zu].%s", g->prefix, item, g->options[i].name);
			return option_fail(&r, key, "must be given (%s)", g->options[i].text);
		}
	}
	return 0;
}

int options_finish(struct options *o, char *error, size_t error_bytes)
{
	if (o->no_memory)
		return option_fail(&(struct option_report){"configuration", error, error_bytes}, NULL, "out of memory");
	for (size_t i = 0; i < o->count; i++) {
		if (finish_list(o, i, error, error_bytes) < 0)
			return -1;
	}
	return 0;
}
