/* promptcached: the command line. What it starts is net/daemon.h.
 *
 * Arguments are read by hand: getopt_long's `struct option` and ours cannot meet in one file. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/net/daemon.h"
#include "server/store/lmdb.h"

enum {
	EXIT_USAGE = 2
};

#define ERROR_BYTES 1024

/* LMDB's reads and its one writer, name look-ups and long parsing share libuv's pool; its own default is 4. */
#define POOL_THREADS "8"

static const char usage_text[] =
	"usage: promptcached [--config FILE] [--set KEY=VALUE]... [--check-config]\n"
	"       promptcached --describe config|metrics\n"
	"       promptcached --check-store PATH\n"
	"       promptcached --version | --help\n"
	"\n"
	"An event-driven cache server for LLM prompts. Without configuration: a store in "
	"$XDG_STATE_HOME/promptcached,\n"
	"a Unix socket for this user and " NET_DEFAULT_TCP ", and the upstream that OPENAI_BASE_URL and\n"
	"OPENAI_API_KEY name.\n"
	"\n"
	"  --config FILE        read options from a YAML file\n"
	"  --set KEY=VALUE      set one option, whatever the file says; lists are values with commas\n"
	"  --check-config       check the options, start nothing\n"
	"  --describe config    all options with type, default, range and meaning\n"
	"  --describe metrics   all counters and gauges that STATS shows\n"
	"  --check-store PATH   walk a store that no daemon has open; exit code 0: it is sound, 1: it is damaged,\n"
	"                       2: there is none, or it is in use\n"
	"\n"
	"Exit codes: 0 stopped in good order, 1 could not start, 2 command line or configuration is wrong.\n"
	"SIGTERM or SIGINT: finish what is in flight within shutdown.grace, flush, exit; a second one: do not "
	"wait.\n";

struct arguments {
	const char *config;
	const char **sets; /* allocated, as many places as arguments */
	int sets_count;
	const char *describe, *check_store;
	bool check_config, version, help;
};

static int arguments_fail(const char *what, const char *which)
{
	fprintf(stderr, "promptcached: %s: %s\nTry promptcached --help\n", which, what);
	return -1;
}

/* Is argument *i the option `name`, with its value as "--name=value" or in the next argument, which *i moves on to?
 * *ret NULL: there is none. */
static bool argument_value(int argc, char **argv, int *i, const char *name, const char **ret)
{
	size_t n = strlen(name);

	if (strncmp(argv[*i], name, n) != 0 || (argv[*i][n] != '=' && argv[*i][n] != '\0'))
		return false;
	if (argv[*i][n] == '=')
		*ret = argv[*i] + n + 1;
	else
		*ret = *i + 1 < argc ? argv[++*i] : NULL;
	return true;
}

static bool argument_flag(const char *arg, struct arguments *a)
{
	if (strcmp(arg, "--check-config") == 0)
		a->check_config = true;
	else if (strcmp(arg, "--version") == 0)
		a->version = true;
	else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
		a->help = true;
	else
		return false;
	return true;
}

static int arguments_read(int argc, char **argv, struct arguments *a)
{
	const char *value;
	int i;

	for (i = 1; i < argc; i++) {
		const char *which = argv[i];

		if (argument_flag(which, a))
			continue;
		if (argument_value(argc, argv, &i, "--config", &value))
			a->config = value;
		else if (argument_value(argc, argv, &i, "--set", &value))
			a->sets[a->sets_count++] = value;
		else if (argument_value(argc, argv, &i, "--describe", &value))
			a->describe = value;
		else if (argument_value(argc, argv, &i, "--check-store", &value))
			a->check_store = value;
		else
			return arguments_fail("there is no such option", which);
		if (value == NULL || value[0] == '\0')
			return arguments_fail("its value is missing", which);
	}
	return 0;
}

/* ---- configuration */

static int config_load(struct options *o, const struct arguments *a, struct daemon_options *options, char *error)
{
	int i;

	if (a->config != NULL && options_load_file(o, a->config, error, ERROR_BYTES) < 0)
		return -1;
	for (i = 0; i < a->sets_count; i++)
		if (options_set(o, a->sets[i], error, ERROR_BYTES) < 0)
			return -1;
	if (options_finish(o, error, ERROR_BYTES) < 0)
		return -1;
	return daemon_check(options, error, ERROR_BYTES);
}

static void describe_metric(void *owner, const struct metric *metric, uint64_t value)
{
	(void)value;
	fprintf(owner, "%-36s %-8s %s\n", metric->name, metric->kind == METRIC_COUNTER ? "counter" : "gauge",
		metric->text);
}

static int describe(const char *what, const struct options *o)
{
	struct metrics m = {0};

	if (strcmp(what, "config") == 0) {
		options_describe(o, stdout);
	} else if (strcmp(what, "metrics") == 0) {
		daemon_metrics_describe(&m);
		metrics_walk(&m, describe_metric, stdout);
	} else {
		arguments_fail("config or metrics can be described", what);
		return EXIT_USAGE;
	}
	return EXIT_SUCCESS;
}

static int serve(const struct arguments *a, struct options *o, struct daemon_options *options)
{
	char error[ERROR_BYTES];

	if (config_load(o, a, options, error) < 0) {
		fprintf(stderr, "promptcached: %s\n", error);
		return EXIT_USAGE;
	}
	if (a->check_config) {
		printf("the configuration is valid\n");
		return EXIT_SUCCESS;
	}
	if (daemon_run(options, "promptcached/" PROMPTCACHED_VERSION, error, sizeof error) < 0) {
		fprintf(stderr, "promptcached: %s\n", error);
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

static int check_store(const char *path)
{
	uint64_t entries;

	switch (lmdb_check(path, &entries)) {
	case LMDB_SOUND:
		printf("%s: sound, %llu entries\n", path, (unsigned long long)entries);
		return EXIT_SUCCESS;
	case LMDB_DAMAGED:
		printf("%s: damaged; the next start sets it aside\n", path);
		return EXIT_FAILURE;
	case LMDB_ABSENT:
		printf("%s: no data.mdb here\n", path);
		break;
	case LMDB_IN_USE:
		printf("%s: in use by a daemon; stop it first\n", path);
		break;
	case LMDB_UNREADABLE:
		printf("%s: cannot be looked at: %s\n", path, strerror(errno));
		break;
	}
	return EXIT_USAGE;
}

static int run(const struct arguments *a)
{
	static struct daemon_options options;
	struct options *o;
	int rc;

	if (a->help) {
		fputs(usage_text, stdout);
		return EXIT_SUCCESS;
	}
	if (a->version) {
		puts("promptcached " PROMPTCACHED_VERSION);
		return EXIT_SUCCESS;
	}
	if (a->check_store != NULL)
		return check_store(a->check_store);
	o = options_new();
	if (o == NULL) {
		fprintf(stderr, "promptcached: no memory\n");
		return EXIT_FAILURE;
	}
	daemon_options_add(o, &options);
	rc = a->describe != NULL ? describe(a->describe, o) : serve(a, o, &options);
	options_free(o);
	return rc;
}

int main(int argc, char **argv)
{
	struct arguments a = {.sets = calloc((size_t)argc + 1, sizeof(const char *))};
	int rc = EXIT_USAGE;

	if (a.sets == NULL)
		return EXIT_FAILURE;
	setenv("UV_THREADPOOL_SIZE", POOL_THREADS, 0);
	if (arguments_read(argc, argv, &a) == 0)
		rc = run(&a);
	free(a.sets);
	return rc;
}
