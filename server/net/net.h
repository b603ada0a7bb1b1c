/* net: the outside of the daemon: listeners, the connections they accept, and leaving in good order. */
#ifndef NET_NET_H
#define NET_NET_H

#include "server/engine/engine.h"
#include "server/net/settings.h"

struct net;

/* What can be said about the options without opening anything: addresses, and whether plain TCP may listen there (host
 * names are looked up for that: blocking), water marks. 0, or -1 with a sentence. */
__attribute__((warn_unused_result)) int net_check(const struct net_options *options, char *error, size_t error_bytes);

/* Reads or makes the token, resolves the addresses, listens (blocking, before the loop runs); one line `server.ready`
 * an address in the log. Engine, metrics, options and server (name and version for HELLO) are borrowed and outlive it.
 * 0, or -1 with a sentence that says what to do. */
__attribute__((warn_unused_result)) int net_open(struct net **ret, struct loop *l, struct engine *e,
						 const struct metrics *m, const struct net_options *options,
						 const char *server, char *error, size_t error_bytes);

/* No new connections, GOAWAY to all, no new requests; `drained` comes once, deferred, when the last connection is
 * gone. */
void net_drain(struct net *n, uint64_t grace_ms, void (*drained)(void *owner), void *owner);

/* After net_drain: closes what is still open. `drained` still comes. */
void net_abort(struct net *n);

/* After `drained`, or when net_open is all that happened. Accepts NULL. */
void net_free(struct net *n);

void net_metrics_add(struct net *n, struct metrics *m);
void net_metrics_describe(struct metrics *m);

#endif
