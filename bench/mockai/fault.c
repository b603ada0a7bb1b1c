#include "bench/mockai/fault.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(FAULT_COUNT <= 64, "a fault set is one 64-bit mask");

static const struct {
	const char *name;
	int64_t value;
	const char *help;
} faults[] = {
#define X(id, name, value, help) {name, value, help},
	FAULTS(X)
#undef X
};

const char *fault_name(enum fault fault) { return faults[fault].name; }
const char *fault_help(enum fault fault) { return faults[fault].help; }

/* A whole number with K, M or G behind it; ends at `end`. */
static bool number_read(const char *text, const char *end, int64_t *ret_value)
{
	char *after;
	long long value;
	int shift = 0;

	if (text == end || *text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoll(text, &after, 10);
	if (errno != 0 || value > FAULT_VALUE_MAX)
		return false;
	if (after < end && strchr("KMG", *after) != NULL) {
		shift = *after == 'K' ? 10 : *after == 'M' ? 20 : 30;
		after++;
	}
	if (after != end || value > FAULT_VALUE_MAX >> shift)
		return false;
	*ret_value = (int64_t)value << shift;
	return true;
}

static bool probability_read(const char *text, double *ret_probability)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end != '\0' || !(value >= 0 && value <= 1))
		return false;
	*ret_probability = value;
	return true;
}

static bool fault_find(const char *name, size_t length, enum fault *ret_fault)
{
	for (size_t i = 0; i < FAULT_COUNT; i++) {
		if (strlen(faults[i].name) == length && memcmp(faults[i].name, name, length) == 0) {
			*ret_fault = (enum fault)i;
			return true;
		}
	}
	return false;
}

bool fault_parse(const char *text, struct fault_rule *ret_rule)
{
	struct fault_rule rule = {.probability = 1, .count = -1};
	size_t name_length = strcspn(text, "=@#");
	const char *limit = text + strcspn(text, "@#");

	if (strlen(text) >= sizeof(rule.text) || !fault_find(text, name_length, &rule.fault))
		return false;
	rule.value = faults[rule.fault].value;
	if (text[name_length] == '=' && !number_read(text + name_length + 1, limit, &rule.value))
		return false;
	if (*limit == '@' && !probability_read(limit + 1, &rule.probability))
		return false;
	if (*limit == '#' && !number_read(limit + 1, limit + strlen(limit), &rule.count))
		return false;
	if (rule.fault == FAULT_STATUS && (rule.value < 400 || rule.value > 599))
		return false;
	(void)snprintf(rule.text, sizeof(rule.text), "%s", text);
	*ret_rule = rule;
	return true;
}

bool fault_rules_add(struct fault_rules *rules, const struct fault_rule *rule)
{
	if (rules->count == FAULT_RULES_MAX)
		return false;
	rules->rule[rules->count++] = *rule;
	return true;
}

void fault_rules_draw(struct fault_rules *rules, struct random *random, struct fault_set *set)
{
	for (size_t i = 0; i < rules->count; i++) {
		struct fault_rule *rule = &rules->rule[i];

		if (rule->count == 0)
			continue;
		if (rule->probability < 1 && random_unit(random) >= rule->probability)
			continue;
		if (rule->count > 0)
			rule->count--;
		fault_set_add(set, rule->fault, rule->value);
	}
}

void fault_set_add(struct fault_set *set, enum fault fault, int64_t value)
{
	assert(fault < FAULT_COUNT);
	set->mask |= UINT64_C(1) << fault;
	set->value[fault] = value;
}
