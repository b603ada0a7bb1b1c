/* chat_reply: the two forms of a chat answer, one JSON body or a stream of events, with the faults that live in them.
 */
#ifndef MOCKAI_CHAT_REPLY_H
#define MOCKAI_CHAT_REPLY_H

#include "bench/mockai/answer.h"
#include "bench/mockai/chat_request.h"
#include "bench/mockai/http.h"
#include "bench/mockai/script.h"

/* What the renderers need; all borrowed. */
struct chat_reply {
	const struct request *request;
	const struct chat_request *chat;
	const struct answer *answer;
	const struct settings *settings;
	const struct fault_set *faults;
};

void chat_reply_json(struct script *s, const struct chat_reply *reply);
void chat_reply_stream(struct script *s, const struct chat_reply *reply);

#define CHAT_ERROR_JSON                                                                                                \
	"{\"error\":{\"message\":\"The server had an error while processing your request.\","                          \
	"\"type\":\"server_error\",\"param\":null,\"code\":null}}"

#define CHAT_LOGPROBS_JSON                                                                                             \
	"{\"content\":[{\"token\":\"Answer\",\"logprob\":-0.1,\"bytes\":null,\"top_logprobs\":[]}],\"refusal\":null}"

#endif
