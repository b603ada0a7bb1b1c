/* The numbers of http.h; also those of its fake. */
#include "server/upstream/http.h"

static const struct metric http_table[] = {METRICS_TABLE(HTTP_METRICS, struct http_metrics)};

const struct metric *http_metrics_table(size_t *ret_count)
{
	*ret_count = sizeof(http_table) / sizeof(http_table[0]);
	return http_table;
}
