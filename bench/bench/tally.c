#include "bench/bench/tally.h"

#include <stdio.h>
#include <string.h>

static void names_add(struct tally_names *names, const char *text, uint64_t count)
{
	unsigned i = 0;

	while (i < names->count && strcmp(names->name[i].text, text) != 0)
		i++;
	if (i == TALLY_NAMES_MAX) {
		i = TALLY_NAMES_MAX - 1;
		text = "other";
	}
	if (i == names->count)
		names->count++;
	(void)snprintf(names->name[i].text, sizeof(names->name[i].text), "%s", text);
	names->name[i].count += count;
}

uint64_t tally_names_get(const struct tally_names *names, const char *text)
{
	for (unsigned i = 0; i < names->count; i++) {
		if (strcmp(names->name[i].text, text) == 0)
			return names->name[i].count;
	}
	return 0;
}

static void names_merge(struct tally_names *to, const struct tally_names *from)
{
	for (unsigned i = 0; i < from->count; i++)
		names_add(to, from->name[i].text, from->name[i].count);
}

void tally_answer(struct tally *t, const char *source, uint64_t latency_ns)
{
	t->answered++;
	names_add(&t->sources, source, 1);
	histogram_record(&t->latency, latency_ns);
}

void tally_failure(struct tally *t, const char *error)
{
	t->failed++;
	names_add(&t->errors, error, 1);
}

void tally_merge(struct tally *to, const struct tally *from)
{
	to->answered += from->answered;
	to->failed += from->failed;
	names_merge(&to->sources, &from->sources);
	names_merge(&to->errors, &from->errors);
	histogram_merge(&to->latency, &from->latency);
}

uint64_t tally_ended(const struct tally *t) { return t->answered + t->failed; }
