/* fuzz: any bytes as what stands behind a frame's prefix. What is refused must be refused in words that can be sent;
 * what is accepted must be written and read again as the same message; and what the shape check lets through msgpack-c
 * must be able to read. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "proto/frame.h"
#include "proto/message.h"
#include "proto/shape.h"

static struct message_decoder first, second;
static struct buf once, twice;

static void assert_sendable(const struct fault *fault)
{
	assert(proto_error_name(fault->code) != NULL);
	assert(fault->message[0] != '\0');
	assert(slice_is_utf8(slice_str(fault->field)) && slice_is_utf8(slice_str(fault->message)));
}

static void assert_round_trip(const struct message *m, enum proto_from from)
{
	struct message again;
	struct fault fault;

	once.n = twice.n = 0;
	if (!message_encode(&once, m))
		abort();
	struct frame_result r = frame_next(buf_slice(&once), UINT32_MAX);

	assert(r.status == FRAME_READY && r.taken == once.n);
	if (message_decode(&second, r.frame, from, &again, &fault) < 0)
		abort();
	assert(again.op == m->op && again.id == m->id && again.flags == m->flags);
	if (!message_encode(&twice, &again) || !slice_eq(buf_slice(&once), buf_slice(&twice)))
		abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	buf_init(&once, SIZE_MAX / 2, NULL);
	buf_init(&twice, SIZE_MAX / 2, NULL);
	return message_decoder_init(&first) | message_decoder_init(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum proto_from sides[] = {FROM_C, FROM_S};
	struct slice frame = slice_of(data, size);
	enum shape_status shape = shape_check(frame);

	for (size_t i = 0; i < 2; i++) {
		struct message m;
		struct fault fault = {.code = ERR_NONE};

		if (message_decode(&first, frame, sides[i], &m, &fault) == 0) {
			assert(shape == SHAPE_OK);
			assert_round_trip(&m, sides[i]);
		} else {
			assert_sendable(&fault);
			assert(fault.code != ERR_NO_MEMORY);
			assert(shape == SHAPE_OK || fault.code == ERR_PROTOCOL || fault.code == ERR_TOO_LARGE);
		}
	}
	return 0;
}
