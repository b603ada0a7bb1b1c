/* paths: the rules of the XDG variables, and folders that others got to first. Fixture, helpers, cases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/paths.h"

static const char *const variables[] = {"XDG_STATE_HOME", "XDG_RUNTIME_DIR", "HOME"};

static struct fixture {
	char *saved[3];
	char dir[64], path[96];
	char ret[PATHS_BYTES_MAX];
	char error[512];
} f;

static int setup(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	for (int i = 0; i < 3; i++) {
		const char *value = getenv(variables[i]);

		f.saved[i] = value != NULL ? strdup(value) : NULL;
		unsetenv(variables[i]);
	}
	strcpy(f.dir, "/tmp/test_paths_XXXXXX");
	if (mkdtemp(f.dir) == NULL)
		return -1;
	snprintf(f.path, sizeof(f.path), "%s/x", f.dir);
	strcpy(f.ret, "untouched");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		if (f.saved[i] != NULL)
			setenv(variables[i], f.saved[i], 1);
		free(f.saved[i]);
	}
	remove(f.path);
	return rmdir(f.dir);
}

static void private_dir_fails(const char *part)
{
	assert_int_equal(paths_private_dir(f.path, f.error, sizeof(f.error)), -1);
	if (strstr(f.error, part) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", f.error, part);
}

static void state_follows_xdg_then_home(void **state)
{
	(void)state;
	setenv("HOME", "/home/ada", 1);
	assert_int_equal(paths_state(f.ret, sizeof(f.ret), f.error, sizeof(f.error)), 0);
	assert_string_equal(f.ret, "/home/ada/.local/state/promptcached");
	assert_int_equal(paths_token(f.ret, sizeof(f.ret), f.error, sizeof(f.error)), 0);
	assert_string_equal(f.ret, "/home/ada/.local/state/promptcached/token");
	setenv("XDG_STATE_HOME", "/state", 1);
	assert_int_equal(paths_state(f.ret, sizeof(f.ret), f.error, sizeof(f.error)), 0);
	assert_string_equal(f.ret, "/state/promptcached");
	assert_int_equal(paths_token(f.ret, sizeof(f.ret), f.error, sizeof(f.error)), 0);
	assert_string_equal(f.ret, "/state/promptcached/token");
}

static void a_variable_that_is_empty_or_relative_counts_as_unset(void **state)
{
	(void)state;
	setenv("HOME", "/home/ada", 1);
	setenv("XDG_STATE_HOME", "", 1);
	assert_int_equal(paths_state(f.ret, sizeof(f.ret), f.error, sizeof(f.error)), 0);
	assert_string_equal(f.ret, "/home/ada/.local/state/promptcached");
	setenv("XDG_STATE_HOME", "relative", 1);
	assert_int_equal(paths_state(f.ret, sizeof(f.ret), f.error, sizeof(f.error)), 0);
	assert_string_equal(f.ret, "/home/ada/.local/state/promptcached");
}

static void without_any_variable_state_has_no_place(void **state)
{
	(void)state;
	assert_int_equal(paths_state(f.ret, sizeof(f.ret), f.error, sizeof(f.error)), -1);
	assert_string_equal(f.error, "no place for state: neither XDG_STATE_HOME nor HOME is an absolute path; set "
				     "XDG_STATE_HOME, or token_file and store.path");
	assert_string_equal(f.ret, "untouched");
}

static void a_path_that_does_not_fit_is_refused_whole(void **state)
{
	char small[32] = "untouched";

	(void)state;
	setenv("XDG_STATE_HOME", "/a/rather/long/place", 1); /* 20 + 13 + NUL */
	assert_int_equal(paths_state(small, sizeof(small), f.error, sizeof(f.error)), -1);
	assert_string_equal(f.error, "/a/rather/long/place/promptcached: longer than 31 bytes");
	assert_string_equal(small, "untouched");
}

static void the_socket_is_in_the_runtime_folder(void **state)
{
	char runtime[128];

	(void)state;
	setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
	assert_int_equal(paths_socket(f.ret, sizeof(f.ret), f.error, sizeof(f.error)), 0);
	assert_string_equal(f.ret, "/run/user/1/promptcached.sock");

	memset(runtime, 'r', sizeof(runtime));
	runtime[0] = '/';
	runtime[90] = '\0'; /* + 18 is one more than a Unix address holds */
	setenv("XDG_RUNTIME_DIR", runtime, 1);
	assert_int_equal(paths_socket(f.ret, sizeof(f.ret), f.error, sizeof(f.error)), -1);
	assert_non_null(strstr(f.error, "longer than 107 bytes"));
	runtime[89] = '\0';
	setenv("XDG_RUNTIME_DIR", runtime, 1);
	assert_int_equal(paths_socket(f.ret, sizeof(f.ret), f.error, sizeof(f.error)), 0);
}

static void without_a_runtime_folder_the_socket_has_a_private_one(void **state)
{
	char dir[64], expected[80];
	struct stat st;
	bool there;

	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/promptcached-%lu", (unsigned long)geteuid());
	snprintf(expected, sizeof(expected), "%s/sock", dir);
	there = lstat(dir, &st) == 0;
	assert_int_equal(paths_socket(f.ret, sizeof(f.ret), f.error, sizeof(f.error)), 0);
	assert_string_equal(f.ret, expected);
	assert_int_equal(lstat(dir, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(st.st_mode & 077, 0);
	if (!there)
		rmdir(dir);
}

static void a_private_folder_is_made_once_and_found_again(void **state)
{
	mode_t mask = umask(0);
	struct stat st;

	(void)state;
	assert_int_equal(paths_private_dir(f.path, f.error, sizeof(f.error)), 0);
	umask(mask);
	assert_int_equal(lstat(f.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(paths_private_dir(f.path, f.error, sizeof(f.error)), 0);
}

static void a_folder_open_to_others_is_refused_with_the_remedy(void **state)
{
	(void)state;
	assert_int_equal(mkdir(f.path, 0700), 0);
	assert_int_equal(chmod(f.path, 0711), 0);
	private_dir_fails("open to others (mode 0711); chmod 700 /tmp/");
	assert_int_equal(chmod(f.path, 01777), 0);
	private_dir_fails("open to others (mode 1777)");
}

static void a_link_or_a_file_in_its_place_is_refused(void **state)
{
	FILE *file;

	(void)state;
	assert_int_equal(symlink(f.dir, f.path), 0); /* to a folder that would do */
	private_dir_fails("not a folder; remove it");
	unlink(f.path);
	file = fopen(f.path, "w");
	assert_non_null(file);
	fclose(file);
	private_dir_fails("not a folder; remove it");
}

static void a_folder_of_somebody_else_is_refused(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(mkdir(f.path, 0700), 0);
	assert_int_equal(chown(f.path, 12345, (gid_t)-1), 0);
	private_dir_fails("belongs to user 12345, not to us (0)");
}

static void a_folder_below_nothing_is_told(void **state)
{
	(void)state;
	assert_int_equal(paths_private_dir("/nowhere/at/all", f.error, sizeof(f.error)), -1);
	assert_string_equal(f.error, "/nowhere/at/all: cannot make the folder: No such file or directory");
}

static void parents_are_made_and_existing_ones_left_alone(void **state)
{
	char deep[128];
	struct stat st;

	(void)state;
	assert_int_equal(mkdir(f.path, 0700), 0);
	assert_int_equal(chmod(f.path, 0755), 0);
	snprintf(deep, sizeof(deep), "%s/a//file", f.path);
	assert_int_equal(paths_make_parents(deep, f.error, sizeof(f.error)), 0);
	assert_int_equal(stat(f.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	snprintf(deep, sizeof(deep), "%s/a", f.path);
	assert_int_equal(stat(deep, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(rmdir(deep), 0);
	assert_int_equal(paths_make_parents("file", f.error, sizeof(f.error)), 0);
	assert_int_equal(paths_make_parents("", f.error, sizeof(f.error)), 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(state_follows_xdg_then_home),
		CASE(a_variable_that_is_empty_or_relative_counts_as_unset),
		CASE(without_any_variable_state_has_no_place),
		CASE(a_path_that_does_not_fit_is_refused_whole),
		CASE(the_socket_is_in_the_runtime_folder),
		CASE(without_a_runtime_folder_the_socket_has_a_private_one),
		CASE(a_private_folder_is_made_once_and_found_again),
		CASE(a_folder_open_to_others_is_refused_with_the_remedy),
		CASE(a_link_or_a_file_in_its_place_is_refused),
		CASE(a_folder_of_somebody_else_is_refused),
		CASE(a_folder_below_nothing_is_told),
		CASE(parents_are_made_and_existing_ones_left_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
