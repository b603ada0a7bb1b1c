/* options, reference: every option as a YAML file with all keys commented out, in the order of registration.
 *
 *      store:
 *        # where answers are kept between restarts
 *        # one of none, lmdb; default: lmdb
 *      #  kind: lmdb
 *
 * A key line is the line to be used with one '#' put before it; a text line has its '#' just before the words. Sections
 * are not commented (a section with nothing in it means nothing), so that uncommenting one key is enough. */
#include "server/base/options_internal.h"

#include <string.h>

/* True where YAML might read the text as something else than itself, here or within [a, b]. */
static bool needs_quotes(const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/+-";
	const struct option_scalar s = {text, strlen(text), false};

	return s.n == 0 || text[0] == '-' || text[strspn(text, plain)] != '\0' || option_scalar_is_null(&s);
}

static void put_text(FILE *out, const char *p, size_t n)
{
	char text[OPTION_VALUE_BYTES_MAX + 1];

	snprintf(text, sizeof(text), "%.*s", (int)n, p);
	if (!needs_quotes(text)) {
		fputs(text, out);
		return;
	}
	fputc('"', out);
	for (const char *c = text; *c != '\0'; c++) {
		if (*c == '"' || *c == '\\')
			fputc('\\', out);
		fputc(*c, out);
	}
	fputc('"', out);
}

static void put_list(FILE *out, const char *values)
{
	const char *before = "";

	fputc('[', out);
	for (const char *p = values; *p != '\0';) {
		size_t n = strcspn(p, ",");

		fputs(before, out);
		put_text(out, p, n);
		before = ", ";
		p += n;
		p += strspn(p, ", ");
	}
	fputc(']', out);
}

/* What stands for a required value that has no default: valid for its type, and plainly not meant. */
static void put_placeholder(FILE *out, const struct option *opt)
{
	char words[64];

	switch (opt->type) {
	case OPTION_BOOL:
		fputs("false", out);
		break;
	case OPTION_UINT:
	case OPTION_BYTES:
	case OPTION_DURATION:
	case OPTION_F64:
		option_words_value(opt, opt->min, words);
		fputs(words, out);
		break;
	case OPTION_STRING:
		fprintf(out, "<%s>", opt->name);
		break;
	case OPTION_STRINGS:
		fprintf(out, "[<%s>]", opt->name);
		break;
	case OPTION_CHOICE:
		fputs(opt->choices[0], out);
		break;
	}
}

/* indent: of the text; lead: what stands before the key, "  - " for the first one of an item. */
static void describe_option(FILE *out, const struct option *opt, const char *indent, const char *lead)
{
	char words[OPTION_WORDS_BYTES];

	option_words_type(opt, words);
	fprintf(out, "%s# %s\n%s# %s", indent, opt->text, indent, words);
	if (option_words_range(opt, words))
		fprintf(out, ", %s", words);
	if (opt->fallback != NULL)
		fprintf(out, "; default: %s\n", opt->fallback);
	else
		fputs(opt->required ? "; must be given\n" : "; no default\n", out);

	fprintf(out, "#%s%s:", lead, opt->name);
	if (opt->fallback != NULL || opt->required)
		fputc(' ', out);
	if (opt->fallback != NULL && opt->type == OPTION_STRINGS)
		put_list(out, opt->fallback);
	else if (opt->fallback != NULL)
		put_text(out, opt->fallback, strlen(opt->fallback));
	else if (opt->required)
		put_placeholder(out, opt);
	fputc('\n', out);
}

static void describe_group(FILE *out, const struct option_group *g)
{
	const char *indent = g->prefix[0] == '\0' ? "" : g->item_bytes > 0 ? "    " : "  ";

	for (size_t i = 0; i < g->count; i++)
		describe_option(out, &g->options[i], indent, g->item_bytes > 0 && i == 0 ? "  - " : indent);
}

/* Groups that share a prefix come together below the first of them: a key may stand in a file only once. */
static bool is_first_of_prefix(const struct options *o, size_t i)
{
	for (size_t j = 0; j < i; j++) {
		if (strcmp(o->groups[j].prefix, o->groups[i].prefix) == 0)
			return false;
	}
	return true;
}

void options_describe(const struct options *o, FILE *out)
{
	const char *between = "";

	for (size_t i = 0; i < o->count; i++) {
		const char *prefix = o->groups[i].prefix;

		if (!is_first_of_prefix(o, i))
			continue;
		fputs(between, out);
		between = "\n";
		if (prefix[0] != '\0')
			fprintf(out, "%s:\n", prefix);
		for (size_t j = i; j < o->count; j++) {
			if (strcmp(o->groups[j].prefix, prefix) == 0)
				describe_group(out, &o->groups[j]);
		}
	}
}
