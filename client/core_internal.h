/* What core.c and core_receive.c share. */
#ifndef CLIENT_CORE_INTERNAL_H
#define CLIENT_CORE_INTERNAL_H

#include "client/core.h"

#define CORE_HELLO_ID 1

struct core_request *core_find(struct core *c, uint64_t id); /* NULL: not in flight */
void core_end(struct core *c, struct core_request *r, int status, struct pc_answer *answer,
	      const struct pc_failure *failure);

#endif
