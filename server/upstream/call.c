/* call: one call of an LLM, from its slot to its last byte.
 *
 *      WAITING ──slot──> BUILDING ──> SENDING ──> (PARSING) ──> ENDED
 *         ^                             │            │
 *         └──────── RESTING <───────────┴────────────┘   failed, retryable, nothing delivered yet, attempts and time left
 *
 * BUILDING, PARSING and the events of a stream go through the pool when they are long: JSON takes 12 to 21 ms a MB.
 *
 * Any state may become ENDED by upstream_cancel or the deadline. The memory goes in a deferred task, because a call may
 * end inside its own `piece`; if a pool job still has it, after that. Its slot is given back then: what was cancelled
 * counts until it has really let go. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/base/log.h"
#include "server/upstream/call_internal.h"
#include "server/upstream/chat_body.h"
#include "server/upstream/chat_json.h"
#include "server/upstream/text.h"

#define CALL_BACKOFF_MS	    500 /* longest first pause between two attempts; doubled for each further one */
#define CALL_BACKOFF_MS_MAX 8000
#define CALL_LINGER_MS	    1000	      /* for the end of a response after [DONE] */
#define CALL_FULL_RETRY_MS  1000	      /* what a caller is told when the queue is full */
#define FAILURE_LOG_US	    UINT64_C(1000000) /* between two lines about failures of one provider */

static const unsigned call_next[] = {
#define X(name, next) next,
	CALL_STATES(X)
#undef X
};

static void call_on_slot(struct slot *slot);
static void call_send(struct call *c);
static void call_conclude(struct call *c);

static uint64_t call_now_us(const struct call *c) { return loop_now_us(c->up->set->loop); }

static struct upstream_metrics *call_metrics(const struct call *c) { return &c->up->set->metrics; }

static void call_move(struct call *c, enum call_state to)
{
	assert(call_next[c->state] & (1u << to));
	c->up->resting += (to == CALL_RESTING) - (c->state == CALL_RESTING);
	c->state = to;
}

/* ---- the end */

static void call_release(struct call *c)
{
	struct upstreams *set = c->up->set;

	assert(c->state == CALL_ENDED && !c->job_running && !c->transfer_running);
	slots_leave(&c->up->slots, &c->slot);
	json_decref(c->tree);
	chat_stream_free(&c->stream);
	chat_answer_free(&c->answer);
	buf_free(&c->frame_copy);
	buf_free(&c->body);
	buf_free(&c->response);
	free(c->url);
	free(c);
	set->calls--;
	upstreams_release(set);
}

static void call_on_release(struct loop_task *t)
{
	struct call *c = (struct call *)((char *)t - offsetof(struct call, release_task));

	TAILQ_REMOVE(&c->up->set->ended, c, link);
	call_release(c);
}

void call_release_ended(struct upstreams *set)
{
	struct call *c;

	while ((c = TAILQ_FIRST(&set->ended)) != NULL) {
		loop_undefer(set->loop, &c->release_task);
		call_on_release(&c->release_task);
	}
}

/* From here on the owner is not touched. */
static void call_let_go(struct call *c)
{
	struct upstreams *set = c->up->set;

	call_move(c, CALL_ENDED);
	c->owner->impl = NULL;
	c->owner = NULL;
	loop_disarm(set->loop, &c->due);
	loop_disarm(set->loop, &c->pause);
	if (c->transfer_running) {
		http_cancel(&c->transfer);
		c->transfer_running = false;
	}
	if (c->slot.state == SLOT_WAITING)
		slots_leave(&c->up->slots, &c->slot);
	if (c->job_running)
		return; /* its `done` releases */
	TAILQ_INSERT_TAIL(&set->ended, c, link);
	loop_defer(set->loop, &c->release_task, call_on_release);
}

static void call_count_end(struct call *c, enum proto_error code)
{
	struct upstream_metrics *m = call_metrics(c);

	m->upstream_prompt_tokens_total += c->answer.prompt_tokens;
	m->upstream_completion_tokens_total += c->answer.completion_tokens;
	m->upstream_cached_tokens_total += c->answer.cached_tokens;
	m->upstream_failures_total += code != ERR_NONE;
	m->upstream_interrupted_total += code == ERR_INTERRUPTED;
}

/* For the operator: a wrong key must not show in counters alone. The provider's own words may quote the prompt and stay
 * out; one line a second and provider, for one that is down fails every call. */
static void call_log_failure(struct call *c, enum proto_error code)
{
	struct upstream *up = c->up;
	uint64_t now_us = call_now_us(c);

	up->failures++;
	if (up->failure_logged_us != 0 && now_us - up->failure_logged_us < FAILURE_LOG_US)
		return;
	up->failure_logged_us = now_us;
	log_event(LOG_WARN, "upstream.failed", "upstream=%s error=%s status=%u attempts=%u total=%" PRIu64, up->name,
		  proto_error_name(code), c->transfer.status, c->attempts, up->failures);
}

static void call_end(struct call *c, enum proto_error code, const char *message, uint64_t retry_after_ms)
{
	struct upstream_call *owner = c->owner;
	uint64_t now_us = call_now_us(c);
	struct upstream_result result = {
		.code = code,
		.http_status = c->transfer.status,
		.retry_after_ms = retry_after_ms,
		.finish_reason = slice_str(c->answer.finish_reason),
		.model = slice_str(c->answer.model),
		.prompt_tokens = c->answer.prompt_tokens,
		.completion_tokens = c->answer.completion_tokens,
		.cached_tokens = c->answer.cached_tokens,
		.slot_us = (c->granted_us != 0 ? c->granted_us : now_us) - c->started_us,
		.first_byte_us = c->first_us != 0 ? c->first_us - c->sent_us : 0,
		.total_us = c->sent_us != 0 ? now_us - c->sent_us : 0,
		.attempts = c->attempts,
	};

	text_copy(result.message, sizeof(result.message), slice_str(message));
	call_count_end(c, code);
	if (code != ERR_NONE)
		call_log_failure(c, code);
	call_let_go(c);
	owner->end(owner, &result); /* the owner may be gone from here on; c goes in a deferred task */
}

static void call_end_no_memory(struct call *c) { call_end(c, ERR_NO_MEMORY, "no memory for the call of the LLM", 0); }

static void call_on_due(struct deadline *d)
{
	struct call *c = (struct call *)((char *)d - offsetof(struct call, due));
	uint64_t closed_ms = slots_closed_ms(&c->up->slots);

	if (c->state == CALL_WAITING && closed_ms > 0)
		call_end(c, ERR_RATE_LIMITED, "the provider limits the rate, for longer than the client waits",
			 closed_ms);
	else
		call_end(c, ERR_TIMEOUT, "the LLM gave no answer within the client's time", 0);
}

void upstream_cancel(struct upstream_call *owner)
{
	struct call *c = owner->impl;

	assert(c != NULL && c->owner == owner);
	call_let_go(c);
}

/* ---- building the request */

static void call_work_build(struct pool_job *job)
{
	struct call *c = (struct call *)((char *)job - offsetof(struct call, job));

	c->body_rc = chat_body_build(&c->body, buf_slice(&c->frame_copy), slice_str(c->model), c->up->stream,
				     &c->body_fault);
}

static void call_built(struct call *c)
{
	char message[sizeof(c->body_fault.field) + sizeof(c->body_fault.message) + 2];

	if (c->body_rc == 0) {
		call_move(c, CALL_SENDING);
		call_send(c);
		return;
	}
	snprintf(message, sizeof(message), "%s%s%s", c->body_fault.field, c->body_fault.field[0] != '\0' ? ": " : "",
		 c->body_fault.message);
	call_end(c, c->body_fault.code, message, 0);
}

static void call_on_built(struct pool_job *job)
{
	struct call *c = (struct call *)((char *)job - offsetof(struct call, job));

	c->job_running = false;
	buf_free(&c->frame_copy);
	if (c->state == CALL_ENDED)
		call_release(c);
	else
		call_built(c);
}

static void call_submit(struct call *c, void (*work)(struct pool_job *job), void (*done)(struct pool_job *job))
{
	c->job = (struct pool_job){.work = work, .done = done};
	if (loop_submit(c->up->set->loop, &c->job) != 0)
		call_end_no_memory(c);
	else
		c->job_running = true;
}

static void call_build(struct call *c)
{
	if (c->frame.n <= CHAT_POOL_BYTES) {
		c->body_rc = chat_body_build(&c->body, c->frame, slice_str(c->model), c->up->stream, &c->body_fault);
		call_built(c);
	} else if (!buf_append(&c->frame_copy, c->frame.p, c->frame.n)) {
		call_end_no_memory(c);
	} else {
		call_submit(c, call_work_build, call_on_built);
	}
}

static void call_on_slot(struct slot *slot)
{
	struct call *c = (struct call *)((char *)slot - offsetof(struct call, slot));

	if (c->granted_us == 0)
		c->granted_us = call_now_us(c);
	call_move(c, CALL_BUILDING);
	if (c->body.n == 0) {
		call_build(c);
	} else { /* a further attempt */
		call_move(c, CALL_SENDING);
		call_send(c);
	}
}

/* ---- the response */

static bool call_on_piece(void *owner, enum proto_segment kind, unsigned index, struct slice data)
{
	struct call *c = owner;

	if (c->first_us == 0)
		c->first_us = call_now_us(c);
	return c->owner->piece(c->owner, kind, index, data) && c->state != CALL_ENDED;
}

static bool type_is_json(const char *type)
{
	size_t n = strlen(type);

	return strcmp(type, "application/json") == 0 || (n > 5 && strcmp(type + n - 5, "+json") == 0);
}

static void call_on_head(struct http_transfer *t)
{
	struct call *c = (struct call *)((char *)t - offsetof(struct call, transfer));

	if (t->status >= 300)
		c->kind = RESPONSE_ERROR;
	else if (strcmp(t->content_type, "text/event-stream") == 0)
		c->kind = RESPONSE_STREAM;
	else if (type_is_json(t->content_type))
		c->kind = RESPONSE_WHOLE;
	else if (t->content_type[0] == '\0')
		c->kind = c->up->stream ? RESPONSE_STREAM : RESPONSE_WHOLE;
	else
		c->kind = RESPONSE_FOREIGN;
}

static void call_on_linger(struct deadline *d)
{
	struct call *c = (struct call *)((char *)d - offsetof(struct call, pause));

	http_cancel(&c->transfer);
	c->transfer_running = false;
	call_conclude(c);
}

static void call_work_event(struct pool_job *job)
{
	struct call *c = (struct call *)((char *)job - offsetof(struct call, job));

	c->tree = chat_json_parse(buf_slice(&c->stream.held), &c->parsed);
}

static void call_on_event(struct pool_job *job);

/* What the stream wants next: a long event parsed, or the response's end after [DONE]. */
static void call_watch_stream(struct call *c)
{
	if (chat_stream_is_held(&c->stream)) {
		if (!c->job_running)
			call_submit(c, call_work_event, call_on_event);
	} else if (c->stream.done && c->transfer_running && !c->pause.armed) {
		loop_arm(c->up->set->loop, &c->pause, UINT64_C(1000) * CALL_LINGER_MS, call_on_linger);
	}
}

/* False: the attempt, or the call, is at its end. */
static bool call_take_stream(struct call *c, enum chat_status status)
{
	if (c->state == CALL_ENDED)
		return false;
	c->status = status;
	if (status == CHAT_OK)
		call_watch_stream(c);
	return status == CHAT_OK && c->state != CALL_ENDED;
}

static void call_on_event(struct pool_job *job)
{
	struct call *c = (struct call *)((char *)job - offsetof(struct call, job));
	json_t *tree = c->tree;
	bool more;

	c->job_running = false;
	if (c->state == CALL_ENDED) {
		call_release(c);
		return;
	}
	c->tree = NULL;
	more = call_take_stream(c, chat_stream_resume(&c->stream, tree, c->parsed));
	json_decref(tree);
	if (c->state == CALL_ENDED || (more && (c->transfer_running || c->job_running)))
		return;
	if (c->transfer_running)
		http_cancel(&c->transfer);
	c->transfer_running = false;
	call_conclude(c);
}

static bool call_on_data(struct http_transfer *t, struct slice piece)
{
	struct call *c = (struct call *)((char *)t - offsetof(struct call, transfer));
	size_t max = c->kind == RESPONSE_ERROR ? CHAT_ERROR_BYTES_MAX : CHAT_BODY_BYTES_MAX;

	if (c->kind == RESPONSE_FOREIGN)
		return false;
	if (c->kind == RESPONSE_STREAM)
		return call_take_stream(c, chat_stream_feed(&c->stream, piece));
	if (piece.n > max - c->response.n)
		c->status = CHAT_TOO_LARGE;
	else if (!buf_append(&c->response, piece.p, piece.n))
		c->status = CHAT_NO_MEMORY;
	return c->status == CHAT_OK;
}

/* ---- the whole body of an answer that was not streamed */

static void call_work_parse(struct pool_job *job)
{
	struct call *c = (struct call *)((char *)job - offsetof(struct call, job));

	c->tree = chat_json_parse(buf_slice(&c->response), &c->status);
}

static void call_parsed(struct call *c)
{
	if (c->status == CHAT_OK)
		c->status = chat_answer_take(&c->answer, c->tree);
	if (c->status == CHAT_OK && !c->answer.chosen)
		c->status = CHAT_MALFORMED;
	if (c->state != CALL_ENDED)
		call_conclude(c);
}

static void call_on_parsed(struct pool_job *job)
{
	struct call *c = (struct call *)((char *)job - offsetof(struct call, job));

	c->job_running = false;
	if (c->state == CALL_ENDED)
		call_release(c);
	else
		call_parsed(c);
}

static void call_parse(struct call *c)
{
	call_move(c, CALL_PARSING);
	if (c->response.n > CHAT_POOL_BYTES) {
		call_submit(c, call_work_parse, call_on_parsed);
		return;
	}
	call_work_parse(&c->job);
	call_parsed(c);
}

static void call_on_done(struct http_transfer *t)
{
	struct call *c = (struct call *)((char *)t - offsetof(struct call, transfer));

	c->transfer_running = false;
	loop_disarm(c->up->set->loop, &c->pause);
	if (t->outcome == HTTP_DONE && c->kind == RESPONSE_WHOLE && c->status == CHAT_OK)
		call_parse(c);
	else if (!c->job_running) /* else a long event is being parsed: the response is not judged before */
		call_conclude(c);
}

/* ---- another attempt, or the end */

/* Full jitter: calls that failed together must not come back together. */
static uint64_t call_backoff_ms(const struct call *c)
{
	uint64_t ms = CALL_BACKOFF_MS << (c->attempts - 1);

	return 1 + random_below(&c->up->set->random, ms < CALL_BACKOFF_MS_MAX ? ms : CALL_BACKOFF_MS_MAX);
}

static void call_on_rested(struct deadline *d)
{
	struct call *c = (struct call *)((char *)d - offsetof(struct call, pause));

	call_move(c, CALL_WAITING);
	slots_return(&c->up->slots, &c->slot, call_on_slot);
}

static void call_rest(struct call *c, uint64_t ms)
{
	call_move(c, CALL_RESTING);
	slots_leave(&c->up->slots, &c->slot);
	loop_arm(c->up->set->loop, &c->pause, ms * 1000, call_on_rested);
}

static void call_conclude(struct call *c)
{
	uint64_t asked_ms = c->transfer.retry_after_ms;
	struct chat_error v;
	uint64_t wait_ms;

	call_judge(c, &v);
	if (c->state == CALL_ENDED) /* cancelled in a piece */
		return;
	if (v.code == ERR_NONE) {
		call_end(c, ERR_NONE, "", 0);
		return;
	}
	if (c->transfer.status == 429) {
		call_metrics(c)->upstream_rate_limited_total++;
		if (v.retry && asked_ms > 0)
			slots_close(&c->up->slots, asked_ms);
	}
	wait_ms = asked_ms > 0 ? asked_ms : call_backoff_ms(c);
	if (v.retry && c->answer.pieces == 0 && c->attempts < c->up->attempts &&
	    (c->deadline_us == 0 || call_now_us(c) + wait_ms * 1000 < c->deadline_us))
		call_rest(c, wait_ms);
	else
		call_end(c, v.code, v.message, v.retry ? asked_ms : 0);
}

static void call_begin_attempt(struct call *c)
{
	struct upstream_metrics *m = call_metrics(c);

	c->attempts++;
	m->upstream_attempts_total++;
	m->upstream_retries_total += c->attempts > 1;
	json_decref(c->tree);
	c->tree = NULL;
	c->status = CHAT_OK;
	c->kind = RESPONSE_STREAM;
	c->response.n = 0;
	chat_stream_free(&c->stream);
	chat_answer_free(&c->answer);
	chat_answer_init(&c->answer, call_on_piece, c);
	chat_stream_init(&c->stream, &c->answer);
	if (c->sent_us == 0)
		c->sent_us = call_now_us(c);
}

static void call_send(struct call *c)
{
	const struct upstream *up = c->up;
	const struct http_request request = {
		.url = c->url,
		.headers = (const char *const *)up->headers,
		.headers_count = up->headers_count,
		.body = buf_slice(&c->body),
		.connect_timeout_ms = up->connect_timeout_ms,
		.first_byte_timeout_ms = up->first_byte_timeout_ms,
		.idle_timeout_ms = up->idle_timeout_ms,
		.total_timeout_ms = up->total_timeout_ms,
	};

	call_begin_attempt(c);
	c->transfer = (struct http_transfer){.head = call_on_head, .data = call_on_data, .done = call_on_done};
	if (http_start(up->set->http, &c->transfer, &request) != 0) {
		call_end_no_memory(c);
		return;
	}
	c->transfer_running = true;
}

/* ---- the beginning */

static struct call *call_new(struct upstream *u, struct upstream_call *owner, const struct upstream_request *request)
{
	struct call *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	assert(request->model.n < sizeof(c->model));
	memcpy(c->model, request->model.p, request->model.n);
	c->url = provider_url(u, c->model);
	if (c->url == NULL) {
		free(c);
		return NULL;
	}
	c->up = u;
	c->owner = owner;
	c->frame = request->frame;
	c->deadline_us = request->deadline_us;
	c->started_us = loop_now_us(u->set->loop);
	buf_init(&c->frame_copy, FRAME_BYTES_MAX, NULL);
	buf_init(&c->body, CHAT_REQUEST_BYTES_MAX, NULL);
	buf_init(&c->response, CHAT_BODY_BYTES_MAX, NULL);
	chat_answer_init(&c->answer, call_on_piece, c);
	chat_stream_init(&c->stream, &c->answer);
	return c;
}

static int call_refuse(struct upstream *u, struct call *c, struct fault *fault, uint64_t *ret_retry_after_ms)
{
	uint64_t closed_ms = slots_closed_ms(&u->slots);

	free(c->url);
	free(c);
	u->set->metrics.upstream_refused_total++;
	*ret_retry_after_ms = closed_ms > 0 ? closed_ms : CALL_FULL_RETRY_MS;
	return fault_set(fault, ERR_OVERLOADED, "", "too many calls wait for the upstream %s", u->name);
}

int upstream_start(struct upstream *u, struct upstream_call *owner, const struct upstream_request *request,
		   struct fault *fault, uint64_t *ret_retry_after_ms)
{
	struct call *c = call_new(u, owner, request);

	assert(owner->piece != NULL && owner->end != NULL);
	if (c == NULL) {
		*ret_retry_after_ms = CALL_FULL_RETRY_MS;
		return fault_set(fault, ERR_NO_MEMORY, "", "no memory for the call of the LLM");
	}
	if (!slots_enter(&u->slots, &c->slot, call_on_slot))
		return call_refuse(u, c, fault, ret_retry_after_ms);
	if (c->deadline_us != 0)
		loop_arm(u->set->loop, &c->due, c->deadline_us > c->started_us ? c->deadline_us - c->started_us : 0,
			 call_on_due);
	owner->impl = c;
	u->set->calls++;
	u->set->metrics.upstream_calls_total++;
	return 0;
}
