/* chat: POST /v1/chat/completions. */
#ifndef MOCKAI_CHAT_H
#define MOCKAI_CHAT_H

#include "bench/mockai/provider.h"

/* `deployment`: the model in an Azure path, or NULL. */
void chat_answer(struct provider *p, const struct request *r, const char *deployment, struct script *s);

#endif
