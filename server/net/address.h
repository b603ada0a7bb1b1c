/* address: where to listen, from the text of the configuration to what bind takes.
 *
 *      unix:/path/sock     tcp://host:port     tcp://[::1]:port        port 0: the system chooses one
 *
 * Parsing is pure. Resolving a host name asks the system and may block: before the loop runs only. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ADDRESS_HOST_BYTES    256
#define ADDRESS_ENDPOINTS_MAX 8 /* of one host name; more are left out */
#define ENDPOINT_TEXT_BYTES   160

enum address_kind {
	ADDRESS_UNIX,
	ADDRESS_TCP
};

struct address {
	enum address_kind kind;
	char host[ADDRESS_HOST_BYTES]; /* UNIX: the path */
	uint16_t port;
};

/* 0, or -1 with a sentence that names what would be right. */
__attribute__((warn_unused_result)) int address_parse(struct address *ret, const char *text, char *error,
						      size_t error_bytes);

/* One socket to listen on. */
struct endpoint {
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} addr;
	socklen_t bytes; /* of addr in use */
};

/* 0 with at least one endpoint, or -1 with a sentence. */
__attribute__((warn_unused_result)) int address_resolve(const struct address *a,
							struct endpoint ret[ADDRESS_ENDPOINTS_MAX], size_t *ret_count,
							char *error, size_t error_bytes);

bool endpoint_is_unix(const struct endpoint *e);
bool endpoint_is_loopback(const struct endpoint *e); /* 127.0.0.0/8, ::1, the same mapped; a Unix socket too */

/* In the form that address_parse takes; always terminated. */
void endpoint_text(const struct endpoint *e, char ret[ENDPOINT_TEXT_BYTES]);

#endif
