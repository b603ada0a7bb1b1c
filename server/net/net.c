#include "server/net/net.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/base/log.h"
#include "server/base/paths.h"
#include "server/base/secret.h"
#include "server/net/conn.h"

#define NET_LISTENERS_MAX 128

struct net {
	struct conn_shared shared; /* first: `emptied` finds us through it */
	struct transport *transport;
	struct listener *listeners[NET_LISTENERS_MAX];
	size_t listeners_count;
	bool draining;
	void (*drained)(void *owner);
	void *drained_owner;
	struct loop_task drained_task;
};

static void net_on_drained(struct loop_task *t)
{
	struct net *n = (struct net *)((char *)t - offsetof(struct net, drained_task));
	void (*drained)(void *owner) = n->drained;

	n->drained = NULL;
	if (drained != NULL)
		drained(n->drained_owner);
}

static void net_on_emptied(struct conn_shared *s)
{
	struct net *n = (struct net *)s;

	if (n->draining && n->drained != NULL)
		loop_defer(s->loop, &n->drained_task, net_on_drained);
}

static void net_on_accepted(void *owner, struct stream *s)
{
	struct net *n = owner;

	conn_accept(&n->shared, s);
}

static const struct listener_events net_listener_events = {.accepted = net_on_accepted};

/* ---- listening */

/* Puts the name of the key before the sentence. */
static int net_fail_listen(char *error, size_t error_bytes)
{
	char why[1024];

	snprintf(why, sizeof why, "%s", error);
	snprintf(error, error_bytes, "listen %s", why);
	return -1;
}

/* -1: plain TCP there has to be asked for; a sentence. */
static int net_check_endpoint(const struct net_options *options, const struct endpoint *e, char *error,
			      size_t error_bytes)
{
	char text[ENDPOINT_TEXT_BYTES];

	if (auth_may_listen(e, options->insecure))
		return 0;
	endpoint_text(e, text);
	snprintf(error, error_bytes,
		 "%s: without TLS everybody on the way could read token, prompts and answers; listen on the loopback "
		 "interface or a Unix socket, or say `insecure: true`",
		 text);
	return -1;
}

static int net_listen_endpoint(struct net *n, const struct endpoint *e, char *error, size_t error_bytes)
{
	char text[ENDPOINT_TEXT_BYTES];

	if (net_check_endpoint(n->shared.options, e, error, error_bytes) < 0)
		return -1;
	endpoint_text(e, text);
	if (n->listeners_count == NET_LISTENERS_MAX) {
		snprintf(error, error_bytes, "%s: more than %d addresses", text, NET_LISTENERS_MAX);
		return -1;
	}
	if (transport_listen(n->transport, e, &net_listener_events, n, &n->listeners[n->listeners_count], error,
			     error_bytes) < 0)
		return -1;
	endpoint_text(listener_endpoint(n->listeners[n->listeners_count]), text);
	n->listeners_count++;
	log_event(LOG_INFO, "server.ready", "listen=%s", text);
	return 0;
}

/* All endpoints of one address; a host name may have some that this machine has not (IPv6): one must work. */
static int net_listen(struct net *n, const char *text, char *error, size_t error_bytes)
{
	struct endpoint endpoints[ADDRESS_ENDPOINTS_MAX];
	struct address address;
	size_t count, i, failed = 0;

	if (address_parse(&address, text, error, error_bytes) < 0 ||
	    address_resolve(&address, endpoints, &count, error, error_bytes) < 0)
		return -1;
	for (i = 0; i < count; i++) {
		if (net_listen_endpoint(n, &endpoints[i], error, error_bytes) == 0)
			continue;
		if (++failed == count || !auth_may_listen(&endpoints[i], n->shared.options->insecure))
			return -1;
		log_event(LOG_WARN, "server.listen", "reason=%s", log_quote(error, -1));
	}
	return 0;
}

static int net_listen_all(struct net *n, char *error, size_t error_bytes)
{
	const struct option_strings *listen = &n->shared.options->listen;
	char path[PATHS_BYTES_MAX], text[PATHS_BYTES_MAX + 8];
	size_t i;

	for (i = 0; i < listen->count; i++)
		if (net_listen(n, listen->items[i], error, error_bytes) < 0)
			return net_fail_listen(error, error_bytes);
	if (listen->count > 0)
		return 0;
	if (paths_socket(path, sizeof path, error, error_bytes) < 0)
		return -1;
	snprintf(text, sizeof text, "unix:%s", path);
	if (net_listen(n, text, error, error_bytes) < 0)
		return net_fail_listen(error, error_bytes);
	/* Nobody has asked for this one: another user's daemon, say, may have it. */
	if (net_listen(n, NET_DEFAULT_TCP, error, error_bytes) < 0)
		log_event(LOG_WARN, "server.listen", "reason=%s next=\"the Unix socket alone\"", log_quote(error, -1));
	return 0;
}

/* ---- life */

static int net_load_auth(struct net *n, char *error, size_t error_bytes)
{
	const struct net_options *options = n->shared.options;
	struct auth *auth = &n->shared.auth;
	const char *path = options->token_file;
	char standard[PATHS_BYTES_MAX];

	auth->mode = (enum auth_mode)options->auth;
	auth->uid = geteuid();
	if (auth->mode == AUTH_NONE) {
		log_event(LOG_WARN, "server.auth", "auth=none: everybody who can connect is let in");
		return 0;
	}
	if (path == NULL) {
		if (paths_token(standard, sizeof standard, error, error_bytes) < 0)
			return -1;
		path = standard;
	}
	return secret_token_load_or_create(path, auth->token, sizeof auth->token, error, error_bytes);
}

/* Descriptors are needed by stores and upstreams too. */
static uint64_t net_connections_max(const struct net_options *options)
{
	uint64_t descriptors = transport_raise_descriptors();
	uint64_t room = descriptors - descriptors / 8;

	room = room > 64 ? room - 64 : 1;
	if (options->connections <= room)
		return options->connections;
	/* Options do not tell what was given: who gives the default does not mind. */
	log_event(options->connections == NET_CONNECTIONS_DEFAULT ? LOG_INFO : LOG_WARN, "net.connections",
		  "wanted=%" PRIu64 " lowered_to=%" PRIu64 " reason=\"the limit of open files is %" PRIu64 "\"",
		  options->connections, room, descriptors);
	return room;
}

static struct liveness_limits net_limits(const struct net_options *options)
{
	return (struct liveness_limits){
		.hello_us = HELLO_TIMEOUT_MS * 1000,
		.frame_us = options->frame_timeout_ms * 1000,
		.write_us = options->write_timeout_ms * 1000,
		.ping_us = PING_INTERVAL_MS * 1000,
		.idle_us = options->idle_timeout_ms * 1000,
		.linger_us = CONN_LINGER_MS * 1000,
	};
}

/* Everything but the listeners. NULL: no memory. */
static struct net *net_new(struct loop *l, struct engine *e, const struct metrics *m, const struct net_options *options,
			   const char *server)
{
	struct net *n = calloc(1, sizeof *n);
	struct conn_shared *s = &n->shared;

	if (n == NULL)
		return NULL;
	s->loop = l;
	s->engine = e;
	s->metrics = m;
	s->options = options;
	s->server = server;
	s->limits = net_limits(options);
	s->emptied = net_on_emptied;
	TAILQ_INIT(&s->conns);
	if (message_decoder_init(&s->decoder) < 0)
		goto no_decoder;
	if (message_decoder_init(&s->payload_decoder) < 0)
		goto no_payload_decoder;
	n->transport = transport_new(l);
	if (n->transport == NULL)
		goto no_transport;
	return n;

no_transport:
	message_decoder_free(&s->payload_decoder);
no_payload_decoder:
	message_decoder_free(&s->decoder);
no_decoder:
	free(n);
	return NULL;
}

static void net_close_listeners(struct net *n)
{
	while (n->listeners_count > 0)
		listener_close(n->listeners[--n->listeners_count]);
}

void net_free(struct net *n)
{
	if (n == NULL)
		return;
	assert(n->shared.conns_count == 0 && n->shared.requests.used_count == 0);
	net_close_listeners(n);
	loop_undefer(n->shared.loop, &n->drained_task);
	transport_free(n->transport);
	request_pool_free(&n->shared.requests);
	output_spares_free(&n->shared.spares);
	message_decoder_free(&n->shared.payload_decoder);
	message_decoder_free(&n->shared.decoder);
	free(n);
}

/* A name that cannot be resolved is told when we listen: it may be there on the machine or the day of the start. */
static int net_check_address(const struct net_options *options, const char *text, char *error, size_t error_bytes)
{
	struct endpoint endpoints[ADDRESS_ENDPOINTS_MAX];
	struct address address;
	size_t count, i;
	char unused[256];

	if (address_parse(&address, text, error, error_bytes) < 0)
		return -1;
	if (options->insecure || address_resolve(&address, endpoints, &count, unused, sizeof unused) < 0)
		return 0;
	for (i = 0; i < count; i++)
		if (net_check_endpoint(options, &endpoints[i], error, error_bytes) < 0)
			return -1;
	return 0;
}

int net_check(const struct net_options *options, char *error, size_t error_bytes)
{
	size_t i;

	if (options->low_water_bytes > options->high_water_bytes) {
		snprintf(error, error_bytes, "net.low_water must not be above net.high_water");
		return -1;
	}
	for (i = 0; i < options->listen.count; i++)
		if (net_check_address(options, options->listen.items[i], error, error_bytes) < 0)
			return net_fail_listen(error, error_bytes);
	return 0;
}

int net_open(struct net **ret, struct loop *l, struct engine *e, const struct metrics *m,
	     const struct net_options *options, const char *server, char *error, size_t error_bytes)
{
	struct net *n;

	if (net_check(options, error, error_bytes) < 0)
		return -1;
	n = net_new(l, e, m, options, server);
	if (n == NULL) {
		snprintf(error, error_bytes, "no memory");
		return -1;
	}
	n->shared.connections_max = net_connections_max(options);
	if (net_load_auth(n, error, error_bytes) < 0 || net_listen_all(n, error, error_bytes) < 0) {
		net_free(n);
		return -1;
	}
	*ret = n;
	return 0;
}

void net_drain(struct net *n, uint64_t grace_ms, void (*drained)(void *owner), void *owner)
{
	struct conn *c;

	assert(!n->draining);
	n->draining = true;
	n->drained = drained;
	n->drained_owner = owner;
	net_close_listeners(n);
	TAILQ_FOREACH (c, &n->shared.conns, link)
		conn_goaway(c, grace_ms, "the server is shutting down"); /* frees later, so that the walk is safe */
	conn_check_emptied(&n->shared);
}

void net_abort(struct net *n)
{
	struct conn *c;

	assert(n->draining);
	TAILQ_FOREACH (c, &n->shared.conns, link)
		conn_close(c, "shut down");
}

/* ---- metrics */

static void net_refresh(void *owner, void *values)
{
	const struct net *n = owner;
	struct net_metrics *m = values;

	m->net_connections_shed_total = transport_counters(n->transport)->shed;
	m->net_accept_failures_total = transport_counters(n->transport)->failures;
}

void net_metrics_add(struct net *n, struct metrics *m)
{
	struct metrics_module module = {.values = &n->shared.counters, .refresh = net_refresh, .owner = n};

	module.table = net_metrics_table(&module.count);
	metrics_add(m, &module);
}

void net_metrics_describe(struct metrics *m)
{
	struct metrics_module module = {0};

	module.table = net_metrics_table(&module.count);
	metrics_add(m, &module);
}
