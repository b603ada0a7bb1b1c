/* schema: the smallest value that a JSON schema allows, for structured answers and tool arguments. */
#ifndef MOCKAI_SCHEMA_H
#define MOCKAI_SCHEMA_H

#include <jansson.h>

#include "bench/mockai/buffer.h"

/* Writes the value as JSON; strings become `text`. */
void schema_write_example(struct buffer *b, const json_t *schema, const char *text, size_t length);

#endif
