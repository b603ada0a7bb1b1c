#include "bench/mockai/latency.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads a duration at *text and moves *text behind it. */
static bool duration_read(const char **text, double *ret_ms)
{
	static const struct {
		const char *name;
		double ms;
	} units[] = {{"us", 0.001}, {"ms", 1}, {"s", 1000}, {"m", 60000}};
	char *end;
	double value;

	if (!((**text >= '0' && **text <= '9') || **text == '.'))
		return false;
	value = strtod(*text, &end);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t length = strlen(units[i].name);

		if (strncmp(end, units[i].name, length) == 0) {
			value *= units[i].ms;
			end += length;
			break;
		}
	}
	if (!(value >= 0 && value <= LATENCY_MAX_MS))
		return false;
	*ret_ms = value;
	*text = end;
	return true;
}

/* Takes `prefix` off the front of *text. */
static bool prefix_take(const char **text, const char *prefix)
{
	size_t length = strlen(prefix);

	if (strncmp(*text, prefix, length) != 0)
		return false;
	*text += length;
	return true;
}

static bool sigma_read(const char **text, double *ret_sigma)
{
	char *end;
	double value;

	if (!(**text >= '0' && **text <= '9') && **text != '.')
		return false;
	value = strtod(*text, &end);
	if (!(value >= 0 && value <= 10))
		return false;
	*ret_sigma = value;
	*text = end;
	return true;
}

bool latency_parse(const char *text, struct latency *ret_latency)
{
	struct latency l = {0};
	const char *p = text;
	bool ok;

	if (strlen(text) >= sizeof(l.text))
		return false;
	if (prefix_take(&p, "uniform:")) {
		l.kind = LATENCY_UNIFORM;
		ok = duration_read(&p, &l.a_ms) && prefix_take(&p, "-") && duration_read(&p, &l.b) && l.a_ms <= l.b;
	} else if (prefix_take(&p, "lognormal:")) {
		l.kind = LATENCY_LOGNORMAL;
		ok = prefix_take(&p, "median=") && duration_read(&p, &l.a_ms) && prefix_take(&p, ",sigma=") &&
		     sigma_read(&p, &l.b);
	} else if (prefix_take(&p, "exp:")) {
		l.kind = LATENCY_EXP;
		ok = prefix_take(&p, "mean=") && duration_read(&p, &l.a_ms);
	} else {
		(void)prefix_take(&p, "fixed:");
		l.kind = LATENCY_FIXED;
		ok = duration_read(&p, &l.a_ms);
	}
	if (!ok || *p != '\0')
		return false;
	(void)snprintf(l.text, sizeof(l.text), "%s", text);
	*ret_latency = l;
	return true;
}

double latency_sample_ms(const struct latency *l, struct random *random)
{
	double u, v, ms = l->a_ms;

	if (l->kind == LATENCY_FIXED)
		return ms;
	u = 1.0 - random_unit(random); /* in (0, 1]: its logarithm is finite */
	switch (l->kind) {
	case LATENCY_UNIFORM:
		ms = l->a_ms + (l->b - l->a_ms) * u;
		break;
	case LATENCY_LOGNORMAL: /* Box-Muller */
		v = random_unit(random);
		ms = l->a_ms * exp(l->b * sqrt(-2.0 * log(u)) * cos(2.0 * M_PI * v));
		break;
	case LATENCY_EXP:
		ms = -l->a_ms * log(u);
		break;
	case LATENCY_FIXED:
		break;
	}
	return ms < LATENCY_MAX_MS ? ms : LATENCY_MAX_MS;
}
