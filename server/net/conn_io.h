/* conn_io: what a connection does with its socket: read, cut, write, and in which order within a turn. */
#ifndef NET_CONN_IO_H
#define NET_CONN_IO_H

#include "server/net/conn.h"

extern const struct stream_events conn_io_events;

/* The end of the turn: frames that were left, then one write. */
void conn_io_turn(struct conn *c);

/* Brings the shared gauges up to date with what this connection holds. */
void conn_io_account(struct conn *c);

#endif
