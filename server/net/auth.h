/* auth: who may speak to us, and where we may listen. Pure decisions; the answers become errors elsewhere.
 *
 *      Unix socket, a process of ours or of root    yes: the socket's mode (0600) and the kernel vouch for it
 *      everybody else                               with the token; with `auth: none`, everybody */
#ifndef NET_AUTH_H
#define NET_AUTH_H

#include "proto/schema.h"
#include "server/net/transport.h"

#define AUTH_TOKEN_BYTES 513 /* TOKEN_BYTES_MAX and a NUL */

enum auth_mode {
	AUTH_TOKEN,
	AUTH_NONE
};

struct auth {
	enum auth_mode mode;
	uid_t uid;		      /* ours */
	char token[AUTH_TOKEN_BYTES]; /* ends in NUL; empty equals nothing */
};

enum auth_verdict {
	AUTH_OK,
	AUTH_TOKEN_MISSING,
	AUTH_TOKEN_WRONG
};

enum auth_verdict auth_decide(const struct auth *a, const struct stream_peer *peer, struct slice token);

/* Beyond loopback everybody on the way reads token, prompts and answers: that has to be asked for. */
bool auth_may_listen(const struct endpoint *e, bool insecure);

#endif
