/* chat_error: what a provider's refusal means for us: its HTTP status and the error object in its body → our error, a
 * sentence, and whether another attempt makes sense. Pure. */
#ifndef UPSTREAM_CHAT_ERROR_H
#define UPSTREAM_CHAT_ERROR_H

#include "proto/schema.h"

#define CHAT_ERROR_BYTES_MAX 16384u /* of an error's body; the rest is not read */

struct chat_error {
	enum proto_error code;
	bool retry; /* the same request may succeed soon */
	char message
		[192]; /* for people; never holds keys. The provider's own words only from 4xx, and not from those about the key */
};

/* status: not 2xx. body: as much of it as was read; any bytes. */
void chat_error_read(struct chat_error *ret, unsigned status, struct slice body);

#endif
