/* promptcache: the client library of promptcached, a cache server that stands between an agent and its LLM.
 *
 *	struct pc *pc; struct pc_answer *a = NULL; int rc;
 *	if ((rc = pc_open(&pc, NULL)) != PC_OK) die(pc_strerror(rc));
 *	struct pc_query q = PC_QUERY_INIT;
 *	q.model = "gpt-4o"; q.prompt = "What is a TTL?"; q.timeout_ms = 30000;
 *	rc = pc_query(pc, &q, &a);                            (PC_UNAVAILABLE: call the LLM yourself)
 *	if (rc == PC_OK) printf("%s (%s)\n", pc_answer_text(a), pc_answer_source(a));
 *	pc_answer_free(a);
 *	pc_close(pc);
 *
 * Two faces: `struct pc` blocks until the answer or the deadline; `struct pc_async` lives in an event loop
 * (promptcache-uv.h has the adapter for libuv; `struct pc_loop` is what another loop has to offer).
 *
 * Laws
 *   - One handle, one thread at a time. Different handles are independent. No globals, no signals, no threads.
 *   - A `struct pc` that finds itself in another process (fork) drops its socket and connects anew. A `struct pc_async`
 *     belongs to the process that opened it.
 *   - Opening connects to nothing; the first call does, and later ones connect again when the connection was lost.
 *     After a connect that failed, calls fail with PC_UNAVAILABLE at once for a second: a cache that is away must cost
 *     its users nothing.
 *   - Outputs (ret_x) are untouched when a call fails. Strings that go in are read before the call returns and are not
 *     kept; strings that come out belong to the object they were asked of.
 *   - Structures that go in carry their size (the _INIT macro sets it), so that later versions can add fields at the
 *     end: an older program leaves them zero, a newer one that sets them is PC_INVALID to a library that does not
 *     know them. Those that stand in arrays (pc_message, pc_param, pc_segment) never change. pc_failure and pc_chunk
 *     are made by the library, and may grow. */
#ifndef PROMPTCACHE_H
#define PROMPTCACHE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PC_API __attribute__((visibility("default")))
#else
#define PC_API
#endif

/* ---- status: what every call returns. X(name, number, text) */
/* clang-format off */
#define PC_STATUSES(X)                                                                                                          \
	X(OK, 0, "success")                                                                                                     \
	X(MISS, 1, "nothing stored matches")                                                                                    \
	X(UNAVAILABLE, -1, "the cache server cannot be reached or is going away")                                               \
	X(TIMEOUT, -2, "no answer within the time allowed")                                                                     \
	X(REFUSED, -3, "the cache server answered with an error")                                                               \
	X(OVERLOADED, -4, "a limit is reached; try again later")                                                                \
	X(PROTOCOL, -5, "the peer does not speak the protocol as it should")                                                    \
	X(NO_MEMORY, -6, "no memory")                                                                                           \
	X(INVALID, -7, "an argument is not valid")                                                                              \
	X(CANCELLED, -8, "cancelled")                                                                                           \
	X(UNSUPPORTED, -9, "not built into this version (tls:// addresses)")
/* clang-format on */

enum pc_status {
#define PC_X(name, number, text) PC_##name = number,
	PC_STATUSES(PC_X)
#undef PC_X
};

PC_API const char *pc_strerror(int status);    /* the text of the table; never NULL */
PC_API const char *pc_status_name(int status); /* "UNAVAILABLE"; never NULL */
PC_API const char *pc_version(void);	       /* of the library, "0.1.0" */

/* Why the last call failed. All strings are there, if empty. */
struct pc_failure {
	int status;		  /* what the call returned */
	const char *name;	  /* the server's error ("RATE_LIMITED") with PC_REFUSED; else the status's own name */
	const char *message;	  /* a sentence for people */
	const char *field;	  /* the field at fault, "" if it is none's */
	int retryable;		  /* the same request may succeed later */
	uint64_t retry_after_ms;  /* not before this time has passed; 0: unknown */
	uint64_t offset;	  /* INTERRUPTED: bytes of the answer that came before it broke */
	uint64_t upstream_status; /* HTTP status of the LLM's provider; 0: none */
};

/* ---- handles */

#define PC_CONNECT_TIMEOUT_MS 2000  /* unless the options say otherwise; until the server has said hello */
#define PC_QUERY_TIMEOUT_MS   60000 /* of pc_query and pc_query_stream where the query's timeout_ms is 0 */
#define PC_CALL_TIMEOUT_MS    5000  /* of all other calls where timeout_ms is 0 */
#define PC_TIMEOUT_MS_MAX     3600000
#define PC_FAIL_FAST_MS	      1000 /* after a failed connect, calls fail at once for this long */

struct pc_options {
	size_t size;

	/* unix:/path, tcp://host:port. NULL: $PROMPTCACHE_SERVER, else the default Unix socket
	 * ($XDG_RUNTIME_DIR/promptcached.sock, or /tmp/promptcached-UID/sock in a directory of ours with mode 0700),
	 * else, if there is no such socket, tcp://127.0.0.1:7411 as a guess. A host name is resolved by the system,
	 * which no deadline bounds: by the blocking face when it connects, by the event face when it is opened. */
	const char *address;

	/* NULL: the content of token_file. That NULL: $PROMPTCACHE_TOKEN, else $XDG_STATE_HOME/promptcached/token
	 * (~/.local/state) if it is there. Files are read at each connect. A token that is known is always sent, with
	 * one exception: that of the default file does not go to the guess above, as any user of the machine may listen
	 * there. If the server there asks for it (UNAUTHENTICATED), name its address. */
	const char *token;
	const char *token_file;

	unsigned connect_timeout_ms; /* 0: PC_CONNECT_TIMEOUT_MS */
	const char *client;	     /* who we are, for the server's operator; NULL: the library's name and version */

	/* realloc with size 0 = free. NULL: the C library's. (A few KB a connection are msgpack-c's own.) */
	void *(*resize)(void *owner, void *p, size_t size);
	void *resize_owner; /* (borrowed) handed to resize; outlives the handle and its answers */

	/* Largest frame we take, in bytes; larger answers come in pieces. 0: 1 MB; at least 4 KB, at most 16 MB. */
	uint32_t frame_max;
	/* Bytes waiting to be sent before calls are PC_OVERLOADED. 0: 64 MB. */
	uint32_t output_max;
};
#define PC_OPTIONS_INIT                                                                                                \
	{                                                                                                              \
		sizeof(struct pc_options), 0, 0, 0, 0, 0, 0, 0, 0, 0                                                   \
	}

struct pc; /* a blocking handle */

/* NULL: default address, default options. PC_INVALID (an address that is none), PC_UNSUPPORTED (tls://),
 * PC_NO_MEMORY. */
PC_API int pc_open(struct pc **ret, const char *address);
PC_API int pc_open_with(struct pc **ret, const struct pc_options *options);
PC_API void pc_close(struct pc *pc); /* accepts NULL. Answers live on. */

/* Of the last call on this handle; valid until the next. Never NULL; status PC_OK if the last call did not fail. */
PC_API const struct pc_failure *pc_error(const struct pc *pc);

/* ---- the question */

struct pc_message {
	const char *role;    /* system, user, assistant, ... */
	const char *content; /* text; anything richer goes as msgpack */
};

enum pc_param_type {
	PC_PARAM_NUMBER = 0,
	PC_PARAM_INTEGER = 1,
	PC_PARAM_BOOL = 2,
	PC_PARAM_STRING = 3
};

struct pc_param {
	const char *name; /* temperature, seed, ... as in the OpenAI API */
	enum pc_param_type type;
	double number;
	int64_t integer; /* BOOL: 0 or 1 */
	const char *string;
};
PC_API struct pc_param pc_param_number(const char *name, double value);
PC_API struct pc_param pc_param_integer(const char *name, int64_t value);
PC_API struct pc_param pc_param_bool(const char *name, int value);
PC_API struct pc_param pc_param_string(const char *name, const char *value);

/* NULL and 0 mean "not given". Lengths of 0 beside a string: it ends at its NUL.
 * The question is `prompt` (and `system` before it), or `messages`, or `messages_msgpack`: exactly one of the three.
 * The msgpack fields take one value each, as the OpenAI API has it in JSON: an array of messages, an array of tools, a
 * map. */
struct pc_query {
	size_t size;
	const char *model; /* NULL: the server's default_model */
	const char *prompt;
	size_t prompt_len;
	const char *system;
	size_t system_len;
	const struct pc_message *messages;
	size_t messages_count;
	const void *messages_msgpack;
	size_t messages_msgpack_len;
	const void *tools_msgpack;
	size_t tools_msgpack_len;
	const struct pc_param *params; /* or params_msgpack, not both */
	size_t params_count;
	const void *params_msgpack;
	size_t params_msgpack_len;
	const char *namespace_name; /* NULL: default */
	const char *prompt_version;
	unsigned timeout_ms;   /* 0: the default of the call; at most PC_TIMEOUT_MS_MAX */
	int no_cache;	       /* do not read: ask the LLM and replace what is stored. PC_INVALID for a lookup. */
	int no_store;	       /* do not keep the answer. PC_INVALID for a put. */
	uint64_t max_age_ms;   /* take nothing older than this */
	uint64_t ttl_ms;       /* keep the answer at most this long */
	uint32_t window_bytes; /* streams: bytes on their way to us at most; 0: 256 KB */
	uint32_t unused;       /* 0. No padding at the end: a later field must not lie where nobody has set a zero */
};
#define PC_QUERY_INIT                                                                                                  \
	{                                                                                                              \
		sizeof(struct pc_query), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0        \
	}

/* ---- the answer */

enum pc_kind {
	PC_TEXT = 1,
	PC_REASONING = 2,
	PC_REFUSAL = 3,
	PC_TOOL_CALL = 4
};
/* "text", "reasoning", "refusal", "tool_call"; "unknown" for a later version's. */
PC_API const char *pc_kind_name(int kind);

struct pc_segment {
	int kind;	  /* enum pc_kind, or a later version's */
	const char *data; /* not ended by a NUL. A tool call is JSON {id, name, arguments} */
	size_t len;
};

/* Made by calls, freed by you; may outlive its handle. Strings are never NULL. */
struct pc_answer;
PC_API void pc_answer_free(struct pc_answer *a); /* accepts NULL */

/* What was said: all text segments as one string, ended by a NUL; and each segment. NULL: no such segment. */
PC_API const char *pc_answer_text(const struct pc_answer *a);
PC_API size_t pc_answer_text_len(const struct pc_answer *a);
PC_API size_t pc_answer_segment_count(const struct pc_answer *a);
PC_API const struct pc_segment *pc_answer_segment(const struct pc_answer *a, size_t i);

/* Where it came from: exact, semantic, llm, joined, stale; none for a miss. hit: from the cache, so exact, semantic or
 * stale. upstream: the one that answered; "" for a hit. finish_reason: as the provider said it: stop, length, ... */
PC_API const char *pc_answer_source(const struct pc_answer *a);
PC_API int pc_answer_hit(const struct pc_answer *a);
PC_API const char *pc_answer_model(const struct pc_answer *a);
PC_API const char *pc_answer_upstream(const struct pc_answer *a);
PC_API const char *pc_answer_finish_reason(const struct pc_answer *a);

/* Whether it is in the cache now, and why it is, or is not: a name (stored, already, no_store, ...) and a sentence.
 * entry: its name in hexadecimal; "" if there is none. */
PC_API int pc_answer_stored(const struct pc_answer *a);
PC_API const char *pc_answer_reason(const struct pc_answer *a);
PC_API const char *pc_answer_reason_text(const struct pc_answer *a);
PC_API const char *pc_answer_entry(const struct pc_answer *a);

/* What it cost and saved. cached: those of the prompt's tokens that the provider had in its own cache. */
PC_API uint64_t pc_answer_prompt_tokens(const struct pc_answer *a);
PC_API uint64_t pc_answer_completion_tokens(const struct pc_answer *a);
PC_API uint64_t pc_answer_cached_tokens(const struct pc_answer *a);
PC_API uint64_t pc_answer_tokens_saved(const struct pc_answer *a);
PC_API double pc_answer_cost_saved_usd(const struct pc_answer *a);

/* age: of the entry served. latency: from the call to its end, as seen here. as_of: the server's stamp, in
 * microseconds: all invalidations up to it were seen. removed: of pc_invalidate with PC_FORGET_REQUEST: 1 if there
 * was an entry, else 0; a namespace is not counted. */
PC_API uint64_t pc_answer_age_ms(const struct pc_answer *a);
PC_API uint64_t pc_answer_latency_us(const struct pc_answer *a);
PC_API uint64_t pc_answer_as_of(const struct pc_answer *a);
PC_API uint64_t pc_answer_removed(const struct pc_answer *a);

/* 1 and *ret, or 0 where there is none (all but semantic hits). */
PC_API int pc_answer_similarity(const struct pc_answer *a, double *ret);
PC_API int pc_answer_confidence(const struct pc_answer *a, double *ret);

/* Name and value of the i-th stage (microseconds) or counter (of pc_stats); NULL behind the last. ret may be NULL. */
PC_API const char *pc_answer_stage(const struct pc_answer *a, size_t i, uint64_t *ret_us);
PC_API const char *pc_answer_stat(const struct pc_answer *a, size_t i, double *ret);

/* ---- blocking calls
 *
 * Each ends within its deadline. ret is set with PC_OK (pc_lookup: with PC_MISS too), and may be NULL where the
 * answer does not matter. A connection that is lost is made again; a query or lookup that had no byte of an answer is
 * then sent once more, a put or invalidate that was sent is not. */

/* A piece of an answer, in order. */
struct pc_chunk {
	int kind;	  /* enum pc_kind, or a later version's */
	unsigned index;	  /* number of the segment; equal index: goes on */
	const char *data; /* text may be cut between any two bytes; not ended by a NUL */
	size_t len;
	const char *source; /* as pc_answer_source */
	const char *model;  /* "" until it is known */
};
/* Gets each byte of the answer once, whether it was streamed or came whole. Non-zero cancels: the call ends with
 * PC_CANCELLED. */
typedef int (*pc_chunk_cb)(void *owner, const struct pc_chunk *chunk);

/* Answers from the cache, else from the LLM. */
PC_API int pc_query(struct pc *pc, const struct pc_query *q, struct pc_answer **ret);
PC_API int pc_query_stream(struct pc *pc, const struct pc_query *q, pc_chunk_cb chunk, void *owner,
			   struct pc_answer **ret);

/* Answers from the cache, else PC_MISS; the LLM is never called. *ret is set with PC_MISS too (no text; it tells as_of
 * and stages). */
PC_API int pc_lookup(struct pc *pc, const struct pc_query *q, struct pc_answer **ret);

/* What pc_put stores. */
struct pc_content {
	size_t size;
	const char *text; /* or segments, not both */
	size_t text_len;  /* 0: text ends at its NUL */
	const struct pc_segment *segments;
	size_t segments_count;
	const char *finish_reason; /* as the provider said it; NULL: stop */
	uint64_t prompt_tokens;	   /* as the provider counted; 0: unknown */
	uint64_t completion_tokens;
};
#define PC_CONTENT_INIT                                                                                                \
	{                                                                                                              \
		sizeof(struct pc_content), 0, 0, 0, 0, 0, 0, 0                                                         \
	}

/* Stores an answer that you got yourself; q says to which question. pc_answer_stored and _reason tell what became of
 * it. */
PC_API int pc_put(struct pc *pc, const struct pc_query *q, const struct pc_content *content, struct pc_answer **ret);

enum pc_target {
	PC_FORGET_REQUEST = 0,
	PC_FORGET_NAMESPACE = 1
};

/* Forgets the entry of q, or all of q's namespace (of which only namespace_name and timeout_ms are read then). Durable
 * when it returns. */
PC_API int pc_invalidate(struct pc *pc, const struct pc_query *q, enum pc_target target, struct pc_answer **ret);

PC_API int pc_stats(struct pc *pc, unsigned timeout_ms, struct pc_answer **ret); /* read them with pc_answer_stat */
PC_API int pc_ping(struct pc *pc, unsigned timeout_ms, struct pc_answer **ret);	 /* its latency_us is the round trip */

/* ---- the event face
 *
 * Any number of calls in flight on one connection; all that were started in one turn of the loop leave in one write.
 *
 * Law: a call that was started ends exactly once, by `done` or by pc_async_cancel returning, never both, and never
 * before the function that started it has returned. After that the library does not touch the call again. A start that
 * returns anything but PC_OK started nothing. Any function but pc_async_ready, _timeout and _run may be called inside a
 * callback, pc_async_close too. Nothing is sent twice: a call whose connection was lost ends with PC_UNAVAILABLE. */

#define PC_READABLE 1
#define PC_WRITABLE 2

/* What the library needs of an event loop. Each function gets `owner`. */
struct pc_loop {
	size_t size;
	void *owner; /* (borrowed) lives until `closed` */

	/* Watch fd for these events (PC_READABLE | PC_WRITABLE) in place of earlier ones, level-triggered, and call
	 * pc_async_ready when one is there. 0: forget fd, which is closed as soon as this returns. Non-zero: it cannot;
	 * the connection is dropped. */
	int (*watch)(void *owner, int fd, int events);

	/* Call pc_async_timeout after so many ms, once, in place of an earlier request. -1: never mind. */
	void (*timer)(void *owner, int64_t after_ms);

	/* Call pc_async_run in this turn, before the loop sleeps; asked for again after each run. NULL: the timer
	 * serves, with 0 ms. */
	void (*wake)(void *owner);

	/* The handle is gone and none of these functions will be called again. May be NULL. */
	void (*closed)(void *owner);
};
#define PC_LOOP_INIT                                                                                                   \
	{                                                                                                              \
		sizeof(struct pc_loop), 0, 0, 0, 0, 0                                                                  \
	}

struct pc_async;
struct pc_call; /* a call in flight; gone when it has ended */

/* answer: yours to free, or NULL; never NULL with PC_OK and PC_MISS. failure: (borrowed until `done` returns) NULL with
 * PC_OK and PC_MISS. */
typedef void (*pc_done_cb)(void *owner, int status, struct pc_answer *answer, const struct pc_failure *failure);

/* As pc_open_with. The loop structure is copied. */
PC_API int pc_async_open(struct pc_async **ret, const struct pc_options *options, const struct pc_loop *loop);

/* Ends every call in flight with PC_CANCELLED, closes the connection, calls loop.closed. Inside a callback: when that
 * has returned. Starts nothing any more from here on. Accepts NULL. */
PC_API void pc_async_close(struct pc_async *a);

/* The loop calls these. */
PC_API void pc_async_ready(struct pc_async *a, int fd, int events);
PC_API void pc_async_timeout(struct pc_async *a);
PC_API void pc_async_run(struct pc_async *a);

/* Start a call. ret_call may be NULL. PC_UNAVAILABLE (at once, for a second after a failed connect), PC_OVERLOADED
 * (output_max), PC_INVALID, PC_NO_MEMORY: nothing was started. chunk: NULL for an answer in one piece. */
PC_API int pc_async_query(struct pc_async *a, const struct pc_query *q, pc_chunk_cb chunk, pc_done_cb done, void *owner,
			  struct pc_call **ret_call);
PC_API int pc_async_lookup(struct pc_async *a, const struct pc_query *q, pc_done_cb done, void *owner,
			   struct pc_call **ret_call);
PC_API int pc_async_put(struct pc_async *a, const struct pc_query *q, const struct pc_content *content, pc_done_cb done,
			void *owner, struct pc_call **ret_call);
PC_API int pc_async_invalidate(struct pc_async *a, const struct pc_query *q, enum pc_target target, pc_done_cb done,
			       void *owner, struct pc_call **ret_call);
PC_API int pc_async_stats(struct pc_async *a, unsigned timeout_ms, pc_done_cb done, void *owner,
			  struct pc_call **ret_call);
PC_API int pc_async_ping(struct pc_async *a, unsigned timeout_ms, pc_done_cb done, void *owner,
			 struct pc_call **ret_call);

/* Ends a call here and tells the server; `done` will not come. */
PC_API void pc_async_cancel(struct pc_async *a, struct pc_call *call);

PC_API size_t pc_async_inflight(const struct pc_async *a); /* calls started and not ended */

/* Why the last function that started a call on this handle returned what it did; valid until the next. */
PC_API const struct pc_failure *pc_async_error(const struct pc_async *a);

#ifdef __cplusplus
}
#endif
#endif
