/* Ask; from the cache if it can be, else from the LLM. */
#include <promptcache.h>
#include <stdio.h>
#include <stdlib.h>

static void die(const char *why)
{
	fprintf(stderr, "%s\n", why);
	exit(1);
}

int main(void)
{
	/* clang-format off */
	struct pc *pc; struct pc_answer *a = NULL; int rc;
	if ((rc = pc_open(&pc, NULL)) != PC_OK) die(pc_strerror(rc));       /* NULL: default address and token */
	struct pc_query q = PC_QUERY_INIT;
	q.model = "gpt-4o"; q.prompt = "What is a TTL?"; q.timeout_ms = 30000;
	rc = pc_query(pc, &q, &a);                                           /* PC_UNAVAILABLE: call the LLM yourself */
	if (rc == PC_OK) printf("%s (%s)\n", pc_answer_text(a), pc_answer_source(a));
	else fprintf(stderr, "promptcache: %s\n", pc_strerror(rc));
	pc_answer_free(a);                                                   /* accepts NULL */
	pc_close(pc);
	/* clang-format on */
	return rc == PC_OK ? 0 : 1;
}
