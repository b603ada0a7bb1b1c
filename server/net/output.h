/* output: what a connection has to say and the socket has not taken yet: small pieces copied one behind the other,
 * large ones as references to the answer blocks they stand in, so that a thousand waiters for one answer share its
 * bytes.
 *
 *      copied   [HEAD][CHUNK header][CHUNK header]............[END]
 *      refs                        ^ 16 KB of block A        ^ 9 KB of block B         each after so many copied bytes
 *
 * Pure: the caller writes what output_gather shows and tells how much went. Memory of the copied bytes comes from a
 * few spares that all connections share: one that has nothing to say owns none. */
#ifndef NET_OUTPUT_H
#define NET_OUTPUT_H

#include <sys/uio.h>

#include "server/engine/answer.h"

#define OUTPUT_SPARE_BYTES   32768 /* a batch of 16 answers of 1 KB, with room */
#define OUTPUT_SPARES_MAX    64	   /* 2 MB at most are kept for the next ones */
#define OUTPUT_REF_BYTES_MIN 512   /* below, a copy is cheaper than one more element of the writev */
#define OUTPUT_IOV_MAX	     64
#define OUTPUT_COPIED_MAX                                                                                              \
	(64u * 1024 * 1024) /* ceiling of one connection's copied bytes: two frames of the largest size, and more */

struct output_spares {
	struct buf items[OUTPUT_SPARES_MAX];
	size_t count;
};
void output_spares_free(struct output_spares *s);

struct output_ref {
	struct answer_block *block; /* a reference */
	struct slice data;	    /* what is left of it; within block */
	size_t at;		    /* it comes behind this many bytes of copied */
};

struct output {
	struct buf copied;
	size_t copied_sent; /* bytes at the front of copied that are gone */
	struct output_ref *refs;
	uint32_t refs_first, refs_count, refs_size;
	size_t ref_bytes; /* left in all refs */
};

/* Zeroed memory is an empty output. */
void output_free(struct output *o, struct output_spares *s);

static inline size_t output_bytes(const struct output *o) { return o->copied.n - o->copied_sent + o->ref_bytes; }

/* The buffer to append copied bytes to; valid until the next call. Takes a spare when the output owns no memory. */
struct buf *output_buf(struct output *o, struct output_spares *s);

/* Appends data that lies in block: by reference, or a copy when it is small. False: no memory; nothing has changed. */
__attribute__((warn_unused_result)) bool output_append_block(struct output *o, struct output_spares *s,
							     struct answer_block *block, struct slice data);

/* The bytes from the front, as many as fit; returns how many of iov are filled. */
int output_gather(const struct output *o, struct iovec iov[OUTPUT_IOV_MAX]);

/* n bytes from the front are sent. An empty output gives its memory back. */
void output_sent(struct output *o, struct output_spares *s, size_t n);

#endif
