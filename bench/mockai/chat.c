#include "bench/mockai/chat.h"

#include <stdio.h>

#include "bench/mockai/answer.h"
#include "bench/mockai/chat_reply.h"
#include "bench/mockai/chat_request.h"
#include "bench/mockai/marker.h"

static void chat_write(struct script *s, const struct chat_reply *reply, struct stats *stats)
{
	bool stream = reply->chat->stream != fault_on(reply->faults, FAULT_WRONG_TYPE);

	if (!http_reply_fault(s, reply->request, reply->faults)) {
		if (stream)
			chat_reply_stream(s, reply);
		else
			chat_reply_json(s, reply);
		stats->prompt_tokens += reply->answer->prompt_tokens;
		stats->completion_tokens += reply->answer->completion_tokens;
	}
	http_break(s, reply->faults);
}

/* Draws the times and faults of this one request, then writes its answer. */
static bool chat_play(struct provider *p, const struct request *r, const struct chat_request *q, struct script *s,
		      struct http_error *e)
{
	struct settings settings = p->settings;
	struct fault_set faults = {0};
	struct buffer question;
	struct answer answer;
	struct chat_reply reply = {r, q, &answer, &settings, &faults};
	uint64_t call = stats_prompt(&p->stats, q->question.length > 0 ? q->question.data : "", q->question.length);
	bool ok;

	buffer_init(&question, q->question.limit);
	fault_rules_draw(&p->settings.faults, &p->random, &faults);
	ok = marker_read(q->question.length > 0 ? q->question.data : "", q->question.length, false, call, &settings,
			 &faults, &p->random, &question, e->message);
	if (ok) {
		stats_faults(&p->stats, &faults);
		s->latency_ms = latency_sample_ms(&settings.latency, &p->random);
		s->first_byte_ms = latency_sample_ms(&settings.first_byte, &p->random);
		s->pace = settings.pace;
		s->hold = &p->settings.hold;
		answer_init(&answer, q, &question, &settings, &faults);
		chat_write(s, &reply, &p->stats);
		answer_free(&answer);
	}
	buffer_free(&question);
	return ok;
}

void chat_answer(struct provider *p, const struct request *r, const char *deployment, struct script *s)
{
	struct http_error e = {.status = 400};
	struct chat_request q;
	bool ok = chat_request_parse(&q, r->body.data, r->body.length, deployment, &e);

	p->stats.chat++;
	if (ok) {
		p->stats.chat_streamed += q.stream;
		ok = chat_play(p, r, &q, s, &e);
	}
	if (!ok) {
		p->stats.refused++;
		http_reply_error(s, r, &e, "");
	}
	chat_request_free(&q);
}
