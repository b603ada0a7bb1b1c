#include "bench/mockai/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct setting settings_table[] = {
#define X(field, name, kind, value, marker, argument, help) {name, value, marker, argument, help},
	SETTINGS(X)
#undef X
		{0}};

static bool set_DURATION(struct latency *to, const char *value) { return latency_parse(value, to); }

static bool set_number(uint64_t *to, const char *value)
{
	char *end;
	unsigned long long number;

	if (*value < '0' || *value > '9')
		return false;
	errno = 0;
	number = strtoull(value, &end, 10);
	if (errno != 0 || *end != '\0')
		return false;
	*to = number;
	return true;
}

static bool set_SEED(uint64_t *to, const char *value) { return set_number(to, value); }

static bool set_SIZE(size_t *to, const char *value)
{
	uint64_t number;

	if (!set_number(&number, value) || number > SETTINGS_ANSWER_BYTES_MAX)
		return false;
	*to = (size_t)number;
	return true;
}

static bool set_COUNT(size_t *to, const char *value)
{
	uint64_t number;

	if (!set_number(&number, value) || number == 0 || number > SETTINGS_COUNT_MAX)
		return false;
	*to = (size_t)number;
	return true;
}

static bool set_FLAG(bool *to, const char *value)
{
	bool on = strcmp(value, "true") == 0;

	if (!on && strcmp(value, "false") != 0)
		return false;
	*to = on;
	return true;
}

static bool set_FAULT(struct fault_rules *to, const char *value)
{
	struct fault_rule rule;

	return fault_parse(value, &rule) && fault_rules_add(to, &rule);
}

static bool name_is(const char *name, const char *text, size_t length)
{
	return strlen(name) == length && memcmp(name, text, length) == 0;
}

bool settings_set(struct settings *s, const char *name, size_t name_length, const char *value,
		  char error[SETTINGS_ERROR_BYTES])
{
	int shown = (int)(name_length < 64 ? name_length : 64);

#define X(field, known, kind, standard, marker, argument, help)                                                        \
	if (name_is(known, name, name_length)) {                                                                       \
		if (set_##kind(&s->field, value))                                                                      \
			return true;                                                                                   \
		(void)snprintf(error, SETTINGS_ERROR_BYTES, "'%.80s' is not a value for %s", value, known);            \
		return false;                                                                                          \
	}
	SETTINGS(X)
#undef X
	(void)snprintf(error, SETTINGS_ERROR_BYTES, "unknown setting '%.*s'", shown, name);
	return false;
}

void settings_init(struct settings *s)
{
	char error[SETTINGS_ERROR_BYTES];

	*s = (struct settings){0};
	for (const struct setting *t = settings_table; t->name != NULL; t++) {
		if (*t->value != '\0' && !settings_set(s, t->name, strlen(t->name), t->value, error))
			abort(); /* a default of the table that its own kind refuses */
	}
}

/* A JSON value as the text that the command line would have. NULL: a type that no setting has. */
static const char *value_text(const json_t *value, char text[64])
{
	if (json_is_string(value))
		return json_string_value(value);
	if (json_is_integer(value))
		(void)snprintf(text, 64, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_real(value))
		(void)snprintf(text, 64, "%.9g", json_real_value(value));
	else if (json_is_boolean(value))
		(void)snprintf(text, 64, "%s", json_is_true(value) ? "true" : "false");
	else
		return NULL;
	return text;
}

static bool apply_one(struct settings *s, const char *name, const json_t *value, char error[SETTINGS_ERROR_BYTES])
{
	char text[64];
	const char *as_text = value_text(value, text);

	if (as_text == NULL) {
		(void)snprintf(error, SETTINGS_ERROR_BYTES, "'%.64s' has a value of a type that no setting takes",
			       name);
		return false;
	}
	return settings_set(s, name, strlen(name), as_text, error);
}

static bool apply_faults(struct settings *s, const char *name, const json_t *list, char error[SETTINGS_ERROR_BYTES])
{
	struct fault_rules *rules = strcmp(name, "fault") == 0 ? &s->faults : &s->embeddings_faults;
	const json_t *value;
	size_t i;

	rules->count = 0;
	if (json_is_string(list))
		return apply_one(s, name, list, error);
	if (!json_is_array(list)) {
		(void)snprintf(error, SETTINGS_ERROR_BYTES, "'%ss' is a list of faults", name);
		return false;
	}
	json_array_foreach(list, i, value)
	{
		if (!apply_one(s, name, value, error))
			return false;
	}
	return true;
}

bool settings_apply(struct settings *s, const json_t *object, char error[SETTINGS_ERROR_BYTES])
{
	struct settings next = *s;
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)object, key, value)
	{
		char name[64];
		bool ok;

		(void)snprintf(name, sizeof(name), "%s", key);
		for (char *p = name; *p != '\0'; p++)
			*p = *p == '_' ? '-' : *p;
		if (strcmp(name, "faults") == 0 || strcmp(name, "fault") == 0)
			ok = apply_faults(&next, "fault", value, error);
		else if (strcmp(name, "embeddings-faults") == 0 || strcmp(name, "embeddings-fault") == 0)
			ok = apply_faults(&next, "embeddings-fault", value, error);
		else
			ok = apply_one(&next, name, value, error);
		if (!ok)
			return false;
	}
	*s = next;
	return true;
}

static json_t *json_DURATION(const struct latency *l) { return json_string(l->text); }
static json_t *json_SIZE(const size_t *size) { return json_integer((json_int_t)*size); }
static json_t *json_COUNT(const size_t *count) { return json_integer((json_int_t)*count); }
static json_t *json_SEED(const uint64_t *seed) { return json_integer((json_int_t)*seed); }
static json_t *json_FLAG(const bool *on) { return json_boolean(*on); }

static json_t *json_FAULT(const struct fault_rules *rules)
{
	json_t *list = json_array();

	for (size_t i = 0; i < rules->count; i++)
		json_array_append_new(list, json_string(rules->rule[i].text));
	return list;
}

json_t *settings_json(const struct settings *s)
{
	json_t *object = json_object();

#define X(field, name, kind, value, marker, argument, help) json_object_set_new(object, #field, json_##kind(&s->field));
	SETTINGS(X)
#undef X
	return object;
}
