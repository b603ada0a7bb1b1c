/* Print the answer while it comes, whether the LLM makes it now or the cache has it. */
#include <promptcache.h>
#include <stdio.h>

static int print(void *owner, const struct pc_chunk *chunk)
{
	(void)owner;
	if (chunk->kind == PC_TEXT)
		fwrite(chunk->data, 1, chunk->len, stdout);
	return fflush(stdout); /* not 0: nobody reads any more, cancel */
}

int main(void)
{
	struct pc_query q = PC_QUERY_INIT;
	struct pc *pc;
	int rc;

	if (pc_open(&pc, NULL) != PC_OK)
		return 1;
	q.prompt = "Write two sentences about rivers.";
	rc = pc_query_stream(pc, &q, print, NULL, NULL);
	printf("\n%s", rc == PC_OK ? "" : pc_error(pc)->message);
	pc_close(pc);
	return rc == PC_OK ? 0 : 1;
}
