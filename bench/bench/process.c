#include "bench/bench/process.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 320

static bool schedstat_add(const char *path, uint64_t *sum_ns)
{
	FILE *file = fopen(path, "re");
	uint64_t ns;
	bool ok;

	if (file == NULL)
		return false;
	ok = fscanf(file, "%" SCNu64, &ns) == 1;
	(void)fclose(file);
	if (ok)
		*sum_ns += ns;
	return ok;
}

static bool stat_read(pid_t pid, uint64_t *ret)
{
	char path[PATH_BYTES], text[1024];
	uint64_t user, system;
	const char *behind_name;
	FILE *file;
	size_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	n = fread(text, 1, sizeof(text) - 1, file);
	(void)fclose(file);
	text[n] = '\0';
	behind_name = strrchr(text, ')'); /* the name may contain anything, also spaces */
	if (behind_name == NULL ||
	    sscanf(behind_name, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64, &user, &system) !=
		    2)
		return false;
	*ret = (user + system) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
	return true;
}

bool process_cpu_ns(pid_t pid, uint64_t *ret)
{
	char path[PATH_BYTES];
	uint64_t sum_ns = 0;
	struct dirent *entry;
	bool counted = false;
	DIR *tasks;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (tasks == NULL)
		return false;
	while ((entry = readdir(tasks)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, entry->d_name);
		counted |= schedstat_add(path, &sum_ns);
	}
	(void)closedir(tasks);
	if (!counted)
		return stat_read(pid, ret);
	*ret = sum_ns;
	return true;
}
