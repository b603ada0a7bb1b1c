/* Three questions at once in a libuv loop: one connection, one write, answers in the order in which they are ready. */
#include <promptcache-uv.h>
#include <stdio.h>

static int waiting, failed;
static struct pc_async *async;

static void on_done(void *owner, int status, struct pc_answer *answer, const struct pc_failure *failure)
{
	printf("%s: %s\n", (const char *)owner, answer != NULL ? pc_answer_text(answer) : failure->message);
	failed += status != PC_OK;
	pc_answer_free(answer);
	if (--waiting == 0)
		pc_async_close(async); /* then the loop runs empty */
}

int main(void)
{
	static char questions[3][24] = {"What is a TTL?", "What is a cache?", "What is a token?"};

	if (pc_uv_open(&async, uv_default_loop(), NULL) != PC_OK)
		return 1;
	for (int i = 0; i < 3; i++) {
		struct pc_query q = PC_QUERY_INIT;

		q.prompt = questions[i];
		if (pc_async_query(async, &q, NULL, on_done, questions[i], NULL) == PC_OK)
			waiting++;
	}
	if (waiting == 0)
		pc_async_close(async);
	uv_run(uv_default_loop(), UV_RUN_DEFAULT);
	return uv_loop_close(uv_default_loop()) != 0 || waiting != 0 || failed != 0;
}
