#include "bench/bench/report.h"

#include <stdio.h>

static double us_of(const struct tally *t, double q) { return (double)histogram_quantile_ns(&t->latency, q) / 1e3; }

static void names_print(const char *heading, const struct tally_names *names)
{
	if (names->count == 0)
		return;
	printf("%s:", heading);
	for (unsigned i = 0; i < names->count; i++)
		printf("%s %s %llu", i > 0 ? "," : "", names->name[i].text, (unsigned long long)names->name[i].count);
	printf("\n");
}

static void spread_print(struct spread s, int decimals)
{
	char text[64];

	if (s.median == 0)
		(void)snprintf(text, sizeof(text), "-");
	else if (s.least == s.most)
		(void)snprintf(text, sizeof(text), "%.*f", decimals, s.median);
	else
		(void)snprintf(text, sizeof(text), "%.*f (%.*f-%.*f)", decimals, s.median, decimals, s.least, decimals,
			       s.most);
	printf("  %-24s", text);
}

static void phase_print(const struct rounds *r, enum phase_kind kind)
{
	const struct tally *t = &r->tally[kind];

	printf("%-16s", rounds_phase_text(kind));
	spread_print(rounds_per_second(r, kind), 0);
	spread_print(rounds_cpu_us(r, kind), 2);
	printf("%9.1f %8.0f %8.0f %8.0f %8.0f %8.0f\n", rounds_per_read(r, kind).median, us_of(t, 0.5), us_of(t, 0.9),
	       us_of(t, 0.99), us_of(t, 0.999), us_of(t, 1));
}

static void floor_print(const struct rounds *r)
{
	printf("%-16s  %-24s", "SHA-256 alone", "");
	spread_print(rounds_sha_us(r), 2);
	printf("\n\nserver / (echo + SHA-256 in it), CPU time of a request:      ");
	spread_print(rounds_ratio(r), 2);
	printf("\nserver / (echo + SHA-256 measured alone), the same:          ");
	spread_print(rounds_ratio_parts(r), 2);
	printf("\necho: %u bytes in, %u bytes out\n", r->shape.request_bytes, r->shape.answer_bytes);
}

static void rounds_print(const struct rounds *r, const struct settings *s)
{
	const struct tally *t = &r->tally[PHASE_SERVER];

	printf("%llu connections x %llu in flight, prompts of %llu bytes; %zu round%s\n\n",
	       (unsigned long long)s->connections, (unsigned long long)s->depth, (unsigned long long)s->request_bytes,
	       r->count, r->count > 1 ? "s: medians (and ranges)" : "");
	printf("%-16s  %-24s  %-24s%9s %8s %8s %8s %8s %8s\n", "", "requests/s", "CPU us/request", "per read", "p50 us",
	       "p90", "p99", "p99.9", "max");
	for (size_t kind = 0; kind < r->phase_kinds; kind++)
		phase_print(r, (enum phase_kind)kind);
	if (r->phase_kinds > 1)
		floor_print(r);
	if (rounds_request_bytes(r) > 0)
		printf("on the wire: %.0f bytes a request, %.0f bytes an answer\n", rounds_request_bytes(r),
		       rounds_answer_bytes(r));
	printf("%llu answers, %llu failed\n", (unsigned long long)t->answered, (unsigned long long)t->failed);
	names_print("sources", &t->sources);
	names_print("errors", &t->errors);
	names_print("errors while priming", &r->prime.errors);
}

static void storm_print(const struct storm_result *storm, const struct settings *s)
{
	const struct tally *t = &storm->tally;

	printf("%llu times the same new question over %llu connections\n", (unsigned long long)storm->asked,
	       (unsigned long long)s->connections);
	printf("%llu answers, %llu failed, %llu cut by us, %llu different from the first\n",
	       (unsigned long long)t->answered, (unsigned long long)t->failed, (unsigned long long)storm->cut,
	       (unsigned long long)storm->different);
	names_print("sources", &t->sources);
	names_print("errors", &t->errors);
	printf("waiting: p50 %.1f ms, p99 %.1f ms, max %.1f ms\n", us_of(t, 0.5) / 1e3, us_of(t, 0.99) / 1e3,
	       us_of(t, 1) / 1e3);
}

void report_print(const struct report *r)
{
	if (r->storm != NULL)
		storm_print(r->storm, r->settings);
	else
		rounds_print(r->rounds, r->settings);
	printf("%s\n", REPORT_CAVEAT);
}
