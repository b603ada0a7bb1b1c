/* promptcache-bench: closed-loop load for promptcached, storms of one question, and the floor that no server gets
 * under. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "bench/bench/report.h"

#define EXIT_FAILED  1
#define EXIT_USAGE   2
#define EXIT_CONNECT 3

struct bench {
	struct settings settings;
	struct echo echo;
	struct prompts prompts;
	struct clients clients;
	struct pace pace;
	uv_loop_t loop;
};

static void descriptors_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void report(const struct bench *b, const struct rounds *rounds, const struct storm_result *storm)
{
	struct report r = {.settings = &b->settings, .rounds = rounds, .storm = storm, .run = b->prompts.run};

	if (b->settings.json)
		report_print_json(&r);
	else
		report_print(&r);
}

static int storm_main(struct bench *b)
{
	static struct storm_result result; /* too large for the stack */

	storm_run(&b->clients, &b->prompts, &b->settings, &result);
	report(b, NULL, &result);
	return result.tally.failed > 0 ? EXIT_FAILED : 0;
}

static int load_main(struct bench *b)
{
	struct load load = {.settings = &b->settings,
			    .clients = &b->clients,
			    .prompts = &b->prompts,
			    .pace = &b->pace,
			    .random = b->settings.seed};
	struct rounds rounds;
	int rc = 0;

	rounds_run(&rounds, &load, b->settings.floor != FLOOR_NONE ? &b->echo : NULL);
	report(b, &rounds, NULL);
	if (rounds.prime.failed > 0)
		rc = EXIT_FAILED;
	for (size_t i = 0; i < rounds.phase_kinds; i++) {
		if (rounds.tally[i].failed > 0 || rounds.tally[i].answered == 0)
			rc = EXIT_FAILED;
	}
	if (rounds.error != NULL) {
		(void)fprintf(stderr, "promptcache-bench: %s\n", rounds.error);
		rc = EXIT_CONNECT;
	}
	rounds_free(&rounds);
	return rc;
}

static int bench_run(struct bench *b)
{
	const struct settings *s = &b->settings;
	int rc = EXIT_CONNECT;

	if (uv_loop_init(&b->loop) != 0)
		return EXIT_FAILED;
	pace_init(&b->pace, &b->loop);
	prompts_init(&b->prompts, s->storm > 0 ? 0 : s->keys, s->request_bytes, s->seed);
	if (!clients_open(&b->clients, &b->loop, s))
		(void)fprintf(stderr, "promptcache-bench: %s\n", b->clients.error);
	else
		rc = s->storm > 0 ? storm_main(b) : load_main(b);
	clients_close(&b->clients);
	pace_close(&b->pace);
	prompts_free(&b->prompts);
	(void)uv_run(&b->loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&b->loop) != 0)
		(void)fprintf(stderr, "promptcache-bench: something was left in the loop\n");
	return rc;
}

int main(int argc, char **argv)
{
	static struct bench bench;
	int rc;

	switch (settings_read(&bench.settings, argc, argv)) {
	case SETTINGS_SAID:
		return 0;
	case SETTINGS_USAGE:
		return EXIT_USAGE;
	case SETTINGS_RUN:
		break;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	descriptors_raise();
	if (bench.settings.floor != FLOOR_NONE && !echo_start(&bench.echo, (enum floor_kind)bench.settings.floor)) {
		(void)fprintf(stderr, "promptcache-bench: cannot start the echo: %s\n", strerror(errno));
		return EXIT_FAILED;
	}
	rc = bench_run(&bench);
	echo_stop(&bench.echo);
	return rc;
}
