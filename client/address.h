/* address: where the server is. A text becomes an address; an address becomes the endpoints to try; an endpoint becomes
 * a socket. */
#ifndef CLIENT_ADDRESS_H
#define CLIENT_ADDRESS_H

#include <sys/socket.h>
#include <sys/un.h>

#include "client/failure.h"

#define ADDRESS_DEFAULT_PORT  "7411"
#define ADDRESS_ENDPOINTS_MAX 8 /* of one host name; the rest is not tried */

enum address_kind {
	ADDRESS_DEFAULT, /* the Unix socket of this user, else loopback */
	ADDRESS_UNIX,
	ADDRESS_TCP,
};

struct address {
	enum address_kind kind;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char host[256];
	char port[6];
};

struct endpoint {
	struct sockaddr_storage address;
	socklen_t size;
};

/* text NULL: $PROMPTCACHE_SERVER, else the default. PC_OK · PC_INVALID · PC_UNSUPPORTED (tls://). */
__attribute__((warn_unused_result)) int address_parse(const char *text, struct address *ret, struct failure *failure);

/* PC_OK with 1 … ADDRESS_ENDPOINTS_MAX endpoints, or PC_UNAVAILABLE. Asks the system's resolver about host names, and
 * the file system about the default. */
__attribute__((warn_unused_result)) int address_resolve(const struct address *a,
							struct endpoint ret[ADDRESS_ENDPOINTS_MAX], size_t *ret_count,
							struct failure *failure);

/* The loopback port that stands in for the default socket: nobody named it, and any user of this machine may listen
 * there. */
bool address_is_guess(const struct address *a, const struct endpoint *e);

/* Fills failure for a connect that ended with this errno. Returns PC_UNAVAILABLE. */
int address_failed(const struct address *a, const struct endpoint *e, int error, struct failure *failure);

/* For messages: "unix:/run/x.sock", "tcp://127.0.0.1:7411". */
void endpoint_print(const struct endpoint *e, char *text, size_t size);

/* Starts to connect a non-blocking socket. 0: *ret_fd is connected, or will be when it becomes writable. Else an errno;
 * EAGAIN: the listener's queue is full, try again soon. */
__attribute__((warn_unused_result)) int endpoint_connect(const struct endpoint *e, int *ret_fd);

/* How a connect that became writable went: 0 or an errno. */
int endpoint_connect_result(int fd);

#endif
