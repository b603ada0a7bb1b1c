#include "bench/mockai/server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void connection_cb(uv_stream_t *listener, int status)
{
	struct server *s = listener->data;

	if (status < 0)
		return; /* no descriptor left, or the client is gone: the next one will try */
	if (s->accepts_left == 0) {
		s->accept_waits = true;
		return;
	}
	s->accepts_left--;
	connections_accept(&s->connections, listener);
}

static void turn_cb(uv_prepare_t *turn)
{
	struct server *s = turn->data;

	s->accepts_left = SERVER_ACCEPTS;
	if (s->accept_waits) {
		s->accept_waits = false;
		connection_cb((uv_stream_t *)&s->listener, 0);
	}
	connections_release(&s->connections);
}

static void signal_cb(uv_signal_t *signal, int number)
{
	struct server *s = signal->data;
	uv_handle_t *handles[] = {(uv_handle_t *)&s->listener, (uv_handle_t *)&s->turn, (uv_handle_t *)&s->terminate,
				  (uv_handle_t *)&s->interrupt};

	(void)number;
	if (uv_is_closing(handles[0]))
		return;
	connections_close(&s->connections);
	for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++)
		uv_close(handles[i], NULL);
}

/* HOST:PORT or [HOST]:PORT, numbers only: a test tool asks no resolver. */
static int address_parse(const char *text, struct sockaddr_storage *ret_address)
{
	const char *colon = strrchr(text, ':');
	char host[64], *end;
	long port;
	size_t length;

	if (colon == NULL || colon[1] < '0' || colon[1] > '9')
		return UV_EINVAL;
	port = strtol(colon + 1, &end, 10);
	length = (size_t)(colon - text);
	if (*end != '\0' || port > 65535 || length >= sizeof(host))
		return UV_EINVAL;
	if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
		(void)snprintf(host, sizeof(host), "%.*s", (int)(length - 2), text + 1);
		return uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)ret_address);
	}
	(void)snprintf(host, sizeof(host), "%.*s", (int)length, text);
	return uv_ip4_addr(host, (int)port, (struct sockaddr_in *)ret_address);
}

static void server_handles_init(struct server *s)
{
	uv_tcp_init(&s->loop, &s->listener);
	uv_prepare_init(&s->loop, &s->turn);
	uv_signal_init(&s->loop, &s->terminate);
	uv_signal_init(&s->loop, &s->interrupt);
	s->listener.data = s->turn.data = s->terminate.data = s->interrupt.data = s;
}

int server_start(struct server *s, const char *address, const struct settings *settings)
{
	struct sockaddr_storage at;
	int rc = address_parse(address, &at);

	if (rc != 0)
		return rc;
	rc = uv_loop_init(&s->loop);
	if (rc != 0)
		return rc;
	s->accepts_left = SERVER_ACCEPTS;
	s->accept_waits = false;
	provider_init(&s->provider, settings);
	connections_init(&s->connections, &s->loop, &s->provider);
	server_handles_init(s);
	uv_signal_start(&s->terminate, signal_cb, SIGTERM);
	uv_signal_start(&s->interrupt, signal_cb, SIGINT);
	uv_prepare_start(&s->turn, turn_cb);
	rc = uv_tcp_bind(&s->listener, (struct sockaddr *)&at, 0);
	if (rc == 0)
		rc = uv_listen((uv_stream_t *)&s->listener, SERVER_BACKLOG, connection_cb);
	if (rc != 0) {
		signal_cb(&s->terminate, 0);
		server_run(s);
	}
	return rc;
}

void server_address(const struct server *s, char text[64])
{
	struct sockaddr_storage at;
	int length = sizeof(at);
	char host[48] = "?";

	if (uv_tcp_getsockname(&s->listener, (struct sockaddr *)&at, &length) != 0)
		abort(); /* it is listening */
	uv_ip_name((struct sockaddr *)&at, host, sizeof(host));
	(void)snprintf(text, 64, at.ss_family == AF_INET6 ? "[%s]:%d" : "%s:%d", host,
		       ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
						      : ((struct sockaddr_in *)&at)->sin_port));
}

void server_run(struct server *s)
{
	int rc;

	uv_run(&s->loop, UV_RUN_DEFAULT);
	rc = uv_loop_close(&s->loop);
	assert(rc == 0);
	(void)rc;
	provider_free(&s->provider);
}
