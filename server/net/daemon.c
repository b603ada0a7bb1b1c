#include "server/net/daemon.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <uv.h>

#include "server/base/log.h"
#include "server/base/loop.h"
#include "server/base/paths.h"
#include "server/net/net.h"

#define DAEMON_LAST_WORDS_MS 2000 /* between the errors that the grace's end brings, and closing what is still open */
#define DAEMON_SIGNALS	     3

/* ---- options and metrics */

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};

/* clang-format off */
static const struct option log_table[] = {
	{.name = "level", .type = OPTION_CHOICE, .offset = offsetof(struct daemon_options, log_level), .fallback = "info",
	 .choices = log_levels, .text = "least important lines that are still logged"},
};
static const struct option shutdown_table[] = {
	{.name = "grace", .type = OPTION_DURATION, .offset = offsetof(struct daemon_options, grace_ms), .fallback = "10s",
	 .max = 3600000, .text = "how long requests in flight may take to finish when the server is stopped"},
};

#define DAEMON_METRICS(X)                                                                                                       \
	X(loop_turns_total, COUNTER, "turns of the event loop")                                                                 \
	X(loop_turns_over_1ms_total, COUNTER, "turns that held the loop longer than 1 ms")                                      \
	X(loop_turns_over_10ms_total, COUNTER, "turns that held the loop longer than 10 ms")                                    \
	X(loop_turn_max_us, GAUGE, "the longest turn")                                                                          \
	X(loop_deadlines, GAUGE, "deadlines armed now")                                                                         \
	X(loop_jobs_running, GAUGE, "jobs in the thread pool now")                                                              \
	X(log_dropped_total, COUNTER, "log lines dropped because their reader stalled")

struct daemon_metrics {
	METRICS_FIELDS(DAEMON_METRICS)
};

static const struct metric daemon_table[] = {METRICS_TABLE(DAEMON_METRICS, struct daemon_metrics)};
/* clang-format on */

void daemon_options_add(struct options *o, struct daemon_options *options)
{
	net_options_add(o, &options->net);
	engine_options_add(o, &options->engine);
	store_options_add(o, &options->store);
	upstream_options_add(o, &options->upstreams);
	options_add_group(o,
			  &(struct option_group){.prefix = "log", .options = log_table, .count = 1, .base = options});
	options_add_group(o, &(struct option_group){
				     .prefix = "shutdown", .options = shutdown_table, .count = 1, .base = options});
}

int daemon_check(const struct daemon_options *options, char *error, size_t error_bytes)
{
	if (net_check(&options->net, error, error_bytes) < 0)
		return -1;
	if (store_check(&options->store, error, error_bytes) < 0)
		return -1;
	return upstreams_check(&options->upstreams, error, error_bytes);
}

/* ---- the daemon */

struct daemon {
	const struct daemon_options *options; /* (borrowed) */
	struct loop *loop;
	struct http *http;
	struct upstreams *upstreams;
	struct engine *engine;
	struct store *store;
	struct net *net;
	struct metrics metrics;
	struct daemon_metrics values;
	uv_signal_t signals[DAEMON_SIGNALS];
	bool stopping, hurried;
	bool net_drained, engine_drained;
	struct deadline grace;
};

static void daemon_refresh(void *owner, void *values)
{
	const struct daemon *d = owner;
	struct daemon_metrics *m = values;
	struct loop_counters counters;

	loop_counters(d->loop, &counters);
	m->loop_turns_total = counters.turns;
	m->loop_turns_over_1ms_total = counters.turns_over_1ms;
	m->loop_turns_over_10ms_total = counters.turns_over_10ms;
	m->loop_turn_max_us = counters.turn_max_us;
	m->loop_deadlines = counters.deadlines;
	m->loop_jobs_running = counters.jobs_running;
	m->log_dropped_total = log_dropped();
}

void daemon_metrics_describe(struct metrics *m)
{
	net_metrics_describe(m);
	engine_metrics_describe(m);
	store_metrics_describe(m);
	upstream_metrics_describe(m);
	metrics_add(m, &(struct metrics_module){.table = daemon_table,
						.count = sizeof daemon_table / sizeof *daemon_table});
}

static void daemon_add_metrics(struct daemon *d)
{
	net_metrics_add(d->net, &d->metrics);
	engine_metrics_add(d->engine, &d->metrics);
	store_metrics_add(d->store, &d->metrics);
	upstream_metrics_add(d->upstreams, &d->metrics);
	metrics_add(&d->metrics, &(struct metrics_module){.table = daemon_table,
							  .count = sizeof daemon_table / sizeof *daemon_table,
							  .values = &d->values,
							  .refresh = daemon_refresh,
							  .owner = d});
}

/* ---- down */

static void daemon_on_store_closed(void *owner)
{
	struct daemon *d = owner;

	d->store = NULL;
	loop_stop(d->loop);
}

static void daemon_close_store(struct daemon *d)
{
	if (!d->net_drained || !d->engine_drained)
		return;
	loop_disarm(d->loop, &d->grace);
	log_event(LOG_INFO, "server.drained", "next=\"flushing the store\"");
	store_close(d->store, daemon_on_store_closed, d);
}

static void daemon_on_net_drained(void *owner)
{
	struct daemon *d = owner;

	d->net_drained = true;
	daemon_close_store(d);
}

static void daemon_on_engine_drained(void *owner)
{
	struct daemon *d = owner;

	d->engine_drained = true;
	daemon_close_store(d);
}

static struct daemon *daemon_of_grace(struct deadline *grace)
{
	return (struct daemon *)((char *)grace - offsetof(struct daemon, grace));
}

static void daemon_on_last_words_over(struct deadline *grace) { net_abort(daemon_of_grace(grace)->net); }

static void daemon_on_grace_over(struct deadline *grace)
{
	struct daemon *d = daemon_of_grace(grace);

	log_event(LOG_WARN, "server.grace_over", "next=\"requests that are still in flight are ended\"");
	engine_abort(d->engine);
	loop_arm(d->loop, &d->grace, DAEMON_LAST_WORDS_MS * 1000, daemon_on_last_words_over);
}

static void daemon_stop(struct daemon *d, int signum)
{
	if (d->net == NULL)
		return; /* the start has failed, and what was opened is closing */
	if (!d->stopping) {
		d->stopping = true;
		log_event(LOG_INFO, "server.stopping", "signal=%d grace_ms=%llu", signum,
			  (unsigned long long)d->options->grace_ms);
		loop_arm(d->loop, &d->grace, d->options->grace_ms * 1000, daemon_on_grace_over);
		engine_drain(d->engine, daemon_on_engine_drained, d);
		net_drain(d->net, d->options->grace_ms, daemon_on_net_drained, d);
	} else if (!d->hurried && !(d->net_drained && d->engine_drained)) {
		d->hurried = true;
		log_event(LOG_WARN, "server.hurried", "signal=%d next=\"not waiting for requests, flushing the store\"",
			  signum);
		loop_disarm(d->loop, &d->grace);
		engine_abort(d->engine);
		net_abort(d->net);
	}
}

static void daemon_on_signal(uv_signal_t *s, int signum)
{
	if (signum == SIGHUP)
		log_event(LOG_WARN, "server.reload",
			  "reason=\"configuration is read at start only: restart to change it\"");
	else
		daemon_stop(s->data, signum);
}

/* ---- up */

static void daemon_watch_signals(struct daemon *d)
{
	static const int signums[DAEMON_SIGNALS] = {SIGTERM, SIGINT, SIGHUP};
	int i;

	for (i = 0; i < DAEMON_SIGNALS; i++) {
		uv_signal_init(loop_uv(d->loop), &d->signals[i]);
		d->signals[i].data = d;
		uv_signal_start(&d->signals[i], daemon_on_signal, signums[i]);
	}
}

/* A signal that comes this late must not kill what has ended well: it is blocked before it has no handler any more. */
static void daemon_ignore_signals(struct daemon *d)
{
	sigset_t set;
	int i;

	sigfillset(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (i = 0; i < DAEMON_SIGNALS; i++)
		uv_close((uv_handle_t *)&d->signals[i], NULL);
}

static int daemon_open_store(struct daemon *d, char *error, size_t error_bytes)
{
	const struct durable_events events = engine_store_events(d->engine);
	char path[PATHS_BYTES_MAX], unused[256];
	bool there = paths_state(path, sizeof path, unused, sizeof unused) == 0;

	if (store_open(&d->store, d->loop, &d->options->store, there ? path : NULL, &events, error, error_bytes) < 0)
		return -1;
	engine_set_store(d->engine, d->store);
	return 0;
}

static int daemon_open_engine(struct daemon *d, char *error, size_t error_bytes)
{
	d->http = http_new(d->loop);
	if (d->http == NULL) {
		snprintf(error, error_bytes, "no memory for the HTTP client");
		return -1;
	}
	if (upstreams_new(&d->upstreams, d->loop, d->http, &d->options->upstreams, error, error_bytes) < 0)
		return -1;
	upstreams_log(d->upstreams);
	d->engine = engine_new(d->loop, d->upstreams, &d->options->engine);
	if (d->engine == NULL) {
		snprintf(error, error_bytes, "no memory for the engine");
		return -1;
	}
	return 0;
}

/* Everything above the loop. What was opened when it fails is closed by daemon_close. */
static int daemon_open(struct daemon *d, const char *server, char *error, size_t error_bytes)
{
	if (daemon_open_engine(d, error, error_bytes) < 0 || daemon_open_store(d, error, error_bytes) < 0)
		return -1;
	/* The metrics are borrowed: they may be filled afterwards. */
	if (net_open(&d->net, d->loop, d->engine, &d->metrics, &d->options->net, server, error, error_bytes) < 0)
		return -1;
	daemon_add_metrics(d);
	return 0;
}

static void daemon_close(struct daemon *d)
{
	net_free(d->net);
	if (d->store != NULL) { /* the start failed: nothing in it has to be waited for, but it closes in the loop */
		store_close(d->store, daemon_on_store_closed, d);
		loop_run(d->loop);
	}
	engine_free(d->engine);
	upstreams_free(d->upstreams);
	http_free(d->http);
}

int daemon_run(const struct daemon_options *options, const char *server, char *error, size_t error_bytes)
{
	struct daemon d = {.options = options, .loop = loop_new()};
	int rc = -1;

	if (d.loop == NULL) {
		snprintf(error, error_bytes, "no memory or no descriptors for the event loop");
		return -1;
	}
	signal(SIGPIPE, SIG_IGN);
	if (log_open(d.loop, STDERR_FILENO, (enum log_level)options->log_level) < 0) {
		snprintf(error, error_bytes, "no memory for the log");
		goto no_log;
	}
	log_event(LOG_INFO, "server.starting", "version=%s pid=%d", server, (int)getpid());
	daemon_watch_signals(&d);
	rc = daemon_open(&d, server, error, error_bytes);
	if (rc == 0)
		loop_run(d.loop);
	daemon_close(&d);
	daemon_ignore_signals(&d);
	if (rc == 0)
		log_event(LOG_INFO, "server.stopped", "reason=\"everything is flushed\"");
	log_close();
no_log:
	loop_free(d.loop);
	return rc;
}
