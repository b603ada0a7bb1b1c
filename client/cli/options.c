/* options: the table, the parser, the help. */
#include "client/cli/options.h"
#include "client/promptcache.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOR(name) (1u << COMMAND_##name)
#define FOR_QL	  (FOR(QUERY) | FOR(LOOKUP))
#define FOR_QP	  (FOR(QUERY) | FOR(PUT))
#define FOR_ASK	  (FOR(QUERY) | FOR(LOOKUP) | FOR(PUT) | FOR(INVALIDATE))
#define FOR_ALL	  ((1u << COMMAND_COUNT) - 1)

/* X(NAME, word, argument or "", commands, text) */
/* clang-format off */
#define CLI_OPTIONS(X)                                                                                                          \
	X(MODEL, "model", "NAME", FOR_ASK, "model; without it the server's default_model")                                      \
	X(NAMESPACE, "namespace", "NAME", FOR_ASK, "your partition of the cache")                                               \
	X(PROMPT_VERSION, "prompt-version", "NAME", FOR_ASK, "version of the prompt template")                                  \
	X(SYSTEM, "system", "TEXT", FOR_ASK, "system message before the question")                                              \
	X(TEMPERATURE, "temperature", "NUMBER", FOR_ASK, "the parameter temperature")                                           \
	X(PARAM, "param", "K=JSON", FOR_ASK, "any other parameter of the API; repeatable")                                      \
	X(BODY, "body", "FILE", FOR_ASK, "an OpenAI chat request as JSON in place of a question; - for standard input")         \
	X(ANSWER, "answer", "TEXT", FOR(PUT), "the answer to store; - for standard input")                                      \
	X(TTL, "ttl", "S", FOR_QP, "keep the answer at most so many seconds")                                                   \
	X(MAX_AGE, "max-age", "S", FOR_QL, "take nothing older than so many seconds")                                           \
	X(NO_CACHE, "no-cache", "", FOR(QUERY), "do not read the cache: ask the LLM, and replace what is stored")               \
	X(NO_STORE, "no-store", "", FOR(QUERY), "do not keep the answer")                                                       \
	X(STREAM, "stream", "", FOR(QUERY), "print the answer as it comes")                                                     \
	X(SERVER, "server", "ADDR", FOR_ALL, "unix:/path or tcp://host:port; else $PROMPTCACHE_SERVER, else the default")       \
	X(TOKEN_FILE, "token-file", "FILE", FOR_ALL, "where the token stands, if not in the default place")                     \
	X(TIMEOUT, "timeout", "MS", FOR_ALL, "wait so many milliseconds at most")                                               \
	X(JSON, "json", "", FOR_ALL, "print one JSON object")                                                                   \
	X(VERBOSE, "verbose", "", FOR_ALL, "(-v) the status line on stderr, also when that is no terminal")                     \
	X(HELP, "help", "", FOR_ALL, "(-h) this text")                                                                          \
	X(VERSION, "version", "", FOR_ALL, "the version")

/* X(NAME, word, argument or ""): options of later versions */
#define CLI_OPTIONS_LATER(X)                                                                                                    \
	X(QUESTION, "question", "TEXT")                                                                                         \
	X(SOURCE, "source", "ID")                                                                                               \
	X(USER, "user", "NAME")                                                                                                 \
	X(TENANT, "tenant", "NAME")                                                                                             \
	X(DRY_RUN, "dry-run", "")                                                                                               \
	X(PURGE, "purge", "")
/* clang-format on */

enum option_number {
#define X(name, word, argument, commands, text) OPTION_##name,
	CLI_OPTIONS(X)
#undef X
	OPTION_COUNT,
#define X(name, word, argument) OPTION_##name,
	CLI_OPTIONS_LATER(X)
#undef X
};

static const struct option_spec {
	const char *word;
	const char *argument;
	unsigned commands;
	const char *text;
} specs[] = {
#define X(name, word, argument, commands, text) {word, argument, commands, text},
	CLI_OPTIONS(X)
#undef X
};

#define OPTION_BASE 256 /* getopt's values: beyond any character */

static const struct option long_options[] = {
#define X(name, word, argument, ...)                                                                                   \
	{word, sizeof(argument) > 1 ? required_argument : no_argument, NULL, OPTION_BASE + OPTION_##name},
	CLI_OPTIONS(X) CLI_OPTIONS_LATER(X)
#undef X
		{NULL, 0, NULL, 0},
};

static const struct {
	const char *word;
	const char *arguments;
	const char *text;
} commands[] = {
#define X(name, word, arguments, text) {word, arguments, text},
	CLI_COMMANDS(X)
#undef X
};

int cli_options_usage(const char *fmt, ...)
{
	va_list args;

	fputs("promptcache: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	return EXIT_USAGE;
}

/* ---- help */

static void help_options(unsigned mask)
{
	puts("\nOptions:");
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		char left[48];

		if (!(specs[i].commands & mask))
			continue;
		snprintf(left, sizeof(left), "--%s %s", specs[i].word, specs[i].argument);
		printf("  %-26s %s\n", left, specs[i].text);
	}
}

static void help_exits(void)
{
	puts("\nExit status: 0 answered · 1 nothing stored matches (lookup) · 2 usage · 3 cannot connect, or the "
	     "server is shutting down · 4 refused or failed");
}

static void help_tool(void)
{
	puts("Usage: promptcache [--server ADDR] [--json] COMMAND [OPTION]... [ARGUMENT]\n"
	     "Asks promptcached, the cache server for LLM prompts.\n\nCommands:");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		printf("  %-26s %s\n", commands[i].word, commands[i].text);
	puts("\n\"promptcache COMMAND --help\" lists a command's options. A question or answer of - is read from "
	     "standard input,\n"
	     "without the line feed at its end. Put -- before a question that begins with a dash.");
	help_exits();
}

static void help_command(enum cli_command command)
{
	printf("Usage: promptcache %s [OPTION]... %s\n%s.\n", commands[command].word, commands[command].arguments,
	       commands[command].text);
	help_options(1u << command);
	help_exits();
}

/* ---- values */

static bool number_parse(const char *word, const char *text, double max, double *ret)
{
	char *end;
	double value;

	errno = 0;
	value = strtod(text, &end);
	if (end == text || *end != '\0' || errno != 0 || !isfinite(value) || value < 0 || value > max) {
		cli_options_usage("--%s: \"%s\" is not a number from 0 to %.0f", word, text, max);
		return false;
	}
	*ret = value;
	return true;
}

/* 0 would mean "no bound" to the server, which is the opposite of what it says here. */
static bool milliseconds_parse(const char *word, const char *text, double factor, double max, uint64_t *ret)
{
	double value;

	if (!number_parse(word, text, max, &value))
		return false;
	if (value * factor < 1) {
		cli_options_usage("--%s: must be at least a millisecond", word);
		return false;
	}
	*ret = (uint64_t)(value * factor);
	return true;
}

static bool param_parse(struct cli_options *o, const char *text)
{
	const char *equals = strchr(text, '=');
	json_error_t error;
	char name[129];

	if (equals == NULL || equals == text || (size_t)(equals - text) >= sizeof(name)) {
		cli_options_usage("--param: \"%s\" is not K=JSON", text);
		return false;
	}
	memcpy(name, text, (size_t)(equals - text));
	name[equals - text] = '\0';

	json_t *value = json_loads(equals + 1, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);

	if (value == NULL) {
		cli_options_usage("--param %s: %s (a string needs its quotes: --param '%s=\"...\"')", name, error.text,
				  name);
		return false;
	}
	if (json_object_set_new(o->params, name, value) != 0) {
		cli_options_usage("--param %s: no memory, or a name that is not UTF-8", name);
		return false;
	}
	return true;
}

static bool temperature_parse(struct cli_options *o, const char *text)
{
	double value;

	return number_parse("temperature", text, 100, &value) &&
	       json_object_set_new(o->params, "temperature", json_real(value)) == 0;
}

/* ---- parsing */

#define SECONDS_MAX 31622400 /* 366 days */

static bool option_apply(struct cli_options *o, int option, const char *value)
{
	switch (option) {
	case OPTION_MODEL:
		o->model = value;
		return true;
	case OPTION_NAMESPACE:
		o->namespace_name = value;
		return true;
	case OPTION_PROMPT_VERSION:
		o->prompt_version = value;
		return true;
	case OPTION_SYSTEM:
		o->system = value;
		return true;
	case OPTION_TEMPERATURE:
		return temperature_parse(o, value);
	case OPTION_PARAM:
		return param_parse(o, value);
	case OPTION_BODY:
		o->body = value;
		return true;
	case OPTION_ANSWER:
		o->answer = value;
		return true;
	case OPTION_TTL:
		return milliseconds_parse("ttl", value, 1000, SECONDS_MAX, &o->ttl_ms);
	case OPTION_MAX_AGE:
		return milliseconds_parse("max-age", value, 1000, SECONDS_MAX, &o->max_age_ms);
	case OPTION_TIMEOUT:
		return milliseconds_parse("timeout", value, 1, PC_TIMEOUT_MS_MAX, &o->timeout_ms);
	case OPTION_NO_CACHE:
		return o->no_cache = true;
	case OPTION_NO_STORE:
		return o->no_store = true;
	case OPTION_STREAM:
		return o->stream = true;
	case OPTION_SERVER:
		o->server = value;
		return true;
	case OPTION_TOKEN_FILE:
		o->token_file = value;
		return true;
	case OPTION_JSON:
		return o->json = true;
	case OPTION_VERBOSE:
		return o->verbose = true;
	}
	return true; /* help and version are the caller's */
}

static bool command_find(const char *word, enum cli_command *ret)
{
#define X(later)                                                                                                       \
	if (strcmp(word, later) == 0) {                                                                                \
		cli_options_usage("%s comes with a later version", word);                                              \
		return false;                                                                                          \
	}
	CLI_COMMANDS_LATER(X)
#undef X
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(word, commands[i].word) == 0) {
			*ret = (enum cli_command)i;
			return true;
		}
	}
	cli_options_usage("\"%s\" is not a command; see promptcache --help", word);
	return false;
}

/* What getopt has found: the options that were given, and the words that are none. */
struct parsed {
	unsigned given; /* bits of the options */
	bool help;
	bool version;
};

/* "": none. Good enough for a hint while the options are not read to their end. */
static const char *command_among(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		for (size_t k = 0; k < COMMAND_COUNT; k++) {
			if (strcmp(argv[i], commands[k].word) == 0)
				return commands[k].word;
		}
	}
	return "";
}

static bool options_read(struct cli_options *o, int argc, char **argv, struct parsed *p)
{
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":hv", long_options, NULL)) != -1) {
		if (c == 'h' || c == 'v')
			c = OPTION_BASE + (c == 'h' ? OPTION_HELP : OPTION_VERBOSE);
		if (c == ':') {
			cli_options_usage("%s needs a value", argv[optind - 1]);
			return false;
		}
		if (c == '?') {
			const char *command = command_among(argc, argv);

			cli_options_usage("%s is not an option; see promptcache %s%s--help", argv[optind - 1], command,
					  command[0] != '\0' ? " " : "");
			return false;
		}
		c -= OPTION_BASE;
		if (c > OPTION_COUNT) {
			cli_options_usage("%s comes with a later version",
					  argv[optind - 1 - (optarg != NULL && optarg == argv[optind - 1])]);
			return false;
		}
		p->given |= 1u << c;
		p->help |= c == OPTION_HELP;
		p->version |= c == OPTION_VERSION;
		if (!option_apply(o, c, optarg))
			return false;
	}
	return true;
}

bool cli_options_space(const struct cli_options *o)
{
	return o->command == COMMAND_INVALIDATE && o->question == NULL && o->body == NULL;
}

static int options_check(const struct cli_options *o, const struct parsed *p)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if ((p->given >> i & 1) && !(specs[i].commands >> o->command & 1))
			return cli_options_usage("--%s does not go with %s", specs[i].word, commands[o->command].word);
	}
	if (o->command == COMMAND_STATS || o->command == COMMAND_PING)
		return o->question == NULL ? 0 : cli_options_usage("%s takes no argument", commands[o->command].word);
	if (o->question != NULL && o->body != NULL)
		return cli_options_usage("a question or --body, not both");
	if (o->system != NULL && o->body != NULL)
		return cli_options_usage("with --body the system message is one of its messages");
	if (o->command == COMMAND_PUT && o->answer == NULL)
		return cli_options_usage("put needs --answer TEXT, or --answer - for standard input");
	if (o->answer != NULL && strcmp(o->answer, "-") == 0 &&
	    ((o->question != NULL && strcmp(o->question, "-") == 0) || (o->body != NULL && strcmp(o->body, "-") == 0)))
		return cli_options_usage("only one of question, body and answer can come from standard input");
	if (o->question != NULL || o->body != NULL)
		return 0;
	if (o->command != COMMAND_INVALIDATE || o->namespace_name == NULL)
		return cli_options_usage("%s needs a question, or --body FILE; see promptcache %s --help",
					 commands[o->command].word, commands[o->command].word);
	if (o->model != NULL || o->prompt_version != NULL || o->system != NULL || json_object_size(o->params) > 0)
		return cli_options_usage(
			"without a question --namespace stands alone; invalidating by model or prompt version "
			"comes with a "
			"later version");
	return 0;
}

static bool help_shown(const struct cli_options *o, const struct parsed *p, bool has_command)
{
	if (p->version)
		printf("promptcache %s\n", pc_version());
	else if (p->help && has_command)
		help_command(o->command);
	else if (p->help)
		help_tool();
	return p->version || p->help;
}

bool cli_options_parse(struct cli_options *o, int argc, char **argv, int *ret_exit)
{
	struct parsed p = {0};

	*ret_exit = EXIT_USAGE;
	*o = (struct cli_options){.params = json_object()};
	if (o->params == NULL || !options_read(o, argc, argv, &p))
		return false;
	argv += optind;
	argc -= optind;
	if (argc > 0 && !command_find(argv[0], &o->command))
		return false;
	if (help_shown(o, &p, argc > 0)) {
		*ret_exit = EXIT_ANSWERED;
		return false;
	}
	if (argc == 0) {
		cli_options_usage("no command; see promptcache --help");
		return false;
	}
	if (argc > 2) {
		cli_options_usage("one question, please; put it in quotes");
		return false;
	}
	o->question = argv[1]; /* NULL at the end of argv */
	return options_check(o, &p) == 0;
}

void cli_options_free(struct cli_options *o)
{
	json_decref(o->params);
	o->params = NULL;
}
