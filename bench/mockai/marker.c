#include "bench/mockai/marker.h"

#include <stdio.h>
#include <string.h>

#define MARKER_BYTES_MAX 128

/* The setting that a marker at `text` names; its value goes to `value`, its whole length to *ret_length. */
static const struct setting *marker_find(const char *text, size_t length, bool embeddings, char value[MARKER_BYTES_MAX],
					 size_t *ret_length)
{
	const char *end = memmem(text, length < MARKER_BYTES_MAX ? length : MARKER_BYTES_MAX, "]]", 2);
	const char *colon = end == NULL ? NULL : memchr(text, ':', (size_t)(end - text));

	if (colon == NULL)
		return NULL;
	for (const struct setting *t = settings_table; t->name != NULL; t++) {
		size_t name_length = strlen(t->name);

		if (!t->marker || (strncmp(t->name, "embeddings-", 11) == 0) != embeddings)
			continue;
		if ((size_t)(colon - text) != name_length + 2 || memcmp(text + 2, t->name, name_length) != 0)
			continue;
		(void)snprintf(value, MARKER_BYTES_MAX, "%.*s", (int)(end - colon - 1), colon + 1);
		*ret_length = (size_t)(end + 2 - text);
		return t;
	}
	return NULL;
}

static bool marker_fault(const char *value, uint64_t call, struct fault_set *faults, struct random *random)
{
	struct fault_rule rule;

	if (!fault_parse(value, &rule))
		return false;
	if (rule.count >= 0 && call > (uint64_t)rule.count)
		return true;
	if (rule.probability >= 1 || random_unit(random) < rule.probability)
		fault_set_add(faults, rule.fault, rule.value);
	return true;
}

bool marker_read(const char *text, size_t length, bool embeddings, uint64_t call, struct settings *settings,
		 struct fault_set *faults, struct random *random, struct buffer *ret_plain,
		 char error[SETTINGS_ERROR_BYTES])
{
	const char *end = text + length, *at;

	while ((at = memmem(text, (size_t)(end - text), "[[", 2)) != NULL) {
		char value[MARKER_BYTES_MAX];
		size_t marker_length = 2; /* ordinary brackets */
		const struct setting *t = marker_find(at, (size_t)(end - at), embeddings, value, &marker_length);

		buffer_append(ret_plain, text, (size_t)(at - text) + (t == NULL ? marker_length : 0));
		text = at + marker_length;
		if (t == NULL)
			continue;
		if (strstr(t->name, "fault") != NULL) {
			if (!marker_fault(value, call, faults, random)) {
				(void)snprintf(error, SETTINGS_ERROR_BYTES, "'%.80s' is not a fault", value);
				return false;
			}
		} else if (!settings_set(settings, t->name, strlen(t->name), value, error)) {
			return false;
		}
	}
	buffer_append(ret_plain, text, (size_t)(end - text));
	while (ret_plain->length > 0 && ret_plain->data[ret_plain->length - 1] == ' ')
		ret_plain->length--;
	return true;
}
