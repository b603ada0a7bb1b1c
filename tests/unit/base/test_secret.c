/* secret: made once, read by all, refused when others could read it. Fixture, helpers, cases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/base/secret.h"

#define GOOD "0123456789abcdef0123456789abcdef"

static struct fixture {
	char dir[64], path[96];
	char token[SECRET_TOKEN_BYTES_MAX + 1];
	char error[512];
	mode_t mask;
} f;

static int setup(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	f.mask = umask(022);
	strcpy(f.dir, "/tmp/test_secret_XXXXXX");
	if (mkdtemp(f.dir) == NULL)
		return -1;
	snprintf(f.path, sizeof(f.path), "%s/token", f.dir);
	strcpy(f.token, "untouched");
	return 0;
}

/* Nothing but the token may be left in the folder, so rmdir is the check that no half-made file stays. */
static int teardown(void **state)
{
	(void)state;
	umask(f.mask);
	unlink(f.path);
	return rmdir(f.dir);
}

static int load(void)
{
	return secret_token_load_or_create(f.path, f.token, sizeof(f.token), f.error, sizeof(f.error));
}

static void file_of(const void *bytes, size_t n, mode_t mode)
{
	int fd = open(f.path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), (ssize_t)n);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void refused(const char *part)
{
	assert_int_equal(load(), -1);
	assert_string_equal(f.token, "untouched");
	if (strstr(f.error, part) == NULL || strncmp(f.error, f.path, strlen(f.path)) != 0)
		fail_msg("\"%s\" does not say \"%s\"", f.error, part);
}

static void the_first_start_makes_a_token_that_only_we_can_read(void **state)
{
	struct stat st;
	char first[sizeof(f.token)];

	(void)state;
	umask(0);
	assert_int_equal(load(), 0);
	assert_int_equal(strlen(f.token), 64);
	assert_int_equal(strspn(f.token, "0123456789abcdef"), 64);
	assert_int_equal(stat(f.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	strcpy(first, f.token);
	assert_int_equal(load(), 0);
	assert_string_equal(f.token, first);
	unlink(f.path);
	assert_int_equal(load(), 0);
	assert_string_not_equal(f.token, first);
}

static void missing_folders_are_made_for_us_alone(void **state)
{
	char deep[128], a[80], b[90];
	struct stat st;

	(void)state;
	snprintf(a, sizeof(a), "%s/a", f.dir);
	snprintf(b, sizeof(b), "%s/a/b", f.dir);
	snprintf(deep, sizeof(deep), "%s/a/b/token", f.dir);
	umask(0);
	assert_int_equal(secret_token_load_or_create(deep, f.token, sizeof(f.token), f.error, sizeof(f.error)), 0);
	assert_int_equal(stat(a, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(b, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	unlink(deep);
	rmdir(b);
	rmdir(a);
}

static void a_token_of_ones_own_is_read_with_any_line_end(void **state)
{
	(void)state;
	file_of(GOOD, 32, 0600);
	assert_int_equal(load(), 0);
	assert_string_equal(f.token, GOOD);
	file_of(GOOD "\n", 33, 0400);
	assert_int_equal(load(), 0);
	assert_string_equal(f.token, GOOD);
	file_of(GOOD "\r\n", 34, 0600);
	assert_int_equal(load(), 0);
	assert_string_equal(f.token, GOOD);
}

static void a_file_open_to_others_is_refused_with_the_remedy(void **state)
{
	static const mode_t modes[] = {0640, 0604, 0660, 0602, 0601, 0644};
	char remedy[160];

	(void)state;
	snprintf(remedy, sizeof(remedy), "chmod 600 %s", f.path);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		file_of(GOOD, 32, modes[i]);
		refused(remedy);
	}
}

static void a_file_of_somebody_else_is_refused(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	file_of(GOOD, 32, 0600);
	assert_int_equal(chown(f.path, 12345, (gid_t)-1), 0);
	refused("belongs to user 12345, not to us (0)");
}

static void only_a_regular_file_will_do(void **state)
{
	char other[128];

	(void)state;
	assert_int_equal(mkdir(f.path, 0700), 0);
	refused("must be in a regular file");
	assert_int_equal(rmdir(f.path), 0);

	assert_int_equal(mkfifo(f.path, 0600), 0); /* and nobody waits for its writer */
	refused("must be in a regular file");
	unlink(f.path);

	file_of(GOOD, 32, 0600);
	snprintf(other, sizeof(other), "%s/other", f.dir);
	assert_int_equal(rename(f.path, other), 0);
	assert_int_equal(symlink("other", f.path), 0);
	refused("not behind a link");
	unlink(other);
	refused("not behind a link"); /* a link to nothing is not followed to make something either */
}

static void an_empty_short_long_or_binary_token_is_refused(void **state)
{
	char text[SECRET_TOKEN_BYTES_MAX + 10];

	(void)state;
	file_of("", 0, 0600);
	refused("is empty; remove it");
	file_of("\n", 1, 0600);
	refused("is empty; remove it");
	file_of(GOOD, 31, 0600);
	refused("shorter than 32 characters");
	memset(text, 'x', sizeof(text));
	file_of(text, SECRET_TOKEN_BYTES_MAX, 0600);
	assert_int_equal(load(), 0);
	strcpy(f.token, "untouched");
	file_of(text, SECRET_TOKEN_BYTES_MAX + 1, 0600);
	refused("longer than 512 characters");
	file_of(text, sizeof(text), 0600);
	refused("longer than 512 characters");
	file_of(GOOD "\0" GOOD, 65, 0600);
	refused("one line of printable characters");
	file_of(GOOD "\n" GOOD "\n", 66, 0600);
	refused("one line of printable characters");
	file_of(GOOD "\xc3\xa9", 34, 0600);
	refused("one line of printable characters");
	assert_null(strstr(f.error, GOOD)); /* what the file holds is not told */
}

static void a_folder_that_cannot_be_made_is_told(void **state)
{
	char path[160];

	(void)state;
	file_of(GOOD, 32, 0600);
	snprintf(path, sizeof(path), "%s/below/token", f.path);
	assert_int_equal(secret_token_load_or_create(path, f.token, sizeof(f.token), f.error, sizeof(f.error)), -1);
	assert_non_null(strstr(f.error, "Not a directory"));
	assert_string_equal(f.token, "untouched");
}

#define RACERS 8

/* Each racer waits for the gate to close and then loads; the pipe brings what it got. */
static void race_once(void)
{
	int gate[2], results[2];
	char first[64], other[64];

	assert_int_equal(pipe(gate), 0);
	assert_int_equal(pipe(results), 0);
	for (int i = 0; i < RACERS; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			close(gate[1]);
			(void)!read(gate[0], first, 1);
			if (load() < 0)
				memset(f.token, '!', 64);
			_exit(write(results[1], f.token, 64) == 64 ? 0 : 1);
		}
	}
	close(gate[0]);
	close(gate[1]);
	close(results[1]);
	assert_int_equal(read(results[0], first, 64), 64);
	assert_memory_not_equal(first, "!!!!", 4);
	for (int i = 1; i < RACERS; i++) {
		assert_int_equal(read(results[0], other, 64), 64);
		assert_memory_equal(other, first, 64);
	}
	close(results[0]);
	for (int i = 0; i < RACERS; i++)
		wait(NULL);
}

static void processes_that_start_at_once_share_one_token(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		race_once();
		unlink(f.path);
	}
}

static void secrets_are_equal_only_when_every_byte_is(void **state)
{
	(void)state;
	assert_true(secret_equal(GOOD, 32, GOOD, 32));
	assert_false(secret_equal(GOOD, 32, GOOD, 31));
	assert_false(secret_equal("x123456789abcdef", 16, GOOD, 16));
	assert_false(secret_equal("0123456789abcdex", 16, GOOD, 16));
	assert_true(secret_equal("a\0b", 3, "a\0b", 3));
	assert_false(secret_equal("a\0b", 3, "a\0c", 3));
	assert_false(secret_equal("", 0, "", 0));
	assert_false(secret_equal(NULL, 0, NULL, 0));
	assert_false(secret_equal(NULL, 0, GOOD, 32));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(the_first_start_makes_a_token_that_only_we_can_read),
		CASE(missing_folders_are_made_for_us_alone),
		CASE(a_token_of_ones_own_is_read_with_any_line_end),
		CASE(a_file_open_to_others_is_refused_with_the_remedy),
		CASE(a_file_of_somebody_else_is_refused),
		CASE(only_a_regular_file_will_do),
		CASE(an_empty_short_long_or_binary_token_is_refused),
		CASE(a_folder_that_cannot_be_made_is_told),
		CASE(processes_that_start_at_once_share_one_token),
		CASE(secrets_are_equal_only_when_every_byte_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
