/* schema: the protocol in one place. Operations, keys, errors, limits, features, vocabularies stand here once, as
 * tables; enums, structures, names, decoding, encoding, dispatch and the tables of PROTOCOL.md come from them.
 *
 * Rules that keep old and new peers talking:
 *   - a number, once released, never changes its meaning; new numbers are added;
 *   - a key below 0x80 that the receiver does not know is skipped;
 *   - a key from 0x80 is must-understand: the receiver that does not know it answers UNSUPPORTED and names it.
 * Everything that narrows reuse, storage or visibility lives there, so that an older server cannot drop a `no_store`.
 */
#ifndef PROTO_SCHEMA_H
#define PROTO_SCHEMA_H

#include "proto/bytes.h"

/* clang-format off */
#define PROTO_VERSION		1
#define PROTO_FRAME_MARK	0xCE /* first byte of each frame: msgpack's uint 32 */
#define PROTO_FRAME_PREFIX	5    /* the mark and four bytes of length, big-endian */
#define PROTO_MUST_UNDERSTAND	0x80
#define PROTO_DIGEST_BYTES	32   /* SHA-256 */

/* ---- operations
 * X(NAME, number, from, body, text)   from: C client, S server, B both.   body: the table of keys the operation carries. */
#define PROTO_OPS(X)                                                                                                            \
	X(HELLO, 0x01, C, HELLO, "opens the connection: version, features, credentials, limits; ends with END")                 \
	X(PING, 0x02, B, EMPTY, "id 0: liveness, answered by PING with flag ACK; another id: a request, ended by END")          \
	X(QUERY, 0x10, C, REQUEST, "answer from the cache, else from the LLM")                                                  \
	X(LOOKUP, 0x11, C, REQUEST, "answer from the cache, else say that there is none; never calls the LLM")                  \
	X(PUT, 0x12, C, REQUEST, "store an answer that the client got itself")                                                  \
	X(INVALIDATE, 0x13, C, REQUEST, "forget: one request, or a whole namespace; END after it is durable")                   \
	X(STATS, 0x20, C, EMPTY, "all counters, as a map")                                                                      \
	X(CANCEL, 0x30, C, EMPTY, "the id is that of the request to cancel; no reply of its own: the target still ends once")   \
	X(WINDOW, 0x31, C, WINDOW, "the id is that of a request; grants more bytes of CHUNK payload")                           \
	X(GOAWAY, 0x32, B, GOAWAY, "id 0: no new requests on this connection; those in flight finish within the grace")         \
	X(HEAD, 0x41, S, HEAD, "what is known before the answer's first byte")                                                  \
	X(CHUNK, 0x42, S, CHUNK, "a piece of one segment of the answer")                                                        \
	X(END, 0x43, S, END, "final: the request succeeded")                                                                    \
	X(ERROR, 0x44, S, ERROR, "final: the request failed; id 0 speaks of the connection")

/* Numbers kept for operations to come; an implementation of this version answers UNSUPPORTED. X(NAME, number, text) */
#define PROTO_OPS_RESERVED(X)                                                                                                   \
	X(FEEDBACK, 0x14, "an answer was right or wrong")                                                                       \
	X(EXPLAIN, 0x15, "what would happen to a request, and why")                                                             \
	X(SHOW, 0x21, "connections, flights, upstreams, entries, namespaces")                                                   \
	X(CONFIG, 0x22, "read and change options")                                                                              \
	X(WATCH, 0x23, "live events")                                                                                           \
	X(BODY, 0x33, "the body that NEED_BODY asked for")                                                                      \
	X(NEED_BODY, 0x45, "a digest-only QUERY missed: send the body")

enum proto_op {
#define X(name, number, from, body, text) OP_##name = number,
	PROTO_OPS(X)
#undef X
#define X(name, number, text) OP_##name = number,
	PROTO_OPS_RESERVED(X)
#undef X
};

enum proto_from { FROM_C = 1, FROM_S = 2, FROM_B = 3 };

/* Bits of a frame's `flags`. Unknown bits are ignored. */
#define PROTO_FLAG_ACK 0x01u /* on PING with id 0: this is the answer */

/* ---- keys
 * X(number, name, type, need, max, text)
 *   type: UINT  unsigned 64 bit          BOOL           F64  float (an integer is taken too)
 *         STR   UTF-8, at most max bytes  BIN  bytes, at most max (a str is taken too)
 *         ARRAY, MAP  any msgpack value of that shape, checked by who uses it; max counts its elements
 *   need: REQ must be there, OPT may be missing.
 * REQUEST has two columns more: in which operations the key is known (elsewhere it counts as unknown), and what it
 * counts for:
 *   DIGEST part of the request digest · FLIGHT a joiner must not ask for more than the flight gives
 *   WAITER concerns this client only · OP operational: changes nothing about the answer */
#define PROTO_HELLO_KEYS(X)                                                                                                     \
	X(0x01, version, UINT, REQ, 0, "highest protocol version the client speaks")                                            \
	X(0x02, features, UINT, OPT, 0, "feature bits the client understands")                                                  \
	X(0x03, token, STR, OPT, TOKEN_BYTES_MAX, "credential; needed on TCP unless the server says auth: none")                \
	X(0x04, client, STR, OPT, NAME_BYTES_MAX, "name and version of the client, for the operator")                           \
	X(0x05, frame_max, UINT, OPT, 0, "longest frame the client takes; answers that are longer come in chunks")

#define IN_Q   1u /* QUERY */
#define IN_L   2u /* LOOKUP */
#define IN_P   4u /* PUT */
#define IN_I   8u /* INVALIDATE */
#define IN_QL  (IN_Q | IN_L)
#define IN_QP  (IN_Q | IN_P)
#define IN_QLP (IN_Q | IN_L | IN_P)
#define IN_ALL (IN_Q | IN_L | IN_P | IN_I)

/* X(number, name, type, need, max, in, counts, text) */
#define PROTO_REQUEST_KEYS(X)                                                                                                   \
	X(0x01, model, STR, OPT, MODEL_BYTES_MAX, IN_ALL, DIGEST, "model; missing: the server's default_model")                 \
	X(0x02, prompt, STR, OPT, FRAME_BYTES_MAX, IN_ALL, DIGEST, "short for messages with one user message of this text")     \
	X(0x03, system, STR, OPT, FRAME_BYTES_MAX, IN_ALL, DIGEST, "with prompt: a system message before it")                   \
	X(0x04, messages, ARRAY, OPT, MESSAGES_MAX, IN_ALL, DIGEST, "the chat messages as in the OpenAI API; instead of prompt") \
	X(0x10, timeout_ms, UINT, OPT, TIMEOUT_MS_MAX, IN_QL, WAITER, "how long this client waits; 0 or missing: the server's limit") \
	X(0x11, stream, BOOL, OPT, 0, IN_QL, WAITER, "HEAD and CHUNKs as they come, instead of everything in END")              \
	X(0x12, window, UINT, OPT, 0, IN_QL, WAITER, "bytes of the answer the client takes before it sends WINDOW; 0: none; missing: no limit") \
	X(0x13, metadata, MAP, OPT, METADATA_ITEMS_MAX, IN_ALL, OP, "anything, for the operator's eyes; never part of the answer") \
	X(0x20, answer, STR, OPT, ANSWER_BYTES_MAX, IN_P, OP, "the answer's text; short for segments with one text")            \
	X(0x21, segments, ARRAY, OPT, SEGMENTS_MAX, IN_P, OP, "the answer: [[kind, index, data], ...]")                         \
	X(0x22, finish_reason, STR, OPT, NAME_BYTES_MAX, IN_P, OP, "as the provider said it; missing: stop")                    \
	X(0x23, prompt_tokens, UINT, OPT, TOKENS_MAX, IN_P, OP, "tokens of the prompt, as the provider counted")                \
	X(0x24, completion_tokens, UINT, OPT, TOKENS_MAX, IN_P, OP, "tokens of the answer, as the provider counted")            \
	X(0x80, namespace, STR, OPT, NAMESPACE_BYTES_MAX, IN_ALL, DIGEST, "the client's own partition; missing: default")       \
	X(0x81, prompt_version, STR, OPT, NAME_BYTES_MAX, IN_ALL, DIGEST, "version of the prompt template")                     \
	X(0x82, tools, ARRAY, OPT, TOOLS_MAX, IN_ALL, DIGEST, "the tools as in the OpenAI API")                                 \
	X(0x83, params, MAP, OPT, PARAMS_MAX, IN_ALL, DIGEST, "all other parameters as in the OpenAI API, known or not")        \
	X(0x84, no_cache, BOOL, OPT, 0, IN_Q, FLIGHT, "do not read: ask the LLM, and replace what is stored")                   \
	X(0x85, no_store, BOOL, OPT, 0, IN_Q, FLIGHT, "do not keep the answer")                                                 \
	X(0x86, max_age_ms, UINT, OPT, 0, IN_QL, FLIGHT, "take nothing older than this, 0 included; missing: whatever is fresh") \
	X(0x87, ttl_ms, UINT, OPT, TTL_MS_MAX, IN_QP, FLIGHT, "keep the answer at most this long; 0 or missing: the server's ttl") \
	X(0x88, target, UINT, OPT, 0, IN_I, OP, "what to forget: see targets; missing: request")

/* Keys kept for what comes next. Receivers of this version do not know them. X(number, name, text) */
#define PROTO_REQUEST_KEYS_RESERVED(X)                                                                                          \
	X(0x14, retry_reason, "why the agent asks again: no_answer, bad_answer")                                                \
	X(0x89, user, "partition by user where a rule says so")                                                                 \
	X(0x8A, sources, "the documents behind the answer: {id: version}")                                                      \
	X(0x8B, as_of, "the stamp that the client saw before it read its documents")                                            \
	X(0x8C, question, "the span compared by meaning: {message, offset, length}")                                            \
	X(0x8D, strictness, "a stricter bound for semantic hits than the namespace's")                                          \
	X(0x8E, digest, "the request digest, in place of the body")                                                             \
	X(0x8F, lease, "the fill lease of a miss")                                                                              \
	X(0x90, dry_run, "INVALIDATE: say how many, forget none")                                                               \
	X(0x91, purge, "INVALIDATE: delete the rows too, and wait for it")

#define PROTO_WINDOW_KEYS(X) X(0x01, credit, UINT, REQ, 0, "bytes of the answer granted on top of what is left")

#define PROTO_GOAWAY_KEYS(X)                                                                                                    \
	X(0x01, grace_ms, UINT, OPT, 0, "requests in flight have this long to finish")                                          \
	X(0x02, last_id, UINT, OPT, 0, "the request that was accepted last, in the order of sending; 0: none")                  \
	X(0x03, reason, STR, OPT, SENTENCE_BYTES_MAX, "why, for people")

#define PROTO_HEAD_KEYS(X)                                                                                                      \
	X(0x01, source, UINT, REQ, 0, "see sources")                                                                            \
	X(0x02, model, STR, OPT, MODEL_BYTES_MAX, "the model that answers or answered, where it is known")                      \
	X(0x03, age_ms, UINT, OPT, 0, "age of the entry served")                                                                \
	X(0x04, similarity, F64, OPT, 0, "cosine to the question that was matched")

#define PROTO_CHUNK_KEYS(X)                                                                                                     \
	X(0x01, kind, UINT, REQ, 0, "see segments")                                                                             \
	X(0x02, index, UINT, REQ, 0, "number of the segment within the answer, from 0; equal index: goes on")                   \
	X(0x03, data, BIN, REQ, FRAME_BYTES_MAX, "the bytes; text may be cut between any two bytes")

#define PROTO_END_KEYS(X)                                                                                                       \
	X(0x01, source, UINT, OPT, 0, "see sources; QUERY, LOOKUP")                                                             \
	X(0x02, segments, ARRAY, OPT, SEGMENTS_MAX, "[[kind, index, data], ...]: the answer, or what CHUNKs have not carried")  \
	X(0x03, finish_reason, STR, OPT, NAME_BYTES_MAX, "stop, length, tool_calls, content_filter, ... as the provider said")  \
	X(0x04, model, STR, OPT, MODEL_BYTES_MAX, "the model that answered, as the provider named it")                          \
	X(0x05, stored, BOOL, OPT, 0, "the answer is in the cache now")                                                         \
	X(0x06, reason, UINT, OPT, 0, "why it is, or is not: see reasons")                                                      \
	X(0x07, prompt_tokens, UINT, OPT, 0, "of the call that made the answer")                                                \
	X(0x08, completion_tokens, UINT, OPT, 0, "of the call that made the answer")                                            \
	X(0x09, cached_tokens, UINT, OPT, 0, "of the prompt tokens, those the provider had in its own cache")                   \
	X(0x0A, age_ms, UINT, OPT, 0, "age of the entry served")                                                                \
	X(0x0B, entry, BIN, OPT, PROTO_DIGEST_BYTES, "name of the entry the answer has or would have; opaque")                  \
	X(0x0C, as_of, UINT, OPT, 0, "stamp of this moment, in us: all invalidations up to it were seen")                       \
	X(0x0D, stages_us, MAP, OPT, STAGES_MAX, "{stage: microseconds}, STR to UINT: see stages")                              \
	X(0x0E, similarity, F64, OPT, 0, "cosine to the question that was matched")                                             \
	X(0x0F, confidence, F64, OPT, 0, "calibrated probability that the match is right")                                      \
	X(0x10, tokens_saved, UINT, OPT, 0, "tokens that this request did not cost")                                            \
	X(0x11, cost_saved_nusd, UINT, OPT, 0, "money that this request did not cost, in 1e-9 US dollars")                      \
	X(0x12, upstream, STR, OPT, NAME_BYTES_MAX, "name of the upstream that answered")                                       \
	X(0x20, version, UINT, OPT, 0, "HELLO: the version spoken from here on")                                                \
	X(0x21, features, UINT, OPT, 0, "HELLO: the features both sides know")                                                  \
	X(0x22, server, STR, OPT, NAME_BYTES_MAX, "HELLO: name and version of the server")                                      \
	X(0x23, frame_max, UINT, OPT, 0, "HELLO: largest frame the server takes, in bytes")                                     \
	X(0x24, inflight_max, UINT, OPT, 0, "HELLO: requests in flight the server takes on this connection")                    \
	X(0x25, ping_interval_ms, UINT, OPT, 0, "HELLO: how often the server sends PING while requests wait")                   \
	X(0x30, removed, UINT, OPT, 0, "INVALIDATE of a request: 1 if there was an entry, else 0; a namespace is not counted")  \
	X(0x31, stats, MAP, OPT, STATS_ITEMS_MAX, "STATS: {name: number}, STR to UINT")

#define PROTO_ERROR_KEYS(X)                                                                                                     \
	X(0x01, code, UINT, REQ, 0, "see errors")                                                                               \
	X(0x02, name, STR, OPT, NAME_BYTES_MAX, "the code's name")                                                              \
	X(0x03, message, STR, OPT, SENTENCE_BYTES_MAX, "a sentence for people: what is wrong and what helps")                   \
	X(0x04, field, STR, OPT, FIELD_BYTES_MAX, "the field at fault, with its path; cut at the limit")                        \
	X(0x05, retryable, BOOL, OPT, 0, "the same request may succeed later")                                                  \
	X(0x06, retry_after_ms, UINT, OPT, 0, "not before this time has passed")                                                \
	X(0x07, offset, UINT, OPT, 0, "INTERRUPTED: bytes of CHUNK payload that were sent before it broke")                     \
	X(0x08, upstream_status, UINT, OPT, 0, "HTTP status of the provider, if it gave one")

#define PROTO_EMPTY_KEYS(X)

/* Every body: X(NAME, struct and function infix). REQUEST has its own columns and stands apart. */
#define PROTO_BODIES(X)                                                                                                         \
	X(HELLO, hello)                                                                                                         \
	X(WINDOW, window)                                                                                                       \
	X(GOAWAY, goaway)                                                                                                       \
	X(HEAD, head)                                                                                                           \
	X(CHUNK, chunk)                                                                                                         \
	X(END, end)                                                                                                             \
	X(ERROR, error)

/* ---- vocabularies */
/* X(NAME, number, text): where an answer came from */
#define PROTO_SOURCES(X)                                                                                                        \
	X(NONE, 0, "there is none (LOOKUP)")                                                                                    \
	X(EXACT, 1, "the same request was answered before")                                                                     \
	X(SEMANTIC, 2, "a question with the same meaning was answered before")                                                  \
	X(LLM, 3, "the LLM, for this request")                                                                                  \
	X(JOINED, 4, "the LLM, for an identical request that was already running")                                              \
	X(STALE, 5, "an expired entry that policy allows")

/* X(NAME, number, text): kinds of segments of an answer */
#define PROTO_SEGMENTS(X)                                                                                                       \
	X(TEXT, 1, "text for the user")                                                                                         \
	X(REASONING, 2, "the model's reasoning")                                                                                \
	X(REFUSAL, 3, "the model's refusal, in words")                                                                          \
	X(TOOL_CALL, 4, "a tool call: JSON {id, name, arguments}; arguments is a string, as in the OpenAI API")

/* X(NAME, number, text): why an answer is, or is not, stored */
#define PROTO_REASONS(X)                                                                                                        \
	X(NONE, 0, "does not apply")                                                                                            \
	X(STORED, 1, "stored")                                                                                                  \
	X(ALREADY, 2, "served from the cache, where it stays")                                                                  \
	X(NO_STORE, 3, "a client that waited for this answer asked for no_store")                                               \
	X(UNFINISHED, 4, "finish_reason is neither stop nor tool_calls")                                                        \
	X(EMPTY, 5, "the answer is empty")                                                                                      \
	X(INVALIDATED, 6, "invalidated while the answer was being made")                                                        \
	X(TOO_LARGE, 7, "larger than an entry may be; the answer itself came whole")                                            \
	X(UNCACHEABLE, 8, "parameters rule it out")                                                                             \
	X(NO_MEMORY, 9, "there was no memory for it")                                                                           \
	X(DISABLED, 10, "the store is disabled")                                                                                \
	X(MISS, 11, "nothing stored matches (LOOKUP)")

/* X(NAME, number, text): what INVALIDATE forgets */
#define PROTO_TARGETS(X)                                                                                                        \
	X(REQUEST, 0, "the entry of this request")                                                                              \
	X(NAMESPACE, 1, "all entries of the namespace")

/* X(NAME, text): keys of stages_us, in the order of the journey */
#define PROTO_STAGES(X)                                                                                                         \
	X(EXACT, "exact", "look-up by key: memory, then the durable store")                                                     \
	X(EMBED, "embed", "embedding of the question")                                                                          \
	X(SEMANTIC, "semantic", "search by meaning and decision")                                                               \
	X(SLOT, "slot", "waiting for a free place at the upstream")                                                             \
	X(FIRST_BYTE, "first_byte", "from sending the request to the LLM's first byte")                                         \
	X(LLM, "llm", "from sending the request to the LLM's last byte")                                                        \
	X(TOTAL, "total", "from the request's arrival to its end")

/* X(NAME, number, retryable, text) */
#define PROTO_ERRORS(X)                                                                                                         \
	X(PROTOCOL, 1, false, "the frame is not well-formed")                                                                   \
	X(UNSUPPORTED, 2, false, "a version, operation or must-understand key this server does not know")                       \
	X(INVALID, 3, false, "a field has the wrong type or value, is missing or given twice")                                  \
	X(TOO_LARGE, 4, false, "a frame, field or count is over its limit")                                                     \
	X(UNAUTHENTICATED, 5, false, "HELLO is missing, or its token is wrong")                                                 \
	X(FORBIDDEN, 6, false, "the credentials do not allow this")                                                             \
	X(DUPLICATE_ID, 7, false, "a request with this id is still in flight")                                                  \
	X(NO_UPSTREAM, 8, false, "no upstream serves this model")                                                               \
	X(OVERLOADED, 9, true, "a limit of the server is reached")                                                              \
	X(TIMEOUT, 10, true, "no answer within the client's time")                                                              \
	X(CANCELLED, 11, false, "the client cancelled the request")                                                             \
	X(UPSTREAM_FAILED, 12, true, "the LLM could not be reached or gave no proper answer")                                   \
	X(UPSTREAM_REFUSED, 13, false, "the LLM's provider refuses the request")                                                \
	X(RATE_LIMITED, 14, true, "the LLM's provider limits the rate")                                                         \
	X(INTERRUPTED, 15, true, "the answer broke off after part of it was sent")                                              \
	X(SHUTTING_DOWN, 16, true, "the server is shutting down")                                                               \
	X(NO_MEMORY, 17, true, "the server has no memory for this request")                                                     \
	X(STORE_FAILED, 18, true, "the durable store did not take it")                                                          \
	X(INTERNAL, 19, false, "a fault of the server")

/* X(NAME, bit, text) */
#define PROTO_FEATURES(X)                                                                                                       \
	X(STREAM, 0, "HEAD and CHUNK")                                                                                          \
	X(WINDOW, 1, "credit per request")                                                                                      \
	X(GOAWAY, 2, "orderly leave-taking")

/* X(NAME, value, text): fixed by the protocol. What a server may set lower is told in the END of HELLO. */
#define PROTO_LIMITS(X)                                                                                                         \
	X(FRAME_BYTES_MAX, 16777216, "bytes of a frame behind its length")                                                      \
	X(HELLO_BYTES_MAX, 4096, "bytes of a frame before HELLO is accepted")                                                   \
	X(DEPTH_MAX, 24, "nesting of msgpack values in a frame")                                                                \
	X(ELEMENTS_MAX, 262144, "msgpack values in a frame")                                                                    \
	X(MESSAGES_MAX, 4096, "messages of a request")                                                                          \
	X(TOOLS_MAX, 512, "tools of a request")                                                                                 \
	X(MAP_KEYS_MAX, 4096, "keys of one map within messages, tools and params")                                              \
	X(PARAMS_MAX, 64, "params of a request")                                                                                \
	X(METADATA_ITEMS_MAX, 64, "items of metadata")                                                                          \
	X(SEGMENTS_MAX, 4096, "segments of an answer")                                                                          \
	X(STATS_ITEMS_MAX, 4096, "items of STATS")                                                                              \
	X(STAGES_MAX, 16, "stages of an answer")                                                                                \
	X(ANSWER_BYTES_MAX, 8388608, "bytes of an answer")                                                                      \
	X(MODEL_BYTES_MAX, 256, "bytes of a model's name")                                                                      \
	X(NAMESPACE_BYTES_MAX, 128, "bytes of a namespace's name")                                                              \
	X(NAME_BYTES_MAX, 128, "bytes of other names")                                                                          \
	X(FIELD_BYTES_MAX, 63, "bytes of the path in ERROR's field")                                                            \
	X(TOKEN_BYTES_MAX, 512, "bytes of a token")                                                                             \
	X(SENTENCE_BYTES_MAX, 1024, "bytes of a sentence for people")                                                           \
	X(TIMEOUT_MS_MAX, 3600000, "ms a client may wait")                                                                      \
	X(TTL_MS_MAX, 31622400000, "ms an entry may live: 366 days")                                                            \
	X(TOKENS_MAX, 1000000000000, "tokens of a prompt or of an answer")                                                      \
	X(HELLO_TIMEOUT_MS, 5000, "ms a connection may stay without HELLO")                                                     \
	X(PING_INTERVAL_MS, 15000, "ms between PINGs while requests wait; two unanswered close the connection")

#define X(name, value, text) static const uint64_t name = value; /* see PROTO_LIMITS */
PROTO_LIMITS(X)
#undef X

#define X(name, number, text) SOURCE_##name = number,
enum proto_source { PROTO_SOURCES(X) };
#undef X
#define X(name, number, text) SEGMENT_##name = number,
enum proto_segment { PROTO_SEGMENTS(X) };
#undef X
#define X(name, number, text) REASON_##name = number,
enum proto_reason { PROTO_REASONS(X) };
#undef X
#define X(name, number, text) TARGET_##name = number,
enum proto_target { PROTO_TARGETS(X) };
#undef X
#define X(name, key, text) STAGE_##name,
enum proto_stage { PROTO_STAGES(X) STAGE_COUNT };
#undef X
#define X(name, number, retryable, text) ERR_##name = number,
enum proto_error { ERR_NONE = 0, PROTO_ERRORS(X) };
#undef X
#define X(name, bit, text) FEATURE_##name = 1u << (bit),
enum proto_feature { PROTO_FEATURES(X) FEATURES_ALL = 0
#undef X
#define X(name, bit, text) | FEATURE_##name
		     PROTO_FEATURES(X) };
#undef X

/* clang-format on */

/* Names in lower case, as they stand in documents, JSON and metrics ("exact", "no_store", "rate_limited"); errors in
 * upper case
 * ("RATE_LIMITED"). NULL for a number that is not in the table. */
const char *proto_op_name(uint64_t op); /* "QUERY"; of a reserved number too */
const char *proto_source_name(uint64_t source);
const char *proto_segment_name(uint64_t kind);
const char *proto_reason_name(uint64_t reason);
const char *proto_reason_text(uint64_t reason);
const char *proto_stage_name(enum proto_stage stage);
const char *proto_error_name(uint64_t code);
const char *proto_error_text(uint64_t code); /* the sentence of the table */
bool proto_error_retryable(uint64_t code);

/* The tables of PROTOCOL.md as Markdown, appended to out (tests compare them with the document). False: no memory. */
bool proto_schema_markdown(struct buf *out);

#endif
