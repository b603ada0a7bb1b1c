/* settings: copies, defaults, the token. */
#include "client/settings.h"
#include "client/request.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OUTPUT_MAX_DEFAULT 67108864
#define TOKEN_BYTES_ROOM   1024 /* TOKEN_BYTES_MAX and some white space */

static void *resize_libc(void *owner, void *p, size_t size)
{
	(void)owner;
	if (size == 0) {
		free(p);
		return NULL;
	}
	return realloc(p, size);
}

static bool text_copy(const struct mem *mem, const char *text, char **ret)
{
	size_t size = text != NULL ? strlen(text) + 1 : 0;

	if (text == NULL)
		return true;

	char *copy = mem_resize(mem, NULL, size);

	if (copy == NULL)
		return false;
	memcpy(copy, text, size);
	*ret = copy;
	return true;
}

static int settings_fill(struct settings *s, const struct pc_options *o, struct failure *failure)
{
	const char *token = o->token != NULL || o->token_file != NULL ? o->token : getenv("PROMPTCACHE_TOKEN");
	const char *client = o->client != NULL ? o->client : "libpromptcache/" PROMPTCACHE_VERSION;

	s->mem = (struct mem){.resize = o->resize != NULL ? o->resize : resize_libc, .owner = o->resize_owner};
	s->frame_max = o->frame_max > 0 ? o->frame_max : CORE_FRAME_MAX_DEFAULT;
	s->output_max = o->output_max > 0 ? o->output_max : OUTPUT_MAX_DEFAULT;
	s->connect_timeout_us =
		UINT64_C(1000) * (o->connect_timeout_ms > 0 ? o->connect_timeout_ms : PC_CONNECT_TIMEOUT_MS);
	if (s->frame_max < CORE_FRAME_MAX_LEAST || s->frame_max > FRAME_BYTES_MAX)
		return failure_set(failure, PC_INVALID, "frame_max", "frame_max must be %d to %llu",
				   CORE_FRAME_MAX_LEAST, (unsigned long long)FRAME_BYTES_MAX);
	if (s->output_max < HELLO_BYTES_MAX)
		return failure_set(failure, PC_INVALID, "output_max", "output_max must be at least %llu",
				   (unsigned long long)HELLO_BYTES_MAX);
	if (o->connect_timeout_ms > PC_TIMEOUT_MS_MAX)
		return failure_set(failure, PC_INVALID, "connect_timeout_ms", "at most %d ms", PC_TIMEOUT_MS_MAX);
	if (strlen(client) > NAME_BYTES_MAX)
		return failure_set(failure, PC_INVALID, "client", "over %llu bytes",
				   (unsigned long long)NAME_BYTES_MAX);
	if (token != NULL && strlen(token) > TOKEN_BYTES_MAX)
		return failure_set(failure, PC_INVALID, "token", "over %llu bytes",
				   (unsigned long long)TOKEN_BYTES_MAX);

	int status = address_parse(o->address, &s->address, failure);

	if (status != PC_OK)
		return status;
	if (!text_copy(&s->mem, token, &s->token) || !text_copy(&s->mem, o->token_file, &s->token_file) ||
	    !text_copy(&s->mem, client, &s->client))
		return failure_set(failure, PC_NO_MEMORY, NULL, "no memory for the options");
	return PC_OK;
}

int settings_init(struct settings *s, const struct pc_options *options, struct failure *failure)
{
	struct pc_options o = PC_OPTIONS_INIT;

	if (options != NULL && !request_copy_sized(&o, sizeof(o), options))
		return failure_set(failure, PC_INVALID, "options",
				   "not set up with PC_OPTIONS_INIT, or of a later version");
	*s = (struct settings){0};

	int status = settings_fill(s, &o, failure);

	if (status != PC_OK)
		settings_free(s);
	return status;
}

void settings_free(struct settings *s)
{
	if (s->token != NULL)
		explicit_bzero(s->token, strlen(s->token));
	mem_free(&s->mem, s->token);
	mem_free(&s->mem, s->token_file);
	mem_free(&s->mem, s->client);
	*s = (struct settings){0};
}

/* ---- the token */

/* False: no such file, or nothing in it that could be a token. White space at the end does not count. */
static bool token_read(const char *path, char token[], size_t size, size_t *ret_n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, token, size);
	close(fd);
	while (n > 0 && strchr(" \t\r\n", token[n - 1]) != NULL)
		n--;
	if (n <= 0 || (size_t)n > TOKEN_BYTES_MAX)
		return false;
	*ret_n = (size_t)n;
	return true;
}

static bool token_default_path(char path[], size_t size)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int n = -1;

	if (state != NULL && state[0] == '/')
		n = snprintf(path, size, "%s/promptcached/token", state);
	else if (home != NULL && home[0] == '/')
		n = snprintf(path, size, "%s/.local/state/promptcached/token", home);
	return n > 0 && (size_t)n < size;
}

int settings_core(const struct settings *s, const struct endpoint *to, struct core *c, uint64_t now_us,
		  struct failure *failure)
{
	char token[TOKEN_BYTES_ROOM], path[4096];
	struct core_options o = {.client = s->client, .frame_max = s->frame_max, .output_max = s->output_max};
	size_t n = 0;

	if (s->token != NULL) {
		o.token = slice_str(s->token);
	} else if (s->token_file != NULL) {
		if (!token_read(s->token_file, token, sizeof(token), &n))
			return failure_set(failure, PC_INVALID, "token_file",
					   "%.500s: cannot be read, or has no token in it", s->token_file);
	} else if (token_default_path(path, sizeof(path)) && token_read(path, token, sizeof(token), &n)) {
		o.token_withheld = address_is_guess(&s->address, to);
		if (o.token_withheld)
			n = 0;
	}
	if (n > 0)
		o.token = slice_of(token, n);

	int status = core_init(c, &s->mem, &o, now_us);

	explicit_bzero(token, sizeof(token));
	if (status != PC_OK)
		return failure_set(failure, status, NULL, "%s for a connection", pc_strerror(status));
	return PC_OK;
}
