/* echo: the floor under every server that speaks over a socket: libuv reads a request of so many bytes, writes an answer
 * of so many, and does nothing else but, if asked, one SHA-256 of the prompt.
 *
 * It runs in a process of its own (a child, so that its CPU time can be told from the generator's). A connection begins
 * with its struct echo_shape. */
#ifndef BENCH_ECHO_H
#define BENCH_ECHO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "bench/bench/settings.h"

struct echo_shape {
	uint32_t request_bytes;
	uint32_t answer_bytes;
	uint32_t prompt_bytes; /* of each request, hashed; 0: none */
};

/* Counted by the child, in memory that both see. */
struct echo_counts {
	uint64_t reads;
	uint64_t writes;
	uint64_t requests;
};

struct echo {
	pid_t pid;
	bool local; /* Unix socket, else TCP over loopback */
	struct echo_counts *counts;
	struct sockaddr_storage address;
	socklen_t address_length;
};

/* Starts the child. To be called before there is a loop or a thread. False: no socket or no process; errno. */
bool echo_start(struct echo *e, enum floor_kind kind);
void echo_stop(struct echo *e);

/* A connected socket that has sent the shape, or -1; errno. */
int echo_connect(const struct echo *e, const struct echo_shape *shape);

#endif
