/* core: the client's side of one connection, without a socket and without a clock: bytes in, bytes out, time as an
 * argument. Both faces stand on it, and tests feed it byte by byte.
 *
 *      core_submit ──> out ──> core_output / core_sent ──> socket
 *      socket ──> core_space / core_received ──> on_chunk, on_done of the request
 *
 * HELLO stands in front of `out` from the start; requests are pipelined behind it. PING is answered, WINDOW granted as
 * pieces are handed over, GOAWAY noted in `leaving`.
 *
 * Law: a request that was submitted ends exactly once: by on_done, which comes from core_received or core_close, or by
 * core_forget returning. Inside callbacks core_submit, core_forget and core_output are allowed; core_close and
 * core_free are not.
 *
 * Whatever a server sends, the worst is that core_received returns an error; `failure` says why, and the connection has
 * to be closed. */
#ifndef CLIENT_CORE_H
#define CLIENT_CORE_H

#include "client/answer.h"
#include "client/failure.h"

#define CORE_READ_BYTES	       65536   /* room offered to one read */
#define CORE_FRAME_MAX_DEFAULT 1048576 /* largest frame we take; larger answers come in chunks */
#define CORE_FRAME_MAX_LEAST   4096
#define CORE_WINDOW_DEFAULT    262144 /* credit of a stream */
#define CORE_SILENT_INTERVALS  3      /* missed PINGs of the server that make it dead */

struct core_request;

/* A piece of a streamed answer. Non-zero: cancel; on_done follows with PC_CANCELLED. */
typedef int (*core_chunk_cb)(struct core_request *r, const struct pc_chunk *chunk);

/* answer: taken by the callee; NULL unless status is PC_OK or PC_MISS. failure: (borrowed) NULL with these two. The
 * request's memory is the callee's again. */
typedef void (*core_done_cb)(struct core_request *r, int status, struct pc_answer *answer,
			     const struct pc_failure *failure);

/* The submitter owns the memory and keeps it until the request has ended. */
struct core_request {
	core_chunk_cb on_chunk; /* NULL: not streamed */
	core_done_cb on_done;
	void *owner;	     /* (borrowed; never read here) */
	uint64_t started_us; /* latency counts from here */
	uint64_t window;     /* bytes of credit of a stream; set by core_submit from the message */

	/* the core's */
	enum proto_op op;
	uint64_t id;
	uint64_t end_at;    /* position in the output at which its frame ends */
	uint64_t credit;    /* bytes of CHUNKs the server may still send */
	uint64_t ungranted; /* bytes taken and not granted again */
	bool answered;	    /* HEAD or CHUNK has come */
	uint64_t source;
	struct buf model; /* with its NUL, once known */
	struct gather gather;
	struct core_request *next; /* in its bucket */
};

enum core_state {
	CORE_HELLO, /* HELLO is not answered yet */
	CORE_OPEN,
	CORE_CLOSED,
};

struct core {
	enum core_state state;
	bool leaving;		   /* GOAWAY: start nothing more here */
	bool feeding;		   /* inside core_received */
	const struct mem *mem;	   /* (borrowed) */
	uint32_t frame_max;	   /* what we take */
	uint64_t server_frame_max; /* what the server takes */
	uint64_t ping_interval_us; /* of the server, while requests wait */
	uint64_t heard_us;	   /* when bytes came last, or the first request of an idle connection went out */
	uint64_t next_id;
	uint64_t last_id; /* of GOAWAY: requests beyond were not accepted */
	struct buf in;
	struct buf out;
	size_t out_head;   /* bytes of `out` that were sent */
	uint64_t out_base; /* position in the whole output of out.p[out_head] */
	struct message_decoder decoder;
	struct core_request **buckets; /* by id; as many as a power of two */
	size_t bucket_count;
	size_t inflight;
	size_t forgotten;		   /* cancelled requests whose final frame has not come */
	struct core_request *delivering;   /* whose callback is running; NULL when it was forgotten in there */
	struct failure failure;		   /* why the connection has to be closed */
	char server[FAILURE_SERVER_BYTES]; /* for messages; filled in by who connects, "" until then */
	bool token_withheld;
};

struct core_options {
	struct slice token;  /* empty: none */
	bool token_withheld; /* there is one that this server must not see; a refusal of HELLO says so */
	const char *client;
	uint32_t frame_max;
	size_t output_max; /* ceiling of the bytes that wait to be sent */
};

/* PC_OK or PC_NO_MEMORY (or PC_INVALID: the token is too long for a HELLO); then nothing is held. */
__attribute__((warn_unused_result)) int core_init(struct core *c, const struct mem *mem, const struct core_options *o,
						  uint64_t now_us);

/* core_close before. Accepts a zeroed one. */
void core_free(struct core *c);

/* Puts the request's frame behind the others. m->id is filled in. PC_OK · PC_OVERLOADED (the output's ceiling) ·
 * PC_NO_MEMORY · PC_INVALID (larger than the server's frames may be); *failure (not the core's own) says more. */
__attribute__((warn_unused_result)) int core_submit(struct core *c, struct core_request *r, struct message *m,
						    uint64_t now_us, struct failure *failure);

/* Ends a request without on_done and tells the server. False: no memory for that; the request has ended, but the
 * connection must close. */
bool core_forget(struct core *c, struct core_request *r);

/* Where the next bytes from the server go. NULL: no memory. */
uint8_t *core_space(struct core *c, size_t *ret_size);

/* So many bytes are there. PC_OK, or why the connection has to be closed. */
__attribute__((warn_unused_result)) int core_received(struct core *c, size_t n, uint64_t now_us);

struct slice core_output(const struct core *c); /* what waits to be sent */
void core_sent(struct core *c, size_t n);

/* When a server that says nothing until then is dead; UINT64_MAX: nothing is expected of it. */
uint64_t core_silent_at_us(const struct core *c);

/* True: the server may have taken the request in; false: it certainly has not. */
bool core_was_taken(const struct core *c, const struct core_request *r);

/* Ends all requests with c->failure, which the caller has set if the core has not. */
void core_close(struct core *c);

#endif
