/* chat_request: what a chat request asks for. */
#ifndef MOCKAI_CHAT_REQUEST_H
#define MOCKAI_CHAT_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/mockai/buffer.h"
#include "bench/mockai/http.h"

#define CHAT_CHOICES_MAX 8
#define CHAT_MODEL_BYTES 128

struct chat_request {
	json_t *root; /* owned; what is borrowed below is borrowed from it */
	char model[CHAT_MODEL_BYTES];
	struct buffer question; /* the last user message, its text parts in one, with markers */
	size_t prompt_bytes;	/* of all messages */
	uint64_t hash;		/* of model and messages */
	bool stream;
	bool include_usage;
	bool logprobs;
	bool azure; /* came by the path with the deployment */
	int choices;
	int64_t max_tokens;	       /* -1: none given */
	const json_t *tools;	       /* borrowed; NULL: none */
	const json_t *tool_choice;     /* borrowed */
	const json_t *response_format; /* borrowed */
};

/* `deployment`: the model of the path, or NULL. False: *ret_error says what is wrong. Free it in both cases. */
bool chat_request_parse(struct chat_request *q, const char *body, size_t length, const char *deployment,
			struct http_error *ret_error);
void chat_request_free(struct chat_request *q);

#endif
