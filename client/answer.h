/* answer: the pieces of an answer, gathered as they come, and the answer that is made of them.
 *
 *      CHUNK ──> gather_add ──┐
 *      CHUNK ──> gather_add ──┤
 *      END  ─────────────────>└── answer_make ──> one block of memory that the user frees
 *
 * A short answer comes whole in its END and is never gathered: its bytes are copied once. */
#ifndef CLIENT_ANSWER_H
#define CLIENT_ANSWER_H

#include "client/promptcache.h"
#include "proto/message.h"

/* One [kind, index, data] of an END, or one CHUNK. */
struct piece {
	int kind;
	unsigned index;
	struct slice data; /* (borrowed from the frame) */
};

/* False: it is not of that shape, or over a limit of the protocol. */
__attribute__((warn_unused_result)) bool piece_of_object(const msgpack_object *o, struct piece *ret);
__attribute__((warn_unused_result)) bool piece_of_chunk(const struct chunk_body *c, struct piece *ret);

struct gathered {
	int kind; /* 0: nothing of this index has come */
	struct buf data;
};

struct gather {
	const struct mem *mem;	   /* (borrowed) */
	struct gathered *segments; /* by index */
	size_t count;
	size_t bytes; /* of all segments: at most ANSWER_BYTES_MAX */
};

void gather_init(struct gather *g, const struct mem *mem);
void gather_free(struct gather *g);

/* PC_OK · PC_PROTOCOL: over ANSWER_BYTES_MAX, or a kind that changed within a segment · PC_NO_MEMORY */
__attribute__((warn_unused_result)) int gather_add(struct gather *g, const struct piece *p);

/* Makes the answer of what was gathered and what END brings. PC_OK · PC_PROTOCOL · PC_NO_MEMORY. */
__attribute__((warn_unused_result)) int answer_make(struct gather *g, const struct end_body *end, uint64_t latency_us,
						    struct pc_answer **ret);

const char *answer_source_name(uint64_t source); /* "unknown" for a later version's */

#endif
