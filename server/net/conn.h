/* conn: one connection: bytes in, frames, requests in flight, frames out.
 *
 *      readable ─> input (frames) ─> dispatch ─> request ─> engine          output ─> one write at the end of the turn
 *         ^                                         │                          ^
 *         └── not read while output is above high water, or frames are left ───┘
 *
 *      GREETING ── HELLO ──> OPEN ── GOAWAY, either side's ──> LEAVING ── nothing in flight ──> LINGERING ──> CLOSED
 *          └──────────────────┴────── an error that ends it ──────┴──────────────^                  ^
 *          any state: reset, a client that does not read, unanswered PINGs ─────────────────────────┘
 *
 * LINGERING: everything is said; what is written goes out, the writing half is shut, and what still comes is thrown
 * away until the peer closes (closing with unread bytes would reset the connection, and the peer would lose our last
 * words). A connection without requests, half frames and output owns less than 1 KB. */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <sys/queue.h>

#include "server/net/auth.h"
#include "server/net/input.h"
#include "server/net/liveness.h"
#include "server/net/output.h"
#include "server/net/request.h"
#include "server/net/settings.h"

#define CONN_FRAMES_PER_TURN_MAX 128  /* the rest waits for the next turn, so that no connection holds the loop */
#define CONN_TURN_US		 5000 /* and no connection is read or parsed after so much of a turn */
#define CONN_FRAMES_PER_LOOK	 16   /* small frames between two looks at the clock */
#define CONN_FRAME_SMALL	 16384
#define CONN_LINGER_MS		 1000
#define CONN_REFUSED_MAX	 64   /* connections over the limit that are being told so; more are closed at once */
#define CONN_PEER_FRAME_MIN	 1024 /* a client must take frames of this size */

#define CONN_BIT(name) (1u << CONN_##name)

/* X(NAME, text, states that may follow) */
#define CONN_STATES(X)                                                                                                 \
	X(GREETING, "HELLO is to come", CONN_BIT(OPEN) | CONN_BIT(LINGERING) | CONN_BIT(CLOSED))                       \
	X(OPEN, "takes requests", CONN_BIT(LEAVING) | CONN_BIT(LINGERING) | CONN_BIT(CLOSED))                          \
	X(LEAVING, "finishes what is in flight", CONN_BIT(LINGERING) | CONN_BIT(CLOSED))                               \
	X(LINGERING, "all is said", CONN_BIT(CLOSED))                                                                  \
	X(CLOSED, "about to be freed", 0)

enum conn_state {
#define X(name, text, next) CONN_##name,
	CONN_STATES(X)
#undef X
};

/* What all connections share. Made by net.c. */
struct conn_shared {
	struct loop *loop;		   /* (borrowed) */
	struct engine *engine;		   /* (borrowed) */
	const struct metrics *metrics;	   /* (borrowed) for STATS */
	const struct net_options *options; /* (borrowed) */
	const char *server;		   /* (borrowed) name and version, for HELLO */
	struct auth auth;
	struct liveness_limits limits;
	struct net_metrics counters;
	struct message_decoder decoder; /* for what clients send */
	struct message_decoder payload_decoder;
	struct input_scratch scratch;
	struct output_spares spares;
	struct request_pool requests;
	TAILQ_HEAD(conns, conn) conns;
	size_t conns_count, refused_count; /* refused: those of conns that are over the limit */
	uint64_t connections_max, next_conn_id;
	uint64_t stranger_logged_us; /* the last line about a wrong token; 0: none */
	uint64_t late_turn;	     /* the last turn in which one was read although it had been long; +1 */
	void (*emptied)(
		struct conn_shared *s); /* no connection and no request is left; from anywhere: defer what follows */
};

struct conn {
	TAILQ_ENTRY(conn) link;
	struct conn_shared *shared; /* (borrowed) */
	struct stream *stream;	    /* NULL once closed */
	uint64_t id;		    /* for the log */
	enum conn_state state;	    /* only conn_move changes it */
	bool refused;		    /* over the limit: it is only told so */
	bool backlog;		    /* whole frames may be left in input: they come before anything is read */
	bool unread;		    /* to be read in a later turn */
	bool blocked;		    /* neither read nor parsed until the output is below low water */
	bool writing_waits;	    /* the socket takes no more for now */
	bool ended;		    /* the peer sends no more */
	bool shut;		    /* nor do we */
	struct input input;
	struct output output;
	size_t input_counted, output_counted; /* what of it is in the shared gauges */
	struct requests requests;
	TAILQ_HEAD(, request) ready; /* requests with something to send that had to wait for the output */
	struct liveness liveness;
	struct deadline deadline;
	struct loop_task task; /* the turn's work: frames left, output; in the end: free */
	uint64_t last_id;      /* last request id that was accepted */
	uint32_t features;     /* that both sides know */
	uint32_t frame_max;    /* the largest frame the client takes */
};

/* A new connection; closes the stream itself when there is no place or memory for it. */
void conn_accept(struct conn_shared *s, struct stream *stream);

/* GOAWAY, if the client knows it; no new requests; closes when nothing is in flight. */
void conn_goaway(struct conn *c, uint64_t grace_ms, const char *reason);

/* No new requests; closes when nothing is in flight. */
void conn_leave(struct conn *c);

/* Gives up all requests, says what is in the output, and closes. reason: for the log; static. */
void conn_finish(struct conn *c, const char *reason);

/* Gives up all requests and output. The memory goes in a deferred task. */
void conn_close(struct conn *c, const char *reason);

/* Asks `emptied` to be called if it is so. */
void conn_check_emptied(struct conn_shared *s);

/* ---- for dispatch, hello and request */

/* Buffer to append a frame to; it will be written at the end of the turn. */
struct buf *conn_output(struct conn *c);
/* What an append returned: false closes the connection, since a peer that misses a frame waits for ever. Returns ok. */
bool conn_sent(struct conn *c, bool ok);
/* May something large be appended? Else wait in `ready`. */
bool conn_may_send(const struct conn *c);

/* An ERROR for this id, or with id 0 when the id is that of a request in flight, which it would end. */
void conn_error(struct conn *c, uint64_t id, const struct reply_error *e);
void conn_fault(struct conn *c, uint64_t id, const struct fault *fault);

/* HELLO was accepted. */
void conn_greet(struct conn *c, uint32_t features, uint32_t frame_max);

/* A request came into flight, or left it with its END or ERROR. */
void conn_request_began(struct conn *c);
void conn_request_ended(struct conn *c);

/* ---- for conn_io */

void conn_touch(struct conn *c); /* there is work for the end of the turn */
void conn_watch(struct conn *c); /* something began that has a time limit */

#endif
