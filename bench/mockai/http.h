/* http: heads and error bodies, written by hand because some answers must be wrong on purpose. */
#ifndef MOCKAI_HTTP_H
#define MOCKAI_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "bench/mockai/fault.h"
#include "bench/mockai/request.h"
#include "bench/mockai/script.h"

/* What a provider says when it says no. */
struct http_error {
	int status;
	const char *type;  /* NULL: from the status */
	const char *param; /* NULL: null */
	const char *code;  /* NULL: null */
	char message[256];
};

enum http_length {
	HTTP_LENGTH_KNOWN,
	HTTP_LENGTH_CHUNKED,
	HTTP_LENGTH_UNKNOWN
};

/* The head of an answer and the framing that follows from it. An HTTP/1.0 client gets no chunks. */
void http_head(struct script *s, const struct request *r, int status, const char *type, enum http_length how,
	       size_t length, const char *extra);

/* A whole answer with a body. `extra`: further header lines with CRLF, or "". */
void http_reply(struct script *s, const struct request *r, int status, const char *type, const char *body,
		size_t length, const char *extra);

void http_reply_error(struct script *s, const struct request *r, const struct http_error *e, const char *extra);

/* True: one of the faults replaces the whole answer, and it is written. */
bool http_reply_fault(struct script *s, const struct request *r, const struct fault_set *faults);

/* The faults of the wire: cuts and hangs of an answer that is written. */
void http_break(struct script *s, const struct fault_set *faults);

#endif
