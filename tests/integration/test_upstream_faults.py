"""What a client gets when the provider does not do what it should, and how providers are chosen and spoken to."""

import http.server
import json
import socket
import threading
import time

import harness
from harness import SECRET_KEY


def free_port():
    """A port on which nobody listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Faults(harness.Case):
    """Small timeouts, two attempts."""

    config = """
upstreams:
  - name: main
    base_url: {base_url}
    api_key_env: OPENAI_API_KEY
    attempts: 2
    connect_timeout: 1s
    first_byte_timeout: 600ms
    idle_timeout: 600ms
    total_timeout: 5s
"""

    def ask(self, fault, text="Ask", **body):
        """(Reply, calls of the provider, seconds)."""
        client, prompt = self.connect(), self.prompt(f"{text} [[fault:{fault}]]")
        began = time.monotonic()
        reply = client.call("QUERY", prompt=prompt, **body)
        took = time.monotonic() - began
        self.assertEqual(self.lookup(client, prompt).source, "none" if reply.op == "ERROR" else "exact")
        return reply, self.ai.calls(prompt), took

    def test_each_fault_has_its_error(self):
        # fault, error, retryable, calls of the provider, its status, words in the message
        table = (
            ("429=1", "RATE_LIMITED", True, 2, 429, "429"),
            ("429-date=1", "RATE_LIMITED", True, 2, 429, "429"),
            ("500", "UPSTREAM_FAILED", True, 2, 500, "500"),
            ("503", "UPSTREAM_FAILED", True, 2, 503, "503"),
            ("status=504", "UPSTREAM_FAILED", True, 2, 504, "504"),
            ("401", "UPSTREAM_REFUSED", False, 1, 401, "api_key_env"),
            ("status=403", "UPSTREAM_REFUSED", False, 1, 403, "api_key_env"),
            ("400", "UPSTREAM_REFUSED", False, 1, 400, "400"),
            ("status=404", "UPSTREAM_REFUSED", False, 1, 404, "base_url"),
            ("status=418", "UPSTREAM_REFUSED", False, 1, 418, "418"),
            ("html", "UPSTREAM_FAILED", True, 2, 200, "text/html"),
            ("cut-before", "UPSTREAM_FAILED", True, 2, None, ""),
            ("hang", "UPSTREAM_FAILED", True, 2, None, ""),
        )
        for fault, name, retryable, calls, status, words in table:
            with self.subTest(fault):
                reply, asked, _ = self.ask(fault)
                error = self.error(reply, name, retryable=retryable)
                self.assertEqual(asked, calls)
                self.assertEqual(error.get("upstream_status"), status)
                self.assertIn(words, error["message"])

    def test_faults_in_the_middle_of_an_answer_end_it_for_who_has_seen_a_part(self):
        for fault in ("cut", "reset", "malformed-sse", "half-event", "error-in-stream", "hang-mid"):
            with self.subTest(fault):
                reply, _, _ = self.ask(fault, text="Ask [[pace:5ms]]", stream=True)
                error = self.error(reply, "INTERRUPTED", retryable=True)
                self.assertEqual(error["offset"], sum(len(chunk["data"]) for chunk in reply.chunks))

    def test_faults_in_the_middle_of_an_answer_are_tried_again_for_who_has_seen_nothing(self):
        for fault in ("cut", "reset", "malformed-sse", "half-event", "error-in-stream", "hang-mid", "no-newline=4M"):
            with self.subTest(fault):
                reply, asked, _ = self.ask(f"{fault}#1", text="Ask [[pace:5ms]]")
                self.assertEqual((self.end(reply).source, asked), ("llm", 2))

    def test_one_bad_attempt_is_made_good_by_the_next(self):
        for fault in ("500#1", "503#1", "html#1", "cut-before#1", "429=0#1", "hang#1"):
            with self.subTest(fault):
                reply, asked, _ = self.ask(fault)
                self.assertEqual((self.end(reply).source, reply.reason, asked), ("llm", "stored", 2))

    def test_retry_after_is_obeyed(self):
        for fault in ("429=1#1", "429-date=2#1", "503=1#1"):
            with self.subTest(fault):
                reply, asked, took = self.ask(fault)
                self.assertEqual((self.end(reply).source, asked), ("llm", 2))
                self.assertGreaterEqual(took, 0.9)

    def test_a_limited_provider_is_left_alone_by_all(self):
        client, limited, other = self.connect(), self.prompt("Ask [[fault:429=1#1]]"), self.prompt()
        id = client.send("QUERY", prompt=limited)
        self.ai.wait_calls(1, limited)
        time.sleep(0.1)
        began = time.monotonic()
        self.query(client, other)
        self.assertGreater(time.monotonic() - began, 0.5)
        self.end(client.reply(id))

    def test_a_client_leaves_when_its_time_is_over_and_the_answer_comes_all_the_same(self):
        client, prompt = self.connect(), self.prompt("Ask [[fault:429=1#1]]")
        began = time.monotonic()
        self.error(client.call("QUERY", prompt=prompt, timeout_ms=300), "TIMEOUT", retryable=True)
        self.assertLess(time.monotonic() - began, 0.9)
        harness.wait_until(lambda: self.lookup(client, prompt).source == "exact", "the answer in the cache")

    def test_an_endless_line_costs_bounded_memory(self):
        client = self.connect()
        self.assert_serves(client)
        before = self.daemon.memory_kb("VmHWM")
        reply = client.call("QUERY", prompt=self.prompt("Ask [[fault:no-newline=2G]]"), stream=True)
        self.assertEqual(reply.op, "ERROR")
        self.assertIn(reply.body["name"], ("INTERRUPTED", "UPSTREAM_FAILED"))
        self.assertLess(self.daemon.memory_kb("VmHWM") - before, 64_000)
        self.assert_serves(client)

    def test_a_provider_without_finish_reason_or_done_is_not_taken_for_finished(self):
        for fault in ("no-finish", "no-finish]] [[fault:no-done"):
            with self.subTest(fault):
                client, prompt = self.connect(), self.prompt(f"Ask [[fault:{fault}]]")
                reply = client.call("QUERY", prompt=prompt)
                self.assertTrue(reply.op == "ERROR" or not reply.body["stored"], reply)
                self.assertEqual(self.lookup(client, prompt).source, "none")

    def test_the_daemon_serves_after_every_fault(self):
        client = self.connect()
        for fault in ("reset", "hang", "html", "slow-bytes=1", "no-done", "unknown-length", "wrong-type"):
            client.call("QUERY", prompt=self.prompt(f"Ask [[answer-bytes:100]] [[fault:{fault}]]"))
        self.assert_serves(client)

    def test_keys_never_reach_errors_or_the_log(self):
        for fault in ("401", "400", "500", "html"):
            reply, _, _ = self.ask(fault)
            self.assertNotIn(SECRET_KEY, str(reply.body))
        self.assertEqual(self.ai.last_request()["auth"], "bearer")
        self.assertNotIn(SECRET_KEY, self.daemon.log())


class Down(harness.Case):
    """A provider that is not there."""

    @classmethod
    def start_daemon(cls, **more):
        cls.ai.base_url, cls.there = f"http://127.0.0.1:{free_port()}/v1", cls.ai.base_url
        super().start_daemon(**more)

    def test_a_provider_that_is_down_is_a_retryable_error_and_what_is_cached_is_served(self):
        client, prompt = self.connect(), self.prompt()
        error = self.error(client.call("QUERY", prompt=prompt), "UPSTREAM_FAILED", retryable=True)
        self.assertIn("cannot be reached", error["message"])
        self.assertNotIn("upstream_status", error)
        self.assertRegex(self.daemon.log(), r"warn upstream\.failed upstream=\S+ error=UPSTREAM_FAILED status=0")
        self.end(client.call("PUT", prompt=prompt, answer="By hand."))
        self.assertEqual(self.query(client, prompt).text, "By hand.")


class NoUpstream(harness.Case):
    """Neither configuration nor environment name a provider."""

    env = {"OPENAI_BASE_URL": "", "OPENAI_API_KEY": ""}

    def test_without_a_provider_lookups_and_puts_are_served(self):
        client, prompt = self.connect(), self.prompt()
        error = self.error(client.call("QUERY", prompt=prompt), "NO_UPSTREAM", retryable=False)
        self.assertIn("start promptcached with OPENAI_API_KEY", error["message"])
        self.assertEqual(self.lookup(client, prompt).source, "none")
        self.end(client.call("PUT", prompt=prompt, answer="By hand."))
        self.assertEqual(self.query(client, prompt).source, "exact")
        self.end(client.call("INVALIDATE", prompt=prompt))
        self.assertEqual(self.lookup(client, prompt).source, "none")


class Providers(harness.Case):
    """Several, chosen by the model's name, each spoken to in its own way."""

    config = """
default_model: gpt-4o
upstreams:
  - name: azure
    base_url: {root}/openai/deployments
    chat_path: /{model}/chat/completions?api-version=2024-10-21
    api_key_env: AZURE_KEY
    api_key_header: api-key
    models: [azure-one]
  - name: local
    base_url: {base_url}
    headers: ["X-Team: support, desk", "OpenAI-Organization: org-7"]
    models: [llama*, qwen]
    stream: false
  - name: openai
    base_url: {base_url}/
    api_key_env: OPENAI_API_KEY
    models: [gpt-*]
"""
    env = {"AZURE_KEY": "azure-secret-0123456789"}

    @classmethod
    def start_daemon(cls, **more):
        cls.config = Providers.config.replace("{root}", cls.ai.base_url.removesuffix("/v1"))
        super().start_daemon(**more)

    def sent(self, model):
        """(END, the request as the provider saw it, its headers)."""
        client, prompt = self.connect(), self.prompt()
        reply = self.query(client, prompt, **({"model": model} if model else {}))
        request = self.ai.last_request()
        self.assertEqual(json.loads(request["body"])["messages"][-1]["content"], prompt)
        return reply.body, request, {k.lower(): v for k, v in request["headers"].items()}

    def test_the_model_chooses_the_provider(self):
        for model, upstream in (("azure-one", "azure"), ("llama3.2:3b", "local"), ("qwen", "local"), ("gpt-4o", "openai"), (None, "openai")):
            body, _, _ = self.sent(model)
            self.assertEqual(body["upstream"], upstream, model)

    def test_azure_is_spoken_to_by_path_and_header(self):
        _, request, headers = self.sent("azure-one")
        self.assertEqual(request["target"], "/openai/deployments/azure-one/chat/completions?api-version=2024-10-21")
        self.assertEqual(request["auth"], "api-key")
        self.assertNotIn("authorization", headers)

    def test_a_local_provider_gets_its_own_headers_and_no_key(self):
        _, request, headers = self.sent("llama3.2:3b")
        self.assertEqual(request["target"], "/v1/chat/completions")
        self.assertEqual((headers["x-team"], headers["openai-organization"]), ("support, desk", "org-7"))
        self.assertEqual(request["auth"], "")
        self.assertFalse(json.loads(request["body"]).get("stream"))

    def test_openai_gets_the_key_as_bearer_and_the_body_as_json(self):
        _, request, headers = self.sent("gpt-4o")
        self.assertEqual(request["target"], "/v1/chat/completions")
        self.assertEqual(headers["content-type"].split(";")[0], "application/json")
        self.assertEqual(request["auth"], "bearer")
        self.assertIs(json.loads(request["body"])["stream"], True)

    def test_a_model_that_no_provider_serves_is_refused_by_name(self):
        client = self.connect()
        error = self.error(client.call("QUERY", prompt=self.prompt(), model="claude"), "NO_UPSTREAM", retryable=False)
        self.assertIn("claude", error["message"])
        self.assert_serves(client)

    def test_one_providers_answer_is_never_served_for_another(self):
        client, prompt = self.connect(), self.prompt()
        self.query(client, prompt, model="qwen")
        self.assertEqual(self.lookup(client, prompt, model="llama3").source, "none")
        self.assertEqual(self.lookup(client, prompt, model="qwen").source, "exact")

    def test_whole_answers_of_a_provider_without_streams_are_streamed_to_who_asks(self):
        client, prompt = self.connect(), self.prompt()
        self.ai.control(answer_bytes=200_000)
        reply = self.query(client, prompt, model="qwen", stream=True)
        self.assertGreaterEqual(len(reply.text), 190_000)
        self.assertEqual((reply.source, reply.reason), ("llm", "stored"))

    def test_keys_never_reach_the_log(self):
        self.sent("azure-one")
        self.assertNotIn("azure-secret", self.daemon.log())


class Recorder(http.server.BaseHTTPRequestHandler):
    """A provider that keeps what the simulated one does not tell: the keys."""

    seen = []

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(dict(self.headers))
        message = {"role": "assistant", "content": "Recorded."}
        body = json.dumps({"model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Keys(harness.Case):
    config = """
upstreams:
  - {name: azure, base_url: "{recorder}", api_key_env: AZURE_KEY, api_key_header: api-key, models: [azure-one]}
  - {name: openai, base_url: "{recorder}", api_key_env: OPENAI_API_KEY}
"""
    env = {"AZURE_KEY": "azure-secret-0123456789"}

    @classmethod
    def start_daemon(cls, **more):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
        server.daemon_threads = True
        cls.addClassCleanup(server.server_close)
        cls.addClassCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cls.config = Keys.config.replace("{recorder}", f"http://127.0.0.1:{server.server_address[1]}/v1")
        super().start_daemon(**more)

    def test_each_provider_gets_its_own_key_and_no_others(self):
        client = self.connect()
        self.assertEqual(self.query(client, self.prompt(), model="azure-one").text, "Recorded.")
        self.query(client, self.prompt())
        azure, openai = Recorder.seen[-2:]
        self.assertEqual(azure["api-key"], "azure-secret-0123456789")
        self.assertNotIn("Authorization", azure)
        self.assertEqual(openai["Authorization"], f"Bearer {SECRET_KEY}")
        self.assertNotIn("azure-secret", str(openai) + self.daemon.log())


class Slots(harness.Case):
    """A provider that takes two calls at once, with room for one to wait."""

    config = """
upstreams:
  - {name: narrow, base_url: "{base_url}", api_key_env: OPENAI_API_KEY, concurrency: 2, queue: 1}
"""

    def test_calls_wait_for_a_slot_and_beyond_the_queue_are_refused_with_a_time_to_retry(self):
        client = self.connect()
        self.ai.control(hold=True)
        ids = [client.send("QUERY", prompt=self.prompt()) for _ in range(3)]
        self.ai.wait_calls(2)
        harness.wait_until(lambda: self.daemon.stats()["upstream_waiting"] == 1, "a call in the queue")
        error = self.error(client.call("QUERY", prompt=self.prompt()), "OVERLOADED", retryable=True)
        self.assertGreater(error["retry_after_ms"], 0)
        self.ai.control(hold=False)
        for id in ids:
            self.end(client.reply(id))
        self.assertEqual(self.ai.stats()["in_flight_max"], 2)


class Startup(harness.unittest.TestCase):
    def test_a_provider_that_cannot_be_is_refused_at_start(self):
        with harness.tempfile.TemporaryDirectory() as home:
            for settings, words in (
                (("upstreams[0].name=a", "upstreams[0].base_url=ftp://x/"), "base_url"),
                (("upstreams[0].name=a", "upstreams[0].base_url=http://x/", "upstreams[0].api_key_env=NOT_SET_ANYWHERE"), "NOT_SET_ANYWHERE"),
                (("upstreams[0].name=a",), "base_url"),
                (("upstreams[0].base_url=http://x/",), "name"),
            ):
                arguments = ["--set", f"listen=unix:{home}/sock", "--set", "store.kind=none"]
                for setting in settings:
                    arguments += ["--set", setting]
                code, _, error = harness.run_daemon(home, *arguments)
                self.assertIn(code, (1, 2), error)
                self.assertIn(words, error)


if __name__ == "__main__":
    harness.main()
