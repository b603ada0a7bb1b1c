/* failure: why something failed, in words, with memory of its own for them. What pc_error shows. */
#ifndef CLIENT_FAILURE_H
#define CLIENT_FAILURE_H

#include "client/promptcache.h"
#include "proto/message.h"

#define FAILURE_NAME_BYTES    129  /* NAME_BYTES_MAX and a NUL */
#define FAILURE_MESSAGE_BYTES 1025 /* SENTENCE_BYTES_MAX and a NUL */
#define FAILURE_SERVER_BYTES  160  /* what a server is called in a message: endpoint_print */

struct failure {
	struct pc_failure seen; /* its strings point below: a failure is copied with failure_copy */
	char name[FAILURE_NAME_BYTES];
	char field[FAILURE_NAME_BYTES];
	char message[FAILURE_MESSAGE_BYTES];
};

void failure_clear(struct failure *f); /* no failure: PC_OK and empty strings */

/* Fills it; long texts are cut. Returns status, so that `return failure_set(...)` reads well. field may be NULL. */
__attribute__((format(printf, 4, 5))) int failure_set(struct failure *f, int status, const char *field, const char *fmt,
						      ...);

/* An ERROR frame of the server. Returns the status that a call ends with. */
int failure_of_error(struct failure *f, const struct error_body *e);

void failure_copy(struct failure *to, const struct pc_failure *from);

#endif
