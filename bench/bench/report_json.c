/* report_json: the report as one JSON object. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench/report.h"

static json_t *count_json(uint64_t n) { return json_integer((json_int_t)n); }

static json_t *setting_json(const struct setting *t, const struct settings *s)
{
	const char *field = (const char *)s + t->offset;
	char name[64];

	switch (t->kind) {
	case SETTING_TEXT:
		field = *(const char *const *)(const void *)field;
		return field != NULL ? json_string(field) : json_null();
	case SETTING_COUNT:
		return count_json(*(const uint64_t *)(const void *)field);
	case SETTING_REAL:
		return json_real(*(const double *)(const void *)field);
	case SETTING_CHOICE:
		settings_choice_name(t, *(const unsigned *)(const void *)field, name, sizeof(name));
		return json_string(name);
	case SETTING_FLAG:
		return json_boolean(*(const bool *)field);
	}
	return json_null();
}

/* Under the names of the options, with underscores. */
static json_t *settings_json(const struct settings *s)
{
	json_t *object = json_object();
	char name[64];

	for (const struct setting *t = settings_table; t->name != NULL; t++) {
		(void)snprintf(name, sizeof(name), "%s", t->name);
		for (char *p = name; *p != '\0'; p++)
			*p = *p == '-' ? '_' : *p;
		json_object_set_new(object, name, setting_json(t, s));
	}
	return object;
}

static json_t *host_json(void)
{
	struct utsname host;
	char time_text[32], cpu[128] = "", line[256];
	time_t now = time(NULL);
	struct tm utc;
	FILE *file = fopen("/proc/cpuinfo", "re");

	while (file != NULL && cpu[0] == '\0' && fgets(line, sizeof(line), file) != NULL)
		(void)sscanf(line, "model name : %127[^\n]", cpu);
	if (file != NULL)
		(void)fclose(file);
	if (uname(&host) != 0)
		host = (struct utsname){0};
	(void)strftime(time_text, sizeof(time_text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
	return json_pack("{s:s, s:s, s:s, s:s, s:I}", "time", time_text, "kernel", host.release, "machine",
			 host.machine, "cpu", cpu, "cpus", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN));
}

static json_t *names_json(const struct tally_names *names)
{
	json_t *object = json_object();

	for (unsigned i = 0; i < names->count; i++)
		json_object_set_new(object, names->name[i].text, count_json(names->name[i].count));
	return object;
}

static json_t *latency_json(const struct tally *t)
{
	static const struct {
		const char *name;
		double q;
	} wanted[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}};
	json_t *object = json_object();

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		json_object_set_new(object, wanted[i].name,
				    json_real((double)histogram_quantile_ns(&t->latency, wanted[i].q) / 1e3));
	return object;
}

static json_t *tally_json(const struct tally *t)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o}", "answered", count_json(t->answered), "failed",
			 count_json(t->failed), "sources", names_json(&t->sources), "errors", names_json(&t->errors),
			 "latency_us", latency_json(t));
}

/* null where nothing is known. */
static json_t *spread_json(struct spread s)
{
	if (s.median == 0)
		return json_null();
	return json_pack("{s:f, s:f, s:f}", "median", s.median, "least", s.least, "most", s.most);
}

static json_t *measure_json(const struct measure *m)
{
	return json_pack("{s:o, s:f, s:f, s:o, s:o, s:o, s:o}", "requests", count_json(m->ended), "elapsed_s",
			 (double)m->elapsed_ns / 1e9, "cpu_s", (double)m->cpu_ns / 1e9, "reads", count_json(m->reads),
			 "writes", count_json(m->writes), "received_bytes", count_json(m->received_bytes), "sent_bytes",
			 count_json(m->sent_bytes));
}

static json_t *phase_json(const struct rounds *r, enum phase_kind kind)
{
	json_t *object = tally_json(&r->tally[kind]), *list = json_array();

	json_object_set_new(object, "requests_per_s", spread_json(rounds_per_second(r, kind)));
	json_object_set_new(object, "cpu_us_per_request", spread_json(rounds_cpu_us(r, kind)));
	json_object_set_new(object, "requests_per_read", spread_json(rounds_per_read(r, kind)));
	for (size_t i = 0; i < r->count; i++)
		json_array_append_new(list, measure_json(&r->measure[kind][i]));
	json_object_set_new(object, "rounds", list);
	return object;
}

static void rounds_json(json_t *object, const struct rounds *r)
{
	json_object_set_new(object, "prime", tally_json(&r->prime));
	json_object_set_new(object, "server", phase_json(r, PHASE_SERVER));
	if (r->phase_kinds == 1)
		return;
	json_object_set_new(object, "floor", phase_json(r, PHASE_FLOOR));
	json_object_set_new(object, "echo", phase_json(r, PHASE_ECHO));
	json_object_set_new(object, "echo_request_bytes", count_json(r->shape.request_bytes));
	json_object_set_new(object, "echo_answer_bytes", count_json(r->shape.answer_bytes));
	json_object_set_new(object, "sha256_us", spread_json(rounds_sha_us(r)));
	json_object_set_new(object, "ratio", spread_json(rounds_ratio(r)));
	json_object_set_new(object, "ratio_parts", spread_json(rounds_ratio_parts(r)));
}

static json_t *storm_json(const struct storm_result *storm)
{
	json_t *object = tally_json(&storm->tally);

	json_object_set_new(object, "asked", count_json(storm->asked));
	json_object_set_new(object, "cut", count_json(storm->cut));
	json_object_set_new(object, "different", count_json(storm->different));
	json_object_set_new(object, "elapsed_s", json_real((double)storm->elapsed_ns / 1e9));
	return object;
}

void report_print_json(const struct report *r)
{
	json_t *object =
		json_pack("{s:s, s:s, s:s, s:o, s:o}", "version", PROMPTCACHE_VERSION, "loop", "closed", "caveat",
			  REPORT_CAVEAT, "parameters", settings_json(r->settings), "host", host_json());
	char run[20];

	(void)snprintf(run, sizeof(run), "%016llx", (unsigned long long)r->run);
	json_object_set_new(object, "run", json_string(run));
	if (r->storm != NULL)
		json_object_set_new(object, "storm", storm_json(r->storm));
	else
		rounds_json(object, r->rounds);
	(void)json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	(void)fputc('\n', stdout);
	json_decref(object);
}
