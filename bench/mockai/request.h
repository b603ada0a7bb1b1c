/* request: one HTTP request as it arrives; http-parser does the parsing, this keeps the parts.
 *
 *      READING ──> COMPLETE
 *         └──────> BAD      (status says which error to answer; the connection cannot be used again)
 *
 * Credentials are never kept: of an Authorization or api-key header only the scheme remains. */
#ifndef MOCKAI_REQUEST_H
#define MOCKAI_REQUEST_H

#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>

#include "bench/mockai/buffer.h"

#define REQUEST_BODY_BYTES_MAX	  (32u << 20)
#define REQUEST_TARGET_BYTES_MAX  8192u
#define REQUEST_HEADERS_BYTES_MAX 65536u

enum request_state {
	REQUEST_READING,
	REQUEST_COMPLETE,
	REQUEST_BAD
};

struct request {
	http_parser parser;
	enum request_state state;
	int status;	       /* BAD: 400, 413, 414 or 431 */
	struct buffer target;  /* path and query */
	struct buffer headers; /* name NUL value NUL ..., names in lower case */
	struct buffer body;
	struct buffer name; /* the header that is being read */
	struct buffer value;
	char auth[16]; /* "bearer", "api-key" or "" */
	bool value_seen;
	bool started;	     /* at least one byte has come */
	bool expects;	     /* Expect: 100-continue */
	bool wants_continue; /* ... the head is whole, no body has come and nobody has said "100" */
	bool keep_alive;
};

void request_init(struct request *r);
void request_free(struct request *r);

/* Ready for the next request on the same connection. */
void request_reset(struct request *r);

/* Returns how many bytes were taken; what remains belongs to the next request. */
size_t request_feed(struct request *r, const char *data, size_t length);

/* The path alone, and the query behind '?' (length 0: none). Borrowed from the request. */
void request_path(const struct request *r, const char **ret_path, size_t *ret_length, const char **ret_query);

static inline bool request_is(const struct request *r, enum http_method method)
{
	return r->parser.method == (unsigned)method;
}

#endif
