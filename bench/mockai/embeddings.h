/* embeddings: POST /v1/embeddings, deterministic unit vectors.
 *
 * Each word adds a few +1 and -1 at places that its hash chooses (a sparse random projection): equal texts get equal
 * vectors, texts that share words are near, others are almost at right angles. Short words count less, since they are
 * in every sentence. It knows nothing of meaning. */
#ifndef MOCKAI_EMBEDDINGS_H
#define MOCKAI_EMBEDDINGS_H

#include "bench/mockai/provider.h"

#define EMBEDDINGS_INPUTS_MAX 2048

/* `deployment`: the model in an Azure path, or NULL. */
void embeddings_answer(struct provider *p, const struct request *r, const char *deployment, struct script *s);

#endif
