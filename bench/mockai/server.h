/* server: the listening socket, the signals and the end. */
#ifndef MOCKAI_SERVER_H
#define MOCKAI_SERVER_H

#include <stdbool.h>
#include <uv.h>

#include "bench/mockai/connection.h"
#include "bench/mockai/provider.h"

#define SERVER_BACKLOG 4096
#define SERVER_ACCEPTS 64 /* per turn of the loop: libuv would take a storm of connects in one callback */

struct server {
	uv_loop_t loop;
	uv_tcp_t listener;
	uv_prepare_t turn;
	uv_signal_t terminate;
	uv_signal_t interrupt;
	struct provider provider;
	struct connections connections;
	int accepts_left;
	bool accept_waits; /* libuv holds a client that this turn had no room for, and polls no more until it is taken
			    */
};

/* Listens on `address` ("127.0.0.1:0", "[::1]:8080"). 0, or a libuv error with nothing left to free. */
int server_start(struct server *s, const char *address, const struct settings *settings);

/* The address that it listens on, with the port that the system chose. */
void server_address(const struct server *s, char text[64]);

/* Runs until SIGTERM or SIGINT, closes everything and frees it. */
void server_run(struct server *s);

#endif
