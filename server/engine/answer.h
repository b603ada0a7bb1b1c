/* answer: one growing answer, many readers. An append-only log of typed segments in blocks that never move; whoever
 * holds a block may read its bytes for as long as it likes, so output queues reference blocks and nothing is copied per
 * waiter.
 *
 *      segments   [text 0 ..................][tool call 1 ....]
 *      blocks     [████████████][████████████████████████][███░░░]   ← append
 *                        ^ reader A                  ^ reader B       each with its own offset, from byte 0
 *
 * It becomes COMPLETE or FAILED exactly once and does not change after that. */
#ifndef ENGINE_ANSWER_H
#define ENGINE_ANSWER_H

#include <sys/queue.h>

#include "proto/schema.h"

enum answer_state {
	ANSWER_GROWING,
	ANSWER_COMPLETE,
	ANSWER_FAILED
};

struct answer_block {
	TAILQ_ENTRY(answer_block) link;
	uint32_t refs;
	uint32_t used, size;
	uint8_t bytes[];
};
struct answer_block *answer_block_ref(struct answer_block *b);
void answer_block_unref(struct answer_block *b); /* accepts NULL */

struct answer_segment {
	uint8_t kind;	/* enum proto_segment */
	uint32_t begin; /* offset of its first byte; it ends where the next one begins */
};

struct answer {
	uint32_t refs;
	enum answer_state state;
	TAILQ_HEAD(answer_blocks, answer_block) blocks;
	struct answer_segment *segments;
	uint32_t segments_count, segments_size;
	uint32_t bytes; /* in all blocks */
	uint64_t memory_bytes;
};

struct answer *answer_new(void); /* one reference, the caller's; NULL: no memory */
struct answer *answer_ref(struct answer *a);
void answer_unref(struct answer *a); /* accepts NULL */

/* Appends to segment `index`: the last one, or the next one (a new segment of this kind). ANSWER_BYTES_MAX and
 * SEGMENTS_MAX hold. False: over a limit or no memory; the answer is as it was, or ends within this piece. */
__attribute__((warn_unused_result)) bool answer_append(struct answer *a, enum proto_segment kind, unsigned index,
						       struct slice data);
void answer_finish(struct answer *a, enum answer_state state); /* COMPLETE or FAILED */

/* Where a reader stands. Zeroed: at the beginning. Valid as long as somebody holds the answer. */
struct answer_reader {
	struct answer_block *block; /* (borrowed) NULL: before the first one */
	uint32_t block_offset;
	uint32_t offset; /* bytes read in all */
	uint32_t segment;
};

struct answer_piece {
	enum proto_segment kind;
	uint32_t index;
	struct slice data;	    /* within block */
	struct answer_block *block; /* (borrowed) take a reference to keep data */
};

/* The next piece of at most max_bytes (> 0) that lies in one block and one segment. False: nothing new, for now or for
 * ever. */
bool answer_read(const struct answer *a, struct answer_reader *r, size_t max_bytes, struct answer_piece *ret);

#endif
