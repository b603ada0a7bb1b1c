/* promptcache: the command line. One call on the event face, so that an interrupt cancels it: the server hears of it,
 * what was printed stays, and the exit status is 130. */
#include "client/cli/input.h"
#include "client/cli/output.h"
#include "client/promptcache-uv.h"

#include <signal.h>
#include <stdio.h>

struct cli {
	struct cli_options options;
	struct cli_input input;
	uv_loop_t loop;
	uv_signal_t interrupt;
	struct pc_async *async; /* NULL: closed */
	struct cli_line line;
	int exit_status;
};

static int exit_of_status(int status)
{
	switch (status) {
	case PC_OK:
		return EXIT_ANSWERED;
	case PC_MISS:
		return EXIT_MISS;
	case PC_INVALID:
	case PC_UNSUPPORTED:
		return EXIT_USAGE;
	case PC_UNAVAILABLE:
		return EXIT_NO_SERVER;
	default:
		return EXIT_FAILED;
	}
}

/* Everything closes, and the loop runs empty. */
static void cli_stop(struct cli *c)
{
	pc_async_close(c->async);
	c->async = NULL;
	if (!uv_is_closing((uv_handle_t *)&c->interrupt))
		uv_close((uv_handle_t *)&c->interrupt, NULL);
}

static int on_chunk(void *owner, const struct pc_chunk *chunk)
{
	struct cli *c = owner;

	return output_chunk(&c->options, &c->line, chunk) ? 0 : 1;
}

static void on_done(void *owner, int status, struct pc_answer *answer, const struct pc_failure *failure)
{
	struct cli *c = owner;

	if (c->async == NULL)
		return; /* interrupted */
	c->exit_status = exit_of_status(status);
	if (answer != NULL && !output_answer(&c->options, &c->line, c->input.stream, answer))
		c->exit_status = EXIT_FAILED;
	if (failure != NULL) {
		output_line_end(&c->line);
		if (ferror(stdout))
			fputs("promptcache: standard output cannot be written to\n", stderr);
		else
			output_failure(failure);
	}
	pc_answer_free(answer);
	cli_stop(c);
}

static void on_interrupt(uv_signal_t *signal, int number)
{
	struct cli *c = signal->data;
	struct pc_async *async = c->async;

	(void)number;
	c->async = NULL; /* on_done, which comes from the close, has nothing to say */
	c->exit_status = EXIT_INTERRUPTED;
	pc_async_close(async);
	output_line_end(&c->line);
	cli_stop(c);
}

static int call_start(struct cli *c)
{
	const struct cli_options *o = &c->options;
	const struct pc_query *q = &c->input.query;

	switch (o->command) {
	case COMMAND_QUERY:
		return pc_async_query(c->async, q, c->input.stream ? on_chunk : NULL, on_done, c, NULL);
	case COMMAND_LOOKUP:
		return pc_async_lookup(c->async, q, on_done, c, NULL);
	case COMMAND_PUT:
		return pc_async_put(c->async, q, &c->input.content, on_done, c, NULL);
	case COMMAND_INVALIDATE:
		return pc_async_invalidate(c->async, q, cli_options_space(o) ? PC_FORGET_NAMESPACE : PC_FORGET_REQUEST,
					   on_done, c, NULL);
	case COMMAND_STATS:
		return pc_async_stats(c->async, q->timeout_ms, on_done, c, NULL);
	default:
		return pc_async_ping(c->async, q->timeout_ms, on_done, c, NULL);
	}
}

static int cli_run(struct cli *c)
{
	struct pc_options options = PC_OPTIONS_INIT;
	char name[64];
	int status;

	snprintf(name, sizeof(name), "promptcache/%s", pc_version());
	options.address = c->options.server;
	options.token_file = c->options.token_file;
	options.client = name;
	status = pc_uv_open(&c->async, &c->loop, &options);
	if (status != PC_OK) {
		fprintf(stderr,
			"promptcache: %s: %s; an address is unix:/path or tcp://host:port (--server, "
			"$PROMPTCACHE_SERVER)\n",
			pc_status_name(status), pc_strerror(status));
		return exit_of_status(status);
	}
	uv_signal_init(&c->loop, &c->interrupt);
	c->interrupt.data = c;
	uv_signal_start(&c->interrupt, on_interrupt, SIGINT);
	status = call_start(c);
	if (status != PC_OK) {
		output_failure(pc_async_error(c->async));
		c->exit_status = exit_of_status(status);
		cli_stop(c);
	}
	uv_run(&c->loop, UV_RUN_DEFAULT);
	return c->exit_status;
}

int main(int argc, char **argv)
{
	static struct cli c;
	int status;

	signal(SIGPIPE, SIG_IGN); /* a reader of stdout that went away is an error of the write, and cancels */
	if (cli_options_parse(&c.options, argc, argv, &status))
		status = cli_input_read(&c.input, &c.options);
	else
		goto out;
	if (status == 0 && uv_loop_init(&c.loop) != 0)
		status = EXIT_FAILED;
	else if (status == 0) {
		status = cli_run(&c);
		uv_loop_close(&c.loop);
	}
	cli_input_free(&c.input);
out:
	cli_options_free(&c.options);
	return status;
}
