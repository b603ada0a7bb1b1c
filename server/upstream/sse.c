/* sse: a piece is cut into lines where it lies; only a line that crosses two pieces is copied together. */
#include "server/upstream/sse.h"

void sse_init(struct sse *s, bool (*event)(void *owner, struct slice data), void *owner)
{
	*s = (struct sse){.event = event, .owner = owner};
	buf_init(&s->line, SSE_EVENT_BYTES_MAX, NULL);
	buf_init(&s->data, SSE_EVENT_BYTES_MAX, NULL);
}

void sse_free(struct sse *s)
{
	buf_free(&s->line);
	buf_free(&s->data);
}

static enum sse_status sse_append(struct buf *b, struct slice s)
{
	if (s.n > b->max - b->n)
		return SSE_TOO_LONG;
	return buf_append(b, s.p, s.n) ? SSE_OK : SSE_NO_MEMORY;
}

static enum sse_status sse_dispatch(struct sse *s)
{
	bool more;

	if (!s->has_data)
		return SSE_OK;
	s->has_data = false;
	more = s->event(s->owner, buf_slice(&s->data));
	s->data.n = 0;
	return more ? SSE_OK : SSE_STOPPED;
}

/* `value`: what stands behind "data:". */
static enum sse_status sse_take_data(struct sse *s, struct slice value)
{
	enum sse_status status;

	if (value.n > 0 && value.p[0] == ' ')
		value = slice_of(value.p + 1, value.n - 1);
	if (s->has_data) {
		status = sse_append(&s->data, slice_of("\n", 1));
		if (status != SSE_OK)
			return status;
	}
	s->has_data = true;
	return sse_append(&s->data, value);
}

/* A whole line, without its end. Fields other than data (event, id, retry) mean nothing to an API of answers. */
static enum sse_status sse_take_line(struct sse *s, struct slice line)
{
	if (!s->started) {
		s->started = true;
		if (line.n >= 3 && memcmp(line.p, "\xEF\xBB\xBF", 3) == 0)
			line = slice_of(line.p + 3, line.n - 3);
	}
	if (line.n == 0)
		return sse_dispatch(s);
	if (line.n == 4 && memcmp(line.p, "data", 4) == 0)
		return sse_take_data(s, slice_of(NULL, 0));
	if (line.n > 4 && memcmp(line.p, "data:", 5) == 0)
		return sse_take_data(s, slice_of(line.p + 5, line.n - 5));
	return SSE_OK;
}

/* Where the line at p ends: at LF or CR, whichever is first; n when neither is there. The search for CR stops at the
 * LF, so that a piece of many short lines is not searched to its end once a line. */
static size_t sse_line_length(const uint8_t *p, size_t n)
{
	const uint8_t *lf = memchr(p, '\n', n);
	size_t length = lf != NULL ? (size_t)(lf - p) : n;
	const uint8_t *cr = memchr(p, '\r', length);

	return cr != NULL ? (size_t)(cr - p) : length;
}

static enum sse_status sse_end_line(struct sse *s, struct slice rest)
{
	enum sse_status status;

	if (s->line.n == 0) /* the whole line lies in this piece */
		return rest.n > SSE_EVENT_BYTES_MAX ? SSE_TOO_LONG : sse_take_line(s, rest);
	status = sse_append(&s->line, rest);
	if (status != SSE_OK)
		return status;
	status = sse_take_line(s, buf_slice(&s->line));
	s->line.n = 0;
	return status;
}

enum sse_status sse_feed(struct sse *s, struct slice piece)
{
	while (piece.n > 0) {
		enum sse_status status;
		size_t length;

		if (s->skip_lf && piece.p[0] == '\n') {
			s->skip_lf = false;
			piece = slice_of(piece.p + 1, piece.n - 1);
			continue;
		}
		s->skip_lf = false;
		length = sse_line_length(piece.p, piece.n);
		if (length == piece.n)
			return sse_append(&s->line, piece);
		s->skip_lf = piece.p[length] == '\r';
		status = sse_end_line(s, slice_of(piece.p, length));
		piece = slice_of(piece.p + length + 1, piece.n - length - 1);
		s->rest = piece;
		if (status != SSE_OK)
			return status;
	}
	return SSE_OK;
}
