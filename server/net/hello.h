/* hello: the first request of a connection: version, features, limits, and the right to be here. */
#ifndef NET_HELLO_H
#define NET_HELLO_H

#include "server/net/conn.h"

void hello_serve(struct conn *c, const struct message *m);

#endif
