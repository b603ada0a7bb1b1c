/* upstream: the set of providers: options, routing, numbers. One provider is provider.c, one call is call.c. */
#include "server/upstream/upstream.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/log.h"
#include "server/upstream/upstream_internal.h"

#define OPENAI_BASE_URL "https://api.openai.com/v1"

static const struct metric upstream_table[] = {METRICS_TABLE(UPSTREAM_METRICS, struct upstream_metrics)};

/* clang-format off */
#define FIELD(name) offsetof(struct upstream_options, name)
#define HOUR_MS	    3600000
static const struct option upstream_option_table[] = {
	{.name = "name", .type = OPTION_STRING, .offset = FIELD(name), .required = true,
	 .min = 1, .max = 128 /* NAME_BYTES_MAX */,
	 .text = "its name in answers, logs and numbers"},
	{.name = "base_url", .type = OPTION_STRING, .offset = FIELD(base_url), .required = true,
	 .text = "of an OpenAI-compatible API, up to and including /v1"},
	{.name = "chat_path", .type = OPTION_STRING, .offset = FIELD(chat_path), .fallback = "/chat/completions",
	 .text = "put behind base_url; {model} is replaced, a query string is kept"},
	{.name = "api_key_env", .type = OPTION_STRING, .offset = FIELD(api_key_env),
	 .text = "name of the environment variable that holds the key; without it no key is sent"},
	{.name = "api_key_header", .type = OPTION_STRING, .offset = FIELD(api_key_header), .fallback = "Authorization",
	 .text = "Authorization carries \"Bearer KEY\"; another header (Azure: api-key) the bare key"},
	{.name = "headers", .type = OPTION_STRINGS, .offset = FIELD(headers),
	 .text = "further headers, each \"Name: value\""},
	{.name = "models", .type = OPTION_STRINGS, .offset = FIELD(models),
	 .text = "models it serves; a trailing * matches any rest; none given: all"},
	{.name = "concurrency", .type = OPTION_UINT, .offset = FIELD(concurrency), .fallback = "256", .min = 1, .max = 100000,
	 .text = "calls at once"},
	{.name = "queue", .type = OPTION_UINT, .offset = FIELD(queue), .fallback = "10000", .max = 1000000,
	 .text = "calls that may wait for a place; more are refused"},
	{.name = "stream", .type = OPTION_BOOL, .offset = FIELD(stream), .fallback = "true",
	 .text = "ask for streamed answers; false for a provider that has none"},
	{.name = "attempts", .type = OPTION_UINT, .offset = FIELD(attempts), .fallback = "3", .min = 1, .max = UPSTREAM_ATTEMPTS_MAX,
	 .text = "attempts of a call in all, before its first byte"},
	{.name = "connect_timeout", .type = OPTION_DURATION, .offset = FIELD(connect_timeout_ms), .fallback = "5s", .min = 1,
	 .max = HOUR_MS, .text = "for the connection, TLS included"},
	{.name = "first_byte_timeout", .type = OPTION_DURATION, .offset = FIELD(first_byte_timeout_ms), .fallback = "120s", .min = 1,
	 .max = HOUR_MS, .text = "from the start of an attempt to the head of its response"},
	{.name = "idle_timeout", .type = OPTION_DURATION, .offset = FIELD(idle_timeout_ms), .fallback = "60s", .min = 1,
	 .max = HOUR_MS, .text = "longest silence within a response"},
	{.name = "total_timeout", .type = OPTION_DURATION, .offset = FIELD(total_timeout_ms), .fallback = "600s", .min = 1,
	 .max = HOUR_MS, .text = "for one attempt from start to end"},
};
/* clang-format on */

void upstream_options_add(struct options *o, struct upstream_set_options *options)
{
	const struct option_group group = {
		.prefix = "upstreams",
		.options = upstream_option_table,
		.count = sizeof(upstream_option_table) / sizeof(upstream_option_table[0]),
		.base = options->items,
		.item_bytes = sizeof(options->items[0]),
		.item_max = UPSTREAMS_MAX,
		.item_count = &options->count,
	};

	options_add_group(o, &group);
}

/* ---- the set */

/* NULL: not set, or empty. */
static const char *env_given(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

static int upstreams_check_items(const struct upstream_set_options *options, char *error, size_t error_bytes)
{
	for (size_t i = 0; i < options->count; i++) {
		if (provider_check(&options->items[i], error, error_bytes) < 0)
			return -1;
		for (size_t j = 0; j < i; j++) {
			if (strcmp(options->items[i].name, options->items[j].name) == 0) {
				snprintf(error, error_bytes, "upstreams[%zu].name: upstreams[%zu] is called %s too", i,
					 j, options->items[i].name);
				return -1;
			}
		}
	}
	return 0;
}

static int upstreams_fill(struct upstreams *u, const struct upstream_set_options *options, char *error,
			  size_t error_bytes)
{
	for (size_t i = 0; i < options->count; i++) {
		struct upstream *p = provider_new(u, &options->items[i], error, error_bytes);

		if (p == NULL)
			return -1;
		u->items[u->count++] = p;
	}
	return 0;
}

/* What upstreams_check and upstreams_new do with the options. u NULL: nothing is to be filled. */
static int upstreams_take(struct upstreams *u, const struct upstream_set_options *options, char *error,
			  size_t error_bytes)
{
	return u != NULL ? upstreams_fill(u, options, error, error_bytes)
			 : upstreams_check_items(options, error, error_bytes);
}

/* Nothing is configured: what the environment names, as an OpenAI client would take it. It goes through the option
 * table, where the defaults of everything else stand. */
static int upstreams_take_environment(struct upstreams *u, char *error, size_t error_bytes)
{
	const char *base_url = env_given("OPENAI_BASE_URL"), *key = env_given("OPENAI_API_KEY");
	struct upstream_set_options *found;
	struct options *o;
	int rc = -1;

	if (base_url == NULL && key == NULL)
		return 0;
	found = calloc(1, sizeof(*found));
	o = options_new();
	if (found == NULL || o == NULL) {
		snprintf(error, error_bytes, "no memory");
		goto out;
	}
	upstream_options_add(o, found);
	rc = options_set(o, "upstreams[0].name=default", error, error_bytes);
	if (rc != 0)
		goto out;
	found->items[0].base_url = base_url != NULL ? base_url : OPENAI_BASE_URL;
	found->items[0].api_key_env = key != NULL ? "OPENAI_API_KEY" : NULL;
	rc = upstreams_take(u, found, error, error_bytes);
out:
	options_free(o);
	free(found);
	return rc;
}

int upstreams_check(const struct upstream_set_options *options, char *error, size_t error_bytes)
{
	return options->count > 0 ? upstreams_take(NULL, options, error, error_bytes)
				  : upstreams_take_environment(NULL, error, error_bytes);
}

int upstreams_new(struct upstreams **ret, struct loop *l, struct http *h, const struct upstream_set_options *options,
		  char *error, size_t error_bytes)
{
	struct upstreams *u = calloc(1, sizeof(*u));
	uint64_t seed;
	int rc;

	if (u == NULL) {
		snprintf(error, error_bytes, "no memory");
		return -1;
	}
	u->loop = l;
	u->http = h;
	TAILQ_INIT(&u->ended);
	random_bytes(&seed, sizeof(seed));
	random_seed(&u->random, seed);
	rc = options->count > 0 ? upstreams_take(u, options, error, error_bytes)
				: upstreams_take_environment(u, error, error_bytes);
	if (rc != 0) {
		upstreams_free(u);
		return -1;
	}
	*ret = u;
	return 0;
}

void upstreams_release(struct upstreams *u)
{
	if (!u->closed || u->calls > 0)
		return;
	for (size_t i = 0; i < u->count; i++)
		provider_free(u->items[i]);
	free(u);
}

void upstreams_free(struct upstreams *u)
{
	if (u == NULL)
		return;
	call_release_ended(u);
	u->closed = true;
	upstreams_release(u);
}

struct upstream *upstreams_route(struct upstreams *u, struct slice model)
{
	for (size_t i = 0; i < u->count; i++) {
		if (provider_serves(u->items[i], model))
			return u->items[i];
	}
	return NULL;
}

bool upstreams_any(const struct upstreams *u) { return u->count > 0; }

/* Models with commas between them, as much of them as a line has room for; "*": all. */
static void models_text(const struct upstream *p, char *ret, size_t bytes)
{
	size_t n = (size_t)snprintf(ret, bytes, "%s", p->models_count == 0 ? "*" : "");

	for (size_t i = 0; i < p->models_count && n < bytes; i++)
		n += (size_t)snprintf(ret + n, bytes - n, "%s%s", i > 0 ? "," : "", p->models[i]);
}

void upstreams_log(const struct upstreams *u)
{
	char models[512];

	for (size_t i = 0; i < u->count; i++) {
		const struct upstream *p = u->items[i];

		models_text(p, models, sizeof(models));
		log_event(LOG_INFO, "upstream.ready", "name=%s base_url=%s models=%s", log_quote(p->name, -1),
			  log_quote(p->base_url, -1), log_quote(models, -1));
	}
	if (u->count == 0)
		log_event(LOG_WARN, "upstream.none",
			  "reason=\"nothing answers a miss: start promptcached with OPENAI_API_KEY or OPENAI_BASE_URL "
			  "set, or give upstreams\"");
}

const char *upstream_name(const struct upstream *u) { return u->name; }

/* ---- numbers */

static void upstream_metrics_refresh(void *owner, void *values)
{
	struct upstreams *u = owner;
	struct upstream_metrics *m = values;

	m->upstream_in_flight = 0;
	m->upstream_waiting = 0;
	for (size_t i = 0; i < u->count; i++) {
		m->upstream_in_flight += u->items[i]->slots.held;
		m->upstream_waiting += u->items[i]->slots.waiting_count + u->items[i]->resting;
	}
}

static void upstream_metrics_register(struct metrics *m, struct upstreams *u)
{
	struct metrics_module own = {.table = upstream_table,
				     .count = sizeof(upstream_table) / sizeof(upstream_table[0])};
	struct metrics_module http = {0};

	http.table = http_metrics_table(&http.count);
	if (u != NULL) {
		own.values = &u->metrics;
		own.refresh = upstream_metrics_refresh;
		own.owner = u;
		http.values = http_metrics(u->http);
	}
	metrics_add(m, &own);
	metrics_add(m, &http);
}

void upstream_metrics_add(struct upstreams *u, struct metrics *m) { upstream_metrics_register(m, u); }

void upstream_metrics_describe(struct metrics *m) { upstream_metrics_register(m, NULL); }
