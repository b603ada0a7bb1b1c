/* settings: the options and the metrics of the layer, as tables. */
#ifndef NET_SETTINGS_H
#define NET_SETTINGS_H

#include "server/base/metrics.h"
#include "server/base/options.h"

struct net_options {
	struct option_strings listen; /* none: the default Unix socket and NET_DEFAULT_TCP */
	int auth;		      /* enum auth_mode */
	bool insecure;
	const char *token_file;
	uint64_t connections, inflight;
	uint64_t high_water_bytes, low_water_bytes, output_limit_bytes, input_limit_bytes;
	uint64_t write_timeout_ms, idle_timeout_ms, frame_timeout_ms;
};

#define NET_DEFAULT_TCP		"tcp://127.0.0.1:7411" /* in use: a warning, and the Unix socket alone */
#define NET_CONNECTIONS_DEFAULT 60000

/* listen, auth, insecure, token_file, net.… → *options. */
void net_options_add(struct options *o, struct net_options *options);

/* clang-format off */
#define NET_METRICS(X)                                                                                                          \
	X(net_connections, GAUGE, "connections open now")                                                                       \
	X(net_connections_total, COUNTER, "connections accepted")                                                               \
	X(net_connections_refused_total, COUNTER, "connections refused because of net.connections")                             \
	X(net_connections_shed_total, COUNTER, "connections closed at once because no descriptor was left")                     \
	X(net_accept_failures_total, COUNTER, "accepts that failed")                                                            \
	X(net_hello_timeouts_total, COUNTER, "connections closed: no HELLO in time")                                            \
	X(net_idle_timeouts_total, COUNTER, "connections closed: net.idle_timeout")                                             \
	X(net_frame_timeouts_total, COUNTER, "connections closed: a frame began and did not end, net.frame_timeout")            \
	X(net_write_timeouts_total, COUNTER, "connections closed: the client did not read, net.write_timeout")                  \
	X(net_window_timeouts_total, COUNTER, "answers given up because WINDOW did not come, net.write_timeout")                 \
	X(net_ping_timeouts_total, COUNTER, "connections closed: two PINGs unanswered")                                         \
	X(net_pings_total, COUNTER, "PINGs sent while requests waited")                                                         \
	X(net_unauthenticated_total, COUNTER, "connections refused: no HELLO first, or no right to be here")                    \
	X(net_garbage_total, COUNTER, "connections that spoke another protocol")                                                \
	X(net_frames_total, COUNTER, "frames received")                                                                         \
	X(net_malformed_total, COUNTER, "frames answered with an error because of their form")                                  \
	X(net_oversize_total, COUNTER, "frames longer than the limit, skipped")                                                 \
	X(net_duplicate_ids_total, COUNTER, "requests refused: their id was in flight")                                         \
	X(net_unknown_ids_total, COUNTER, "CANCEL and WINDOW for requests that are not in flight, ignored")                     \
	X(net_requests, GAUGE, "requests in flight now")                                                                        \
	X(net_requests_refused_total, COUNTER, "requests refused because of net.inflight")                                      \
	X(net_requests_gone_total, COUNTER, "requests given up because their connection ended")                                 \
	X(net_reads_total, COUNTER, "reads from sockets")                                                                       \
	X(net_writes_total, COUNTER, "writes to sockets")                                                                       \
	X(net_received_bytes_total, COUNTER, "bytes read from sockets")                                                         \
	X(net_sent_bytes_total, COUNTER, "bytes written to sockets")                                                            \
	X(net_yields_total, COUNTER, "turns that a connection ended with whole frames left, for the others' sake")              \
	X(net_blocked_total, COUNTER, "times that a connection was not read because its output waits, net.high_water")          \
	X(net_input_refused_total, COUNTER, "frames refused because of net.input_limit or without memory")                      \
	X(net_held_bytes, GAUGE, "bytes of finished answers that wait for WINDOW or output, bounded by net.output_limit")       \
	X(net_held_refused_total, COUNTER, "answers given up because of net.output_limit")                                      \
	X(net_output_bytes, GAUGE, "bytes waiting to be written, all connections")                                              \
	X(net_input_bytes, GAUGE, "bytes of frames on their way, all connections")                                              \
	X(net_no_memory_total, COUNTER, "connections closed because there was no memory for their replies")
/* clang-format on */

struct net_metrics {
	METRICS_FIELDS(NET_METRICS)
};

const struct metric *net_metrics_table(size_t *ret_count);

#endif
