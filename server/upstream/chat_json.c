#include "server/upstream/chat_json.h"

json_t *chat_json_parse(struct slice body, enum chat_status *ret_status)
{
	json_error_t error;
	json_t *tree = json_loadb((const char *)body.p, body.n, JSON_ALLOW_NUL, &error);

	if (tree == NULL)
		*ret_status = json_error_code(&error) == json_error_out_of_memory ? CHAT_NO_MEMORY : CHAT_MALFORMED;
	return tree;
}
