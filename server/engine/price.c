#include "server/engine/price.h"

#define NUSD_PER_USD_AND_MILLION_TOKENS 1000.0 /* 1e9 / 1e6 */
#define NUSD_MAX			1e15   /* a million dollars; clients and providers name any number of tokens */

/* What OpenAI's price page listed for these models (USD per million tokens) when they were entered; configured prices
 * come first. */
static const struct engine_price known[] = {
	{"gpt-4o-mini*", 0.15, 0.60},  {"gpt-4o*", 2.50, 10.00}, {"gpt-4.1-nano*", 0.10, 0.40},
	{"gpt-4.1-mini*", 0.40, 1.60}, {"gpt-4.1*", 2.00, 8.00},
};

static bool model_matches(const char *pattern, struct slice model)
{
	size_t n = strlen(pattern);

	if (n > 0 && pattern[n - 1] == '*')
		return model.n >= n - 1 && memcmp(model.p, pattern, n - 1) == 0;
	return slice_is(model, pattern);
}

static const struct engine_price *price_find(const struct engine_price *prices, size_t count, struct slice model)
{
	for (size_t i = 0; i < count; i++)
		if (model_matches(prices[i].model, model))
			return &prices[i];
	return NULL;
}

uint64_t price_of(const struct engine_options *options, struct slice model, uint64_t prompt_tokens,
		  uint64_t completion_tokens)
{
	const struct engine_price *p;
	double nusd;

	if (model.n == 0)
		return 0;
	p = price_find(options->prices, options->prices_count, model);
	if (p == NULL)
		p = price_find(known, sizeof known / sizeof known[0], model);
	if (p == NULL)
		return 0;
	nusd = NUSD_PER_USD_AND_MILLION_TOKENS *
	       (p->prompt * (double)prompt_tokens + p->completion * (double)completion_tokens);
	return nusd < NUSD_MAX ? (uint64_t)(nusd + 0.5) : (uint64_t)NUSD_MAX;
}
