#include "server/upstream/chat_json.h"

/* At least as many values as CHAT_JSON_VALUES_MAX? Each but the first stands behind one of these three. */
static bool json_is_crowded(struct slice body)
{
	bool in_string = false;
	size_t count = 0;

	if (body.n <= CHAT_JSON_VALUES_MAX)
		return false;
	for (size_t i = 0; i < body.n; i++) {
		uint8_t c = body.p[i];

		if (c == '"')
			in_string = !in_string;
		else if (in_string)
			i += c == '\\';
		else
			count += c == ',' || c == '[' || c == '{';
	}
	return count >= CHAT_JSON_VALUES_MAX;
}

json_t *chat_json_parse(struct slice body, enum chat_status *ret_status)
{
	json_error_t error;
	json_t *tree;

	if (json_is_crowded(body)) {
		*ret_status = CHAT_TOO_LARGE;
		return NULL;
	}
	tree = json_loadb((const char *)body.p, body.n, JSON_ALLOW_NUL, &error);
	if (tree == NULL)
		*ret_status = json_error_code(&error) == json_error_out_of_memory ? CHAT_NO_MEMORY : CHAT_MALFORMED;
	return tree;
}
