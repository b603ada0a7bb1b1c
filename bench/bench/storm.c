#include "bench/bench/storm.h"

#include <stdio.h>
#include <string.h>

#include "bench/bench/memory.h"

struct storm {
	struct clients *clients;
	const struct settings *settings;
	const char *prompt;
	size_t prompt_bytes;
	struct storm_result *result;
	struct question *questions;
	char *answer; /* the first one, to compare the others with */
	size_t answer_bytes;
	uint64_t waiting;
	uv_timer_t follow; /* the others ask */
	uv_timer_t cut;	   /* the first connection goes */
	bool cutting;
};

struct question {
	struct storm *storm;
	uint64_t started_ns;
};

static bool storm_answer_fits(struct storm *s, const struct pc_answer *answer)
{
	size_t n = pc_answer_text_len(answer);

	if (s->answer == NULL) {
		s->answer = memory_need(n, 1);
		s->answer_bytes = n;
		memcpy(s->answer, pc_answer_text(answer), n);
	}
	return n == s->answer_bytes && memcmp(s->answer, pc_answer_text(answer), n) == 0;
}

static void on_done(void *owner, int status, struct pc_answer *answer, const struct pc_failure *failure)
{
	struct question *q = owner;
	struct storm *s = q->storm;

	if (status == PC_CANCELLED && s->cutting) {
		s->result->cut++;
	} else if (status != PC_OK && status != PC_MISS) {
		tally_failure(&s->result->tally, failure->name);
	} else if (!storm_answer_fits(s, answer)) {
		s->result->different++;
		tally_failure(&s->result->tally, "DIFFERENT_ANSWER");
	} else {
		tally_answer(&s->result->tally, pc_answer_source(answer), uv_hrtime() - q->started_ns);
	}
	pc_answer_free(answer);
	if (--s->waiting == 0)
		uv_stop(s->clients->loop);
}

static int on_chunk(void *owner, const struct pc_chunk *chunk)
{
	(void)owner;
	(void)chunk;
	return 0;
}

static void question_ask(struct storm *s, size_t i)
{
	struct pc_async *pc = s->clients->pc[i % s->clients->count];
	struct pc_query q = PC_QUERY_INIT;
	int rc;

	s->questions[i] = (struct question){s, uv_hrtime()};
	q.model = s->settings->model;
	q.prompt = s->prompt;
	q.prompt_len = s->prompt_bytes;
	q.timeout_ms = (unsigned)s->settings->timeout;
	if (s->settings->operation == OPERATION_LOOKUP)
		rc = pc_async_lookup(pc, &q, on_done, &s->questions[i], NULL);
	else
		rc = pc_async_query(pc, &q, s->settings->stream ? on_chunk : NULL, on_done, &s->questions[i], NULL);
	if (rc == PC_OK)
		s->waiting++;
	else
		tally_failure(&s->result->tally, pc_async_error(pc)->name);
}

static void on_follow(uv_timer_t *timer)
{
	struct storm *s = timer->data;

	for (size_t i = 1; i < s->result->asked; i++)
		question_ask(s, i);
}

static void on_cut(uv_timer_t *timer)
{
	struct storm *s = timer->data;

	s->cutting = true;
	pc_async_close(s->clients->pc[0]);
	s->clients->pc[0] = NULL; /* pc_async_close accepts NULL */
	s->cutting = false;
}

void storm_run(struct clients *c, struct prompts *prompts, const struct settings *settings, struct storm_result *ret)
{
	struct storm s = {.clients = c, .settings = settings, .prompt = prompts_fresh(prompts), .result = ret};
	uint64_t began_ns = uv_hrtime();

	*ret = (struct storm_result){.asked = settings->storm};
	s.prompt_bytes = prompts->size;
	s.questions = memory_need(settings->storm, sizeof(*s.questions));
	(void)uv_timer_init(c->loop, &s.follow);
	(void)uv_timer_init(c->loop, &s.cut);
	s.follow.data = &s;
	s.cut.data = &s;
	uv_update_time(c->loop);
	question_ask(&s, 0);
	if (settings->cut_after > 0) {
		(void)uv_timer_start(&s.follow, on_follow, 1, 0);
		(void)uv_timer_start(&s.cut, on_cut, settings->cut_after, 0);
	} else {
		on_follow(&s.follow);
	}
	while (s.waiting > 0)
		(void)uv_run(c->loop, UV_RUN_DEFAULT);
	ret->elapsed_ns = uv_hrtime() - began_ns;
	uv_close((uv_handle_t *)&s.follow, NULL);
	uv_close((uv_handle_t *)&s.cut, NULL);
	(void)uv_run(c->loop, UV_RUN_NOWAIT); /* they are closed before their memory goes */
	free(s.questions);
	free(s.answer);
}
