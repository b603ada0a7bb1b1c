/* options, files: libyaml's events flattened to dotted keys.
 *
 *      store:                  "store"            known section?
 *        path: /x              "store.path"       assigned
 *      upstreams:              "upstreams"        list of groups: emptied
 *        - name: a             "upstreams[0].name"
 *
 * Events, not documents: every value still knows its line, and nothing is built that a hostile file could make large.
 * Every key is looked up before anything below it is read, so what is kept is bounded by the tables. Anchors, aliases
 * and tags are refused: they are the part of YAML by which a file means something else than it says. */
#include "server/base/options_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

/* A key of this file, to name the line of its first appearance. */
struct seen {
	struct seen *next;
	size_t line;
	char key[];
};

struct frame {
	bool sequence;
	bool wants_value; /* mapping: its key has been read */
	size_t key_n;	  /* of the collection's own key */
	size_t index;	  /* sequence: of the next item */
};

struct walk {
	struct options *o;
	const char *name;
	const char *text;
	size_t n;
	struct option_report report;
	char origin[512];
	size_t line;
	size_t key_line; /* of the last key: a collection begins in a line further down */
	struct frame frames[OPTIONS_DEPTH_MAX];
	size_t depth;
	size_t documents;
	char key[OPTION_KEY_BYTES_MAX + 1];
	size_t key_n;
	struct seen *seen;
};

static void walk_at(struct walk *w, size_t line)
{
	w->line = line;
	snprintf(w->origin, sizeof(w->origin), "%s:%zu", w->name, line);
}

/* NULL at the top of the file, where there is no key to name. */
static const char *walk_key(const struct walk *w) { return w->key_n > 0 ? w->key : NULL; }

/* ---- keys */

static int key_append(struct walk *w, const char *before, const char *p, size_t n)
{
	size_t m = strlen(before);

	if (w->key_n + m + n > OPTION_KEY_BYTES_MAX)
		return option_fail(&w->report, walk_key(w), "the key below it is longer than %d bytes in all",
				   OPTION_KEY_BYTES_MAX);
	memcpy(w->key + w->key_n, before, m);
	memcpy(w->key + w->key_n + m, p, n);
	w->key_n += m + n;
	w->key[w->key_n] = '\0';
	return 0;
}

static void key_cut(struct walk *w, size_t n)
{
	w->key_n = n;
	w->key[n] = '\0';
}

static int key_once(struct walk *w)
{
	struct seen *s;

	for (s = w->seen; s != NULL; s = s->next) {
		if (strcmp(s->key, w->key) == 0)
			return option_fail(&w->report, w->key, "given twice; the first time in line %zu", s->line);
	}
	s = malloc(sizeof(*s) + w->key_n + 1);
	if (s == NULL)
		return option_fail(&w->report, w->key, "out of memory");
	s->line = w->line;
	memcpy(s->key, w->key, w->key_n + 1);
	s->next = w->seen;
	w->seen = s;
	return 0;
}

static int on_key(struct walk *w, const char *p, size_t n)
{
	const struct option_scalar probe = {"", 0, true};
	const char *dot = w->key_n > 0 ? "." : "";

	if (memchr(p, '\0', n) != NULL)
		return option_fail(&w->report, walk_key(w), "a key contains a NUL byte");
	if (key_append(w, dot, p, n) < 0)
		return -1;
	if (option_key_find(w->o, w->key).kind == OPTION_KEY_UNKNOWN)
		return option_assign(w->o, &w->report, w->key, &probe); /* the sentence with the nearest key */
	if (key_once(w) < 0)
		return -1;
	w->frames[w->depth - 1].wants_value = true;
	w->key_line = w->line;
	return 0;
}

/* ---- values: of a key, or items of a sequence */

/* Completes the key of the value that begins now. */
static int value_begins(struct walk *w)
{
	char index[24];
	int n;

	if (w->depth == 0 || !w->frames[w->depth - 1].sequence)
		return 0;
	n = snprintf(index, sizeof(index), "[%zu]", w->frames[w->depth - 1].index++);
	return key_append(w, "", index, (size_t)n);
}

static void value_ended(struct walk *w)
{
	if (w->depth == 0)
		return;
	w->frames[w->depth - 1].wants_value = false;
	key_cut(w, w->frames[w->depth - 1].key_n);
}

static int push(struct walk *w, bool sequence)
{
	if (w->depth == OPTIONS_DEPTH_MAX)
		return option_fail(&w->report, walk_key(w), "nested deeper than %d levels", OPTIONS_DEPTH_MAX);
	w->frames[w->depth++] = (struct frame){.sequence = sequence, .key_n = w->key_n};
	return 0;
}

static bool wants_key(const struct walk *w)
{
	return w->depth > 0 && !w->frames[w->depth - 1].sequence && !w->frames[w->depth - 1].wants_value;
}

/* A collection where one value belongs: the ordinary sentence of a wrong value, with the collection named. */
static int fail_collection(struct walk *w, const struct option_key *k, const char *found)
{
	const struct option_group *g = &w->o->groups[k->group];
	char words[OPTION_WORDS_BYTES];

	if (w->depth > 0 && !w->frames[w->depth - 1].sequence)
		walk_at(w, w->key_line);
	switch (k->kind) {
	case OPTION_KEY_OPTION:
		option_words_type(&g->options[k->option], words);
		return option_fail(&w->report, w->key, "expected %s, found a %s", words, found);
	case OPTION_KEY_ELEMENT:
		return option_fail(&w->report, w->key, "expected a text, found a %s", found);
	case OPTION_KEY_LIST:
		return option_fail(&w->report, w->key, "expected a list (lines that begin with \"- %s:\"), found a %s",
				   g->options[0].name, found);
	case OPTION_KEY_ITEM:
	case OPTION_KEY_SECTION:
	case OPTION_KEY_UNKNOWN:
		break;
	}
	return option_fail(&w->report, walk_key(w), "expected keys with values, found a %s", found);
}

static int on_mapping(struct walk *w)
{
	struct option_key k;

	if (wants_key(w))
		return option_fail(&w->report, walk_key(w), "a key must be plain text");
	if (value_begins(w) < 0)
		return -1;
	k = option_key_find(w->o, w->key);
	if (w->depth > 0 && k.kind != OPTION_KEY_SECTION && k.kind != OPTION_KEY_ITEM)
		return fail_collection(w, &k, "mapping");
	if (k.kind == OPTION_KEY_ITEM && option_item_ensure(w->o, &w->report, w->key, &k) < 0)
		return -1;
	return push(w, false);
}

static int on_sequence(struct walk *w)
{
	struct option_key k;

	if (wants_key(w))
		return option_fail(&w->report, walk_key(w), "a key must be plain text");
	if (value_begins(w) < 0)
		return -1;
	k = option_key_find(w->o, w->key);
	if (k.kind == OPTION_KEY_OPTION && w->o->groups[k.group].options[k.option].type == OPTION_STRINGS) {
		if (option_item_ensure(w->o, &w->report, w->key, &k) < 0)
			return -1;
	} else if (k.kind != OPTION_KEY_LIST) {
		return fail_collection(w, &k, "list");
	}
	option_list_clear(w->o, &k);
	return push(w, true);
}

static int on_scalar(struct walk *w, const yaml_event_t *e)
{
	const char *p = (const char *)e->data.scalar.value;
	struct option_scalar s = {p, e->data.scalar.length, e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE};

	if (wants_key(w))
		return on_key(w, p, s.n);
	if (!s.quoted && s.n == 0)
		s = (struct option_scalar){"~", 1, false};
	if (w->depth == 0)
		return option_scalar_is_null(&s) ? 0 : option_fail(&w->report, NULL, "expected keys with values");
	if (value_begins(w) < 0 || option_assign(w->o, &w->report, w->key, &s) < 0)
		return -1;
	value_ended(w);
	return 0;
}

/* ---- events */

static int refuse(struct walk *w, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor != NULL)
		return option_fail(&w->report, walk_key(w), "anchors (&%s) are not supported; write the value out",
				   anchor);
	if (tag != NULL)
		return option_fail(&w->report, walk_key(w), "tags (%s) are not supported; remove it", tag);
	return 0;
}

static int on_event(struct walk *w, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		if (refuse(w, e->data.scalar.anchor, e->data.scalar.tag) < 0)
			return -1;
		return on_scalar(w, e);
	case YAML_MAPPING_START_EVENT:
		if (refuse(w, e->data.mapping_start.anchor, e->data.mapping_start.tag) < 0)
			return -1;
		return on_mapping(w);
	case YAML_SEQUENCE_START_EVENT:
		if (refuse(w, e->data.sequence_start.anchor, e->data.sequence_start.tag) < 0)
			return -1;
		return on_sequence(w);
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		w->depth--;
		value_ended(w);
		return 0;
	case YAML_ALIAS_EVENT:
		return option_fail(&w->report, walk_key(w), "aliases (*%s) are not supported; write the value out",
				   e->data.alias.anchor);
	case YAML_DOCUMENT_START_EVENT:
		if (w->documents++ > 0)
			return option_fail(&w->report, NULL, "a second document begins; one file holds one");
		return 0;
	default:
		return 0;
	}
}

/* The line of a byte, and whether it is indented with a tab. */
static bool line_has_tab(const struct walk *w, size_t line)
{
	const char *p = w->text, *end = w->text + w->n;

	for (size_t i = 1; i < line && p != NULL && p < end; i++) {
		p = memchr(p, '\n', (size_t)(end - p));
		if (p != NULL)
			p++;
	}
	while (p != NULL && p < end && (*p == ' ' || *p == '-'))
		p++;
	return p != NULL && p < end && *p == '\t';
}

static int fail_parser(struct walk *w, const yaml_parser_t *parser)
{
	const char *problem = parser->problem != NULL ? parser->problem : "not valid YAML";
	size_t line = parser->problem_mark.line + 1;

	if (parser->error == YAML_MEMORY_ERROR)
		return option_fail(&w->report, NULL, "out of memory");
	if (parser->error == YAML_READER_ERROR) { /* it knows the byte only */
		line = 1;
		for (size_t i = 0; i < parser->problem_offset && i < w->n; i++)
			line += w->text[i] == '\n';
	}
	walk_at(w, line);
	return option_fail(&w->report, NULL, "not valid YAML: %s%s", problem,
			   line_has_tab(w, line) ? " (indent with spaces, not tabs)" : "");
}

/* Whether libyaml sees a line begin after these bytes: it knows Unicode's line ends, and skips a byte order mark. */
static bool ends_line(const char *p, size_t n)
{
	static const char *const ends[] = {"\n", "\r", "\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xef\xbb\xbf"};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		size_t m = strlen(ends[i]);

		if (n >= m && memcmp(p + n - m, ends[i], m) == 0)
			return true;
	}
	return n == 0;
}

/* Directives are refused before libyaml sees them: it compares each %TAG with all earlier ones, a minute for a
 * megabyte. No value of a configuration can have a % in the first column. */
static int refuse_directives(struct walk *w)
{
	size_t line = 1;

	for (size_t i = 0; i < w->n; i++) {
		line += w->text[i] == '\n';
		if (w->text[i] != '%' || !ends_line(w->text, i))
			continue;
		walk_at(w, line);
		return option_fail(&w->report, NULL, "directives (%%YAML, %%TAG) are not supported; remove the line");
	}
	return 0;
}

static int walk_all(struct walk *w)
{
	yaml_parser_t parser;
	int rc = 0;

	if (refuse_directives(w) < 0)
		return -1;
	if (!yaml_parser_initialize(&parser))
		return option_fail(&w->report, NULL, "out of memory");
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)w->text, w->n);
	for (bool ended = false; rc == 0 && !ended;) {
		yaml_event_t event;

		if (!yaml_parser_parse(&parser, &event)) {
			rc = fail_parser(w, &parser);
			break;
		}
		walk_at(w, event.start_mark.line + 1);
		ended = event.type == YAML_STREAM_END_EVENT;
		rc = on_event(w, &event);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	return rc;
}

int options_load_text(struct options *o, const char *name, const char *text, size_t n, char *error, size_t error_bytes)
{
	struct walk w = {.o = o, .name = name, .text = text, .n = n};
	int rc;

	w.report = (struct option_report){w.origin, error, error_bytes};
	snprintf(w.origin, sizeof(w.origin), "%s", name);
	if (o->no_memory)
		return option_fail(&w.report, NULL, "out of memory");
	if (n > OPTIONS_FILE_BYTES_MAX)
		return option_fail(&w.report, NULL, "larger than %d bytes", OPTIONS_FILE_BYTES_MAX);
	rc = walk_all(&w);
	while (w.seen != NULL) {
		struct seen *s = w.seen;

		w.seen = s->next;
		free(s);
	}
	return rc;
}

/* ---- the file */

/* Up to `max` bytes; -1 with errno. */
static ssize_t read_all(int fd, char *p, size_t max)
{
	size_t n = 0;

	while (n < max) {
		ssize_t m = read(fd, p + n, max - n);

		if (m < 0 && errno == EINTR)
			continue;
		if (m < 0)
			return -1;
		if (m == 0)
			break;
		n += (size_t)m;
	}
	return (ssize_t)n;
}

int options_load_file(struct options *o, const char *path, char *error, size_t error_bytes)
{
	const struct option_report r = {path, error, error_bytes};
	char *text = NULL;
	struct stat st;
	ssize_t n;
	int rc;
	/* O_NONBLOCK: a reload must not hang in the open of a pipe. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return option_fail(&r, NULL, "cannot open the configuration: %s", strerror(errno));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		rc = option_fail(&r, NULL, "not a regular file");
		goto close_file;
	}
	text = malloc(OPTIONS_FILE_BYTES_MAX + 1);
	if (text == NULL) {
		rc = option_fail(&r, NULL, "out of memory");
		goto close_file;
	}
	n = read_all(fd, text, OPTIONS_FILE_BYTES_MAX + 1); /* one more than allowed shows that there is more */
	if (n < 0)
		rc = option_fail(&r, NULL, "cannot read the configuration: %s", strerror(errno));
	else
		rc = options_load_text(o, path, text, (size_t)n, error, error_bytes);
	free(text);
close_file:
	close(fd);
	return rc;
}
