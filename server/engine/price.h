/* price: what tokens cost, so that an answer can say what it saved. Money is in nano-dollars (1e-9 USD): whole numbers,
 * no rounding drift. */
#ifndef ENGINE_PRICE_H
#define ENGINE_PRICE_H

#include "server/engine/engine.h"

/* 0 for a model without a price; at most a million dollars. */
uint64_t price_of(const struct engine_options *options, struct slice model, uint64_t prompt_tokens,
		  uint64_t completion_tokens);

#endif
