#include "bench/mockai/schema.h"

#include <stdlib.h>
#include <string.h>

#define SCHEMA_DEPTH_MAX 16 /* deeper: null; a schema that nests further is a test of something else */

static void example_write(struct buffer *b, const json_t *schema, const char *text, size_t length, int depth);

static void value_write(struct buffer *b, const json_t *value)
{
	char *dump = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

	buffer_text(b, dump != NULL ? dump : "null");
	free(dump);
}

static void object_write(struct buffer *b, const json_t *schema, const char *text, size_t length, int depth)
{
	const char *name, *comma = "";
	json_t *property;

	buffer_byte(b, '{');
	json_object_foreach(json_object_get(schema, "properties"), name, property)
	{
		buffer_text(b, comma);
		buffer_json_string(b, name, strlen(name));
		buffer_byte(b, ':');
		example_write(b, property, text, length, depth + 1);
		comma = ",";
	}
	buffer_byte(b, '}');
}

static const char *schema_type(const json_t *schema)
{
	const json_t *type = json_object_get(schema, "type");

	if (json_is_array(type)) /* ["string", "null"] */
		type = json_array_get(type, 0);
	if (json_is_string(type))
		return json_string_value(type);
	return json_is_object(json_object_get(schema, "properties")) ? "object" : "null";
}

/* A value that the schema names itself: NULL when there is none. */
static const json_t *schema_given(const json_t *schema)
{
	const json_t *value = json_object_get(schema, "const");

	return value != NULL ? value : json_array_get(json_object_get(schema, "enum"), 0);
}

static void example_write(struct buffer *b, const json_t *schema, const char *text, size_t length, int depth)
{
	const json_t *given = schema_given(schema), *any = json_array_get(json_object_get(schema, "anyOf"), 0);
	const char *type = schema_type(schema);

	if (depth > SCHEMA_DEPTH_MAX) {
		buffer_text(b, "null");
	} else if (given != NULL) {
		value_write(b, given);
	} else if (any != NULL) {
		example_write(b, any, text, length, depth + 1);
	} else if (strcmp(type, "object") == 0) {
		object_write(b, schema, text, length, depth);
	} else if (strcmp(type, "array") == 0) {
		buffer_byte(b, '[');
		example_write(b, json_object_get(schema, "items"), text, length, depth + 1);
		buffer_byte(b, ']');
	} else if (strcmp(type, "string") == 0) {
		buffer_json_string(b, text, length);
	} else if (strcmp(type, "integer") == 0 || strcmp(type, "number") == 0) {
		given = json_object_get(schema, "minimum");
		if (given != NULL)
			value_write(b, given);
		else
			buffer_byte(b, '1');
	} else {
		buffer_text(b, strcmp(type, "boolean") == 0 ? "true" : "null");
	}
}

void schema_write_example(struct buffer *b, const json_t *schema, const char *text, size_t length)
{
	example_write(b, schema, text, length, 0);
}
