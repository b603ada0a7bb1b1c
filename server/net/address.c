#include "server/net/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_FORMS "unix:/path/sock or tcp://host:port"

static int address_fail(char *error, size_t error_bytes, const char *text, const char *what)
{
	snprintf(error, error_bytes, "%s: %s", text, what);
	return -1;
}

static int address_parse_port(const char *text, uint16_t *ret)
{
	unsigned long value = 0;
	const char *p;

	for (p = text; *p >= '0' && *p <= '9' && p - text < 5; p++)
		value = value * 10 + (unsigned long)(*p - '0');
	if (p == text || *p != '\0' || value > 65535)
		return -1;
	*ret = (uint16_t)value;
	return 0;
}

static int address_parse_tcp(struct address *ret, const char *text, const char *rest, char *error, size_t error_bytes)
{
	struct address a = {.kind = ADDRESS_TCP};
	const char *host = rest, *end, *colon;

	if (*rest == '[') {
		host++;
		end = strchr(host, ']');
		if (end == NULL || end[1] != ':')
			return address_fail(error, error_bytes, text,
					    "an IPv6 address stands in brackets: tcp://[::1]:7411");
		colon = end + 1;
	} else {
		colon = end = strrchr(rest, ':');
		if (colon == NULL)
			return address_fail(error, error_bytes, text, "the port is missing: tcp://host:port");
		if (memchr(rest, ':', (size_t)(end - rest)) != NULL)
			return address_fail(error, error_bytes, text,
					    "an IPv6 address stands in brackets: tcp://[::1]:7411");
	}
	if (end == host)
		return address_fail(error, error_bytes, text,
				    "the host is missing; 0.0.0.0 or [::] stands for all interfaces");
	if ((size_t)(end - host) >= sizeof a.host)
		return address_fail(error, error_bytes, text, "the host name is too long");
	memcpy(a.host, host, (size_t)(end - host));
	if (address_parse_port(colon + 1, &a.port) != 0)
		return address_fail(error, error_bytes, text, "the port is a number from 0 to 65535");
	*ret = a;
	return 0;
}

static int address_parse_unix(struct address *ret, const char *text, const char *path, char *error, size_t error_bytes)
{
	struct address a = {.kind = ADDRESS_UNIX};
	const size_t max = sizeof((struct sockaddr_un *)0)->sun_path - 1;

	if (strncmp(path, "//", 2) == 0) /* unix:///run/x.sock is a common spelling */
		path += 2;
	if (*path == '\0')
		return address_fail(error, error_bytes, text, "the path is missing: unix:/path/sock");
	if (strlen(path) > max)
		return address_fail(error, error_bytes, text, "a Unix socket's path has at most 107 bytes");
	memcpy(a.host, path, strlen(path));
	*ret = a;
	return 0;
}

int address_parse(struct address *ret, const char *text, char *error, size_t error_bytes)
{
	if (strncmp(text, "unix:", 5) == 0)
		return address_parse_unix(ret, text, text + 5, error, error_bytes);
	if (strncmp(text, "tcp://", 6) == 0)
		return address_parse_tcp(ret, text, text + 6, error, error_bytes);
	if (strncmp(text, "tls://", 6) == 0)
		return address_fail(error, error_bytes, text, "TLS is not built into this version; use " ADDRESS_FORMS);
	return address_fail(error, error_bytes, text, "not an address; expected " ADDRESS_FORMS);
}

static void address_resolve_unix(const struct address *a, struct endpoint *ret)
{
	*ret = (struct endpoint){.bytes = sizeof ret->addr.un};
	ret->addr.un.sun_family = AF_UNIX;
	memcpy(ret->addr.un.sun_path, a->host, strlen(a->host)); /* address_parse checked that it fits */
}

static int address_fail_host(char *error, size_t error_bytes, const struct address *a, const char *why)
{
	snprintf(error, error_bytes, "tcp://%s:%u: the address of the host %s cannot be found: %s", a->host, a->port,
		 a->host, why);
	return -1;
}

int address_resolve(const struct address *a, struct endpoint ret[ADDRESS_ENDPOINTS_MAX], size_t *ret_count, char *error,
		    size_t error_bytes)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *list = NULL, *i;
	size_t count = 0;
	char port[8];
	int rc;

	if (a->kind == ADDRESS_UNIX) {
		address_resolve_unix(a, &ret[0]);
		*ret_count = 1;
		return 0;
	}
	snprintf(port, sizeof port, "%u", a->port);
	rc = getaddrinfo(a->host, port, &hints, &list);
	if (rc != 0)
		return address_fail_host(error, error_bytes, a, gai_strerror(rc));
	for (i = list; i != NULL && count < ADDRESS_ENDPOINTS_MAX; i = i->ai_next) {
		if (i->ai_family != AF_INET && i->ai_family != AF_INET6)
			continue;
		ret[count] = (struct endpoint){.bytes = i->ai_addrlen};
		memcpy(&ret[count].addr, i->ai_addr, i->ai_addrlen);
		count++;
	}
	freeaddrinfo(list);
	if (count == 0)
		return address_fail_host(error, error_bytes, a, "it has no IPv4 or IPv6 address");
	*ret_count = count;
	return 0;
}

bool endpoint_is_unix(const struct endpoint *e) { return e->addr.any.sa_family == AF_UNIX; }

bool endpoint_is_loopback(const struct endpoint *e)
{
	const struct in6_addr *six = &e->addr.in6.sin6_addr;

	if (endpoint_is_unix(e))
		return true;
	if (e->addr.any.sa_family == AF_INET)
		return ntohl(e->addr.in.sin_addr.s_addr) >> 24 == 127;
	if (IN6_IS_ADDR_V4MAPPED(six))
		return six->s6_addr[12] == 127;
	return IN6_IS_ADDR_LOOPBACK(six);
}

void endpoint_text(const struct endpoint *e, char ret[ENDPOINT_TEXT_BYTES])
{
	char host[INET6_ADDRSTRLEN] = "?";

	if (endpoint_is_unix(e)) {
		snprintf(ret, ENDPOINT_TEXT_BYTES, "unix:%s", e->addr.un.sun_path);
	} else if (e->addr.any.sa_family == AF_INET) {
		inet_ntop(AF_INET, &e->addr.in.sin_addr, host, sizeof host);
		snprintf(ret, ENDPOINT_TEXT_BYTES, "tcp://%s:%u", host, ntohs(e->addr.in.sin_port));
	} else {
		inet_ntop(AF_INET6, &e->addr.in6.sin6_addr, host, sizeof host);
		snprintf(ret, ENDPOINT_TEXT_BYTES, "tcp://[%s]:%u", host, ntohs(e->addr.in6.sin6_port));
	}
}
