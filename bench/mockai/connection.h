/* connection: one client; reads a request, plays the script of its answer, reads the next.
 *
 *      READING ──> PLAYING ──┬─> HELD      (script.hold)            ──┐
 *         ^           ^      ├─> WAITING   (timer of the next step) ──┤
 *         │           │      ├─> WRITING   (the socket is full)     ──┤
 *         │           └──────┼────────────────────────────────────────┘
 *         └──────────────────┤ the script is at its end and keeps the connection
 *                            ├─> HANGING   (nothing more comes)
 *                            └─> LINGERING (said goodbye, waits for the client's)      any state ──> CLOSING
 *
 * At most one write is under way, so a client that reads slowly slows its own script and holds no more than that.
 * While an answer is played the socket is still read, to see the client leave; what comes early waits in `input`.
 * The memory of a connection is freed when both of its handles have closed. */
#ifndef MOCKAI_CONNECTION_H
#define MOCKAI_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>
#include <uv.h>

#include "bench/mockai/provider.h"

#define CONNECTION_READ_BYTES  65536
#define CONNECTION_INPUT_BYTES 131072 /* early input; half full: no more is read */
#define CONNECTION_LINGER_MS   1000

/* name, states that may follow */
#define CONNECTION_STATES(X)                                                                                           \
	X(READING, CONNECTION_BIT(PLAYING))                                                                            \
	X(PLAYING, CONNECTION_BIT(READING) | CONNECTION_BIT(HELD) | CONNECTION_BIT(WAITING) |                          \
			   CONNECTION_BIT(WRITING) | CONNECTION_BIT(HANGING) | CONNECTION_BIT(LINGERING))              \
	X(HELD, CONNECTION_BIT(PLAYING))                                                                               \
	X(WAITING, CONNECTION_BIT(PLAYING))                                                                            \
	X(WRITING, CONNECTION_BIT(PLAYING))                                                                            \
	X(HANGING, 0)                                                                                                  \
	X(LINGERING, 0)                                                                                                \
	X(CLOSING, 0)

enum connection_state {
#define X(name, next) CONNECTION_##name,
	CONNECTION_STATES(X)
#undef X
};

struct connection;

/* All connections of the process and what they share. */
struct connections {
	uv_loop_t *loop;
	struct provider *provider;
	LIST_HEAD(, connection) open;

	char read_buffer[CONNECTION_READ_BYTES]; /* one for all: what is read is copied before the next read */
};

void connections_init(struct connections *all, uv_loop_t *loop, struct provider *provider);

/* Takes the client that waits at the listener. */
void connections_accept(struct connections *all, uv_stream_t *listener);

/* Lets the answers go that need no longer be held back, if the settings have changed. */
void connections_release(struct connections *all);

void connections_close(struct connections *all);

#endif
