/* http_curl: whole, chunked, cut, hanging, huge and foreign responses over real sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/upstream/http_fixture.h"

/* ---- responses */

static void a_whole_response_has_a_head_and_a_body(void **state)
{
	(void)state;
	fetch();
	expect(HTTP_DONE);
	assert_int_equal(f.one.heads, 1);
	assert_int_equal(f.one.t.status, 200);
	assert_string_equal(f.one.t.content_type, "application/json");
	assert_int_equal(f.one.t.retry_after_ms, 0);
	assert_string_equal(f.one.text, "hello");
	assert_int_equal(http_metrics(f.http)->http_transfers_total, 1);
	assert_int_equal(http_metrics(f.http)->http_received_bytes_total, 5);
}

static void a_chunked_response_comes_as_its_pieces(void **state)
{
	(void)state;
	reply_slowly("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 20,
		     "1\r\n!\r\n0\r\nX-Trailer: 1\r\n\r\n");
	fetch();
	expect(HTTP_DONE);
	assert_string_equal(f.one.text, "hello!");
	assert_string_equal(f.one.t.content_type, "");
}

static void without_a_length_the_end_of_the_connection_is_the_end(void **state)
{
	(void)state;
	reply("HTTP/1.1 200 OK\r\n\r\nhello", SCRIPT_CLOSE);
	fetch();
	expect(HTTP_DONE);
	assert_string_equal(f.one.text, "hello");
}

static void an_answer_without_a_body_has_a_head(void **state)
{
	(void)state;
	reply("HTTP/1.1 204 No Content\r\n\r\n", SCRIPT_KEEP);
	fetch();
	expect(HTTP_DONE);
	assert_int_equal(f.one.t.status, 204);
	assert_int_equal(f.one.heads, 1);
	assert_int_equal(f.one.bytes, 0);
}

static void times_to_wait_are_read_and_the_finer_one_counts(void **state)
{
	(void)state;
	reply("HTTP/1.1 429 Too Many\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n", SCRIPT_KEEP);
	fetch();
	expect(HTTP_DONE);
	assert_int_equal(f.one.t.status, 429);
	assert_int_equal(f.one.t.retry_after_ms, 2000);
	reply("HTTP/1.1 429 Too Many\r\nretry-after-ms: 350\r\nRETRY-AFTER: 2\r\nContent-Length: 0\r\n\r\n",
	      SCRIPT_KEEP);
	fetch();
	assert_int_equal(f.one.t.retry_after_ms, 350);
	fetch();
	assert_int_equal(f.one.t.retry_after_ms, 350);
}

static void interim_answers_are_not_the_head(void **state)
{
	(void)state;
	reply("HTTP/1.1 103 Early Hints\r\nContent-Type: x/y\r\nLink: <a>\r\n\r\n" WHOLE, SCRIPT_KEEP);
	fetch();
	expect(HTTP_DONE);
	assert_int_equal(f.one.heads, 1);
	assert_int_equal(f.one.t.status, 200);
	assert_string_equal(f.one.t.content_type, "application/json");
}

static void redirections_are_not_followed(void **state)
{
	(void)state;
	reply("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", SCRIPT_KEEP);
	fetch();
	expect(HTTP_DONE);
	assert_int_equal(f.one.t.status, 302);
	assert_int_equal(f.server.requests, 1);
}

static void a_huge_response_passes_in_pieces(void **state)
{
	size_t n = 16u << 20;
	char *text = malloc(n + 100);
	int head = snprintf(text, 100, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);

	(void)state;
	memset(text + head, 'x', n);
	f.server.script = (struct script){.first = slice_of(text, (size_t)head + n)};
	fetch();
	expect(HTTP_DONE);
	assert_int_equal(f.one.bytes, n);
	assert_true(f.turn_bytes_most <= HTTP_BYTES_PER_TURN + HTTP_RECEIVE_BYTES); /* others have their turns */
	free(text);
}

static void what_waits_for_the_next_turn_is_refused_cancelled_or_cut_like_the_rest(void **state)
{
	size_t n = 1u << 20;
	char *text = malloc(n + 100);
	int head = snprintf(text, 100, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);

	(void)state;
	memset(text + head, 'x', n);
	f.server.script = (struct script){.first = slice_of(text, (size_t)head + n)};
	f.one.refuse_at = HTTP_BYTES_PER_TURN + 1;
	fetch();
	expect(HTTP_REFUSED);
	f.one.refuse_at = 0;
	f.two.cancel_other = &f.one;
	f.one.cancel_other = &f.two; /* who is handed something first ends the other one */
	start(&f.one);
	start(&f.two);
	run();
	f.one.cancel_other = f.two.cancel_other = NULL;
	assert_true(f.one.ended && f.two.ended);
	assert_int_equal(f.one.bytes == n, f.two.bytes != n);
	f.server.script = (struct script){.first = slice_of(text, (size_t)head + n - 1), .after = SCRIPT_CLOSE};
	fetch();
	expect(HTTP_BROKEN);
	assert_int_equal(f.one.bytes, n - 1);
	free(text);
}

/* ---- requests */

static void a_request_goes_out_as_it_was_given(void **state)
{
	static const char *const headers[] = {"Content-Type: application/json", "Authorization: Bearer k"};
	const char *sent;

	(void)state;
	f.request.headers = headers;
	f.request.headers_count = 2;
	f.request.body = slice_str("{\"a\":1}");
	fetch();
	expect(HTTP_DONE);
	sent = (const char *)f.server.last_request.p;
	assert_true(strncmp(sent, "POST /v1 HTTP/1.1\r\n", 19) == 0);
	assert_non_null(strstr(sent, "\r\nContent-Type: application/json\r\n"));
	assert_non_null(strstr(sent, "\r\nAuthorization: Bearer k\r\n"));
	assert_non_null(strstr(sent, "\r\nContent-Length: 7\r\n"));
	assert_non_null(strstr(sent, "\r\nUser-Agent: promptcached/"));
	assert_null(strstr(sent, "Expect"));
	assert_non_null(strstr(sent, "\r\n\r\n{\"a\":1}"));
	/* Nothing of it stays for the next one. */
	f.request.headers_count = 0;
	f.request.body = slice_of(NULL, 0);
	fetch();
	sent = (const char *)f.server.last_request.p;
	assert_true(strncmp(sent, "GET /v1 HTTP/1.1\r\n", 18) == 0);
	assert_null(strstr(sent, "Bearer"));
	assert_null(strstr(sent, "Content-"));
}

static void bodies_of_all_sizes_arrive_whole(void **state)
{
	static const size_t sizes[] = {0, 1, HTTP_COPY_BYTES_MAX, HTTP_COPY_BYTES_MAX + 1, 300000, 3u << 20};
	char *body = malloc(3u << 20);

	(void)state;
	for (size_t i = 0; i < 3u << 20; i++)
		body[i] = (char)('a' + i % 23);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct buf *sent = &f.server.last_request;

		f.request.body = slice_of(body, sizes[i]);
		fetch();
		expect(HTTP_DONE);
		assert_memory_equal(sent->p + sent->n - 1 - sizes[i], body, sizes[i]);
		assert_memory_equal(sent->p + sent->n - 1 - sizes[i] - 4, "\r\n\r\n", 4);
		assert_null(strstr((const char *)sent->p, "Expect"));
	}
	free(body);
}

static void a_small_body_is_the_callers_again_after_the_start(void **state)
{
	char body[] = "hello";

	(void)state;
	f.request.body = slice_str(body);
	start(&f.one);
	memset(body, 'x', 5);
	run();
	expect(HTTP_DONE);
	assert_non_null(strstr((const char *)f.server.last_request.p, "\r\n\r\nhello"));
}

static void connections_are_used_again(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++) {
		fetch();
		expect(HTTP_DONE);
	}
	assert_int_equal(f.server.requests, 5);
	assert_int_equal(f.server.connections, 1);
}

/* A provider closes kept connections when it likes: that must not cost a call. */
static void a_kept_connection_that_has_died_is_replaced(void **state)
{
	(void)state;
	fetch();
	script_conn_close(TAILQ_FIRST(&f.server.conns), false);
	f.request.body = slice_str("again");
	fetch();
	expect(HTTP_DONE);
	assert_int_equal(f.server.connections, 2);
}

static void a_transfer_may_be_started_where_another_ends(void **state)
{
	(void)state;
	f.one.again_in_done = true;
	fetch();
	expect(HTTP_DONE);
	assert_int_equal(f.server.requests, 2);
}

/* ---- failures */

static void a_response_that_is_cut_is_broken(void **state)
{
	(void)state;
	expect_failed("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", SCRIPT_CLOSE, HTTP_BROKEN);
	assert_string_equal(f.one.text, "hello");
	expect_failed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", SCRIPT_CLOSE, HTTP_BROKEN);
	expect_failed("HTTP/1.1 200 OK\r\nContent-Le", SCRIPT_CLOSE, HTTP_BROKEN);
	expect_failed("", SCRIPT_CLOSE, HTTP_BROKEN);
	expect_failed("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", SCRIPT_RESET, HTTP_BROKEN);
	expect_failed("", SCRIPT_RESET, HTTP_BROKEN);
}

static void what_is_not_http_is_broken(void **state)
{
	(void)state;
	expect_failed("SSH-2.0-OpenSSH_9.2\r\n", SCRIPT_CLOSE, HTTP_BROKEN);
	expect_failed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n", SCRIPT_KEEP, HTTP_BROKEN);
	assert_int_equal(f.one.bytes, 0);
	f.server.script =
		(struct script){.first = slice_str("\x16\x03\x01 what?"), .at_accept = true, .after = SCRIPT_CLOSE};
	fetch();
	expect(HTTP_BROKEN);
}

static void headers_without_end_are_broken(void **state)
{
	size_t n = 2u * HTTP_HEADER_BYTES_MAX;
	char *text = calloc(1, n + 100);
	size_t at = (size_t)sprintf(text, "HTTP/1.1 200 OK\r\n");

	(void)state;
	while (at < n)
		at += (size_t)sprintf(text + at, "X-%zu: more and more and more\r\n", at);
	expect_failed(text, SCRIPT_KEEP, HTTP_BROKEN);
	assert_non_null(strstr(f.one.t.error, "headers"));
	free(text);
}

static void nobody_there_is_unreached(void **state)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);

	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0); /* and nobody listens */
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	snprintf(f.url, sizeof(f.url), "http://127.0.0.1:%u/", ntohs(address.sin_port));
	fetch();
	expect(HTTP_UNREACHED);
	assert_int_equal(f.one.t.status, 0);
	close(fd);
}

static void a_server_without_tls_is_unreached_over_https(void **state)
{
	(void)state;
	snprintf(f.url, sizeof(f.url), "https://127.0.0.1:%u/", f.server.port);
	f.server.script = (struct script){.first = slice_str(WHOLE), .at_accept = true};
	fetch();
	expect(HTTP_UNREACHED);
}

static void other_protocols_are_refused(void **state)
{
	(void)state;
	snprintf(f.url, sizeof(f.url), "file:///etc/hostname");
	fetch();
	expect(HTTP_BROKEN);
	assert_int_equal(f.one.bytes, 0);
}

static void silence_before_the_head_times_out(void **state)
{
	(void)state;
	f.request.first_byte_timeout_ms = 50;
	expect_failed("", SCRIPT_KEEP, HTTP_TIMEOUT);
	expect_failed("HTTP/1.1 200 OK\r\nContent-", SCRIPT_KEEP, HTTP_TIMEOUT);
}

static void silence_within_the_body_times_out(void **state)
{
	(void)state;
	f.request.idle_timeout_ms = 50;
	expect_failed("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", SCRIPT_KEEP, HTTP_TIMEOUT);
	assert_string_equal(f.one.text, "hello");
}

static void a_response_that_goes_on_is_not_idle(void **state)
{
	(void)state;
	f.request.idle_timeout_ms = 100;
	f.request.first_byte_timeout_ms = 100;
	reply_slowly("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", 70, "hello");
	fetch();
	expect(HTTP_DONE);
}

static void a_response_that_takes_too_long_times_out(void **state)
{
	(void)state;
	f.request.total_timeout_ms = 50;
	expect_failed("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", SCRIPT_KEEP, HTTP_TIMEOUT);
}

static void the_receiver_may_refuse_the_rest(void **state)
{
	(void)state;
	f.one.refuse_at = 3;
	fetch();
	expect(HTTP_REFUSED);
	f.one.refuse_at = 0;
	fetch();
	expect(HTTP_DONE);
	assert_int_equal(http_metrics(f.http)->http_failures_total, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_whole_response_has_a_head_and_a_body),
		CASE(a_chunked_response_comes_as_its_pieces),
		CASE(without_a_length_the_end_of_the_connection_is_the_end),
		CASE(an_answer_without_a_body_has_a_head),
		CASE(times_to_wait_are_read_and_the_finer_one_counts),
		CASE(interim_answers_are_not_the_head),
		CASE(redirections_are_not_followed),
		CASE(a_huge_response_passes_in_pieces),
		CASE(what_waits_for_the_next_turn_is_refused_cancelled_or_cut_like_the_rest),
		CASE(a_request_goes_out_as_it_was_given),
		CASE(bodies_of_all_sizes_arrive_whole),
		CASE(a_small_body_is_the_callers_again_after_the_start),
		CASE(connections_are_used_again),
		CASE(a_kept_connection_that_has_died_is_replaced),
		CASE(a_transfer_may_be_started_where_another_ends),
		CASE(a_response_that_is_cut_is_broken),
		CASE(what_is_not_http_is_broken),
		CASE(headers_without_end_are_broken),
		CASE(nobody_there_is_unreached),
		CASE(a_server_without_tls_is_unreached_over_https),
		CASE(other_protocols_are_refused),
		CASE(silence_before_the_head_times_out),
		CASE(silence_within_the_body_times_out),
		CASE(a_response_that_goes_on_is_not_idle),
		CASE(a_response_that_takes_too_long_times_out),
		CASE(the_receiver_may_refuse_the_rest),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
