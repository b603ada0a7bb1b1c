/* world: the engine with real store, upstream and policy on fake doors (loop, HTTP, durable store), and clients that
 * ask it. What a scenario needs to be short.
 *
 *      world_open(&w, disk) … struct client *c = world_ask(&w, "question", 0) … world_run_ms(&w, 100) … world_close(&w)
 *
 * world_close asserts that nothing is left: no flight, no transfer, no memory (the sanitizer's part), and that the loop
 * is empty. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "server/engine/engine.h"
#include "tests/sim/durable_sim.h"
#include "tests/sim/http_sim.h"
#include "tests/sim/loop_sim.h"

#define WORLD_CLIENTS_MAX 2048
#define WORLD_WALL_US	  UINT64_C(1700000000000000) /* what the wall clock says when a world opens */

/* How a client asks; bits. */
#define ASK_STREAM   1u
#define ASK_LOOKUP   2u
#define ASK_NO_CACHE 4u
#define ASK_NO_STORE 8u
#define ASK_SLOW     16u /* does not read its pieces until client_read is called */

struct client {
	struct query q;
	struct world *world;
	bool slow, gone;
	unsigned readies;  /* times it was told something */
	char text[4096];   /* what it has read: text segments */
	uint64_t ended_us; /* loop time at its end */
	int refused;	   /* engine_query's result */
};

struct world {
	struct loop *loop;
	struct http *http;
	struct upstreams *upstreams;
	struct engine *engine;
	struct store *store;
	struct durable_sim *durable; /* NULL: no durable store */
	struct options *options;
	struct engine_options engine_options;
	struct upstream_set_options upstream_options;
	struct message_decoder decoder;
	struct client *clients[WORLD_CLIENTS_MAX];
	size_t clients_count;
	bool closed;
};

/* disk NULL: no durable store. settings: further "key=value" for the options, NULL at the end; may be NULL. */
void world_open(struct world *w, struct durable_sim_disk *disk, const char *const *settings);
void world_close(struct world *w);
void world_run_ms(struct world *w, uint64_t ms);

/* Asks now. The client belongs to the world. ms arguments: UINT64_MAX stands for "not given". */
struct client *world_ask(struct world *w, const char *question, unsigned how);
struct client *world_ask_with(struct world *w, const char *question, unsigned how, uint64_t timeout_ms,
			      uint64_t max_age_ms, uint64_t ttl_ms);
void client_read(struct client *c);  /* a slow client reads what is there */
void client_leave(struct client *c); /* gone: its connection was cut */

/* The whole text that it got: pieces, or the END's. */
const char *client_answer(struct client *c);
bool client_ended(const struct client *c);
enum proto_error client_error(const struct client *c);

/* INVALIDATE and wait for its end. */
struct fault world_invalidate(struct world *w, enum proto_target target, const char *question);
struct invalidation *world_invalidate_start(struct world *w, enum proto_target target, const char *question,
					    struct invalidation *i);

uint64_t world_metric(struct world *w, const char *name);

#endif
