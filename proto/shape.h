/* shape: walks msgpack bytes without building anything, so that nothing is allocated for what a header merely claims.
 *
 * msgpack-c believes a header of five bytes that announces 2^28 elements, and asks for 6 GB. So each frame is walked
 * first: well-formed, exactly one value, not deeper than DEPTH_MAX, not more than ELEMENTS_MAX values, and never more
 * elements claimed than bytes are left. */
#ifndef PROTO_SHAPE_H
#define PROTO_SHAPE_H

#include "proto/schema.h"

enum shape_status {
	SHAPE_OK,
	SHAPE_TRUNCATED, /* ends inside a value */
	SHAPE_INVALID,	 /* the byte 0xC1, or bytes behind the value */
	SHAPE_DEEP,	 /* deeper than DEPTH_MAX */
	SHAPE_MANY,	 /* more values than ELEMENTS_MAX */
};

enum shape_status shape_check(struct slice value);
const char *shape_status_text(enum shape_status s);

#endif
