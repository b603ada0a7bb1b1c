/* provider: one upstream, from its options: URL, headers, models. Everything is checked here, once, and copied: the
 * configuration may go. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/upstream/text.h"
#include "server/upstream/upstream_internal.h"

#define MODEL_MARK "{model}"

struct complaint {
	const char *name; /* of the upstream */
	char *text;
	size_t bytes;
};

__attribute__((format(printf, 3, 4))) static bool complain(const struct complaint *c, const char *key, const char *fmt,
							   ...)
{
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(c->text, c->bytes, "upstream %s: %s: %s", c->name, key, what);
	return false;
}

static bool complain_no_memory(const struct complaint *c)
{
	snprintf(c->text, c->bytes, "upstream %s: no memory", c->name);
	return false;
}

/* ---- URL */

static bool url_check(const struct complaint *c, const char *url)
{
	const char *host = strncmp(url, "https://", 8) == 0  ? url + 8
			   : strncmp(url, "http://", 7) == 0 ? url + 7
							     : NULL;

	if (host == NULL)
		return complain(c, "base_url", "begins with neither http:// nor https://");
	if (host[0] == '\0' || host[0] == '/' || host[0] == ':')
		return complain(c, "base_url", "names no host");
	for (const char *p = url; *p != '\0'; p++) {
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7F)
			return complain(c, "base_url",
					"holds a space, a control character or a letter outside of ASCII");
	}
	/* It would end up in logs. */
	if (memchr(host, '@', strcspn(host, "/")) != NULL)
		return complain(c, "base_url", "holds a user or password; put the key into api_key_env");
	if (strpbrk(host, "?#") != NULL)
		return complain(c, "base_url", "holds a query or fragment; a query belongs into chat_path");
	return true;
}

static bool provider_set_url(struct upstream *p, const struct upstream_options *o, const struct complaint *c)
{
	size_t base = strlen(o->base_url);
	const char *slash = o->chat_path[0] == '/' ? "" : "/";
	char *mark;

	if (!url_check(c, o->base_url))
		return false;
	for (const char *q = o->chat_path; *q != '\0'; q++) {
		if ((unsigned char)*q <= ' ' || (unsigned char)*q >= 0x7F)
			return complain(c, "chat_path",
					"holds a space, a control character or a letter outside of ASCII");
	}
	while (base > 0 && o->base_url[base - 1] == '/')
		base--;
	p->base_url = strndup(o->base_url, base);
	if (p->base_url == NULL)
		return complain_no_memory(c);
	if (asprintf(&p->url_head, "%.*s%s%s", (int)base, o->base_url, slash, o->chat_path) < 0) {
		p->url_head = NULL;
		return complain_no_memory(c);
	}
	mark = strstr(p->url_head, MODEL_MARK);
	if (mark == NULL)
		return true;
	p->url_tail = strdup(mark + strlen(MODEL_MARK));
	*mark = '\0';
	return p->url_tail != NULL || complain_no_memory(c);
}

char *provider_url(const struct upstream *p, const char *model)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	size_t bytes = strlen(p->url_head) + 3 * strlen(model) + (p->url_tail != NULL ? strlen(p->url_tail) : 0) + 1;
	char *url = malloc(bytes);
	size_t n;

	if (url == NULL)
		return NULL;
	n = (size_t)snprintf(url, bytes, "%s", p->url_head);
	if (p->url_tail == NULL)
		return url;
	for (const char *m = model; *m != '\0'; m++)
		n += (size_t)snprintf(url + n, bytes - n, strchr(plain, *m) != NULL ? "%c" : "%%%02X",
				      (unsigned char)*m);
	snprintf(url + n, bytes - n, "%s", p->url_tail);
	return url;
}

/* ---- headers */

static bool name_is_header(struct slice name)
{
	for (size_t i = 0; i < name.n; i++) {
		if (name.p[i] <= ' ' || name.p[i] >= 0x7F || strchr("()<>@,;:\\\"/[]?={}", name.p[i]) != NULL)
			return false;
	}
	return name.n > 0;
}

/* Takes the line. */
static bool provider_add_header(struct upstream *p, char *line, const struct complaint *c)
{
	if (line == NULL)
		return complain_no_memory(c);
	if (p->headers_count == HTTP_HEADERS_MAX) {
		free(line);
		return complain(c, "headers", "more than %d", HTTP_HEADERS_MAX - 2);
	}
	p->headers[p->headers_count++] = line;
	return true;
}

static bool provider_add_key(struct upstream *p, const struct upstream_options *o, const struct complaint *c)
{
	const char *key = getenv(o->api_key_env);
	bool bearer = strcasecmp(o->api_key_header, "Authorization") == 0;
	char *line;

	if (key == NULL || key[0] == '\0')
		return complain(c, "api_key_env", "the environment variable %s is not set", o->api_key_env);
	if (text_has_control(slice_str(key)))
		return complain(c, "api_key_env", "the value of %s holds a control character, such as a line's end",
				o->api_key_env);
	if (!name_is_header(slice_str(o->api_key_header)))
		return complain(c, "api_key_header", "is not the name of a header");
	if (asprintf(&line, "%s: %s%s", o->api_key_header, bearer ? "Bearer " : "", key) < 0)
		line = NULL;
	return provider_add_header(p, line, c);
}

static bool provider_set_headers(struct upstream *p, const struct upstream_options *o, const struct complaint *c)
{
	if (!provider_add_header(p, strdup("Content-Type: application/json"), c))
		return false;
	if (o->api_key_env != NULL && !provider_add_key(p, o, c))
		return false;
	for (size_t i = 0; i < o->headers.count; i++) {
		const char *line = o->headers.items[i];
		const char *colon = strchr(line, ':');

		if (colon == NULL || !name_is_header(slice_of(line, (size_t)(colon - line))))
			return complain(c, "headers", "item %zu is not of the form \"Name: value\"", i);
		if (text_has_control(slice_str(line)))
			return complain(c, "headers", "item %zu holds a control character", i);
		if (!provider_add_header(p, strdup(line), c))
			return false;
	}
	return true;
}

/* ---- models */

static bool provider_set_models(struct upstream *p, const struct upstream_options *o, const struct complaint *c)
{
	for (size_t i = 0; i < o->models.count; i++) {
		p->models[i] = strdup(o->models.items[i]);
		if (p->models[i] == NULL)
			return complain_no_memory(c);
		p->models_count++;
	}
	return true;
}

bool provider_serves(const struct upstream *p, struct slice model)
{
	for (size_t i = 0; i < p->models_count; i++) {
		struct slice pattern = slice_str(p->models[i]);

		if (pattern.n > 0 && pattern.p[pattern.n - 1] == '*') {
			pattern.n--;
			if (model.n >= pattern.n && slice_eq(slice_of(model.p, pattern.n), pattern))
				return true;
		} else if (slice_eq(model, pattern)) {
			return true;
		}
	}
	return p->models_count == 0;
}

static bool provider_configure(struct upstream *p, const struct upstream_options *o, const struct complaint *c)
{
	return provider_set_url(p, o, c) && provider_set_headers(p, o, c) && provider_set_models(p, o, c);
}

/* What provider_configure made, in part or whole. */
static void provider_clear(struct upstream *p)
{
	for (size_t i = 0; i < p->headers_count; i++) {
		explicit_bzero(p->headers[i], strlen(p->headers[i])); /* one of them holds the key */
		free(p->headers[i]);
	}
	for (size_t i = 0; i < p->models_count; i++)
		free(p->models[i]);
	free(p->base_url);
	free(p->url_head);
	free(p->url_tail);
}

int provider_check(const struct upstream_options *o, char *error, size_t error_bytes)
{
	const struct complaint c = {o->name, error, error_bytes};
	struct upstream p = {0};
	bool ok = provider_configure(&p, o, &c);

	provider_clear(&p);
	return ok ? 0 : -1;
}

struct upstream *provider_new(struct upstreams *set, const struct upstream_options *o, char *error, size_t error_bytes)
{
	const struct complaint c = {o->name, error, error_bytes};
	struct upstream *p = calloc(1, sizeof(*p));

	if (p == NULL) {
		complain_no_memory(&c);
		return NULL;
	}
	p->set = set;
	p->stream = o->stream;
	p->attempts = o->attempts;
	p->connect_timeout_ms = o->connect_timeout_ms;
	p->first_byte_timeout_ms = o->first_byte_timeout_ms;
	p->idle_timeout_ms = o->idle_timeout_ms;
	p->total_timeout_ms = o->total_timeout_ms;
	slots_init(&p->slots, set->loop, o->concurrency, o->queue);
	p->name = strdup(o->name);
	if (p->name == NULL) {
		complain_no_memory(&c);
		goto failed;
	}
	if (!provider_configure(p, o, &c))
		goto failed;
	return p;

failed:
	provider_free(p);
	return NULL;
}

void provider_free(struct upstream *p)
{
	if (p == NULL)
		return;
	slots_end(&p->slots);
	provider_clear(p);
	free(p->name);
	free(p);
}
