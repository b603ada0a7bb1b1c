/* request: one request in flight on a connection, from its frame to its END or ERROR, and the table of those that are.
 *
 *   QUERY, LOOKUP   engine_query ─ ENDED at once ──────────────────────────────> END            never enters the table
 *                        └─ ready ─> pieces as CHUNKs, as far as credit and output allow ─> END or ERROR
 *   INVALIDATE      engine_invalidate ─ done ─> END or ERROR
 *
 * An answer travels whole in END unless the client asked for a stream and it is longer than REQUEST_WHOLE_BYTES_MAX,
 * or it is larger than the client's frames or its credit: then it travels in CHUNKs, and END carries the rest.
 *
 * A finished answer that waits for WINDOW does so for net.write_timeout at most: credit that never comes is a client
 * that does not read. (While the answer is being made, the client's own deadline runs.)
 *
 * Answers that wait for their clients are counted (net_held_bytes): a copy that is cut into CHUNKs whole, an entry by the
 * share of those that hold it. Beyond net.output_limit a request gets OVERLOADED instead of waiting.
 *
 * A request of a connection that closes is cancelled; an invalidation cannot be, and ends without a connection. */
#ifndef NET_REQUEST_H
#define NET_REQUEST_H

#include <sys/queue.h>

#include "server/engine/engine.h"
#include "server/net/reply.h"

#define REQUEST_WHOLE_BYTES_MAX 4096   /* a streamed hit up to here comes whole in END: one frame, one write */
#define REQUEST_CHUNK_BYTES_MAX 65536  /* data of one CHUNK, so that requests of one connection take turns */
#define REQUEST_LARGE_BYTES	131072 /* an END beyond it is not made while net.output_limit is reached */
#define REQUESTS_SPARE_MAX	1024   /* about 1 MB are kept for the next ones */

struct conn;
struct conn_shared;

struct request {
	TAILQ_ENTRY(request) ready_link;
	struct request *next; /* in its bucket, or in the pool */
	struct conn_shared *shared;
	struct conn *conn; /* (borrowed) NULL: gone, nobody waits for the answer */
	uint64_t id;
	uint64_t credit; /* bytes of CHUNK payload the client takes; UINT64_MAX: any */
	uint64_t sent;	 /* bytes of CHUNK payload sent */
	size_t held;	 /* its part of net_held_bytes */
	enum proto_op op;
	bool listed;	      /* in the connection's table */
	bool queued;	      /* in the connection's list of ready ones */
	bool chunks_ok;	      /* the client understands CHUNKs */
	bool chunked;	      /* HEAD was sent */
	struct answer *whole; /* a complete answer that is sent in CHUNKs (a reference), read with whole_reader */
	struct answer_reader whole_reader;
	struct deadline window; /* the whole answer is here and waits for WINDOW: net.write_timeout */
	union {
		struct query query;
		struct invalidation invalidation;
	};
};

/* Spare requests, and how many are in use. */
struct request_pool {
	struct request *spare;
	size_t spare_count, used_count;
};
void request_pool_free(struct request_pool *p);

/* The requests in flight of one connection, by id. Zeroed memory is an empty table. */
struct requests {
	struct request **buckets;
	uint32_t size, count;
};
struct request *requests_find(const struct requests *t, uint64_t id); /* NULL: not in flight */

/* Starts a QUERY or LOOKUP, an INVALIDATE. The replies follow, whatever happens. The id is not in flight. */
void request_query(struct conn *c, const struct message *m, struct slice frame);
void request_invalidate(struct conn *c, const struct message *m);

void request_credit(struct request *r, uint64_t bytes); /* WINDOW */
void request_cancel(struct request *r);	  /* CANCEL: ends with ERROR CANCELLED, or, an invalidation, in its own time */
void request_abandon_all(struct conn *c); /* the connection is going: nobody waits for the answers */

/* Sends what there is to send, as far as the connection takes it. r may be gone afterwards. */
void request_pump(struct request *r);

#endif
