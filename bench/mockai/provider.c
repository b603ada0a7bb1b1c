#include "bench/mockai/provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/mockai/chat.h"
#include "bench/mockai/embeddings.h"
#include "bench/mockai/http.h"

static void reply_json(struct script *s, const struct request *r, json_t *object)
{
	char *dump = json_dumps(object, JSON_COMPACT);

	json_decref(object);
	http_reply(s, r, 200, "application/json", dump, strlen(dump), "");
	free(dump);
}

static void models_answer(struct provider *p, const struct request *r, const char *deployment, struct script *s)
{
	static const char *const names[] = {"gpt-4o-mini", "gpt-4o", "text-embedding-3-small",
					    "text-embedding-3-large"};
	json_t *object = json_object(), *list = json_array();

	(void)deployment;
	p->stats.models++;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		json_array_append_new(list, json_pack("{s:s,s:s,s:i,s:s}", "id", names[i], "object", "model", "created",
						      1700000000, "owned_by", "mockai"));
	json_object_set_new(object, "object", json_string("list"));
	json_object_set_new(object, "data", list);
	reply_json(s, r, object);
}

static void stats_answer(struct provider *p, const struct request *r, const char *deployment, struct script *s)
{
	const char *path, *query;
	size_t length;

	(void)deployment;
	request_path(r, &path, &length, &query);
	reply_json(s, r, stats_json(&p->stats, strcmp(query, "brief=1") == 0));
}

static void reset_answer(struct provider *p, const struct request *r, const char *deployment, struct script *s)
{
	(void)deployment;
	stats_reset(&p->stats);
	reply_json(s, r, stats_json(&p->stats, true));
}

static void settings_answer(struct provider *p, const struct request *r, const char *deployment, struct script *s)
{
	(void)deployment;
	reply_json(s, r, settings_json(&p->settings));
}

static void control_answer(struct provider *p, const struct request *r, const char *deployment, struct script *s)
{
	struct http_error e = {.status = 400, .message = "The body is a JSON object."};
	uint64_t seed = p->settings.seed;
	json_error_t error;
	json_t *object = json_loadb(r->body.length > 0 ? r->body.data : "", r->body.length, 0, &error);

	if (!json_is_object(object) || !settings_apply(&p->settings, object, e.message)) {
		http_reply_error(s, r, &e, "");
	} else {
		p->settings_changed = true;
		if (p->settings.seed != seed)
			p->random.state = p->settings.seed;
		settings_answer(p, r, deployment, s);
	}
	json_decref(object);
}

static const struct route {
	const char *path; /* '*' is one segment: the deployment of an Azure path */
	void (*answer)(struct provider *p, const struct request *r, const char *deployment, struct script *s);
	enum http_method method;
	bool counted;
} routes[] = {
	{"/v1/chat/completions", chat_answer, HTTP_POST, true},
	{"/openai/deployments/*/chat/completions", chat_answer, HTTP_POST, true},
	{"/v1/embeddings", embeddings_answer, HTTP_POST, true},
	{"/openai/deployments/*/embeddings", embeddings_answer, HTTP_POST, true},
	{"/v1/models", models_answer, HTTP_GET, true},
	{"/stats", stats_answer, HTTP_GET, false},
	{"/control", settings_answer, HTTP_GET, false},
	{"/control", control_answer, HTTP_POST, false},
	{"/reset", reset_answer, HTTP_POST, false},
};

/* Compares a path with a pattern; what stands for '*' goes to `segment`. */
static bool path_matches(const char *pattern, const char *path, size_t length, char segment[128])
{
	const char *star = strchr(pattern, '*');
	size_t before = star == NULL ? strlen(pattern) : (size_t)(star - pattern);
	size_t after = star == NULL ? 0 : strlen(star + 1);
	size_t middle;

	if (length < before + after || memcmp(path, pattern, before) != 0)
		return false;
	middle = length - before - after;
	if (star == NULL)
		return middle == 0;
	if (middle == 0 || middle >= 128 || memchr(path + before, '/', middle) != NULL)
		return false;
	(void)snprintf(segment, 128, "%.*s", (int)middle, path + before);
	return memcmp(path + before + middle, star + 1, after) == 0;
}

/* The route of a request, or NULL with the methods that the path has in *ret_allowed. */
static const struct route *route_find(const struct request *r, char segment[128], const char **ret_allowed)
{
	const char *path, *query;
	size_t length;

	*ret_allowed = NULL;
	request_path(r, &path, &length, &query);
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (!path_matches(routes[i].path, path, length, segment))
			continue;
		if (request_is(r, routes[i].method))
			return &routes[i];
		*ret_allowed = http_method_str(routes[i].method);
	}
	return NULL;
}

static void answer_unknown(struct provider *p, const struct request *r, const char *allowed, struct script *s)
{
	struct http_error e = {.status = allowed != NULL ? 405 : 404, .code = allowed != NULL ? NULL : "unknown_url"};
	const char *method = http_method_str((enum http_method)r->parser.method), *path, *query;
	char extra[64] = "";
	size_t length;

	request_path(r, &path, &length, &query);
	if (allowed != NULL)
		(void)snprintf(extra, sizeof(extra), "Allow: %s\r\n", allowed);
	(void)snprintf(e.message, sizeof(e.message), "%s URL (%s %.*s)",
		       allowed != NULL ? "Not allowed to use this method at" : "Invalid", method,
		       (int)(length < 150 ? length : 150), path);
	p->stats.refused++;
	http_reply_error(s, r, &e, extra);
}

static void answer_bad(struct provider *p, const struct request *r, struct script *s)
{
	struct http_error e = {.status = r->status};

	(void)snprintf(e.message, sizeof(e.message), "%s",
		       r->status == 413 ? "The body is larger than 32 MB."
					: "The HTTP request is malformed or its head is too large.");
	p->stats.refused++;
	http_reply_error(s, r, &e, "");
}

void provider_init(struct provider *p, const struct settings *settings)
{
	*p = (struct provider){.settings = *settings, .random = {settings->seed}};
	stats_init(&p->stats);
}

void provider_free(struct provider *p) { stats_free(&p->stats); }

void provider_answer(struct provider *p, const struct request *r, struct script *s)
{
	char segment[128];
	const char *allowed = NULL;
	const struct route *route = r->state == REQUEST_BAD ? NULL : route_find(r, segment, &allowed);

	s->counted = route == NULL || route->counted;
	if (s->counted)
		stats_request(&p->stats, r);
	if (r->state == REQUEST_BAD)
		answer_bad(p, r, s);
	else if (route == NULL)
		answer_unknown(p, r, allowed, s);
	else
		route->answer(p, r, strchr(route->path, '*') != NULL ? segment : NULL, s);
	if (s->wire.overflow) {
		struct http_error e = {.status = 500, .message = "The answer is too large."};

		script_drop(s, SCRIPT_CLOSE);
		http_reply_error(s, r, &e, "");
	}
}
