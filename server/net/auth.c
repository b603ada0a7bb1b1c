#include "server/net/auth.h"

#include "server/base/secret.h"

enum auth_verdict auth_decide(const struct auth *a, const struct stream_peer *peer, struct slice token)
{
	if (a->mode == AUTH_NONE)
		return AUTH_OK;
	if (peer->local && (peer->uid == a->uid || peer->uid == 0))
		return AUTH_OK; /* also with a token that is out of date: clients send what they find */
	if (token.n == 0)
		return AUTH_TOKEN_MISSING;
	if (!secret_equal(a->token, strlen(a->token), (const char *)token.p, token.n))
		return AUTH_TOKEN_WRONG;
	return AUTH_OK;
}

bool auth_may_listen(const struct endpoint *e, bool insecure) { return insecure || endpoint_is_loopback(e); }
