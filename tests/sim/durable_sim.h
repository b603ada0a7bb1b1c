/* durable_sim: a durable store in virtual time, for scenarios: as slow, as broken and as forgetful as one wants,
 * without a disk.
 *
 *      durable_sim_disk     what outlives a restart: open, close, open again on the same disk
 *      durable_sim          one opening of it; the knobs may be turned at any time
 *
 * A read sees what is committed (or on its way) when it is *called* and tells it `read_delay_us` later: the widest
 * window there is for a change in between. A daemon that is killed is played by `lossy`: from then on acks come and
 * nothing reaches the disk; then close, open. */
#ifndef TESTS_SIM_DURABLE_SIM_H
#define TESTS_SIM_DURABLE_SIM_H

#include "server/store/durable.h"

struct durable_sim_disk;

struct durable_sim_disk *durable_sim_disk_new(void);
void durable_sim_disk_free(struct durable_sim_disk *disk); /* accepts NULL; nothing may have it open */
size_t durable_sim_disk_entries(const struct durable_sim_disk *disk);
size_t durable_sim_disk_epochs(const struct durable_sim_disk *disk);

struct durable_sim {
	uint64_t read_delay_us;	     /* 100 */
	uint64_t commit_interval_us; /* 50,000: longest wait of a write for its commit */
	uint64_t commit_delay_us;    /* 2,000: how long a commit takes */
	bool reads_fail, commits_fail;
	bool writes_refused; /* write() returns DURABLE_FAILED at once, as a degraded store does */
	bool busy;	     /* reads end with, and writes return, DURABLE_BUSY */
	bool lossy;	     /* changes are told as durable and are not */

	uint64_t reads, writes, removes, epochs, commits; /* calls so far; commits that ended */
};

/* Tells events->epoch and ->stamp before it returns. The memory goes with close. Fails on no memory. */
struct durable_sim *durable_sim_open(struct durable *ret, struct loop *l, struct durable_sim_disk *disk,
				     const struct durable_events *events);

/* Hands over what is on the disk now to `found`, after delay_us, without what was changed meanwhile. One at a time. */
void durable_sim_warm(struct durable_sim *s, uint64_t delay_us, bool (*found)(void *owner, struct entry *e),
		      void *owner);

#endif
