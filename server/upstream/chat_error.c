#include "server/upstream/chat_error.h"

#include <jansson.h>
#include <stdio.h>

#include "server/upstream/chat_json.h"
#include "server/upstream/text.h"

#define WORDS_BYTES 160 /* of the provider's own, in our sentence */

static struct slice string_of(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	return slice_of(json_string_value(value), json_string_length(value));
}

/* {"error": {"message"}} as OpenAI writes it, {"error": "…"}, {"message"}, {"detail"} as others do. */
static struct slice error_words(const json_t *tree)
{
	const json_t *error = json_object_get(tree, "error");
	struct slice words = json_is_object(error) ? string_of(error, "message") : string_of(tree, "error");

	if (words.n == 0)
		words = string_of(tree, "message");
	if (words.n == 0)
		words = string_of(tree, "detail");
	return words;
}

/* The account is empty: waiting does not fill it. */
static bool error_is_quota(const json_t *tree)
{
	static const char *const quota[] = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"};
	const json_t *error = json_object_get(tree, "error");

	for (size_t i = 0; i < sizeof(quota) / sizeof(quota[0]); i++) {
		if (slice_is(string_of(error, "code"), quota[i]) || slice_is(string_of(error, "type"), quota[i]))
			return true;
	}
	return false;
}

static void error_say(struct chat_error *e, unsigned status, const char *what, const json_t *tree)
{
	char words[WORDS_BYTES] = "";
	char text[sizeof(e->message) + WORDS_BYTES];

	text_copy(words, sizeof(words), error_words(tree));
	snprintf(text, sizeof(text), "the provider answered %u%s%s%s", status, what, words[0] != '\0' ? ": " : "",
		 words);
	text_copy(e->message, sizeof(e->message), slice_str(text));
}

void chat_error_read(struct chat_error *ret, unsigned status, struct slice body)
{
	enum chat_status ignored;
	json_t *tree = body.n > 0 ? chat_json_parse(body, &ignored) : NULL;

	*ret = (struct chat_error){.code = ERR_UPSTREAM_REFUSED};
	if (status == 401 || status == 403) {
		/* Providers quote the key, or half of it, in these. */
		error_say(ret, status, ": it refuses the key; check api_key_env", NULL);
	} else if (status == 429) {
		ret->code = ERR_RATE_LIMITED;
		ret->retry = !error_is_quota(tree);
		error_say(ret, status, ret->retry ? "" : " (the account's quota is used up)", tree);
	} else if (status == 408 || status >= 500) {
		ret->code = ERR_UPSTREAM_FAILED;
		ret->retry = true;
		error_say(ret, status, "", NULL);
	} else if (status >= 400) {
		error_say(ret, status, status == 404 ? " (check base_url and the model's name)" : "", tree);
	} else {
		ret->code = ERR_UPSTREAM_FAILED;
		error_say(ret, status, ": redirections are not followed; check base_url", NULL);
	}
	json_decref(tree);
}
