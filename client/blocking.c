/* blocking: one call at a time on a non-blocking socket, with poll and the deadline of the call.
 *
 *      pc_call ──> connection_ready ──> call_run ──> done
 *                        ^                 │ lost, and no harm in asking again
 *                        └─────── once ────┘ */
#include "client/clock.h"
#include "client/request.h"
#include "client/settings.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define LISTENER_FULL_PAUSE_MS 2 /* a Unix listener whose queue is full says EAGAIN and cannot be waited for */

struct pc {
	struct settings settings;
	struct failure failure; /* of the last call */
	struct failure away;	/* why the last connect failed; repeated until fail_until_us */
	uint64_t fail_until_us;
	uint64_t hello_until_us; /* the server has to have answered HELLO */
	pid_t pid;		 /* whose socket it is */
	int fd;			 /* -1: none, and the core is not set up */
	bool deaf;		 /* the peer takes no more bytes; what it sent before may still be read */
	struct core core;
};

/* A call on the stack of pc_call. */
struct blocking_call {
	struct core_request request;
	struct pc *pc;
	pc_chunk_cb chunk;
	void *owner;
	uint64_t deadline_us;
	uint64_t sent_us; /* when it was given to the core */
	bool done;
	bool again; /* it failed, and may be sent once more */
	int status;
	struct pc_answer *answer;
};

/* ---- the connection */

static void connection_drop(struct pc *pc)
{
	close(pc->fd);
	pc->fd = -1;
	core_close(&pc->core);
	core_free(&pc->core);
}

/* The connection is lost, and with it the call that runs. Before HELLO was answered it counts as a connect that failed.
 */
static void connection_lose(struct pc *pc, const char *why)
{
	if (pc->core.failure.seen.status == PC_OK)
		failure_set(&pc->core.failure, PC_UNAVAILABLE, NULL, "%s", why);
	if (pc->core.state == CORE_HELLO && pc->core.failure.seen.status == PC_UNAVAILABLE) {
		failure_copy(&pc->away, &pc->core.failure.seen);
		pc->fail_until_us = clock_now_us() + UINT64_C(1000) * PC_FAIL_FAST_MS;
	}
	connection_drop(pc);
}

static void output_flush(struct pc *pc)
{
	while (!pc->deaf) {
		struct slice out = core_output(&pc->core);
		ssize_t n = out.n > 0 ? send(pc->fd, out.p, out.n, MSG_NOSIGNAL) : 0;

		if (n > 0)
			core_sent(&pc->core, (size_t)n);
		else if (n < 0 && errno != EINTR && errno != EAGAIN)
			pc->deaf = true; /* the next read says why */
		else if (n == 0 || errno == EAGAIN)
			return;
	}
}

/* Reads once. False: there was nothing, or the connection is lost (pc->fd is -1 then). */
static bool input_read(struct pc *pc)
{
	size_t size;
	uint8_t *space = core_space(&pc->core, &size);

	if (space == NULL) {
		failure_set(&pc->core.failure, PC_NO_MEMORY, NULL, "no memory for an answer");
		connection_lose(pc, "");
		return false;
	}

	ssize_t n = recv(pc->fd, space, size, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		connection_lose(pc, n == 0 ? "the server closed the connection" : strerror(errno));
		return false;
	}
	if (core_received(&pc->core, (size_t)n, clock_now_us()) != PC_OK) {
		connection_lose(pc, "");
		return false;
	}
	return true;
}

/* Milliseconds that poll may wait; rounded up, so that it does not spin at the end. */
static int wait_ms(uint64_t until_us, uint64_t now_us)
{
	uint64_t ms = until_us > now_us ? (until_us - now_us + 999) / 1000 : 0;

	return ms < 3600000 ? (int)ms : 3600000;
}

/* Connects to one endpoint. PC_OK and *ret_fd, or PC_UNAVAILABLE. */
static int connect_one(struct pc *pc, const struct endpoint *e, uint64_t until_us, int *ret_fd)
{
	int fd = -1, error;

	while ((error = endpoint_connect(e, &fd)) == EAGAIN && clock_now_us() < until_us)
		poll(NULL, 0, LISTENER_FULL_PAUSE_MS);
	if (error != 0)
		return address_failed(&pc->settings.address, e, error, &pc->failure);

	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int n;

	do {
		n = poll(&p, 1, wait_ms(until_us, clock_now_us()));
	} while (n < 0 && errno == EINTR);
	error = n > 0 ? endpoint_connect_result(fd) : ETIMEDOUT;
	if (error != 0) {
		close(fd);
		return address_failed(&pc->settings.address, e, error, &pc->failure);
	}
	endpoint_print(e, pc->core.server, sizeof(pc->core.server));
	*ret_fd = fd;
	return PC_OK;
}

static int connect_any(struct pc *pc, const struct endpoint *endpoints, size_t count, uint64_t until_us, int *ret_fd)
{
	for (size_t i = 0; i < count; i++) {
		if (connect_one(pc, &endpoints[i], until_us, ret_fd) == PC_OK)
			return PC_OK;
	}
	return PC_UNAVAILABLE;
}

/* What calls end with for PC_FAIL_FAST_MS. */
static int away_note(struct pc *pc)
{
	failure_copy(&pc->away, &pc->failure.seen);
	pc->fail_until_us = clock_now_us() + UINT64_C(1000) * PC_FAIL_FAST_MS;
	return PC_UNAVAILABLE;
}

static int connection_open(struct pc *pc, uint64_t deadline_us)
{
	uint64_t now_us = clock_now_us();
	struct endpoint endpoints[ADDRESS_ENDPOINTS_MAX];
	size_t count;

	if (now_us < pc->fail_until_us) {
		failure_copy(&pc->failure, &pc->away.seen);
		return PC_UNAVAILABLE;
	}

	int fd = -1, status;

	if (address_resolve(&pc->settings.address, endpoints, &count, &pc->failure) != PC_OK)
		return away_note(pc);
	status = settings_core(&pc->settings, &endpoints[0], &pc->core, now_us, &pc->failure);
	if (status != PC_OK)
		return status;
	pc->hello_until_us = now_us + pc->settings.connect_timeout_us;
	status = connect_any(pc, endpoints, count, pc->hello_until_us < deadline_us ? pc->hello_until_us : deadline_us,
			     &fd);
	if (status != PC_OK) {
		core_free(&pc->core);
		return away_note(pc);
	}
	failure_clear(&pc->failure); /* of an endpoint that came before the one that answered */
	pc->fd = fd;
	pc->deaf = false;
	return PC_OK;
}

/* A connection to ask on. What the server said since the last call is read first: a GOAWAY or its end is better known
 * before than after. */
static int connection_ready(struct pc *pc, uint64_t deadline_us)
{
	if (pc->fd >= 0 && pc->pid != getpid()) {
		failure_set(&pc->core.failure, PC_UNAVAILABLE, NULL, "the socket belongs to another process");
		connection_drop(pc);
		pc->fail_until_us = 0;
	}
	pc->pid = getpid();
	while (pc->fd >= 0 && clock_now_us() < deadline_us && input_read(pc))
		;
	if (pc->fd >= 0 && pc->core.leaving)
		connection_drop(pc);
	return pc->fd >= 0 ? PC_OK : connection_open(pc, deadline_us);
}

/* ---- one call */

static int call_on_chunk(struct core_request *r, const struct pc_chunk *chunk)
{
	struct blocking_call *call = r->owner;

	return call->chunk(call->owner, chunk);
}

/* A question is asked again if no byte of an answer came; what changes the cache only if the server has certainly not
 * taken it in. */
static bool call_may_repeat(const struct blocking_call *call, const struct pc_failure *failure)
{
	const struct core_request *r = &call->request;

	if (call->status != PC_UNAVAILABLE || r->answered)
		return false;
	return (r->op != OP_PUT && r->op != OP_INVALIDATE) || !core_was_taken(&call->pc->core, r) ||
	       strcmp(failure->name, "SHUTTING_DOWN") == 0;
}

static void call_on_done(struct core_request *r, int status, struct pc_answer *answer, const struct pc_failure *failure)
{
	struct blocking_call *call = r->owner;

	call->done = true;
	call->status = status;
	call->answer = answer;
	if (failure == NULL)
		return;
	failure_copy(&call->pc->failure, failure);
	call->again = call_may_repeat(call, failure);
}

/* A server that has said nothing since the question went out may be gone; the next call finds out, within the connect
 * timeout. */
static void call_expire(struct blocking_call *call)
{
	struct pc *pc = call->pc;
	bool silent = pc->core.state == CORE_OPEN && pc->core.heard_us <= call->sent_us;
	bool told = core_forget(&pc->core, &call->request);

	call->done = true;
	call->status = failure_set(&pc->failure, PC_TIMEOUT, NULL, "no answer within the time allowed");
	output_flush(pc);
	if (silent || !told)
		connection_drop(pc);
}

/* When the server has to have said something; *ret_why: what it means if it has not. */
static uint64_t server_due_us(const struct pc *pc, const char **ret_why)
{
	uint64_t silent_us = core_silent_at_us(&pc->core);

	*ret_why = "the server fell silent";
	if (pc->core.state != CORE_HELLO || pc->hello_until_us > silent_us)
		return silent_us;
	*ret_why = "the server does not answer HELLO";
	return pc->hello_until_us;
}

static void call_wait(struct blocking_call *call, uint64_t now_us)
{
	struct pc *pc = call->pc;
	const char *why;
	uint64_t due_us = server_due_us(pc, &why);
	uint64_t until_us = due_us < call->deadline_us ? due_us : call->deadline_us;
	struct pollfd p = {.fd = pc->fd, .events = POLLIN};

	if (core_output(&pc->core).n > 0 && !pc->deaf)
		p.events |= POLLOUT;
	if (poll(&p, 1, wait_ms(until_us, now_us)) > 0 && (p.revents & (POLLIN | POLLERR | POLLHUP)))
		input_read(pc);
	else if (now_us >= due_us) /* only now: a chunk callback may have kept us from reading for long */
		connection_lose(pc, why);
}

static void call_run(struct blocking_call *call, struct request *request)
{
	struct pc *pc = call->pc;
	uint64_t now_us = clock_now_us();

	call->done = false;
	call->again = false;
	call->sent_us = now_us;
	call->status = core_submit(&pc->core, &call->request, &request->message, now_us, &pc->failure);
	if (call->status != PC_OK)
		return;
	while (!call->done) {
		output_flush(pc);
		call_wait(call, now_us);
		now_us = clock_now_us();
		if (!call->done && now_us >= call->deadline_us)
			call_expire(call);
	}
	if (pc->fd >= 0)
		output_flush(pc); /* the CANCEL of a stream that was stopped */
	if (pc->fd >= 0 && pc->core.leaving)
		connection_drop(pc);
}

static int pc_call(struct pc *pc, const struct ask *ask, pc_chunk_cb chunk, void *owner, struct pc_answer **ret)
{
	struct request request;

	failure_clear(&pc->failure);
	if (request_make(ask, &request, &pc->failure) != PC_OK)
		return pc->failure.seen.status;

	uint64_t now_us = clock_now_us();
	struct blocking_call call = {
		.request = {.on_done = call_on_done, .started_us = now_us, .window = request.window},
		.pc = pc,
		.chunk = chunk,
		.owner = owner,
		.deadline_us = now_us + 1000 * request.timeout_ms,
	};

	if (chunk != NULL)
		call.request.on_chunk = call_on_chunk;
	call.request.owner = &call;
	for (int attempt = 0; attempt < 2; attempt++) {
		failure_clear(&pc->failure);
		call.again = false;
		call.status = connection_ready(pc, call.deadline_us);
		if (call.status == PC_OK)
			call_run(&call, &request);
		if (!call.again)
			break;
	}
	request_free(&request);
	if (call.answer != NULL && ret != NULL)
		*ret = call.answer;
	else
		pc_answer_free(call.answer);
	return call.status;
}

/* ---- the face */

int pc_open(struct pc **ret, const char *address)
{
	struct pc_options options = PC_OPTIONS_INIT;

	options.address = address;
	return pc_open_with(ret, &options);
}

int pc_open_with(struct pc **ret, const struct pc_options *options)
{
	struct settings settings;
	struct failure failure;
	int status = settings_init(&settings, options, &failure);

	if (status != PC_OK)
		return status;

	struct pc *pc = mem_resize(&settings.mem, NULL, sizeof(*pc));

	if (pc == NULL) {
		settings_free(&settings);
		return PC_NO_MEMORY;
	}
	memset(pc, 0, sizeof(*pc));
	pc->settings = settings;
	pc->fd = -1;
	pc->pid = getpid();
	failure_clear(&pc->failure);
	failure_clear(&pc->away);
	*ret = pc;
	return PC_OK;
}

void pc_close(struct pc *pc)
{
	if (pc == NULL)
		return;
	if (pc->fd >= 0)
		connection_drop(pc);

	struct settings settings = pc->settings;

	mem_free(&settings.mem, pc);
	settings_free(&settings);
}

const struct pc_failure *pc_error(const struct pc *pc) { return &pc->failure.seen; }

int pc_query(struct pc *pc, const struct pc_query *q, struct pc_answer **ret)
{
	return pc_call(pc, &(struct ask){.op = OP_QUERY, .query = q}, NULL, NULL, ret);
}

int pc_query_stream(struct pc *pc, const struct pc_query *q, pc_chunk_cb chunk, void *owner, struct pc_answer **ret)
{
	if (chunk == NULL)
		return failure_set(&pc->failure, PC_INVALID, "chunk", "a stream needs a chunk callback");
	return pc_call(pc, &(struct ask){.op = OP_QUERY, .query = q, .stream = true}, chunk, owner, ret);
}

int pc_lookup(struct pc *pc, const struct pc_query *q, struct pc_answer **ret)
{
	return pc_call(pc, &(struct ask){.op = OP_LOOKUP, .query = q}, NULL, NULL, ret);
}

int pc_put(struct pc *pc, const struct pc_query *q, const struct pc_content *content, struct pc_answer **ret)
{
	return pc_call(pc, &(struct ask){.op = OP_PUT, .query = q, .content = content}, NULL, NULL, ret);
}

int pc_invalidate(struct pc *pc, const struct pc_query *q, enum pc_target target, struct pc_answer **ret)
{
	return pc_call(pc, &(struct ask){.op = OP_INVALIDATE, .query = q, .target = target}, NULL, NULL, ret);
}

int pc_stats(struct pc *pc, unsigned timeout_ms, struct pc_answer **ret)
{
	return pc_call(pc, &(struct ask){.op = OP_STATS, .timeout_ms = timeout_ms}, NULL, NULL, ret);
}

int pc_ping(struct pc *pc, unsigned timeout_ms, struct pc_answer **ret)
{
	return pc_call(pc, &(struct ask){.op = OP_PING, .timeout_ms = timeout_ms}, NULL, NULL, ret);
}
