/* promptcache-mockai: a simulated OpenAI-compatible provider for tests and load, with latency and faults on demand. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "bench/mockai/server.h"

#define EXIT_USAGE 2

struct options {
	const char *listen;
	struct settings settings;
};

static void help_print(void)
{
	printf("promptcache-mockai [OPTION]...: a simulated OpenAI-compatible AI provider\n\n"
	       "  --listen HOST:PORT         where to listen (127.0.0.1:0; port 0: any free one). The first line of "
	       "the\n"
	       "                             output is: listening on http://HOST:PORT/v1\n");
	for (const struct setting *t = settings_table; t->name != NULL; t++) {
		int width = printf("  --%s %s", t->name, t->argument);

		printf("%*s%s%s%s%s\n", width < 28 ? 29 - width : 1, "", t->help, *t->value != '\0' ? " (" : "",
		       t->value, *t->value != '\0' ? ")" : "");
	}
	printf("  --help, --version\n\n"
	       "DIST: 200ms, 2s, uniform:100ms-500ms, lognormal:median=800ms,sigma=0.5, exp:mean=300ms\n"
	       "FAULT: NAME[=VALUE][@PROBABILITY or #COUNT], one of\n");
	for (int i = 0; i < FAULT_COUNT; i++)
		printf("  %-16s %s\n", fault_name((enum fault)i), fault_help((enum fault)i));
	printf("\nA request steers its own answer with markers in the last user message, for example [[fault:cut]],\n"
	       "[[fault:500#2]] (the first two calls with this prompt), [[latency:500ms]], [[answer-bytes:4000]];\n"
	       "embedded texts with [[embeddings-fault:429=2]] and [[embeddings-latency:1s]].\n\n"
	       "POST /v1/chat/completions, /v1/embeddings, /openai/deployments/NAME/...; GET /v1/models;\n"
	       "GET /stats (?brief=1), POST /reset, GET and POST /control with the settings above as JSON, for "
	       "example\n"
	       "{\"latency\": \"2s\", \"faults\": [\"503@0.1\"], \"hold\": true}\n");
}

static int usage(const char *message, const char *what)
{
	(void)fprintf(stderr, "promptcache-mockai: %s%s (--help shows what there is)\n", message, what);
	return EXIT_USAGE;
}

/* One option with its value, `--name value` or `--name=value`. Moves *i over what it took. */
static int option_read(struct options *o, int argc, char **argv, int *i)
{
	const char *name = argv[*i] + 2, *value = strchr(name, '=');
	size_t length = strcspn(name, "=");
	char error[SETTINGS_ERROR_BYTES];
	bool known = length == 6 && memcmp(name, "listen", 6) == 0;

	for (const struct setting *t = settings_table; t->name != NULL; t++)
		known |= strlen(t->name) == length && memcmp(t->name, name, length) == 0;
	if (!known)
		return usage("unknown option ", argv[*i]);
	if (value == NULL && *i + 1 == argc)
		return usage("a value is missing after ", argv[*i]);
	value = value != NULL ? value + 1 : argv[++*i];
	if (length == 6 && memcmp(name, "listen", 6) == 0)
		o->listen = value;
	else if (!settings_set(&o->settings, name, length, value, error))
		return usage(error, "");
	return 0;
}

/* 0: go on; EXIT_USAGE; -1: all is said. */
static int options_read(struct options *o, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int rc;

		if (strcmp(argv[i], "--help") == 0) {
			help_print();
			return -1;
		}
		if (strcmp(argv[i], "--version") == 0) {
			printf("promptcache-mockai %s\n", PROMPTCACHE_VERSION);
			return -1;
		}
		if (strncmp(argv[i], "--", 2) != 0)
			return usage("unknown argument ", argv[i]);
		rc = option_read(o, argc, argv, &i);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static void descriptors_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(int argc, char **argv)
{
	static struct server server;
	struct options o = {.listen = "127.0.0.1:0"};
	char address[64];
	int rc;

	settings_init(&o.settings);
	rc = options_read(&o, argc, argv);
	if (rc != 0)
		return rc < 0 ? 0 : rc;
	(void)signal(SIGPIPE, SIG_IGN);
	descriptors_raise();
	rc = server_start(&server, o.listen, &o.settings);
	if (rc != 0) {
		(void)fprintf(stderr, "promptcache-mockai: cannot listen on %s: %s\n", o.listen, uv_strerror(rc));
		return rc == UV_EINVAL ? EXIT_USAGE : 1;
	}
	server_address(&server, address);
	printf("listening on http://%s/v1\n", address);
	(void)fflush(stdout);
	server_run(&server);
	return 0;
}
