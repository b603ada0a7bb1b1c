/* settings: a handle's own copy of its options. Both faces stand on it. */
#ifndef CLIENT_SETTINGS_H
#define CLIENT_SETTINGS_H

#include "client/address.h"
#include "client/core.h"

struct settings {
	struct mem mem;
	struct address address;
	char *token;	  /* NULL: from a file */
	char *token_file; /* NULL: the default one */
	char *client;
	uint32_t frame_max;
	size_t output_max;
	uint64_t connect_timeout_us;
};

/* options: NULL for all defaults. PC_OK · PC_INVALID · PC_UNSUPPORTED · PC_NO_MEMORY; on failure nothing is held. */
__attribute__((warn_unused_result)) int settings_init(struct settings *s, const struct pc_options *options,
						      struct failure *failure);
void settings_free(struct settings *s);

/* Sets up the core of a new connection to that endpoint of s->address; reads the token's file. The token of the default
 * file does not go to an address_is_guess: whoever listens there would have it. PC_OK, or PC_INVALID (a token file that
 * was named and cannot be read, or no token in it), PC_NO_MEMORY. */
__attribute__((warn_unused_result)) int settings_core(const struct settings *s, const struct endpoint *to,
						      struct core *c, uint64_t now_us, struct failure *failure);

#endif
