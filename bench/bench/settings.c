#include "bench/bench/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct setting settings_table[] = {
#define X(field, name, kind, value, least, most, argument, help)                                                       \
	{name, SETTING_##kind, value, least, most, argument, help, offsetof(struct settings, field)},
	SETTINGS(X)
#undef X
		{0}};

/* ---- values */

static bool count_parse(const struct setting *t, const char *value, uint64_t *ret)
{
	char *end;
	unsigned long long number;

	if (*value < '0' || *value > '9')
		return false;
	errno = 0;
	number = strtoull(value, &end, 10);
	if (errno != 0 || *end != '\0' || (double)number < t->least || (double)number > t->most)
		return false;
	*ret = number;
	return true;
}

static bool real_parse(const struct setting *t, const char *value, double *ret)
{
	char *end;
	double number = strtod(value, &end);

	if (end == value || *end != '\0' || !(number >= t->least && number <= t->most))
		return false;
	*ret = number;
	return true;
}

static bool choice_parse(const struct setting *t, const char *value, unsigned *ret)
{
	unsigned place = 0;

	for (const char *at = t->argument;; at++, place++) {
		size_t length = strcspn(at, "|");

		if (strlen(value) == length && memcmp(at, value, length) == 0) {
			*ret = place;
			return true;
		}
		at += length;
		if (*at == '\0')
			return false;
	}
}

void settings_choice_name(const struct setting *t, unsigned choice, char *text, size_t size)
{
	const char *at = t->argument;

	for (; choice > 0; choice--)
		at += strcspn(at, "|") + 1;
	(void)snprintf(text, size, "%.*s", (int)strcspn(at, "|"), at);
}

static bool setting_set(const struct setting *t, struct settings *s, const char *value)
{
	char *field = (char *)s + t->offset;

	switch (t->kind) {
	case SETTING_TEXT:
		*(const char **)(void *)field = value;
		return true;
	case SETTING_COUNT:
		return count_parse(t, value, (uint64_t *)(void *)field);
	case SETTING_REAL:
		return real_parse(t, value, (double *)(void *)field);
	case SETTING_CHOICE:
		return choice_parse(t, value, (unsigned *)(void *)field);
	case SETTING_FLAG:
		*(bool *)field = strcmp(value, "true") == 0;
		return true;
	}
	return false;
}

/* ---- the command line */

static void help_print(void)
{
	printf("promptcache-bench [OPTION]...: closed-loop load for promptcached\n\n"
	       "Each connection keeps --depth requests in flight: the next one leaves when one has ended. So a server "
	       "that\nstalls also stops the questions, and latencies under stalls are understated.\n\n");
	for (const struct setting *t = settings_table; t->name != NULL; t++) {
		int width = printf("  --%s %s", t->name, t->argument);

		printf("%*s%s", width < 30 ? 31 - width : 1, "", t->help);
		if (t->value != NULL && t->kind != SETTING_FLAG)
			printf(" (%s)", t->value);
		printf("\n");
	}
	printf("  --help, --version\n\n"
	       "Exit codes: 0 all requests ended well, 1 requests failed, 2 usage, 3 cannot connect\n\n"
	       "  promptcache-bench --requests 100000\n"
	       "  promptcache-bench --server unix:/run/x.sock --floor unix --rounds 6 --seconds 1 --server-pid PID\n"
	       "  promptcache-bench --connections 100 --storm 1000 --json\n");
}

static enum settings_outcome usage(const char *message, const char *what)
{
	(void)fprintf(stderr, "promptcache-bench: %s%s (--help shows what there is)\n", message, what);
	return SETTINGS_USAGE;
}

/* `--name value`, `--name=value`, or `--name` of a flag. Moves *i over what it took. */
static enum settings_outcome option_read(struct settings *s, int argc, char **argv, int *i)
{
	const char *name = argv[*i] + 2, *value = strchr(name, '=');
	size_t length = strcspn(name, "=");
	const struct setting *t = settings_table;

	while (t->name != NULL && (strlen(t->name) != length || memcmp(t->name, name, length) != 0))
		t++;
	if (t->name == NULL)
		return usage("unknown option ", argv[*i]);
	if (t->kind == SETTING_FLAG)
		return value != NULL || !setting_set(t, s, "true") ? usage("no value belongs to --", t->name)
								   : SETTINGS_RUN;
	if (value == NULL && *i + 1 == argc)
		return usage("a value is missing after ", argv[*i]);
	if (!setting_set(t, s, value != NULL ? value + 1 : argv[++*i])) {
		(void)fprintf(stderr, "promptcache-bench: --%s takes %s", t->name, t->argument);
		if (t->kind != SETTING_CHOICE)
			(void)fprintf(stderr, " from %.10g to %.15g", t->least, t->most);
		(void)fprintf(stderr, ", not '%s'\n", value != NULL ? value + 1 : argv[*i]);
		return SETTINGS_USAGE;
	}
	return SETTINGS_RUN;
}

static enum settings_outcome settings_check(const struct settings *s)
{
	if (s->keys * s->request_bytes > SETTINGS_PROMPTS_BYTES_MAX)
		return usage("--keys times --request-bytes is more than 1 GB", "");
	if (s->cut_after > 0 && (s->storm == 0 || s->connections < 2))
		return usage("--cut-after needs --storm and two connections", "");
	if (s->storm > 0 && s->floor != FLOOR_NONE)
		return usage("--storm and --floor do not go together", "");
	if (s->stream && s->operation == OPERATION_LOOKUP)
		return usage("--stream goes with --operation query", "");
	return SETTINGS_RUN;
}

enum settings_outcome settings_read(struct settings *s, int argc, char **argv)
{
	*s = (struct settings){0};
	for (const struct setting *t = settings_table; t->name != NULL; t++) {
		if (t->value != NULL && !setting_set(t, s, t->value))
			abort(); /* a default of the table that its own kind refuses */
	}
	for (int i = 1; i < argc; i++) {
		enum settings_outcome outcome;

		if (strcmp(argv[i], "--help") == 0) {
			help_print();
			return SETTINGS_SAID;
		}
		if (strcmp(argv[i], "--version") == 0) {
			printf("promptcache-bench %s\n", PROMPTCACHE_VERSION);
			return SETTINGS_SAID;
		}
		if (strncmp(argv[i], "--", 2) != 0)
			return usage("unknown argument ", argv[i]);
		outcome = option_read(s, argc, argv, &i);
		if (outcome != SETTINGS_RUN)
			return outcome;
	}
	return settings_check(s);
}
