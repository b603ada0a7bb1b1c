#include "bench/bench/clients.h"

#include <stdio.h>
#include <string.h>

#include "bench/bench/memory.h"

#define CONNECT_TIMEOUT_MS 10000 /* thousands of connections wait in the listener's queue at once */

static void error_set(struct clients *c, const struct pc_failure *f)
{
	if (c->error[0] == '\0')
		(void)snprintf(c->error, sizeof(c->error), "%s: %s", f->name, f->message);
}

static void on_ping(void *owner, int status, struct pc_answer *answer, const struct pc_failure *failure)
{
	struct clients *c = owner;

	pc_answer_free(answer);
	if (status != PC_OK)
		error_set(c, failure);
	if (--c->waiting == 0)
		uv_stop(c->loop);
}

bool clients_open(struct clients *c, uv_loop_t *loop, const struct settings *s)
{
	struct pc_options options = PC_OPTIONS_INIT;
	int rc = PC_OK;

	*c = (struct clients){.loop = loop};
	c->pc = memory_need(s->connections, sizeof(struct pc_async *));
	options.address = s->server;
	options.token_file = s->token_file;
	options.client = "promptcache-bench";
	options.connect_timeout_ms = CONNECT_TIMEOUT_MS;
	while (c->count < s->connections && rc == PC_OK) {
		rc = pc_uv_open(&c->pc[c->count], loop, &options);
		if (rc != PC_OK) {
			(void)snprintf(c->error, sizeof(c->error), "%s: %s", pc_status_name(rc), pc_strerror(rc));
			break;
		}
		rc = pc_async_ping(c->pc[c->count], CONNECT_TIMEOUT_MS, on_ping, c, NULL);
		if (rc == PC_OK)
			c->waiting++;
		else
			error_set(c, pc_async_error(c->pc[c->count]));
		c->count++;
	}
	while (c->waiting > 0)
		(void)uv_run(loop, UV_RUN_DEFAULT);
	return c->error[0] == '\0';
}

void clients_close(struct clients *c)
{
	for (size_t i = 0; i < c->count; i++)
		pc_async_close(c->pc[i]);
	free(c->pc);
	c->pc = NULL;
	c->count = 0;
}

/* ---- STATS */

struct asking {
	uv_loop_t *loop;
	struct clients_counts counts;
	bool done;
	unsigned found;
};

static void on_stats(void *owner, int status, struct pc_answer *answer, const struct pc_failure *failure)
{
	struct asking *a = owner;
	const struct {
		const char *name;
		uint64_t *count;
	} wanted[] = {{"net_reads_total", &a->counts.reads},
		      {"net_writes_total", &a->counts.writes},
		      {"net_received_bytes_total", &a->counts.received_bytes},
		      {"net_sent_bytes_total", &a->counts.sent_bytes}};
	const char *name;
	double value;

	(void)failure;
	for (size_t i = 0; status == PC_OK && (name = pc_answer_stat(answer, i, &value)) != NULL; i++) {
		for (size_t w = 0; w < sizeof(wanted) / sizeof(wanted[0]); w++) {
			if (strcmp(name, wanted[w].name) == 0) {
				*wanted[w].count = (uint64_t)value;
				a->found++;
			}
		}
	}
	pc_answer_free(answer);
	a->done = true;
	uv_stop(a->loop);
}

bool clients_counts_read(struct clients *c, struct clients_counts *ret)
{
	struct asking a = {.loop = c->loop};

	if (pc_async_stats(c->pc[0], 0, on_stats, &a, NULL) != PC_OK)
		return false;
	while (!a.done)
		(void)uv_run(c->loop, UV_RUN_DEFAULT);
	if (a.found != 4)
		return false;
	*ret = a.counts;
	return true;
}
