/* daemon: the whole server: options of all modules, built bottom-up, shut down top-down.
 *
 *      log, loop ─> http ─> upstreams ─> engine ─> store ─> net          up
 *      net: GOAWAY, requests finish ─> engine: flights finish ─> store: flushed ─> loop stops          down
 *
 * SIGTERM and SIGINT shut down within shutdown.grace; a second one does not wait for requests, and flushes all the
 * same. */
#ifndef NET_DAEMON_H
#define NET_DAEMON_H

#include "server/engine/engine.h"
#include "server/net/settings.h"

struct daemon_options {
	struct engine_options engine;
	struct upstream_set_options upstreams;
	struct store_options store;
	struct net_options net;
	int log_level;
	uint64_t grace_ms;
};

/* The tables of all modules, with their defaults in *options. */
void daemon_options_add(struct options *o, struct daemon_options *options);

/* What can be said about the options without starting anything. 0, or -1 with a sentence. */
__attribute__((warn_unused_result)) int daemon_check(const struct daemon_options *options, char *error,
						     size_t error_bytes);

/* Runs until it is told to stop. 0: stopped in good order. -1: could not start, with a sentence. */
__attribute__((warn_unused_result)) int daemon_run(const struct daemon_options *options, const char *server,
						   char *error, size_t error_bytes);

void daemon_metrics_describe(struct metrics *m);

#endif
