#include "server/net/settings.h"

#include <stddef.h>

#include "server/net/output.h"

#define KB     1024ull
#define MB     (1024 * KB)
#define TB     (1024 * 1024 * MB)
#define MINUTE 60000ull
#define DAY    (24 * 60 * MINUTE)

/* Below high water one more frame, of 16 MB at most, is put behind what waits; it must find room. */
#define NET_HIGH_WATER_MAX (32 * MB)
_Static_assert(2 * NET_HIGH_WATER_MAX <= OUTPUT_COPIED_MAX, "a connection would be closed for it");

static const char *const auth_choices[] = {"token", "none", NULL};

#define TEXT_OF(value) #value
#define TEXT(value)    TEXT_OF(value)
#define AT(field)      offsetof(struct net_options, field)

/* clang-format off */
static const struct option top_table[] = {
	{.name = "listen", .type = OPTION_STRINGS, .offset = AT(listen),
	 .text = "addresses: unix:/path/sock, tcp://host:port; without any: the default Unix socket and " NET_DEFAULT_TCP},
	{.name = "auth", .type = OPTION_CHOICE, .offset = AT(auth), .fallback = "token", .choices = auth_choices,
	 .text = "token: TCP clients and other users' processes need the token; none: everybody is let in"},
	{.name = "insecure", .type = OPTION_BOOL, .offset = AT(insecure), .fallback = "false",
	 .text = "allow TCP without TLS beyond the loopback interface"},
	{.name = "token_file", .type = OPTION_STRING, .offset = AT(token_file),
	 .text = "file with the token, made at the first start; without: token in the state folder"},
};

static const struct option net_table[] = {
	{.name = "connections", .type = OPTION_UINT, .offset = AT(connections), .fallback = TEXT(NET_CONNECTIONS_DEFAULT),
	 .min = 1, .max = 1000000,
	 .text = "connections at once; lowered to what the limit of open files allows"},
	{.name = "inflight", .type = OPTION_UINT, .offset = AT(inflight), .fallback = "4096", .min = 1, .max = 65536,
	 .text = "requests in flight on one connection"},
	{.name = "high_water", .type = OPTION_BYTES, .offset = AT(high_water_bytes), .fallback = "1MB", .min = 4 * KB, .max = NET_HIGH_WATER_MAX,
	 .text = "a connection with more output waiting is not read until low_water"},
	{.name = "low_water", .type = OPTION_BYTES, .offset = AT(low_water_bytes), .fallback = "256KB", .min = 1 * KB, .max = NET_HIGH_WATER_MAX,
	 .text = "output waiting at which a connection is read again"},
	{.name = "output_limit", .type = OPTION_BYTES, .offset = AT(output_limit_bytes), .fallback = "256MB", .min = 1 * MB, .max = 1 * TB,
	 .text = "output waiting on all connections; above it each may have one piece waiting"},
	{.name = "input_limit", .type = OPTION_BYTES, .offset = AT(input_limit_bytes), .fallback = "512MB", .min = 1 * MB, .max = 1 * TB,
	 .text = "bytes of frames on their way on all connections; above it large ones are refused"},
	{.name = "write_timeout", .type = OPTION_DURATION, .offset = AT(write_timeout_ms), .fallback = "60s", .min = 10, .max = DAY,
	 .text = "a client that takes nothing of what waits for it is dropped after; an answer that waits for WINDOW is, too"},
	{.name = "idle_timeout", .type = OPTION_DURATION, .offset = AT(idle_timeout_ms), .fallback = "1h", .min = 10, .max = 365 * DAY,
	 .text = "a connection without requests is closed after"},
	{.name = "frame_timeout", .type = OPTION_DURATION, .offset = AT(frame_timeout_ms), .fallback = "30s", .min = 10, .max = DAY,
	 .text = "a frame that began must be there whole within"},
};

static const struct metric metric_table[] = {METRICS_TABLE(NET_METRICS, struct net_metrics)};
/* clang-format on */

void net_options_add(struct options *o, struct net_options *options)
{
	options_add_group(o, &(struct option_group){.prefix = "",
						    .options = top_table,
						    .count = sizeof top_table / sizeof *top_table,
						    .base = options});
	options_add_group(o, &(struct option_group){.prefix = "net",
						    .options = net_table,
						    .count = sizeof net_table / sizeof *net_table,
						    .base = options});
}

const struct metric *net_metrics_table(size_t *ret_count)
{
	*ret_count = sizeof metric_table / sizeof *metric_table;
	return metric_table;
}
