/* shape: one pass over msgpack bytes, with a count of what each open container still owes. */
#include "proto/shape.h"

/* DEPTH_MAX as a constant expression. */
enum {
#define X(name, value, text) SHAPE_##name = (value) > INT32_MAX ? -1 : (int)(value),
	PROTO_LIMITS(X)
#undef X
};

/* What follows a first byte from 0xC0 to 0xDF: `length` bytes that hold a count, `fixed` bytes of value; `children`
 * values for each one counted (0: the count is one of bytes). */
/* clang-format off */
static const struct {
	uint8_t length;
	uint8_t fixed;
	uint8_t children;
} heads[32] = {
	[0xC4 - 0xC0] = {1, 0, 0}, [0xC5 - 0xC0] = {2, 0, 0},  [0xC6 - 0xC0] = {4, 0, 0}, /* bin */
	[0xC7 - 0xC0] = {1, 1, 0}, [0xC8 - 0xC0] = {2, 1, 0},  [0xC9 - 0xC0] = {4, 1, 0}, /* ext */
	[0xCA - 0xC0] = {0, 4, 0}, [0xCB - 0xC0] = {0, 8, 0},				  /* float */
	[0xCC - 0xC0] = {0, 1, 0}, [0xCD - 0xC0] = {0, 2, 0},				  /* uint */
	[0xCE - 0xC0] = {0, 4, 0}, [0xCF - 0xC0] = {0, 8, 0},
	[0xD0 - 0xC0] = {0, 1, 0}, [0xD1 - 0xC0] = {0, 2, 0},				  /* int */
	[0xD2 - 0xC0] = {0, 4, 0}, [0xD3 - 0xC0] = {0, 8, 0},
	[0xD4 - 0xC0] = {0, 2, 0}, [0xD5 - 0xC0] = {0, 3, 0},				  /* fixext */
	[0xD6 - 0xC0] = {0, 5, 0}, [0xD7 - 0xC0] = {0, 9, 0},  [0xD8 - 0xC0] = {0, 17, 0},
	[0xD9 - 0xC0] = {1, 0, 0}, [0xDA - 0xC0] = {2, 0, 0},  [0xDB - 0xC0] = {4, 0, 0}, /* str */
	[0xDC - 0xC0] = {2, 0, 1}, [0xDD - 0xC0] = {4, 0, 1},				  /* array */
	[0xDE - 0xC0] = {2, 0, 2}, [0xDF - 0xC0] = {4, 0, 2},				  /* map */
};
/* clang-format on */

/* One value without what it contains. */
struct head {
	uint64_t bytes;	   /* from its first byte to the next value */
	uint64_t children; /* values it contains */
	bool container;
};

static enum shape_status head_read(const uint8_t *p, uint64_t left, struct head *ret)
{
	uint8_t first = p[0];

	*ret = (struct head){.bytes = 1};
	if (first <= 0x7F || first >= 0xE0)
		return SHAPE_OK;
	if (first <= 0x9F) {
		ret->container = true;
		ret->children = (uint64_t)(first & 0x0F) << (first <= 0x8F);
		return SHAPE_OK;
	}
	if (first <= 0xBF) {
		ret->bytes += first & 0x1F;
		return SHAPE_OK;
	}
	if (first == 0xC1)
		return SHAPE_INVALID;

	size_t length = heads[first - 0xC0].length;
	uint64_t count = 0;

	if (left < 1 + length)
		return SHAPE_TRUNCATED;
	for (size_t i = 1; i <= length; i++)
		count = count << 8 | p[i];
	ret->container = heads[first - 0xC0].children > 0;
	ret->children = count * heads[first - 0xC0].children;
	ret->bytes += length + heads[first - 0xC0].fixed + (ret->container ? 0 : count);
	return SHAPE_OK;
}

enum shape_status shape_check(struct slice value)
{
	uint64_t owed[SHAPE_DEPTH_MAX + 1] = {1}; /* values still to come, one entry for each open container */
	uint64_t owed_sum = 1, count = 1;
	size_t depth = 0, at = 0;

	while (owed_sum > 0) {
		struct head head;

		if (at == value.n)
			return SHAPE_TRUNCATED;
		while (owed[depth] == 0)
			depth--;

		enum shape_status s = head_read(value.p + at, value.n - at, &head);

		if (s != SHAPE_OK)
			return s;
		if (head.bytes > value.n - at)
			return SHAPE_TRUNCATED;
		at += head.bytes;
		owed[depth]--;
		owed_sum--;
		if (!head.container)
			continue;
		if (depth == SHAPE_DEPTH_MAX)
			return SHAPE_DEEP;
		count += head.children;
		if (count > ELEMENTS_MAX)
			return SHAPE_MANY;
		owed_sum += head.children;
		if (owed_sum > value.n - at)
			return SHAPE_TRUNCATED;
		owed[++depth] = head.children;
	}
	return at == value.n ? SHAPE_OK : SHAPE_INVALID;
}

const char *shape_status_text(enum shape_status s)
{
	switch (s) {
	case SHAPE_OK:
		return "well-formed";
	case SHAPE_TRUNCATED:
		return "ends inside a value";
	case SHAPE_INVALID:
		return "has a byte that is not msgpack, or more than one value";
	case SHAPE_DEEP:
		return "is nested too deeply";
	case SHAPE_MANY:
		return "has too many values";
	}
	return "is malformed";
}
