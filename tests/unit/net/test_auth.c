/* auth: the decision about a HELLO, row by row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/net/auth.h"

#define US 1000

static const struct {
	enum auth_mode mode;
	const char *ours;
	bool local;
	uid_t uid;
	const char *given;
	enum auth_verdict verdict;
} rows[] = {
	{AUTH_TOKEN, "secret", false, (uid_t)-1, "secret", AUTH_OK},
	{AUTH_TOKEN, "secret", false, (uid_t)-1, "secreT", AUTH_TOKEN_WRONG},
	{AUTH_TOKEN, "secret", false, (uid_t)-1, "secre", AUTH_TOKEN_WRONG},
	{AUTH_TOKEN, "secret", false, (uid_t)-1, "secrets", AUTH_TOKEN_WRONG},
	{AUTH_TOKEN, "secret", false, (uid_t)-1, "", AUTH_TOKEN_MISSING},
	{AUTH_TOKEN, "secret", false, US, "", AUTH_TOKEN_MISSING}, /* a number alone proves nothing over TCP */
	{AUTH_TOKEN, "secret", true, US, "", AUTH_OK},
	{AUTH_TOKEN, "secret", true, US, "old", AUTH_OK},
	{AUTH_TOKEN, "secret", true, 0, "", AUTH_OK},
	{AUTH_TOKEN, "secret", true, 1001, "", AUTH_TOKEN_MISSING},
	{AUTH_TOKEN, "secret", true, 1001, "old", AUTH_TOKEN_WRONG},
	{AUTH_TOKEN, "secret", true, 1001, "secret", AUTH_OK},
	{AUTH_TOKEN, "", false, (uid_t)-1, "", AUTH_TOKEN_MISSING},
	{AUTH_TOKEN, "", false, (uid_t)-1, "x", AUTH_TOKEN_WRONG}, /* no token equals nothing */
	{AUTH_NONE, "", false, (uid_t)-1, "", AUTH_OK},
	{AUTH_NONE, "", true, 1001, "x", AUTH_OK},
};

static void each_row_is_decided(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct stream_peer peer = {.local = rows[i].local, .uid = rows[i].uid};
		struct auth a = {.mode = rows[i].mode, .uid = US};

		strcpy(a.token, rows[i].ours);
		if (auth_decide(&a, &peer, slice_str(rows[i].given)) != rows[i].verdict)
			fail_msg("row %zu", i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(each_row_is_decided)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
