/* fuzz: any bytes as a QUERY on its way to a provider. What is refused is refused in words that can be sent; what is
 * built is JSON with the members that every request has. The corpus is made from the golden vectors by
 * make_chat_body_corpus.py. */
#include <assert.h>
#include <stdlib.h>

#include <jansson.h>

#include "server/upstream/chat_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message_decoder decoder;
	struct message m;
	struct fault fault = {0};
	struct buf body;

	if (message_decoder_init(&decoder) != 0)
		abort();
	/* As in the server: what comes here was decoded before, and is a QUERY with a prompt or messages. */
	if (message_decode(&decoder, slice_of(data, size), FROM_C, &m, &fault) != 0 || m.op != OP_QUERY) {
		message_decoder_free(&decoder);
		return -1;
	}
	message_decoder_free(&decoder);
	buf_init(&body, CHAT_REQUEST_BYTES_MAX, NULL);
	if (chat_body_build(&body, slice_of(data, size), slice_str("m"), true, &fault) == 0) {
		json_error_t error;
		json_t *tree = json_loadb((const char *)body.p, body.n, JSON_ALLOW_NUL, &error);

		/* JSON may have \u0000 in a key; jansson writes it and does not read it. */
		assert(tree != NULL || json_error_code(&error) == json_error_null_byte_in_key);
		assert(tree == NULL || json_is_string(json_object_get(tree, "model")) &&
					       json_is_array(json_object_get(tree, "messages")));
		assert(tree == NULL || json_is_true(json_object_get(tree, "stream")));
		json_decref(tree);
	} else {
		assert(fault.code != ERR_NONE && fault.message[0] != '\0');
		assert(slice_is_utf8(slice_str(fault.field)) && slice_is_utf8(slice_str(fault.message)));
	}
	buf_free(&body);
	return 0;
}
