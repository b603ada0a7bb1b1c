/* clients: the connections to the server, one handle of the client library each. */
#ifndef BENCH_CLIENTS_H
#define BENCH_CLIENTS_H

#include <promptcache-uv.h>
#include <stdbool.h>

#include "bench/bench/settings.h"

struct clients {
	uv_loop_t *loop; /* (borrowed) */
	struct pc_async **pc;
	size_t count;
	size_t waiting;	 /* PINGs that have not ended */
	char error[400]; /* why one could not connect; "": all could */
};

/* What the server has counted at its sockets. */
struct clients_counts {
	uint64_t reads;
	uint64_t writes;
	uint64_t received_bytes;
	uint64_t sent_bytes;
};

/* Opens them all and asks each for a sign of life, so that no measurement contains a connect. False: c->error says why
 * not; to be closed all the same. */
bool clients_open(struct clients *c, uv_loop_t *loop, const struct settings *s);

/* The loop has to run until it is empty. */
void clients_close(struct clients *c);

/* Asks over the first connection. False: it did not tell. */
bool clients_counts_read(struct clients *c, struct clients_counts *ret);

#endif
