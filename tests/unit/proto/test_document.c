/* document: the tables of proto/PROTOCOL.md are those of the schema. `test_document --write` puts them there. */
#include "tests/unit/proto/proto_test.h"

#include <stdio.h>
#include <string.h>

#define DOCUMENT SOURCE_DIR "/proto/PROTOCOL.md"

static char *document_read(void)
{
	struct buf b;
	char part[4096];
	size_t n;
	FILE *in = fopen(DOCUMENT, "r");

	buf_init(&b, TEST_BYTES_MAX, NULL);
	if (in == NULL)
		return NULL;
	while ((n = fread(part, 1, sizeof(part), in)) > 0) {
		if (!buf_append(&b, part, n))
			break;
	}
	fclose(in);
	if (!buf_append(&b, "", 1))
		buf_free(&b);
	return (char *)b.p;
}

static char *schema_tables(void)
{
	struct buf b;

	buf_init(&b, TEST_BYTES_MAX, NULL);
	if (!proto_schema_markdown(&b) || !buf_append(&b, "", 1))
		buf_free(&b);
	return (char *)b.p;
}

/* One table of a text: from its mark to the end of its end mark. */
struct table {
	char name[64];
	const char *start;
	size_t n;
};

static bool table_next(const char *text, struct table *ret)
{
	char end[96];
	const char *start = strstr(text, "<!-- table ");

	if (start == NULL || sscanf(start, "<!-- table %63s", ret->name) != 1)
		return false;
	snprintf(end, sizeof(end), "<!-- end %s -->\n", ret->name);
	const char *stop = strstr(start, end);

	if (stop == NULL)
		return false;
	ret->start = start;
	ret->n = (size_t)(stop - start) + strlen(end);
	return true;
}

static bool table_find(const char *text, const char *name, struct table *ret)
{
	while (table_next(text, ret)) {
		if (strcmp(ret->name, name) == 0)
			return true;
		text = ret->start + ret->n;
	}
	return false;
}

static void every_table_of_the_document_is_that_of_the_schema(void **state)
{
	char *document = document_read(), *tables = schema_tables();
	struct table of_schema, of_document;
	size_t count = 0;
	(void)state;

	assert_non_null(document);
	assert_non_null(tables);
	for (const char *at = tables; table_next(at, &of_schema); at = of_schema.start + of_schema.n, count++) {
		if (!table_find(document, of_schema.name, &of_document))
			fail_msg("PROTOCOL.md has no table %s", of_schema.name);
		if (of_schema.n != of_document.n || memcmp(of_schema.start, of_document.start, of_schema.n) != 0)
			fail_msg("table %s differs: run test_document --write", of_schema.name);
	}
	assert_true(count >= 15);
	for (const char *at = document; table_next(at, &of_document); at = of_document.start + of_document.n)
		assert_true(table_find(tables, of_document.name, &of_schema));
	free(document);
	free(tables);
}

static void the_schema_s_texts_can_stand_in_a_table(void **state)
{
	char *tables = schema_tables();
	size_t bars = 0, expected = 0;
	(void)state;

	assert_non_null(tables);
	for (char *line = strtok(tables, "\n"); line != NULL; line = strtok(NULL, "\n")) {
		bars = 0;
		for (const char *c = line; *c != '\0'; c++)
			bars += *c == '|';
		if (line[0] != '|')
			expected = 0;
		else if (expected == 0)
			expected = bars;
		else if (bars != expected)
			fail_msg("%s", line);
	}
	free(tables);
}

static void no_memory_for_the_tables_is_said(void **state)
{
	struct buf b;
	(void)state;

	for (size_t max = 0; max < 3000; max += 61) {
		buf_init(&b, max, NULL);
		assert_false(proto_schema_markdown(&b));
		buf_free(&b);
	}
}

/* Replaces each table of the document by that of the schema. */
static int document_write(void)
{
	char *document = document_read(), *tables = schema_tables();
	FILE *out = document != NULL && tables != NULL ? fopen(DOCUMENT, "w") : NULL;
	struct table old, new;
	const char *at = document;

	if (out == NULL) {
		fprintf(stderr, "%s cannot be rewritten\n", DOCUMENT);
		free(document);
		free(tables);
		return 1;
	}
	for (; table_next(at, &old); at = old.start + old.n) {
		if (!table_find(tables, old.name, &new))
			new = old;
		fwrite(at, 1, (size_t)(old.start - at), out);
		fwrite(new.start, 1, new.n, out);
	}
	fputs(at, out);
	free(document);
	free(tables);
	return fclose(out) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_table_of_the_document_is_that_of_the_schema),
		cmocka_unit_test(the_schema_s_texts_can_stand_in_a_table),
		cmocka_unit_test(no_memory_for_the_tables_is_said),
	};
	if (argc > 1 && strcmp(argv[1], "--write") == 0)
		return document_write();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
