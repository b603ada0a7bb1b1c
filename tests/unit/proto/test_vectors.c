/* vectors: the golden frames and digests in tests/vectors, which an independent implementation made, replayed. */
#include "tests/unit/proto/proto_test.h"

#include "proto/digest.h"
#include "proto/frame.h"
#include "tests/unit/proto/json_text.h"

#define COLUMNS_MAX 4

struct fixture {
	FILE *file;
	char *line;
	size_t line_cap;
	char *column[COLUMNS_MAX];
	struct buf frame, text;
	struct message_decoder decoder;
	struct digester *digester;
};

static struct fixture f;

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){.digester = digester_new()};
	buf_init(&f.frame, TEST_BYTES_MAX, NULL);
	buf_init(&f.text, TEST_BYTES_MAX, NULL);
	return f.digester == NULL || message_decoder_init(&f.decoder) < 0;
}

static int teardown(void **state)
{
	(void)state;
	digester_free(f.digester);
	message_decoder_free(&f.decoder);
	buf_free(&f.frame);
	buf_free(&f.text);
	free(f.line);
	return 0;
}

static void vectors_open(const char *name)
{
	char path[1024];

	snprintf(path, sizeof(path), "%s/tests/vectors/%s", SOURCE_DIR, name);
	f.file = fopen(path, "r");
	if (f.file == NULL)
		fail_msg("%s cannot be opened", path);
}

/* The next line, cut into columns; the last column keeps its blanks. */
static bool vectors_next(size_t columns)
{
	ssize_t n;

	do {
		n = getline(&f.line, &f.line_cap, f.file);
	} while (n > 0 && f.line[0] == '#');
	if (n <= 0) {
		fclose(f.file);
		return false;
	}
	f.line[strcspn(f.line, "\n")] = '\0';
	f.column[0] = f.line;
	for (size_t i = 1; i < columns; i++) {
		char *blank = strchr(f.column[i - 1], ' ');

		assert_non_null(blank);
		*blank = '\0';
		f.column[i] = blank + 1;
	}
	return true;
}

static struct slice whole_frame(const char *hex)
{
	f.frame.n = 0;
	put_hex(&f.frame, hex);
	struct frame_result r = frame_next(buf_slice(&f.frame), FRAME_BYTES_MAX);

	assert_int_equal(r.status, FRAME_READY);
	assert_int_equal(r.taken, f.frame.n);
	return r.frame;
}

static void replay_meaning(struct slice frame, bool written_too)
{
	uint64_t op = 0, id = 0;
	struct message m;
	struct fault fault;

	assert_true(frame_peek(frame, &op, &id));
	if (message_decode(&f.decoder, frame, (enum proto_from)op_spec_find(op)->from, &m, &fault) < 0)
		fail_msg("%s: %s", f.column[0], fault.message);
	f.text.n = 0;
	json_message(&f.text, &m);
	put(&f.text, BYTES("\0"));
	assert_string_equal((const char *)f.text.p, f.column[3]);
	if (!written_too)
		return;
	f.text.n = 0;
	assert_true(message_encode(&f.text, &m));
	if (!slice_eq(buf_slice(&f.text), buf_slice(&f.frame)))
		fail_msg("%s is written as other bytes", f.column[0]);
}

static void replay_fault(struct slice frame)
{
	struct message m;
	struct fault fault;

	assert_int_equal(message_decode(&f.decoder, frame, FROM_C, &m, &fault), -1);
	f.text.n = 0;
	json_printf(&f.text, "{\"from\":\"client\",\"op\":%u,\"id\":%" PRIu64 ",\"error\":\"%s\",\"field\":\"%s\"}",
		    m.op, m.id, proto_error_name(fault.code), fault.field);
	put(&f.text, BYTES("\0"));
	assert_string_equal((const char *)f.text.p, f.column[3]);
}

static void frames_of_version_1_mean_what_they_meant(void **state)
{
	size_t count = 0;
	(void)state;

	for (vectors_open("frames.txt"); vectors_next(4); count++) {
		struct slice frame = whole_frame(f.column[2]);

		if (strcmp(f.column[1], "fault") == 0)
			replay_fault(frame);
		else
			replay_meaning(frame, strcmp(f.column[1], "both") == 0);
	}
	assert_true(count > 60);
}

static void digests_of_version_1_are_what_they_were(void **state)
{
	size_t count = 0;
	(void)state;

	for (vectors_open("digests.txt"); vectors_next(3); count++) {
		uint8_t digest[PROTO_DIGEST_BYTES];
		struct message m;
		struct fault fault;

		if (message_decode(&f.decoder, whole_frame(f.column[1]), FROM_C, &m, &fault) < 0)
			fail_msg("%s: %s", f.column[0], fault.message);
		f.text.n = 0;
		if (request_digest(f.digester, &m.request, slice_str("gpt-4o-mini"), digest, &fault) < 0)
			json_printf(&f.text, "%s:%s", proto_error_name(fault.code), fault.field);
		else
			for (size_t i = 0; i < sizeof(digest); i++)
				json_printf(&f.text, "%02x", digest[i]);
		put(&f.text, BYTES("\0"));
		if (strcmp((const char *)f.text.p, f.column[2]) != 0)
			fail_msg("%s: %s", f.column[0], f.text.p);
	}
	assert_true(count > 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(frames_of_version_1_mean_what_they_meant, setup, teardown),
		cmocka_unit_test_setup_teardown(digests_of_version_1_are_what_they_were, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
