/* embedding_vector: text to unit vector. Pure. */
#ifndef MOCKAI_EMBEDDING_VECTOR_H
#define MOCKAI_EMBEDDING_VECTOR_H

#include <stddef.h>

#include "bench/mockai/buffer.h"

void embedding_vector_of_text(const char *text, size_t length, float *ret_vector, size_t dimensions);

/* As a JSON array of numbers, or as base64 of little-endian floats in a string. */
void embedding_vector_write(struct buffer *b, const float *vector, size_t dimensions, bool base64);

#endif
