/* transport_sim: the connection door of scenarios: the same header as the real one (server/net/transport.h), linked in
 * its place. Clients are scripted: what they send lies ready, what they get is kept, and how much they take is theirs
 * to say.
 *
 *      struct transport_sim_client *c = transport_sim_connect("unix:/sock");   accepted in a later turn
 *      transport_sim_send(c, slice_str("..."));
 *      loop_sim_run_for(l, 1000);
 *      transport_sim_received(c)
 *
 * Works with the real loop too. Events are level-triggered, as epoll's are. No memory: abort. */
#ifndef TESTS_SIM_TRANSPORT_SIM_H
#define TESTS_SIM_TRANSPORT_SIM_H

#include "proto/bytes.h"
#include "server/net/transport.h"

struct transport_sim_client;

/* listen: the text of an address that is listened to; aborts when nobody does. The peer is a process of ours on a Unix
 * socket, and a stranger without a name elsewhere. */
struct transport_sim_client *transport_sim_connect(const char *listen);
bool transport_sim_listening(const char *listen);
void transport_sim_set_uid(struct transport_sim_client *c, uid_t uid); /* of the peer, as the kernel would tell */

void transport_sim_send(struct transport_sim_client *c, struct slice bytes);
void transport_sim_end(struct transport_sim_client *c);	  /* sends no more: half-closed */
void transport_sim_reset(struct transport_sim_client *c); /* the connection breaks */

/* From now on the server can write so many bytes and no more; SIZE_MAX: any, as at first. */
void transport_sim_take_only(struct transport_sim_client *c, size_t bytes);

struct slice transport_sim_received(const struct transport_sim_client *c); /* valid until more comes */
void transport_sim_consume(struct transport_sim_client *c, size_t bytes);  /* forgets the first of what was received */
unsigned transport_sim_writes(const struct transport_sim_client *c); /* calls of stream_write that wrote something */

bool transport_sim_ended(const struct transport_sim_client *c);	 /* the server sends no more */
bool transport_sim_closed(const struct transport_sim_client *c); /* the server has closed */

void transport_sim_free(struct transport_sim_client *c); /* closes; accepts NULL */

void transport_sim_set_descriptors(uint64_t limit); /* what transport_raise_descriptors returns */

#endif
