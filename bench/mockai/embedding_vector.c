#include "bench/mockai/embedding_vector.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "bench/mockai/random.h"

#define PLACES_PER_WORD	  48 /* enough that two words seldom meet in 256 dimensions with the same signs */
#define SHORT_WORD_BYTES  3
#define SHORT_WORD_WEIGHT 0.3f
#define WHOLE_TEXT_WEIGHT 0.05f /* the text as a whole: the order of words is not quite without effect */

static void word_add(uint64_t hash, float weight, float *vector, size_t dimensions)
{
	struct random random = {hash};

	for (int i = 0; i < PLACES_PER_WORD; i++) {
		uint64_t bits = random_next(&random);

		vector[(bits >> 8) % dimensions] += (bits & 1) != 0 ? weight : -weight;
	}
}

static bool byte_in_word(unsigned char byte) { return isalnum(byte) || byte >= 0x80; }

/* Adds the words of the text; returns the hash of all of them in order. */
static uint64_t words_add(const char *text, size_t length, float *vector, size_t dimensions)
{
	uint64_t all = RANDOM_HASH_START, hash;
	size_t at = 0, size;

	while (at < length) {
		hash = RANDOM_HASH_START;
		for (size = 0; at < length && byte_in_word((unsigned char)text[at]); size++, at++) {
			char lower = (char)tolower((unsigned char)text[at]);

			hash = random_hash(hash, &lower, 1);
		}
		if (size > 0) {
			word_add(random_mix(hash), size <= SHORT_WORD_BYTES ? SHORT_WORD_WEIGHT : 1, vector,
				 dimensions);
			all = random_hash(all, &hash, sizeof(hash));
		} else {
			at++;
		}
	}
	return all;
}

void embedding_vector_of_text(const char *text, size_t length, float *ret_vector, size_t dimensions)
{
	double sum = 0;
	uint64_t all;

	memset(ret_vector, 0, dimensions * sizeof(*ret_vector));
	all = words_add(text, length, ret_vector, dimensions);
	word_add(random_mix(all), WHOLE_TEXT_WEIGHT, ret_vector, dimensions);
	for (size_t i = 0; i < dimensions; i++)
		sum += (double)ret_vector[i] * (double)ret_vector[i];
	if (sum <= 0) { /* few dimensions, and all places met their opposite */
		ret_vector[0] = 1;
		return;
	}
	for (size_t i = 0; i < dimensions; i++)
		ret_vector[i] = (float)((double)ret_vector[i] / sqrt(sum));
}

static void base64_write(struct buffer *b, const unsigned char *bytes, size_t length)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < length; i += 3) {
		size_t left = length - i;
		uint32_t bits = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
				(left > 2 ? bytes[i + 2] : 0);
		char out[4] = {digits[bits >> 18], digits[bits >> 12 & 63], left > 1 ? digits[bits >> 6 & 63] : '=',
			       left > 2 ? digits[bits & 63] : '='};

		buffer_append(b, out, sizeof(out));
	}
}

void embedding_vector_write(struct buffer *b, const float *vector, size_t dimensions, bool base64)
{
	if (base64) {
		buffer_byte(b, '"');
		base64_write(b, (const unsigned char *)vector, dimensions * sizeof(*vector));
		buffer_byte(b, '"');
		return;
	}
	buffer_byte(b, '[');
	for (size_t i = 0; i < dimensions; i++) {
		if (i > 0)
			buffer_byte(b, ',');
		if (vector[i] == 0)
			buffer_text(b, "0.0");
		else
			buffer_printf(b, "%.9g", (double)vector[i]);
	}
	buffer_byte(b, ']');
}
