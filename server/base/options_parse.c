/* options, values: text to value by type, and the words in which types, ranges and values are told.
 *
 * No strtoul: it takes blanks, signs and octal, and clamps; here a value is exactly what is written or an error. */
#include "server/base/options_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FRACTION_DIGITS_MAX 6 /* times 2^40 still fits 64 bits */

struct unit {
	const char *name;
	uint64_t factor;
};

/* The first of each factor is the one that is written. */
static const struct unit byte_units[] = {
	{"TB", UINT64_C(1) << 40},
	{"GB", UINT64_C(1) << 30},
	{"MB", UINT64_C(1) << 20},
	{"KB", UINT64_C(1) << 10},
	{"", 1},
	{"B", 1},
	{"K", UINT64_C(1) << 10},
	{"KiB", UINT64_C(1) << 10},
	{"M", UINT64_C(1) << 20},
	{"MiB", UINT64_C(1) << 20},
	{"G", UINT64_C(1) << 30},
	{"GiB", UINT64_C(1) << 30},
	{"T", UINT64_C(1) << 40},
	{"TiB", UINT64_C(1) << 40},
	{NULL, 0},
};

static const struct unit duration_units[] = {
	{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {"", 1000}, {NULL, 0},
};

static const struct unit plain_units[] = {{"", 1}, {NULL, 0}};

static const struct {
	const char *words;
	const struct unit *units; /* NULL: not a scaled whole number */
} types[] = {
	[OPTION_BOOL] = {"true or false", NULL},
	[OPTION_UINT] = {"a whole number such as 16", plain_units},
	[OPTION_BYTES] = {"a size such as 64MB", byte_units},
	[OPTION_DURATION] = {"a duration such as 30s (a bare number: seconds)", duration_units},
	[OPTION_F64] = {"a number such as 0.5", NULL},
	[OPTION_STRING] = {"a text", NULL},
	[OPTION_STRINGS] = {"a list of texts such as [a, b]", NULL},
	[OPTION_CHOICE] = {"one of", NULL},
};

/* ---- words */

void option_words_type(const struct option *opt, char ret[OPTION_WORDS_BYTES])
{
	size_t n = (size_t)snprintf(ret, OPTION_WORDS_BYTES, "%s", types[opt->type].words);

	for (size_t i = 0; opt->type == OPTION_CHOICE && opt->choices[i] != NULL && n < OPTION_WORDS_BYTES; i++)
		n += (size_t)snprintf(ret + n, OPTION_WORDS_BYTES - n, "%s %s", i > 0 ? "," : "", opt->choices[i]);
}

void option_words_value(const struct option *opt, uint64_t value, char ret[64])
{
	const struct unit *u = types[opt->type].units;

	if (u == NULL || value == 0) {
		snprintf(ret, 64, "%llu", (unsigned long long)value);
		return;
	}
	while (value % u->factor != 0)
		u++;
	snprintf(ret, 64, "%llu%s", (unsigned long long)(value / u->factor), u->name);
}

bool option_words_range(const struct option *opt, char ret[OPTION_WORDS_BYTES])
{
	char low[64], high[64];

	if (opt->min == 0 && opt->max == 0)
		return false;
	option_words_value(opt, opt->min, low);
	option_words_value(opt, opt->max, high);
	if (opt->max == 0)
		snprintf(ret, OPTION_WORDS_BYTES, "at least %s", low);
	else
		snprintf(ret, OPTION_WORDS_BYTES, "%s to %s", low, high);
	if (opt->type == OPTION_STRING)
		strncat(ret, " bytes", OPTION_WORDS_BYTES - strlen(ret) - 1);
	return true;
}

/* ---- numbers */

enum parsed {
	PARSED,
	PARSED_NOT,
	PARSED_HUGE
};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static const char *skip_digits(const char *p)
{
	while (is_digit(*p))
		p++;
	return p;
}

/* "1.5GB" → whole, fraction and its scale, and what follows. A leading zero is refused: YAML 1.1 would take 010 for
 * eight. */
static enum parsed decimal_read(const char **p, uint64_t *whole, uint64_t *fraction, uint64_t *scale)
{
	const char *s = *p;

	if (!is_digit(s[0]) || (s[0] == '0' && is_digit(s[1])))
		return PARSED_NOT;
	for (*whole = 0; is_digit(*s); s++) {
		if (__builtin_mul_overflow(*whole, 10, whole) ||
		    __builtin_add_overflow(*whole, (uint64_t)(*s - '0'), whole))
			return PARSED_HUGE;
	}
	*fraction = 0;
	*scale = 1;
	if (s[0] == '.' && is_digit(s[1])) {
		const char *first = ++s;

		if (skip_digits(s) - first > FRACTION_DIGITS_MAX)
			return PARSED_NOT;
		for (; is_digit(*s); s++) {
			*fraction = *fraction * 10 + (uint64_t)(*s - '0');
			*scale *= 10;
		}
	}
	*p = s;
	return PARSED;
}

static enum parsed scaled_parse(const char *text, const struct unit *units, uint64_t *ret)
{
	uint64_t whole, fraction, scale, value;
	enum parsed rc = decimal_read(&text, &whole, &fraction, &scale);

	if (rc != PARSED)
		return rc;
	if (text[0] == ' ' && text[1] != '\0')
		text++;
	while (units->name != NULL && strcasecmp(units->name, text) != 0)
		units++;
	if (units->name == NULL || (units->factor == 1 && scale > 1)) /* half a byte */
		return PARSED_NOT;
	if (__builtin_mul_overflow(whole, units->factor, &value) ||
	    __builtin_add_overflow(value, fraction * units->factor / scale, &value))
		return PARSED_HUGE;
	*ret = value;
	return PARSED;
}

/* [-+]digits[.digits][e[-+]digits], so that neither hexadecimal nor "nan" nor blanks come through. */
static bool is_decimal(const char *p)
{
	const char *first;

	p += *p == '-' || *p == '+';
	first = p;
	p = skip_digits(p);
	if (p == first)
		return false;
	if (*p == '.') {
		first = ++p;
		p = skip_digits(p);
		if (p == first)
			return false;
	}
	if (*p == 'e' || *p == 'E') {
		p++;
		p += *p == '-' || *p == '+';
		first = p;
		p = skip_digits(p);
		if (p == first)
			return false;
	}
	return *p == '\0';
}

static enum parsed f64_parse(const struct option *opt, const char *text, double *ret)
{
	double value;

	if (!is_decimal(text))
		return PARSED_NOT;
	value = strtod(text, NULL);
	if (!isfinite(value))
		return PARSED_HUGE;
	if ((opt->min != 0 || opt->max != 0) && value < (double)opt->min)
		return PARSED_HUGE;
	if (opt->max != 0 && value > (double)opt->max)
		return PARSED_HUGE;
	*ret = value;
	return PARSED;
}

static enum parsed uint_parse(const struct option *opt, const char *text, uint64_t *ret)
{
	uint64_t value;
	enum parsed rc = scaled_parse(text, types[opt->type].units, &value);

	if (rc != PARSED)
		return rc;
	if (value < opt->min || (opt->max != 0 && value > opt->max))
		return PARSED_HUGE;
	*ret = value;
	return PARSED;
}

/* ---- names and lists */

static enum parsed bool_parse(const char *text, bool *ret)
{
	static const char *const names[] = {"false", "true", "no", "yes", "off", "on"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcasecmp(text, names[i]) == 0) {
			*ret = i % 2 == 1;
			return PARSED;
		}
	}
	return PARSED_NOT;
}

static enum parsed string_parse(const struct option *opt, const char *text, const char **ret)
{
	size_t n = strlen(text);

	if (n < opt->min || (opt->max != 0 && n > opt->max))
		return PARSED_HUGE;
	*ret = text;
	return PARSED;
}

static enum parsed choice_parse(const struct option *opt, const char *text, int *ret)
{
	for (int i = 0; opt->choices[i] != NULL; i++) {
		if (strcmp(text, opt->choices[i]) == 0) {
			*ret = i;
			return PARSED;
		}
	}
	return PARSED_NOT;
}

/* Values with commas; blanks around them do not count. `text` belongs to the options and is cut up in place. */
static int strings_parse(char *text, struct option_strings *ret, char reason[OPTION_REASON_BYTES])
{
	ret->count = 0;
	if (text[strspn(text, " ")] == '\0')
		return 0;
	for (char *p = text; p != NULL;) {
		char *comma = strchr(p, ','), *end = comma != NULL ? comma : p + strlen(p);

		p += strspn(p, " ");
		while (end > p && end[-1] == ' ')
			end--;
		if (end <= p) {
			snprintf(reason, OPTION_REASON_BYTES, "value %zu of the list is empty", ret->count + 1);
			return -1;
		}
		if (ret->count == OPTION_STRINGS_MAX) {
			snprintf(reason, OPTION_REASON_BYTES, "too many: the list takes at most %d values",
				 OPTION_STRINGS_MAX);
			return -1;
		}
		*end = '\0';
		ret->items[ret->count++] = p;
		p = comma != NULL ? comma + 1 : NULL;
	}
	return 0;
}

/* ---- one value */

bool option_scalar_is_null(const struct option_scalar *s)
{
	return !s->quoted && ((s->n == 1 && s->p[0] == '~') || (s->n == 4 && strncasecmp(s->p, "null", 4) == 0));
}

static int fail_value(const struct option *opt, const char *text, enum parsed what, char reason[OPTION_REASON_BYTES])
{
	char words[OPTION_WORDS_BYTES];
	const char *more = strlen(text) > 40 ? "..." : "";

	if (what == PARSED_HUGE && option_words_range(opt, words)) {
		snprintf(reason, OPTION_REASON_BYTES, "%.40s%s is out of range; allowed: %s",
			 *text != '\0' ? text : "\"\"", more, words);
	} else if (what == PARSED_HUGE) {
		snprintf(reason, OPTION_REASON_BYTES, "%.40s%s is too large", text, more);
	} else {
		option_words_type(opt, words);
		snprintf(reason, OPTION_REASON_BYTES, "expected %s, found \"%.40s%s\"", words, text, more);
	}
	return -1;
}

int option_value_parse(const struct option *opt, char *text, struct option_value *ret, char reason[OPTION_REASON_BYTES])
{
	enum parsed rc = PARSED_NOT;

	*ret = (struct option_value){0};
	switch (opt->type) {
	case OPTION_BOOL:
		rc = bool_parse(text, &ret->boolean);
		break;
	case OPTION_UINT:
	case OPTION_BYTES:
	case OPTION_DURATION:
		rc = uint_parse(opt, text, &ret->uint);
		break;
	case OPTION_F64:
		rc = f64_parse(opt, text, &ret->f64);
		break;
	case OPTION_CHOICE:
		rc = choice_parse(opt, text, &ret->choice);
		break;
	case OPTION_STRING:
		rc = string_parse(opt, text, &ret->string);
		break;
	case OPTION_STRINGS:
		return strings_parse(text, &ret->strings, reason);
	}
	return rc == PARSED ? 0 : fail_value(opt, text, rc, reason);
}

void option_value_store(const struct option *opt, void *base, const struct option_value *v)
{
	void *field = (char *)base + opt->offset;

	switch (opt->type) {
	case OPTION_BOOL:
		*(bool *)field = v->boolean;
		break;
	case OPTION_UINT:
	case OPTION_BYTES:
	case OPTION_DURATION:
		*(uint64_t *)field = v->uint;
		break;
	case OPTION_F64:
		*(double *)field = v->f64;
		break;
	case OPTION_STRING:
		*(const char **)field = v->string;
		break;
	case OPTION_STRINGS:
		*(struct option_strings *)field = v->strings;
		break;
	case OPTION_CHOICE:
		*(int *)field = v->choice;
		break;
	}
}

int option_value_reset(struct options *o, const struct option *opt, void *base)
{
	struct option_value v = {0};
	char reason[OPTION_REASON_BYTES];

	if (opt->fallback != NULL) {
		char *text = option_text_copy(o, opt->fallback, strlen(opt->fallback));
		int rc;

		if (text == NULL)
			return -1;
		rc = option_value_parse(opt, text, &v, reason);
		assert(rc == 0); /* a default that its own table refuses */
		(void)rc;
	}
	option_value_store(opt, base, &v);
	return 0;
}
