#include "server/engine/engine.h"

#define FIELD(name) offsetof(struct engine_options, name)
#define PRICE(name) offsetof(struct engine_price, name)

#define SECOND_MS UINT64_C(1000)
#define HOUR_MS	  (3600 * SECOND_MS)
#define DAY_MS	  (24 * HOUR_MS)

/* clang-format off */
static const struct option model_options[] = {
	{.name = "default_model", .type = OPTION_STRING, .offset = FIELD(default_model), .fallback = "gpt-4o-mini",
	 .min = 1, .max = 256 /* MODEL_BYTES_MAX, which a flight has room for */,
	 .text = "model of a request that names none"},
};
static const struct option cache_options[] = {
	{.name = "ttl", .type = OPTION_DURATION, .offset = FIELD(ttl_ms), .fallback = "7d", .min = 1, .max = 366 * DAY_MS,
	 .text = "how long an answer may be served; a request may ask for less"},
};
static const struct option flight_options[] = {
	{.name = "limit", .type = OPTION_UINT, .offset = FIELD(flights_max), .fallback = "100000", .min = 1, .max = 10000000,
	 .text = "different questions in work at once; more are refused with OVERLOADED"},
	{.name = "memory", .type = OPTION_BYTES, .offset = FIELD(flights_bytes_max), .fallback = "1GB", .min = 1024 * 1024, .max = UINT64_C(1) << 40,
	 .text = "bytes of the questions in work, prompts and all; more are refused with OVERLOADED"},
	{.name = "waiters", .type = OPTION_UINT, .offset = FIELD(waiters_max), .fallback = "100000", .min = 1, .max = 10000000,
	 .text = "clients that may wait for one answer; more are refused with OVERLOADED"},
	{.name = "joinable", .type = OPTION_DURATION, .offset = FIELD(joinable_ms), .fallback = "60s", .min = 1, .max = HOUR_MS,
	 .text = "a question in work for longer takes no more clients: newcomers start afresh"},
	{.name = "timeout", .type = OPTION_DURATION, .offset = FIELD(timeout_ms), .fallback = "10m", .min = 1, .max = DAY_MS,
	 .text = "longest life of a question in work, retries included"},
	{.name = "finish_abandoned", .type = OPTION_BOOL, .offset = FIELD(finish_abandoned), .fallback = "true",
	 .text = "when the last client has left: finish the answer for the cache; false: cancel the LLM call"},
};
static const struct option query_options[] = {
	{.name = "timeout", .type = OPTION_DURATION, .offset = FIELD(patience_ms), .fallback = "2m", .min = 1, .max = HOUR_MS,
	 .text = "how long a client waits that does not say (timeout_ms)"},
};
static const struct option price_options[] = {
	{.name = "model", .type = OPTION_STRING, .offset = PRICE(model), .required = true, .text = "a model's name; a trailing * matches any rest"},
	{.name = "prompt", .type = OPTION_F64, .offset = PRICE(prompt), .fallback = "0", .min = 0, .max = 1000000,
	 .text = "US dollars per million prompt tokens"},
	{.name = "completion", .type = OPTION_F64, .offset = PRICE(completion), .fallback = "0", .min = 0, .max = 1000000,
	 .text = "US dollars per million completion tokens"},
};
/* clang-format on */

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

void engine_options_add(struct options *o, struct engine_options *options)
{
	const struct option_group groups[] = {
		{.prefix = "", .options = model_options, .count = COUNT(model_options), .base = options},
		{.prefix = "cache", .options = cache_options, .count = COUNT(cache_options), .base = options},
		{.prefix = "flight", .options = flight_options, .count = COUNT(flight_options), .base = options},
		{.prefix = "query", .options = query_options, .count = COUNT(query_options), .base = options},
		{
			.prefix = "prices",
			.options = price_options,
			.count = COUNT(price_options),
			.base = options->prices,
			.item_bytes = sizeof options->prices[0],
			.item_max = ENGINE_PRICES_MAX,
			.item_count = &options->prices_count,
		},
	};

	for (size_t i = 0; i < COUNT(groups); i++)
		options_add_group(o, &groups[i]);
}
