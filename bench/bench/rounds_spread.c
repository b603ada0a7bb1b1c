/* rounds_spread: medians and ranges over the rounds. */
#include "bench/bench/memory.h"
#include "bench/bench/rounds.h"

static int double_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct spread spread_of(const double *values, size_t count)
{
	double *sorted = memory_need(count, sizeof(*sorted));
	struct spread s = {0};
	size_t known = 0;

	for (size_t i = 0; i < count; i++) {
		if (values[i] > 0)
			sorted[known++] = values[i];
	}
	qsort(sorted, known, sizeof(*sorted), double_compare);
	if (known > 0) {
		s.least = sorted[0];
		s.most = sorted[known - 1];
		s.median = (sorted[(known - 1) / 2] + sorted[known / 2]) / 2;
	}
	free(sorted);
	return s;
}

static double quotient(double a, double b) { return b > 0 ? a / b : 0; }

static double cpu_us(const struct measure *m) { return quotient((double)m->cpu_ns / 1e3, (double)m->ended); }

static double per_second(const struct measure *m) { return quotient((double)m->ended * 1e9, (double)m->elapsed_ns); }

static double per_read(const struct measure *m) { return quotient((double)m->ended, (double)m->reads); }

static struct spread measures_spread(const struct rounds *r, enum phase_kind kind,
				     double (*value)(const struct measure *m))
{
	double *values = memory_need(r->count, sizeof(*values));
	struct spread s;

	for (size_t i = 0; i < r->count; i++)
		values[i] = value(&r->measure[kind][i]);
	s = spread_of(values, r->count);
	free(values);
	return s;
}

struct spread rounds_cpu_us(const struct rounds *r, enum phase_kind kind) { return measures_spread(r, kind, cpu_us); }

struct spread rounds_per_second(const struct rounds *r, enum phase_kind kind)
{
	return measures_spread(r, kind, per_second);
}

struct spread rounds_per_read(const struct rounds *r, enum phase_kind kind)
{
	return measures_spread(r, kind, per_read);
}

struct spread rounds_sha_us(const struct rounds *r) { return spread_of(r->sha_us, r->count); }

static struct spread ratio(const struct rounds *r, bool in_parts)
{
	double *values = memory_need(r->count, sizeof(*values));
	struct spread s;

	for (size_t i = 0; i < r->count; i++) {
		double floor_us = in_parts ? cpu_us(&r->measure[PHASE_ECHO][i]) + r->sha_us[i]
					   : cpu_us(&r->measure[PHASE_FLOOR][i]);

		values[i] = quotient(cpu_us(&r->measure[PHASE_SERVER][i]), floor_us);
	}
	s = spread_of(values, r->count);
	free(values);
	return s;
}

struct spread rounds_ratio(const struct rounds *r) { return ratio(r, false); }

struct spread rounds_ratio_parts(const struct rounds *r) { return ratio(r, true); }

static double bytes_of_all(const struct rounds *r, bool received)
{
	uint64_t bytes = 0, ended = 0;

	for (size_t i = 0; i < r->count; i++) {
		const struct measure *m = &r->measure[PHASE_SERVER][i];

		bytes += received ? m->received_bytes : m->sent_bytes;
		ended += m->ended;
	}
	return quotient((double)bytes, (double)ended);
}

double rounds_request_bytes(const struct rounds *r) { return bytes_of_all(r, true); }

double rounds_answer_bytes(const struct rounds *r) { return bytes_of_all(r, false); }
