/* retry_after: how long a provider asks us to wait. Pure: the wall clock is an argument. */
#ifndef UPSTREAM_RETRY_AFTER_H
#define UPSTREAM_RETRY_AFTER_H

#include "proto/bytes.h"

#define RETRY_AFTER_MS_MAX 3600000u /* what asks for more gets this: an hour, the longest that any client may wait */

/* The value of Retry-After: seconds (a fraction is taken too) or an HTTP date. 0: there is none to be read; a date in
 * the past and 0 seconds are 1 ms: "at once" is not "nothing was said". */
uint64_t retry_after_read(struct slice value, uint64_t wall_us);

/* The value of retry-after-ms, OpenAI's finer form. */
uint64_t retry_after_read_ms(struct slice value);

#endif
