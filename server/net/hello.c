#include "server/net/hello.h"

#include <inttypes.h>

#include "server/base/log.h"

#define HELLO_STRANGER_LOG_US UINT64_C(1000000) /* between two lines about wrong tokens */

static void hello_refuse(struct conn *c, uint64_t id, const struct fault *fault)
{
	conn_fault(c, id, fault);
	conn_finish(c, "HELLO refused");
}

/* False: refused. */
static bool hello_check(struct conn *c, const struct message *m)
{
	const struct hello_body *h = &m->hello;
	struct fault fault;

	if (m->id == 0) {
		fault_set(&fault, ERR_INVALID, "id", "HELLO needs an id from 1 on; 0 speaks of the connection");
		hello_refuse(c, 0, &fault);
		return false;
	}
	if (h->version == 0) {
		fault_set(&fault, ERR_UNSUPPORTED, "version", "there is no version 0; this server speaks %d",
			  PROTO_VERSION);
		hello_refuse(c, m->id, &fault);
		return false;
	}
	if (MESSAGE_HAS(h, HELLO, frame_max) && h->frame_max < CONN_PEER_FRAME_MIN) {
		fault_set(&fault, ERR_INVALID, "frame_max", "a client takes frames of at least %d bytes, not %" PRIu64,
			  CONN_PEER_FRAME_MIN, h->frame_max);
		hello_refuse(c, m->id, &fault);
		return false;
	}
	return true;
}

/* Once in a while: whoever can connect could fill a disk with these lines. */
static void hello_log_stranger(struct conn *c, const struct stream_peer *peer, enum auth_verdict verdict)
{
	struct conn_shared *s = c->shared;
	uint64_t now_us = loop_now_us(s->loop);

	if (s->stranger_logged_us != 0 && now_us - s->stranger_logged_us < HELLO_STRANGER_LOG_US)
		return;
	s->stranger_logged_us = now_us;
	log_event(LOG_WARN, "conn.unauthenticated", "id=%" PRIu64 " from=%s reason=\"token %s\" total=%" PRIu64, c->id,
		  peer->text, verdict == AUTH_TOKEN_MISSING ? "missing" : "wrong",
		  s->counters.net_unauthenticated_total);
}

/* False: refused. The answer comes at once: a guess at 256 bits gains nothing by speed, and a delay would cost us a
 * timer each. */
static bool hello_authenticate(struct conn *c, const struct message *m)
{
	struct stream_peer peer;
	enum auth_verdict verdict;
	struct fault fault;

	stream_peer(c->stream, &peer);
	verdict = auth_decide(&c->shared->auth, &peer, m->hello.token);
	if (verdict == AUTH_OK)
		return true;
	c->shared->counters.net_unauthenticated_total++;
	hello_log_stranger(c, &peer, verdict);
	fault_set(&fault, ERR_UNAUTHENTICATED, "token",
		  verdict == AUTH_TOKEN_MISSING ? "this server asks for a token in HELLO; its token file holds it"
						: "the token is not the one in this server's token file");
	hello_refuse(c, m->id, &fault);
	return false;
}

static void hello_accept(struct conn *c, const struct message *m)
{
	const struct hello_body *h = &m->hello;
	uint64_t frame_max = MESSAGE_HAS(h, HELLO, frame_max) ? h->frame_max : FRAME_BYTES_MAX;
	uint32_t features = (uint32_t)h->features & FEATURES_ALL;
	struct end_body end = {0};

	if (frame_max > FRAME_BYTES_MAX)
		frame_max = FRAME_BYTES_MAX;
	MESSAGE_SET(&end, END, version, h->version < PROTO_VERSION ? h->version : PROTO_VERSION);
	MESSAGE_SET(&end, END, features, features);
	MESSAGE_SET(&end, END, server, slice_str(c->shared->server));
	MESSAGE_SET(&end, END, frame_max, FRAME_BYTES_MAX);
	MESSAGE_SET(&end, END, inflight_max, c->shared->options->inflight);
	MESSAGE_SET(&end, END, ping_interval_ms, PING_INTERVAL_MS);
	MESSAGE_SET(&end, END, as_of, engine_as_of(c->shared->engine));
	if (!conn_sent(c, reply_end(conn_output(c), m->id, &end)))
		return;
	conn_greet(c, features, (uint32_t)frame_max);
	if (log_wants(LOG_DEBUG))
		log_event(LOG_DEBUG, "conn.open", "id=%" PRIu64 " client=%s", c->id,
			  log_quote((const char *)h->client.p, (int)h->client.n));
}

void hello_serve(struct conn *c, const struct message *m)
{
	struct fault fault;

	if (c->state != CONN_GREETING) {
		fault_set(&fault, ERR_INVALID, "", "HELLO was accepted before; it comes once");
		conn_fault(c, m->id, &fault);
		return;
	}
	if (hello_check(c, m) && hello_authenticate(c, m))
		hello_accept(c, m);
}
