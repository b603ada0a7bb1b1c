/* Keep calling your LLM yourself: look up first, store what you got. */
#include <promptcache.h>
#include <stdio.h>

static const char *call_my_llm(const char *prompt)
{
	return prompt[0] != '\0' ? "Time to live: how long an answer may be kept." : "";
}

int main(void)
{
	struct pc_query q = PC_QUERY_INIT;
	struct pc_content content = PC_CONTENT_INIT;
	struct pc_answer *a = NULL;
	struct pc *pc;
	int rc;

	if (pc_open(&pc, NULL) != PC_OK)
		return 1;
	q.model = "gpt-4o";
	q.prompt = "What is a TTL, again?";
	rc = pc_lookup(pc, &q, &a);
	if (rc == PC_OK) {
		printf("%s (%s)\n", pc_answer_text(a), pc_answer_source(a));
	} else {
		content.text = call_my_llm(q.prompt); /* a miss, or the cache is away: the work goes on */
		printf("%s (called)\n", content.text);
		if (rc == PC_MISS)
			rc = pc_put(pc, &q, &content, NULL);
	}
	pc_answer_free(a); /* there is one after PC_MISS too */
	pc_close(pc);
	return rc == PC_OK ? 0 : 1;
}
