/* payload: what the engine stores in an entry: the part of END that is the same for everybody who gets the answer
 * (segments, finish reason, model, tokens, upstream, entry name), as a msgpack map with a 16-bit header, so that a hit
 * is sent by copying bytes.
 *
 *      payload = DE count:u16 | key value key value …        END = [op, id, flags, DE count+more | more … | key value key value …]
 */
#ifndef ENGINE_PAYLOAD_H
#define ENGINE_PAYLOAD_H

#include "proto/message.h"
#include "server/engine/answer.h"

/* Builds the payload of a finished answer: the fields of `end` (segments excepted) and the answer's segments.
 * False: no memory or over the ceiling; out is as before. */
__attribute__((warn_unused_result)) bool payload_from_answer(struct buf *out, const struct end_body *end,
							     const struct answer *a);

/* The same from a client's PUT: `segments` (as in the message: [[kind, index, data], …]) or one text. -1: *fault
 * (INVALID segments…). */
__attribute__((warn_unused_result)) int payload_from_put(struct buf *out, const struct end_body *end,
							 const struct request_body *put, struct fault *fault);

/* Reads a payload back; the slices of *ret point into it, ret->segments lives in the decoder's zone. -1: damaged. */
__attribute__((warn_unused_result)) int payload_decode(struct message_decoder *d, struct slice payload,
						       struct end_body *ret);

/* Is it what the functions above make? Asked of what comes from a durable store, before anybody gets it: a checksum
 * says that a row is what was written, not who wrote it. */
bool payload_is_sound(struct message_decoder *d, struct slice payload);

/* A replay must not repeat tool-call ids: an agent may hold two of them in one conversation. `mint` is 0 to keep the
 * ids, as for those who share a call, or a random number from which new ones of the same form are made ("call_8fK…":
 * what follows the first _ or - is replaced). */

/* An answer that is complete already, made from a payload, for readers that want pieces. NULL: damaged or no memory. */
struct answer *payload_answer(struct message_decoder *d, struct slice payload, uint64_t mint);

/* Appends the whole END frame: `more` (its fields come first) and, with `segments`, everything in the payload; without,
 * the payload's fields except the segments (they went out as CHUNKs). False: out's ceiling or no memory; out is as
 * before. */
__attribute__((warn_unused_result)) bool payload_encode_end(struct buf *out, uint64_t id, const struct end_body *more,
							    struct slice payload, bool segments, uint64_t mint);

/* Bytes of all segments' data, as the payload's first field tells (for WINDOW credit). */
uint64_t payload_segments_bytes(struct slice payload);

#endif
