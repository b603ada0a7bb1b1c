/* output: printing. */
#include "client/cli/output.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- JSON */

/* Text of a peer: what is not UTF-8 cannot stand in JSON. */
static json_t *text_json(const char *text, size_t n)
{
	json_t *value = json_stringn(text, n);

	return value != NULL ? value : json_string("(not UTF-8)");
}

static json_t *name_json(const char *text) { return text[0] != '\0' ? text_json(text, strlen(text)) : json_null(); }

/* Milliseconds with three digits behind the point. */
static json_t *ms_json(uint64_t us) { return json_real((double)us / 1000); }

static json_t *segments_json(const struct pc_answer *a, int kind)
{
	json_t *list = NULL;

	for (size_t i = 0; i < pc_answer_segment_count(a); i++) {
		const struct pc_segment *s = pc_answer_segment(a, i);
		json_t *value = NULL;

		if (s->kind != kind)
			continue;
		if (list == NULL)
			list = json_array();
		if (kind == PC_TOOL_CALL)
			value = json_loadb(s->data, s->len, 0, NULL);
		json_array_append_new(list, value != NULL ? value : text_json(s->data, s->len));
	}
	return list;
}

/* Segments of one kind that are texts, as one text. */
static json_t *joined_json(const struct pc_answer *a, int kind)
{
	json_t *list = segments_json(a, kind), *joined = NULL, *item;
	size_t i;

	json_array_foreach(list, i, item)
	{
		joined = joined == NULL ? json_incref(item)
					: json_sprintf("%s%s", json_string_value(joined), json_string_value(item));
	}
	json_decref(list);
	return joined;
}

static json_t *stages_json(const struct pc_answer *a)
{
	json_t *stages = json_object();
	const char *name;
	uint64_t us;

	for (size_t i = 0; (name = pc_answer_stage(a, i, &us)) != NULL; i++)
		json_object_set_new(stages, name, ms_json(us));
	return stages;
}

static void set_if_any(json_t *object, const char *key, json_t *value)
{
	if (value != NULL)
		json_object_set_new(object, key, value);
}

/* The keys are a contract with the users' programs: none is left out, and null stands where there is nothing to say. */
static json_t *answer_json(const struct pc_answer *a)
{
	bool miss = strcmp(pc_answer_source(a), "none") == 0;
	json_t *object = json_object();
	double value;

	json_object_set_new(object, "answer", miss ? json_null() : text_json(pc_answer_text(a), pc_answer_text_len(a)));
	json_object_set_new(object, "hit", json_boolean(pc_answer_hit(a)));
	json_object_set_new(object, "source", json_string(pc_answer_source(a)));
	json_object_set_new(object, "similarity", pc_answer_similarity(a, &value) ? json_real(value) : json_null());
	json_object_set_new(object, "confidence", pc_answer_confidence(a, &value) ? json_real(value) : json_null());
	json_object_set_new(object, "entry", name_json(pc_answer_entry(a)));
	json_object_set_new(object, "age_s",
			    pc_answer_hit(a) ? json_real((double)pc_answer_age_ms(a) / 1000) : json_null());
	json_object_set_new(object, "stored", json_boolean(pc_answer_stored(a)));
	json_object_set_new(object, "reason", json_string(pc_answer_reason(a)));
	json_object_set_new(object, "model", name_json(pc_answer_model(a)));
	json_object_set_new(object, "finish_reason", name_json(pc_answer_finish_reason(a)));
	json_object_set_new(object, "tokens",
			    json_pack("{sIsIsI}", "prompt", (json_int_t)pc_answer_prompt_tokens(a), "completion",
				      (json_int_t)pc_answer_completion_tokens(a), "saved",
				      (json_int_t)pc_answer_tokens_saved(a)));
	json_object_set_new(object, "cost_saved_usd", json_real(pc_answer_cost_saved_usd(a)));
	json_object_set_new(object, "latency_ms", ms_json(pc_answer_latency_us(a)));
	json_object_set_new(object, "stages_ms", stages_json(a));
	set_if_any(object, "tool_calls", segments_json(a, PC_TOOL_CALL));
	set_if_any(object, "reasoning", joined_json(a, PC_REASONING));
	set_if_any(object, "refusal", joined_json(a, PC_REFUSAL));
	return object;
}

static json_t *stats_json(const struct pc_answer *a)
{
	json_t *object = json_object();
	const char *name;
	double value;

	for (size_t i = 0; (name = pc_answer_stat(a, i, &value)) != NULL; i++) {
		bool whole = value > -9e15 && value < 9e15 && value == (double)(json_int_t)value;

		json_object_set_new(object, name, whole ? json_integer((json_int_t)value) : json_real(value));
	}
	return object;
}

static json_t *result_json(const struct cli_options *o, const struct pc_answer *a)
{
	json_t *object;

	if (o->command == COMMAND_QUERY || o->command == COMMAND_LOOKUP)
		return answer_json(a);
	if (o->command == COMMAND_STATS)
		return stats_json(a);
	object = json_object();
	if (o->command == COMMAND_PUT) {
		json_object_set_new(object, "stored", json_boolean(pc_answer_stored(a)));
		json_object_set_new(object, "reason", json_string(pc_answer_reason(a)));
		json_object_set_new(object, "entry", name_json(pc_answer_entry(a)));
	} else if (o->command == COMMAND_INVALIDATE) {
		json_object_set_new(object, "removed",
				    cli_options_space(o) ? json_null()
							 : json_integer((json_int_t)pc_answer_removed(a)));
	}
	json_object_set_new(object, "latency_ms", ms_json(pc_answer_latency_us(a)));
	return object;
}

/* ---- people */

static void status_print(const struct cli_options *o, const char *text)
{
	bool terminal = isatty(STDERR_FILENO);

	if (terminal)
		fprintf(stderr, "\033[2m%s\033[0m\n", text);
	else if (o->verbose)
		fprintf(stderr, "%s\n", text);
}

static void status_answer(const struct cli_options *o, const struct pc_answer *a)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "%s · %.1f ms", pc_answer_source(a),
			 (double)pc_answer_latency_us(a) / 1000);

	if (pc_answer_hit(a))
		n += snprintf(text + n, sizeof(text) - (size_t)n, " · %.0f s old", (double)pc_answer_age_ms(a) / 1000);
	if (pc_answer_tokens_saved(a) > 0)
		n += snprintf(text + n, sizeof(text) - (size_t)n, " · %llu tokens saved ($%.6f)",
			      (unsigned long long)pc_answer_tokens_saved(a), pc_answer_cost_saved_usd(a));
	if (!pc_answer_hit(a))
		snprintf(text + n, sizeof(text) - (size_t)n, " · %s", pc_answer_reason_text(a));
	status_print(o, text);
}

void output_line_end(struct cli_line *line)
{
	if (line->open)
		putchar('\n');
	line->open = false;
	fflush(stdout);
}

/* Reasoning is not for reading along; --json has it. */
static bool kind_is_printed(int kind) { return kind == PC_TEXT || kind == PC_REFUSAL || kind == PC_TOOL_CALL; }

static void piece_print(struct cli_line *line, int kind, unsigned segment, const char *data, size_t n)
{
	if (n == 0 || !kind_is_printed(kind))
		return;
	if (segment != line->segment)
		output_line_end(line);
	fwrite(data, 1, n, stdout);
	line->open = data[n - 1] != '\n';
	line->segment = segment;
}

static bool answer_is_empty(const struct pc_answer *a)
{
	for (size_t i = 0; i < pc_answer_segment_count(a); i++) {
		const struct pc_segment *s = pc_answer_segment(a, i);

		if (kind_is_printed(s->kind) && s->len > 0)
			return false;
	}
	return true;
}

static void people_answer(const struct cli_options *o, struct cli_line *line, bool streamed, const struct pc_answer *a)
{
	for (size_t i = 0; i < pc_answer_segment_count(a) && !streamed; i++) {
		const struct pc_segment *s = pc_answer_segment(a, i);

		piece_print(line, s->kind, (unsigned)i, s->data, s->len);
	}
	output_line_end(line); /* before the line about it */
	if (strcmp(pc_answer_source(a), "none") != 0 && answer_is_empty(a))
		fprintf(stderr, "promptcache: the answer is empty (finish_reason %s)\n",
			pc_answer_finish_reason(a)[0] != '\0' ? pc_answer_finish_reason(a) : "unknown");
	status_answer(o, a);
}

static void people_stats(const struct pc_answer *a)
{
	const char *name;
	double value;

	for (size_t i = 0; (name = pc_answer_stat(a, i, &value)) != NULL; i++)
		printf("%-48s %.15g\n", name, value);
}

static void people_result(const struct cli_options *o, struct cli_line *line, bool streamed, const struct pc_answer *a)
{
	switch (o->command) {
	case COMMAND_QUERY:
	case COMMAND_LOOKUP:
		people_answer(o, line, streamed, a);
		break;
	case COMMAND_PUT:
		printf("%s%s\n", pc_answer_stored(a) ? "" : "not stored: ", pc_answer_reason_text(a));
		break;
	case COMMAND_INVALIDATE:
		if (cli_options_space(o))
			printf("forgotten: everything in namespace %s\n", o->namespace_name);
		else
			puts(pc_answer_removed(a) > 0 ? "forgotten" : "there was no entry");
		break;
	case COMMAND_STATS:
		people_stats(a);
		break;
	default:
		printf("%.3f ms\n", (double)pc_answer_latency_us(a) / 1000);
	}
}

bool output_answer(const struct cli_options *o, struct cli_line *line, bool streamed, const struct pc_answer *a)
{
	if (o->json) {
		json_t *object = result_json(o, a);

		json_dumpf(object, stdout, JSON_REAL_PRECISION(15) | JSON_COMPACT);
		putchar('\n');
		json_decref(object);
	} else {
		people_result(o, line, streamed, a);
	}
	return fflush(stdout) == 0 && !ferror(stdout);
}

bool output_chunk(const struct cli_options *o, struct cli_line *line, const struct pc_chunk *chunk)
{
	if (o->json)
		return true;
	piece_print(line, chunk->kind, chunk->index, chunk->data, chunk->len);
	return fflush(stdout) == 0 && !ferror(stdout);
}

void output_failure(const struct pc_failure *failure)
{
	fprintf(stderr, "promptcache: %s: %s", failure->name, failure->message);
	if (failure->field[0] != '\0')
		fprintf(stderr, " (field %s)", failure->field);
	if (strcmp(failure->name, "UNAUTHENTICATED") == 0)
		fputs(" (PROMPTCACHE_TOKEN or --token-file)", stderr);
	if (failure->retry_after_ms > 0)
		fprintf(stderr, " (try again in %llu ms)", (unsigned long long)failure->retry_after_ms);
	fputc('\n', stderr);
}
