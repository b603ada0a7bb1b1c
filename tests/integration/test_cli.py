"""The command line, as people and their scripts use it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

import harness

KEYS = {"answer", "hit", "source", "similarity", "confidence", "entry", "age_s", "stored", "reason", "model", "finish_reason", "tokens",
        "cost_saved_usd", "latency_ms", "stages_ms"}


class CommandLine:
    """Over the transport that PROMPTCACHE_SERVER names."""

    store = "none"
    options = {"prices[0].model": "*", "prices[0].prompt": "2.5", "prices[0].completion": "10"}

    @property
    def address(self):
        return f"unix:{self.daemon.socket_path}" if self.transport == "unix" else f"tcp://127.0.0.1:{self.daemon.port}"

    @property
    def environment(self):
        return self.daemon.env | {"PROMPTCACHE_SERVER": self.address}

    def run_cli(self, *arguments, input="", env=None):
        """(exit status, output, error output)."""
        done = subprocess.run([harness.CLI, *arguments], env=self.environment | (env or {}), input=input, capture_output=True, text=True,
                              timeout=harness.TIMEOUT_S)
        for report in harness.REPORTS:
            self.assertNotIn(report, done.stderr)
        return done.returncode, done.stdout, done.stderr

    def succeeds(self, *arguments, **more):
        code, out, error = self.run_cli(*arguments, **more)
        self.assertEqual((code, error), (0, ""), (arguments, out))
        return out

    def json(self, *arguments, **more):
        return json.loads(self.succeeds("--json", *arguments, **more))

    def fails(self, status, name, *arguments, **more):
        code, out, error = self.run_cli(*arguments, **more)
        self.assertEqual((code, out), (status, ""), (arguments, error))
        self.assertIn(name, error)
        self.assertEqual(error.count("\n"), 1, error)
        return error

    # ---- query

    def test_query_prints_the_answer(self):
        prompt = self.prompt()
        out = self.succeeds("query", prompt)
        self.assertIn(prompt, out)
        self.assertTrue(out.endswith("\n") and not out.endswith("\n\n"))
        self.assertEqual(self.succeeds("query", prompt), out)
        self.assertEqual(self.ai.calls(prompt), 1)

    def test_query_json_has_exactly_the_keys_that_were_promised(self):
        prompt = self.prompt()
        first = self.json("query", "--model", "gpt-4o", prompt)
        self.assertEqual(set(first), KEYS)
        self.assertEqual(set(first["tokens"]), {"prompt", "completion", "saved"})
        self.assertEqual((first["hit"], first["source"], first["stored"], first["reason"]), (False, "llm", True, "stored"))
        self.assertEqual((first["model"], first["finish_reason"], first["age_s"]), ("gpt-4o", "stop", None))
        self.assertEqual((first["similarity"], first["confidence"], first["tokens"]["saved"], first["cost_saved_usd"]), (None, None, 0, 0))
        self.assertIn(prompt, first["answer"])
        self.assertGreater(first["latency_ms"], 0)
        self.assertLessEqual({"llm", "total"}, set(first["stages_ms"]))
        hit = self.json("query", "--model", "gpt-4o", prompt)
        self.assertEqual(set(hit), KEYS)
        self.assertEqual((hit["hit"], hit["source"], hit["answer"]), (True, "exact", first["answer"]))
        self.assertEqual(hit["tokens"]["saved"], first["tokens"]["prompt"] + first["tokens"]["completion"])
        self.assertGreater(hit["cost_saved_usd"], 0)
        self.assertGreaterEqual(hit["age_s"], 0)
        self.assertRegex(hit["entry"], "^[0-9a-f]{64}$")

    def test_json_may_stand_on_either_side_of_the_command(self):
        self.assertEqual(set(json.loads(self.succeeds("query", "--json", self.prompt()))), KEYS)

    def test_query_reads_the_question_from_standard_input(self):
        prompt = self.prompt("From a pipe,\nin two lines, ünïcödé")
        self.succeeds("query", "-", input=prompt + "\n")
        self.assertEqual(self.ai.calls(prompt), 1)
        self.assertEqual(self.json("query", prompt)["source"], "exact")

    def test_query_streams(self):
        prompt = self.prompt("Long [[answer-bytes:500]] [[pace:20ms]]")
        process = subprocess.Popen([harness.CLI, "query", "--stream", prompt], env=self.environment, stdout=subprocess.PIPE, text=True)
        began = time.monotonic()
        beginning = os.read(process.stdout.fileno(), 10).decode()
        first = time.monotonic() - began
        rest = process.stdout.read()
        took = time.monotonic() - began
        process.stdout.close()
        self.assertEqual(process.wait(harness.TIMEOUT_S), 0)
        self.assertLess(first, took / 2)
        self.assertEqual(beginning + rest, self.succeeds("query", prompt))

    def test_query_takes_a_chat_request_from_a_file(self):
        prompt = self.prompt()
        body = {"model": "gpt-4o", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}],
                "temperature": 0.5, "stream": False}
        path = os.path.join(self.home, "body.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(body, f)
        self.assertEqual(self.json("query", "--body", path)["source"], "llm")
        sent = json.loads(self.ai.last_request()["body"])
        self.assertEqual((sent["messages"], sent["temperature"], sent["model"]), (body["messages"], 0.5, "gpt-4o"))
        self.assertEqual(self.json("query", "--body", "-", input=json.dumps(body))["source"], "exact")
        same = self.json("lookup", "--model", "gpt-4o", "--system", "Be brief.", "--temperature", "0.5", prompt)
        self.assertEqual(same["source"], "exact")

    def test_options_are_what_they_say(self):
        prompt = self.prompt()
        self.json("query", "--namespace", "mine", "--prompt-version", "3", "--system", "Be brief.", "--temperature", "0.5", "--param",
                  "max_tokens=5000", "--param", 'stop=["zz","yy"]', prompt)
        sent = json.loads(self.ai.last_request()["body"])
        self.assertEqual((sent["temperature"], sent["max_tokens"], sent["stop"]), (0.5, 5000, ["zz", "yy"]))
        self.assertEqual(sent["messages"][0], {"role": "system", "content": "Be brief."})
        client = self.connect()
        more = {"prompt_version": "3", "system": "Be brief.", "params": {"temperature": 0.5, "max_tokens": 5000, "stop": ["zz", "yy"]}}
        self.assertEqual(self.lookup(client, prompt, namespace="mine", **more).source, "exact")
        self.assertEqual(self.lookup(client, prompt, **more).source, "none")

    def test_no_store_no_cache_ttl_and_max_age(self):
        prompt = self.prompt()
        self.assertEqual(self.json("query", "--no-store", prompt)["reason"], "no_store")
        self.assertEqual(self.json("query", "--ttl", "1", prompt)["source"], "llm")
        self.assertEqual(self.json("query", prompt)["source"], "exact")
        self.assertEqual(self.json("query", "--no-cache", "--ttl", "1", prompt)["source"], "llm")
        time.sleep(1.1)
        self.assertEqual(self.json("query", prompt)["source"], "llm")
        time.sleep(1.1)
        self.assertEqual(self.json("query", "--max-age", "60", prompt)["source"], "exact")
        self.assertEqual(self.json("query", "--max-age", "1", prompt)["source"], "llm")

    def test_tool_calls_reasoning_and_refusals_are_printed(self):
        answer = self.json("query", self.prompt("Weather? [[fault:tool-calls-2]]"))
        self.assertEqual([call["name"] for call in answer["tool_calls"]], ["get_weather"] * 2)
        self.assertEqual(answer["finish_reason"], "tool_calls")
        answer = self.json("query", self.prompt("Think. [[fault:reasoning]]"))
        self.assertIn("First I look", answer["reasoning"])
        self.assertNotIn("First I look", answer["answer"])
        self.assertIn("can't assist", self.succeeds("query", self.prompt("Do. [[fault:refusal]]")))

    def test_an_empty_answer_is_remarked_upon(self):
        for stream in ((), ("--stream",)):
            code, out, error = self.run_cli("query", *stream, self.prompt("[[fault:empty]]"))
            self.assertEqual((code, out.strip()), (0, ""), error)
            self.assertRegex(error, r"^promptcache: the answer is empty \(finish_reason \w+\)\n$")

    # ---- the others

    def test_lookup_ends_with_1_on_a_miss(self):
        prompt = self.prompt()
        code, out, error = self.run_cli("lookup", prompt)
        self.assertEqual((code, out), (1, ""), error)
        code, out, _ = self.run_cli("--json", "lookup", prompt)
        self.assertEqual((code, json.loads(out)["source"], json.loads(out)["reason"]), (1, "none", "miss"))
        answer = self.succeeds("query", prompt)
        self.assertEqual(self.succeeds("lookup", prompt), answer)
        self.assertEqual(set(self.json("lookup", prompt)), KEYS)
        self.assertEqual(self.ai.calls(), 1)

    def test_put_stores_and_invalidate_forgets(self):
        prompt, other = self.prompt(), self.prompt()
        self.succeeds("put", prompt, "--answer", "By hand.")
        self.assertEqual(self.succeeds("query", prompt), "By hand.\n")
        self.assertEqual(self.json("put", other, "--answer", "-", "--namespace", "mine", input="From a pipe.\n")["stored"], True)
        self.assertEqual(self.succeeds("lookup", "--namespace", "mine", other), "From a pipe.\n")
        self.assertEqual(self.json("invalidate", prompt)["removed"], 1)
        self.assertEqual(self.run_cli("lookup", prompt)[0], 1)
        self.assertEqual(self.json("invalidate", prompt)["removed"], 0)
        self.assertEqual(self.succeeds("invalidate", prompt), "there was no entry\n")
        self.succeeds("put", prompt, "--answer", "By hand.")
        self.assertEqual(self.succeeds("invalidate", prompt), "forgotten\n")
        self.assertEqual(self.succeeds("invalidate", "--namespace", "mine"), "forgotten: everything in namespace mine\n")
        self.assertEqual(self.run_cli("lookup", "--namespace", "mine", other)[0], 1)
        self.assertIsNone(self.json("invalidate", "--namespace", "mine")["removed"])

    def test_stats_and_ping(self):
        stats = self.json("stats")
        self.assertGreaterEqual(stats["net_connections"], 1)
        self.assertIn("engine_queries_total", self.succeeds("stats"))
        self.assertGreater(self.json("ping")["latency_ms"], 0)
        self.assertIn("ms", self.succeeds("ping"))

    # ---- what goes wrong

    def test_usage_errors_end_with_2(self):
        for arguments in ((), ("frobnicate",), ("query",), ("query", "--nonsense", "x"), ("query", "a", "b"), ("put", "x"), ("query", "--ttl"),
                          ("query", "--ttl", "soon", "x"), ("query", "--param", "nonsense", "x"), ("query", "--temperature", "hot", "x"),
                          ("query", "--body", "/nonexistent"), ("query", "--server", "nonsense", "x"), ("stats", "x"), ("invalidate",)):
            code, out, error = self.run_cli(*arguments)
            self.assertEqual((code, out), (2, ""), (arguments, error))
            self.assertTrue(error, arguments)
        self.fails(2, "--foo is not an option; see promptcache query --help", "query", "--foo", "x")
        self.fails(2, "--foo is not an option; see promptcache --help", "--foo")

    def test_a_body_that_is_no_chat_request_ends_with_2(self):
        for body in ("", "{", "[]", '{"model": 1, "messages": []}', '{"messages": "x"}'):
            code, out, error = self.run_cli("query", "--body", "-", input=body)
            self.assertEqual((code, out), (2, ""), (body, error))
            self.assertTrue(error)

    def test_a_server_that_is_not_there_ends_with_3_at_once(self):
        began = time.monotonic()
        for address in (f"unix:{self.home}/nobody", "tcp://127.0.0.1:1"):
            self.fails(3, "UNAVAILABLE", "--server", address, "query", "x")
            self.fails(3, "UNAVAILABLE", "ping", env={"PROMPTCACHE_SERVER": address})
        self.assertLess(time.monotonic() - began, 10 if harness.SANITIZED else 3)

    def test_without_an_address_and_a_socket_every_place_is_named(self):
        with contextlib.closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", 7411)) == 0:
                self.skipTest("port 7411 is in use on this machine")
        self.fails(3, f"no promptcached at unix:{self.daemon.state}/promptcached.sock or tcp://127.0.0.1:7411 (last: Connection refused)",
                   "ping", env={"PROMPTCACHE_SERVER": "", "XDG_RUNTIME_DIR": self.daemon.state})

    def test_the_token_does_not_go_to_a_port_that_nobody_named(self):
        """Whoever listens on the port that stands in for the socket sees HELLO, and no token in it."""
        with contextlib.closing(socket.socket()) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", 7411))
            except OSError:
                self.skipTest("port 7411 is in use on this machine")
            listener.listen()
            listener.settimeout(harness.TIMEOUT_S)
            for address, sent in (("", False), ("tcp://127.0.0.1:7411", True)):
                env = self.environment | {"PROMPTCACHE_SERVER": address, "XDG_RUNTIME_DIR": self.daemon.state}
                process = subprocess.Popen([harness.CLI, "ping"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                accepted, _ = listener.accept()
                accepted.settimeout(harness.TIMEOUT_S)
                hello = accepted.recv(65536)
                accepted.close()
                self.assertEqual(process.wait(harness.TIMEOUT_S), 3)
                self.assertIn(b"promptcache/", hello)
                self.assertEqual(self.daemon.token.encode() in hello, sent)

    def test_what_the_server_refuses_ends_with_4_and_the_errors_name(self):
        self.fails(4, "INVALID", "query", "")
        self.fails(4, "INVALID", "query", "--param", "model=1", self.prompt())
        self.fails(4, "UPSTREAM_REFUSED", "query", self.prompt("[[fault:400]]"))
        self.ai.control(hold=True)
        self.fails(4, "TIMEOUT", "query", "--timeout", "100", self.prompt())
        self.ai.control(hold=False)
        code, out, error = self.run_cli("query", "--stream", self.prompt("Tell [[pace:20ms]] [[fault:cut]]"))
        self.assertEqual(code, 4)
        self.assertIn("INTERRUPTED", error)
        self.assertTrue(out)

    def test_a_wrong_token_ends_with_4(self):
        path = os.path.join(self.home, "wrong-token")
        with open(path, "w", encoding="ascii") as f:
            f.write("w" * 64 + "\n")
        os.chmod(path, 0o600)
        address = f"tcp://127.0.0.1:{self.daemon.port}"
        error = self.fails(4, f"UNAUTHENTICATED: {address}: ", "--server", address, "query", "--token-file", path, self.prompt())
        self.assertIn("PROMPTCACHE_TOKEN or --token-file", error)

    def test_an_interrupt_cancels(self):
        prompt = self.prompt()
        self.ai.control(hold=True)
        process = subprocess.Popen([harness.CLI, "query", prompt], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.ai.wait_calls(1, prompt)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=harness.TIMEOUT_S)
        self.assertEqual((process.returncode, out, error), (130, b"", b""))
        harness.wait_until(lambda: self.daemon.stats()["engine_waiters"] == 0, "the request to be given up")

    def test_an_output_that_cannot_be_written_to_is_told(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([harness.CLI, "query", self.prompt()], env=self.environment, stdout=full, stderr=subprocess.PIPE,
                                  timeout=harness.TIMEOUT_S)
        self.assertNotEqual(done.returncode, 0)

    def test_help_and_version(self):
        for arguments, words in ((("--help",), ("query", "lookup", "put", "invalidate", "stats", "ping", "Exit status", "shutting down")),
                                 (("query", "--help"), ("--model", "--ttl", "--stream")), (("--version",), ("promptcache",))):
            out = self.succeeds(*arguments)
            for word in words:
                self.assertIn(word, out)


harness.variants(globals(), CommandLine, transport=("unix", "tcp"))

if __name__ == "__main__":
    harness.main()
