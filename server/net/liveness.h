/* liveness: when a connection has to be asked whether it is alive, and when it has to go. All waiting of one
 * connection in one place:
 *
 *      no HELLO within HELLO_TIMEOUT_MS            → close
 *      a frame began and does not end              → close          net.frame_timeout
 *      output waits and the peer takes none of it  → close          net.write_timeout
 *      requests wait                               → PING every PING_INTERVAL_MS; two unanswered → close
 *      nothing waits                               → close          net.idle_timeout
 *
 * While output waits no PING is sent: it would stand behind that output, and a client that takes it, however
 * slowly, lives.
 *
 * Pure: times in microseconds, 0 stands for "not". The connection keeps one deadline and asks again when it fires:
 * noting a time costs nothing, so the hot path arms no timer. */
#ifndef NET_LIVENESS_H
#define NET_LIVENESS_H

#include <stdbool.h>
#include <stdint.h>

#define LIVENESS_PINGS_MAX 2 /* so many unanswered are enough */

struct liveness_limits {
	uint64_t hello_us, frame_us, write_us, ping_us, idle_us, linger_us;
};

struct liveness {
	uint64_t opened_us;
	uint64_t heard_us;   /* the last bytes from the peer */
	uint64_t frame_us;   /* the frame on its way began */
	uint64_t stalled_us; /* output waits; since then, or since the peer took some of it */
	uint64_t waiting_us; /* requests wait since */
	uint64_t pinged_us;
	uint64_t lingering_us; /* everything is said, the peer has yet to close */
	uint8_t pings;	       /* unanswered */
	bool greeted;	       /* HELLO was accepted */
	bool ending;	       /* nothing more is expected of the peer */
};

enum liveness_event {
	LIVENESS_HELLO_TIMEOUT,
	LIVENESS_FRAME_TIMEOUT,
	LIVENESS_WRITE_TIMEOUT,
	LIVENESS_PING,
	LIVENESS_PING_TIMEOUT,
	LIVENESS_IDLE,
	LIVENESS_LINGER_TIMEOUT,
};

/* The peer has taken what waited for it: as good as an answer to PING. */
void liveness_taken(struct liveness *l, uint64_t now_us);

/* The next thing to happen and when. */
uint64_t liveness_due_us(const struct liveness *l, const struct liveness_limits *limits,
			 enum liveness_event *ret_event);

#endif
