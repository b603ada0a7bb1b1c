#include "server/upstream/retry_after.h"

#include <curl/curl.h>

#define RETRY_AFTER_BYTES_MAX 64 /* the longest HTTP date has 33 */

static struct slice retry_after_trim(struct slice s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = slice_of(s.p + 1, s.n - 1);
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r' || s.p[s.n - 1] == '\n'))
		s.n--;
	return s;
}

static uint64_t retry_after_clamp(double ms)
{
	return ms < 1 ? 1 : ms > RETRY_AFTER_MS_MAX ? RETRY_AFTER_MS_MAX : (uint64_t)ms;
}

/* Digits with at most one point. strtod would take "nan", "0x10" and the locale's comma. False: something else. */
static bool retry_after_number(struct slice s, double *ret)
{
	double value = 0, scale = 1;
	bool point = false, digit = false;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '.' && !point) {
			point = true;
			continue;
		}
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		digit = true;
		value = value * 10 + (s.p[i] - '0');
		scale *= point ? 10 : 1;
	}
	*ret = value / scale;
	return digit;
}

uint64_t retry_after_read(struct slice value, uint64_t wall_us)
{
	struct slice s = retry_after_trim(value);
	char text[RETRY_AFTER_BYTES_MAX];
	double seconds;
	time_t at;

	if (s.n == 0 || s.n >= sizeof(text))
		return 0;
	if (retry_after_number(s, &seconds))
		return retry_after_clamp(seconds * 1000);
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	at = curl_getdate(text, NULL);
	return at < 0 ? 0 : retry_after_clamp((double)at * 1000 - (double)wall_us / 1000);
}

uint64_t retry_after_read_ms(struct slice value)
{
	struct slice s = retry_after_trim(value);
	double ms;

	if (s.n >= RETRY_AFTER_BYTES_MAX || !retry_after_number(s, &ms))
		return 0;
	return retry_after_clamp(ms);
}
