#include "bench/bench/filler.h"

#include "bench/bench/memory.h"

#define FILLER_BYTES (256u * 1024u)

static char filler[FILLER_BYTES];

static void on_written(uv_write_t *write, int status)
{
	(void)status;
	free(write);
}

static uint64_t bytes_min(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* libuv copies the list of buffers, and the buffers themselves are constant. */
static bool rest_queue(uv_stream_t *stream, uint64_t bytes)
{
	unsigned count = (unsigned)((bytes + FILLER_BYTES - 1) / FILLER_BYTES);
	uv_write_t *write = memory_need(1, sizeof(*write));
	uv_buf_t *list = memory_need(count, sizeof(*list));
	int rc;

	for (unsigned i = 0; i < count; i++) {
		list[i] = uv_buf_init(filler, (unsigned)bytes_min(bytes, FILLER_BYTES));
		bytes -= list[i].len;
	}
	rc = uv_write(write, stream, list, count, on_written);
	if (rc != 0)
		free(write);
	free(list);
	return rc == 0;
}

bool filler_send(uv_stream_t *stream, uint64_t bytes)
{
	uv_buf_t first = uv_buf_init(filler, (unsigned)bytes_min(bytes, FILLER_BYTES));
	int rc = uv_try_write(stream, &first, 1);

	if (rc == UV_EAGAIN)
		rc = 0;
	if (rc < 0)
		return false;
	bytes -= (uint64_t)rc;
	return bytes == 0 || rest_queue(stream, bytes);
}
