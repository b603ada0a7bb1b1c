/* Whatever happens in whatever order: clients that ask, leave, invalidate, a provider that fails, a store that fails,
 * restarts, clocks that jump. Each answer carries the number of the call that made it, so that an oracle can tell what
 * no client may ever get:
 *
 *      - another question's answer, a part of one, or one that did not end well, from the cache
 *      - one whose call began before an invalidation that was in force when the client came
 *      - one that is older than its ttl or the client's max_age, or that a client who got it had asked not to keep
 *
 * SEED=number in the environment runs one seed again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Chance comes from the seed too (delays between attempts, the order in maps): base/random.c as part of this program, but
 * for the function that asks the kernel. */
#define random_bytes random_bytes_of_the_kernel
#include "server/base/random.c"
#undef random_bytes
void random_bytes(void *p, size_t n);

#include "tests/sim/world.h"

#define SEEDS	    150
#define STEPS	    400
#define QUESTIONS   3
#define CALLS_MAX   8192
#define CALLS_READY 12 /* unused ones for each question */
#define FORGETS_MAX 1024
#define SETTLE_MS   900000 /* longer than any flight lives */
#define TTL_MS	    3000
#define HOUR_US	    UINT64_C(3600000000)
#define NO_TIME	    UINT64_MAX

/* One call of the provider, foreseen or made. */
struct call {
	struct http_sim_rule *rule; /* NULL: of a world that is gone */
	unsigned question;
	bool whole;	   /* ends well, with stop */
	bool no_store;	   /* somebody who got it asked for that */
	uint64_t began;	   /* tick; NO_TIME: not yet */
	uint64_t ended_ms; /* when a client got it first; NO_TIME */
	uint64_t ttl_ms;   /* shortest that was asked for by who got it */
};

struct forget {
	struct invalidation i; /* first: `done` is NULL when it has ended */
	unsigned question;     /* QUESTIONS: all */
	uint64_t tick;	       /* NO_TIME: void, it was not durable and there was a restart */
};

/* What one client asked for. */
struct asked {
	unsigned question, how;
	uint64_t tick, at_ms, max_age_ms, ttl_ms;
	bool left, seen;
};

static struct run {
	struct world w;
	struct durable_sim_disk *disk;
	struct random_state random;
	uint64_t seed, tick, warm_until_us;
	uint64_t past_ms; /* of the loops before this one */
	bool clocks_jump;
	struct call calls[CALLS_MAX];
	size_t calls_count;
	struct forget forgets[FORGETS_MAX];
	size_t forgets_count;
	struct asked asked[WORLD_CLIENTS_MAX];
	uint64_t answers, hits;
} r;

void random_bytes(void *p, size_t n)
{
	for (uint8_t *to = p; n > 0; n--)
		*to++ = (uint8_t)random_next(&r.random);
}

static unsigned below(unsigned n) { return (unsigned)random_below(&r.random, n); }
static uint64_t now_ms(void) { return r.past_ms + loop_now_us(r.w.loop) / 1000; }

static const char *question_text(unsigned question)
{
	static const char *const texts[QUESTIONS] = {"alpha", "beta", "gamma"};

	return texts[question];
}

/* ---- the provider */

static void call_foresee(unsigned question)
{
	struct call *c = &r.calls[r.calls_count];
	unsigned fate = below(12), latency_ms = 1 + below(60);
	const char *texts[3] = {NULL};
	char first[32];

	assert_true(r.calls_count < CALLS_MAX);
	snprintf(first, sizeof first, "%s %zu ", question_text(question), r.calls_count++);
	texts[0] = first;
	texts[1] = "end";
	*c = (struct call){.question = question, .began = NO_TIME, .ended_ms = NO_TIME, .ttl_ms = NO_TIME};
	c->rule = http_sim_rule(r.w.http, question_text(question));
	http_sim_times(c->rule, 1);
	if (fate == 0) {
		http_sim_status(c->rule, latency_ms, 500, "application/json");
		http_sim_end(c->rule, 0, HTTP_SIM_CLEAN);
	} else if (fate == 1) {
		http_sim_chat_head(c->rule, latency_ms);
		http_sim_chat_text(c->rule, 10, first);
		http_sim_end(c->rule, 10, HTTP_SIM_CUT);
	} else {
		c->whole = fate > 2;
		http_sim_chat(c->rule, latency_ms, 1 + below(40), texts, c->whole ? "stop" : "length");
	}
}

static void calls_look(void)
{
	unsigned ready[QUESTIONS] = {0};

	for (size_t i = 0; i < r.calls_count; i++) {
		struct call *c = &r.calls[i];

		if (c->rule == NULL || c->began != NO_TIME)
			continue;
		if (http_sim_uses(c->rule) > 0)
			c->began = r.tick;
		else
			ready[c->question]++;
	}
	for (unsigned q = 0; q < QUESTIONS; q++)
		for (; ready[q] < CALLS_READY; ready[q]++)
			call_foresee(q);
}

/* ---- the oracle */

static void wrong(const struct asked *a, const char *text, const char *what)
{
	fail_msg("seed %llu, step %llu: %s asked at %llu got \"%s\": %s", (unsigned long long)r.seed,
		 (unsigned long long)r.tick, question_text(a->question), (unsigned long long)a->tick, text, what);
}

static void judge_hit(const struct asked *a, const struct call *c, const char *text)
{
	r.hits++;
	if (!c->whole)
		wrong(a, text, "it was not fit to be kept");
	if (c->no_store)
		wrong(a, text, "it was not to be kept");
	if (a->how & ASK_NO_CACHE)
		wrong(a, text, "it was not to be read");
	if (r.clocks_jump || c->ended_ms == NO_TIME)
		return;
	if (c->ttl_ms != NO_TIME && a->at_ms > c->ended_ms + c->ttl_ms + 1)
		wrong(a, text, "it had expired");
	if (a->max_age_ms != NO_TIME && a->at_ms > c->ended_ms + a->max_age_ms + 1)
		wrong(a, text, "it was too old");
}

static void judge(struct asked *a, struct client *client)
{
	const char *text, *end;
	struct call *c;
	size_t number;
	char name[16];

	if (client_error(client) != ERR_NONE || client->q.entry == NULL)
		return;
	r.answers++;
	text = client_answer(client);
	if (sscanf(text, "%15s %zu", name, &number) != 2 || number >= r.calls_count ||
	    strcmp(name, question_text(a->question)) != 0)
		wrong(a, text, "it is not this question's");
	end = strrchr(text, ' ');
	if (strcmp(end, " end") != 0)
		wrong(a, text, "it is not whole");
	c = &r.calls[number];
	if (client->q.outcome.source == SOURCE_EXACT)
		judge_hit(a, c, text);
	for (size_t i = 0; i < r.forgets_count; i++) {
		const struct forget *f = &r.forgets[i];

		if (f->tick != NO_TIME && (f->question == QUESTIONS || f->question == a->question) &&
		    f->tick < a->tick && c->began < f->tick)
			wrong(a, text, "it had been invalidated");
	}
	if (client->q.outcome.source == SOURCE_EXACT)
		return;
	c->no_store |= (a->how & ASK_NO_STORE) != 0;
	if (a->ttl_ms < c->ttl_ms)
		c->ttl_ms = a->ttl_ms;
	if (c->ended_ms == NO_TIME)
		c->ended_ms = now_ms();
}

/* In two rounds: what those who share a call asked of it counts before a hit on it is judged. */
static void answers_look(void)
{
	for (int hits = 0; hits < 2; hits++) {
		for (size_t i = 0; i < r.w.clients_count; i++) {
			struct client *client = r.w.clients[i];
			struct asked *a = &r.asked[i];

			if (a->seen || a->left || client->refused != 0 || !client_ended(client) ||
			    (client->q.outcome.source == SOURCE_EXACT) != hits)
				continue;
			a->seen = true;
			judge(a, client);
		}
	}
}

static void look(void)
{
	calls_look();
	answers_look();
	r.tick++;
}

static void pass_ms(unsigned ms)
{
	while (ms-- > 0) {
		world_run_ms(&r.w, 1);
		look();
	}
}

/* ---- what happens */

static void ask(void)
{
	static const unsigned hows[] = {
		0, 0, 0, ASK_STREAM, ASK_STREAM, ASK_LOOKUP, ASK_NO_CACHE, ASK_NO_STORE, ASK_NO_CACHE | ASK_NO_STORE};
	unsigned how = hows[below(sizeof hows / sizeof hows[0])];
	struct asked *a = &r.asked[r.w.clients_count];

	*a = (struct asked){.question = below(QUESTIONS),
			    .how = how,
			    .tick = r.tick,
			    .at_ms = now_ms(),
			    .max_age_ms = !(how & ASK_NO_CACHE) && below(3) == 0 ? below(500) : NO_TIME,
			    .ttl_ms = !(how & ASK_LOOKUP) && below(3) == 0 ? 1 + below(TTL_MS) : NO_TIME};
	world_ask_with(&r.w, question_text(a->question), how, below(5) == 0 ? 1 + below(100) : UINT64_MAX,
		       a->max_age_ms, a->ttl_ms);
}

static void leave(void)
{
	size_t i = r.w.clients_count > 0 ? below((unsigned)r.w.clients_count) : 0;
	struct client *client = i < r.w.clients_count ? r.w.clients[i] : NULL;

	if (client == NULL || (client->q.state != QUERY_WAITING && client->q.state != QUERY_ANSWERING))
		return;
	client_leave(client);
	r.asked[i].left = true;
}

static void forget(void)
{
	struct forget *f = &r.forgets[r.forgets_count++];
	bool all = below(4) == 0;

	assert_true(r.forgets_count < FORGETS_MAX);
	f->question = all ? QUESTIONS : below(QUESTIONS);
	f->tick = r.tick;
	world_invalidate_start(&r.w, all ? TARGET_NAMESPACE : TARGET_REQUEST, all ? NULL : question_text(f->question),
			       &f->i);
}

/* Reads all of the disk, also in the middle of changes: the next one begins after this one has ended. */
static void warm(void)
{
	uint64_t delay_us = 1000 * below(60);

	if (r.disk == NULL || loop_now_us(r.w.loop) < r.warm_until_us)
		return;
	r.warm_until_us = loop_now_us(r.w.loop) + delay_us + 1000;
	durable_sim_warm(r.w.durable, delay_us, store_found, r.w.store);
}

static void open_world(void)
{
	static const char *const settings[] = {"flight.joinable=1s", NULL};

	world_open(&r.w, r.disk, settings);
	memset(r.asked, 0, sizeof r.asked);
	calls_look();
	r.warm_until_us = 0; /* a warming ends with its world */
	if (below(2) == 0)
		warm();
}

/* What said that it is not durable is void from then on. */
static void restart(void)
{
	uint64_t wall_us, before_ms;

	answers_look();
	wall_us = loop_wall_us(r.w.loop);
	before_ms = now_ms();
	world_close(&r.w);
	for (size_t i = 0; i < r.forgets_count; i++) {
		assert_null(r.forgets[i].i.done);
		if (r.forgets[i].i.fault.code != ERR_NONE || r.disk == NULL)
			r.forgets[i].tick = NO_TIME;
	}
	for (size_t i = 0; i < r.calls_count; i++) {
		r.calls[i].rule = NULL;
		if (r.calls[i].began == NO_TIME)
			r.calls[i].began = 0;
	}
	open_world();
	loop_sim_set_wall_us(r.w.loop, wall_us);
	r.past_ms += before_ms - now_ms();
}

static void turn_knobs(void)
{
	struct durable_sim *s = r.w.durable;

	if (s == NULL)
		return;
	s->reads_fail = below(6) == 0;
	s->commits_fail = below(4) == 0;
	s->writes_refused = below(4) == 0;
	s->busy = below(8) == 0;
	s->read_delay_us = 100 + 1000 * below(60);
	s->commit_delay_us = 1000 + 1000 * below(60);
}

static void jump(void)
{
	if (r.clocks_jump)
		loop_sim_set_wall_us(r.w.loop, loop_wall_us(r.w.loop) + below(3) * HOUR_US - HOUR_US);
}

static void something_happens(void)
{
	switch (below(20)) {
	case 0:
	case 1:
		forget();
		break;
	case 2:
		leave();
		break;
	case 3:
		turn_knobs();
		break;
	case 4:
		jump();
		break;
	case 5:
		if (below(4) == 0)
			restart();
		else
			warm();
		break;
	case 6:
	case 7:
	case 8:
		pass_ms(1 + below(120));
		break;
	default:
		ask();
	}
	look();
}

static void everybody_was_answered(void)
{
	for (size_t i = 0; i < r.w.clients_count; i++)
		assert_true(r.asked[i].left || r.w.clients[i]->refused != 0 || client_ended(r.w.clients[i]));
}

static void run_seed(uint64_t seed)
{
	memset(&r, 0, sizeof r);
	r.seed = seed;
	random_seed(&r.random, seed);
	r.clocks_jump = seed % 3 == 0;
	r.disk = seed % 5 == 0 ? NULL : durable_sim_disk_new();
	open_world();
	for (int i = 0; i < STEPS; i++)
		something_happens();
	for (uint64_t ms = 0; ms < SETTLE_MS; ms += 100) {
		world_run_ms(&r.w, 100);
		look();
	}
	everybody_was_answered();
	assert_true(r.answers > 20 && r.hits > 5);
	world_close(&r.w);
	durable_sim_disk_free(r.disk);
}

static void no_seed_brings_a_forbidden_answer(void **state)
{
	const char *one = getenv("SEED");

	(void)state;
	if (one != NULL) {
		run_seed(strtoull(one, NULL, 10));
		return;
	}
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run_seed(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(no_seed_brings_a_forbidden_answer)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
