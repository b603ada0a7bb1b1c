#include "bench/bench/rounds.h"

#include "bench/bench/echo_load.h"
#include "bench/bench/memory.h"
#include "bench/bench/process.h"
#include "bench/bench/sha.h"

/* What our frames add to prompt and answer, where the server does not tell its bytes. */
#define REQUEST_FRAME_BYTES 60
#define ANSWER_FRAME_BYTES  200

#define ECHO_WARMUP_S 0.2

const char *rounds_phase_text(enum phase_kind kind)
{
	static const char *const text[] = {
#define X(name, text_) text_,
		PHASES(X)
#undef X
	};
	return text[kind];
}

static void server_phase(struct load *load, struct pace_extent extent, struct tally *tally, struct measure *m)
{
	pid_t pid = (pid_t)load->settings->server_pid;
	struct clients_counts before = {0}, after = {0};
	uint64_t cpu_before_ns = 0, cpu_after_ns = 0, ended = tally_ended(tally);
	bool counted = clients_counts_read(load->clients, &before);
	bool timed = pid != 0 && process_cpu_ns(pid, &cpu_before_ns);

	m->elapsed_ns = load_run(load, extent, tally);
	m->ended = tally_ended(tally) - ended;
	if (timed && process_cpu_ns(pid, &cpu_after_ns))
		m->cpu_ns = cpu_after_ns - cpu_before_ns;
	if (!counted || !clients_counts_read(load->clients, &after))
		return;
	m->reads = after.reads - before.reads;
	m->writes = after.writes - before.writes;
	m->received_bytes = after.received_bytes - before.received_bytes;
	m->sent_bytes = after.sent_bytes - before.sent_bytes;
}

static bool echo_phase(struct load *load, const struct echo *echo, struct echo_shape shape, enum phase_kind kind,
		       struct pace_extent extent, struct tally *tally, struct measure *m)
{
	struct echo_counts before = *echo->counts;
	uint64_t cpu_before_ns = 0, cpu_after_ns = 0, ended = tally_ended(tally);

	if (kind == PHASE_ECHO)
		shape.prompt_bytes = 0;
	(void)process_cpu_ns(echo->pid, &cpu_before_ns);
	if (!echo_load_run(echo, &shape, load->settings, load->pace, extent, tally, &m->elapsed_ns))
		return false;
	m->ended = tally_ended(tally) - ended;
	if (process_cpu_ns(echo->pid, &cpu_after_ns))
		m->cpu_ns = cpu_after_ns - cpu_before_ns;
	m->reads = echo->counts->reads - before.reads;
	m->writes = echo->counts->writes - before.writes;
	m->received_bytes = m->ended * shape.request_bytes;
	m->sent_bytes = m->ended * shape.answer_bytes;
	return true;
}

/* The echo gets the bytes that the server's requests and answers have on the wire. */
static void shape_find(struct rounds *r, struct load *load, const struct measure *probe)
{
	const struct settings *s = load->settings;

	r->shape.prompt_bytes = (uint32_t)s->request_bytes;
	r->shape.request_bytes = (uint32_t)s->request_bytes + REQUEST_FRAME_BYTES;
	r->shape.answer_bytes = (uint32_t)s->answer_bytes + ANSWER_FRAME_BYTES;
	if (probe->ended == 0 || probe->received_bytes == 0)
		return;
	r->shape.request_bytes = (uint32_t)(probe->received_bytes / probe->ended);
	r->shape.answer_bytes = (uint32_t)(probe->sent_bytes / probe->ended);
}

/* Uncounted: it fills caches and pages on both sides, and tells the bytes on the wire. */
static bool warm_up(struct rounds *r, struct load *load, const struct echo *echo)
{
	const struct settings *s = load->settings;
	struct tally *unused = memory_need(1, sizeof(*unused));
	struct measure probe = {0};
	bool ok = true;

	if (s->warmup > 0)
		server_phase(load, (struct pace_extent){.seconds = s->warmup}, unused, &probe);
	else if (echo != NULL)
		server_phase(load, (struct pace_extent){.requests = s->connections * s->depth}, unused, &probe);
	shape_find(r, load, &probe);
	if (echo != NULL)
		ok = echo_phase(load, echo, r->shape, PHASE_FLOOR, (struct pace_extent){.seconds = ECHO_WARMUP_S},
				unused, &probe);
	free(unused);
	return ok;
}

static bool round_run(struct rounds *r, size_t round, struct load *load, const struct echo *echo)
{
	struct pace_extent extent = {load->settings->requests, load->settings->seconds};

	for (size_t i = 0; i < r->phase_kinds; i++) {
		enum phase_kind kind = (enum phase_kind)(round % 2 == 0 ? i : r->phase_kinds - 1 - i);
		struct measure *m = &r->measure[kind][round];

		if (kind == PHASE_SERVER)
			server_phase(load, extent, &r->tally[kind], m);
		else if (!echo_phase(load, echo, r->shape, kind, extent, &r->tally[kind], m))
			return false;
	}
	if (echo != NULL)
		r->sha_us[round] = sha_cost_us(prompts_get(load->prompts, 0), load->prompts->size);
	return true;
}

void rounds_run(struct rounds *r, struct load *load, const struct echo *echo)
{
	bool ok;

	*r = (struct rounds){.count = load->settings->rounds, .phase_kinds = echo != NULL ? PHASE_KINDS : 1};
	r->tally = memory_need(PHASE_KINDS, sizeof(*r->tally));
	r->sha_us = memory_need(r->count, sizeof(*r->sha_us));
	for (size_t i = 0; i < PHASE_KINDS; i++)
		r->measure[i] = memory_need(r->count, sizeof(**r->measure));
	load_prime(load, &r->prime);
	ok = warm_up(r, load, echo);
	for (size_t i = 0; i < r->count && ok; i++)
		ok = round_run(r, i, load, echo);
	if (!ok)
		r->error = "cannot connect to the echo";
}

void rounds_free(struct rounds *r)
{
	free(r->tally);
	free(r->sha_us);
	for (size_t i = 0; i < PHASE_KINDS; i++)
		free(r->measure[i]);
	*r = (struct rounds){0};
}
