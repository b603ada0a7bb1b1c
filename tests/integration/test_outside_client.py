"""outside_client.py against the daemon and a simulated provider: what PROTOCOL.md says is what happens.

PROMPTCACHE_BUILD=DIR python3 -m unittest tests/integration/test_outside_client.py
"""

import json
import os
import pathlib
import queue
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import msgpack

import outside_client as oc

BUILD = os.environ.get("PROMPTCACHE_BUILD")
START_SECONDS = 10
MODEL = "gpt-4o"


class Process:
    """A child whose output is read line by line, and which is always stopped."""

    def __init__(self, command, environment, source):
        self.lines = queue.Queue()
        self.seen = []
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, source: subprocess.PIPE}
        self.child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, **streams)
        self.reader = threading.Thread(target=self.read, args=(getattr(self.child, source),), daemon=True)
        self.reader.start()

    def read(self, stream):
        with stream:
            for line in stream:
                self.lines.put(line.decode("utf-8", "replace"))
        self.lines.put(None)

    def line_with(self, word):
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no line with {word!r}:\n{''.join(self.seen)}")
            self.seen.append(line)
            if word in line:
                return line

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.reader.join(5)


class Provider(Process):
    def __init__(self):
        command = [f"{BUILD}/bench/promptcache-mockai", "--listen", "127.0.0.1:0"]
        super().__init__(command, {}, "stdout")
        self.url = self.line_with("listening on ").split("listening on ")[1].strip()

    def stats(self):
        # A proxy of the environment has no business between two processes of this test.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url.removesuffix('/v1')}/stats", timeout=5) as answer:
            return json.load(answer)

    def calls(self, prompt):
        """How often the provider was asked this."""
        return self.stats()["by_prompt"].get(prompt, 0)


class Server(Process):
    """The daemon on a Unix socket and a TCP port of its own."""

    def __init__(self, folder, provider):
        self.folder = folder
        self.unix = f"unix:{folder}/sock"
        self.tcp = f"tcp://127.0.0.1:{free_port()}"
        environment = {
            "HOME": folder, "XDG_STATE_HOME": f"{folder}/state", "XDG_RUNTIME_DIR": folder,
            "XDG_CONFIG_HOME": f"{folder}/config", "OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk-outside",
        }
        command = [f"{BUILD}/server/promptcached", "--set", f"listen={self.unix},{self.tcp}",
                   "--set", f"store.path={folder}/store"]
        super().__init__(command, environment, "stderr")
        self.line_with("server.ready")

    @property
    def token(self):
        return pathlib.Path(self.folder, "state/promptcached/token").read_text(encoding="utf-8").strip()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Case(unittest.TestCase):
    """One provider and one server for the tests of a class."""

    @classmethod
    def setUpClass(cls):
        if not BUILD:
            raise unittest.SkipTest("PROMPTCACHE_BUILD names no folder with the binaries")
        cls.folder = tempfile.mkdtemp(prefix="outside-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.provider = Provider()
        cls.addClassCleanup(cls.provider.stop)
        cls.server = Server(cls.folder, cls.provider)
        cls.addClassCleanup(cls.server.stop)

    def client(self, **options):
        client = oc.Client(self.server.unix, **options)
        self.addCleanup(client.close)
        return client

    def refused(self, client, request, name, field=None):
        answer = client.wait(request)
        self.assertIsNotNone(answer.error, answer.end)
        self.assertEqual(answer.error.name, name, answer.error)
        if field is not None:
            self.assertEqual(answer.error.field, field, answer.error)
        return answer.error

    def spoken_error(self, client, name):
        """The next ERROR with id 0; no name: any."""
        count = len(client.spoken)
        client.pump_until(lambda: len(client.spoken) > count)
        op, body = client.spoken[-1]
        self.assertEqual(op, oc.ERROR, body)
        if name is not None:
            self.assertEqual(oc.ERRORS.get(body["code"]), name, body)
        return body


# --- without a server -----------------------------------------------------------------------------


class Document(unittest.TestCase):
    """The examples of the document come out of this client as they stand there."""

    def test_frames(self):
        hello = oc.numbered(oc.HELLO_KEYS, {"version": 1, "features": 7, "client": "example/1.0", "token": None})
        self.assertEqual(oc.frame(oc.HELLO, 1, hello).hex(" "),
                         "ce 00 00 00 16 94 01 01 00 83 01 01 02 07 04 ab 65 78 61 6d 70 6c 65 2f 31 2e 30")
        query = oc.numbered(oc.REQUEST_KEYS, {"prompt": "Go on", "stream": True, "window": 65536})
        self.assertEqual(oc.frame(oc.QUERY, 3, query).hex(" "),
                         "ce 00 00 00 14 94 10 03 00 83 02 a5 47 6f 20 6f 6e 11 c3 12 ce 00 01 00 00")

    def test_digest(self):
        params = {"temperature": 1.0, "max_tokens": 50, "stop": None}
        digest = oc.request_digest("gpt-4o", prompt="What is a TTL?", params=params)
        self.assertEqual(digest.hex(), "a1d050dec30d1a3a554b7bc9576d8297d4ce76e3be00a4e0d48519d6dc59664f")

    def test_canonical_form(self):
        self.assertEqual(oc.canonical_bytes({"b": -0.0, "a": 2.0**53}).hex(), "82a161cf0020000000000000a16200")
        self.assertEqual(oc.canonical_bytes(0.5).hex(), "cb3fe0000000000000")
        self.assertEqual(oc.canonical_bytes(2.0**54).hex(), "cb4350000000000000")
        for wrong in (float("nan"), float("inf"), b"bin", {1: 2}):
            self.assertRaises(ValueError, oc.canonical, wrong)

    def test_segments_are_joined(self):
        answer = oc.Answer(1)
        answer.take(oc.CHUNK, {1: oc.TEXT, 2: 0, 3: b"a\xc3"})
        answer.take(oc.CHUNK, {1: 99, 2: 1, 3: b"?"})
        answer.take(oc.END, {2: [[oc.TEXT, 0, b"\xa4"], [oc.TEXT, 2, "o"]]})
        self.assertEqual(answer.text, "a\u00e4o")


# --- opening --------------------------------------------------------------------------------------


class Opening(Case):
    def test_unix_without_token(self):
        told = self.client().server
        self.assertEqual((told["version"], told["features"]), (1, 7))
        self.assertTrue(told["server"].startswith("promptcached/"), told)
        self.assertLessEqual(told["frame_max"], 16777216)
        self.assertGreater(told["inflight_max"], 0)
        self.assertGreater(told["ping_interval_ms"], 0)

    def test_tcp_with_token(self):
        with oc.Client(self.server.tcp, token=self.server.token) as client:
            client.ping()

    def test_tcp_token_is_needed(self):
        for token in (None, "wrong"):
            with oc.Client(self.server.tcp, hello=False) as client:
                self.refused(client, client.hello(token=token), "UNAUTHENTICATED")
                self.assertEqual(client.drain(), b"")

    def test_unix_looks_at_the_peer_not_at_its_token(self):
        mode = os.stat(self.server.unix.removeprefix("unix:")).st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)
        for token in (self.server.token, "wrong", ""):
            self.client(token=token)

    def test_versions_and_features(self):
        self.assertEqual(self.client(version=7).server["version"], 1)
        self.assertEqual(self.client(features=oc.STREAM | 1 << 40).server["features"], oc.STREAM)
        self.assertEqual(self.client(features=None).server["features"], 0)
        with self.assertRaises(oc.Refused) as caught:
            self.client(version=0)
        self.assertEqual(caught.exception.name, "UNSUPPORTED")

    def test_keys_of_the_answer_to_hello(self):
        names = {name for key, name in oc.END_NAMES.items() if 0x20 <= key <= 0x25}
        self.assertEqual(self.client().server.keys(), names | {"as_of"})

    def test_frame_max_has_a_least_value(self):
        self.client(frame_max=1024)
        client = self.client(hello=False)
        self.refused(client, client.hello(frame_max=1023), "INVALID", "frame_max")
        self.assertEqual(client.drain(), b"")

    def test_hello_with_id_zero(self):
        client = self.client(hello=False)
        client.send_raw(oc.frame(oc.HELLO, 0, {0x01: 1}))
        self.assertEqual(self.spoken_error(client, "INVALID")["field"], "id")
        self.assertEqual(client.drain(), b"")

    def test_any_other_operation_before_hello(self):
        for op, body in ((0x7F, {}), (oc.STATS, {0x80: 1}), (oc.LOOKUP, {})):
            client = self.client(hello=False)
            self.refused(client, client.begin(op, body), "UNAUTHENTICATED")
            self.assertEqual(client.drain(), b"")

    def test_second_hello(self):
        client = self.client()
        self.refused(client, client.hello(), "INVALID")
        client.ping()

    def test_requests_right_behind_hello(self):
        client = self.client(hello=False)
        hello = client.hello()
        query = client.query("right behind hello", model=MODEL)
        self.assertIn("right behind hello", client.result(query).text)
        self.assertEqual(client.order, [hello, query])

    def test_request_before_hello(self):
        client = self.client(hello=False)
        self.refused(client, client.query("too early"), "UNAUTHENTICATED")
        self.assertEqual(client.drain(), b"")

    def test_ping_before_hello(self):
        client = self.client(hello=False)
        client.ping()
        self.assertEqual(client.result(client.begin(oc.PING, {})).end, {})
        client.result(client.hello())

    def test_large_frame_before_hello(self):
        client = self.client(hello=False)
        self.refused(client, client.hello(client="x" * 5000), "TOO_LARGE")
        self.assertEqual(client.drain(), b"")

    def test_default_address(self):
        before = os.environ.get("XDG_RUNTIME_DIR")
        os.environ["XDG_RUNTIME_DIR"] = "/run/nowhere"
        try:
            self.assertEqual(oc.default_address(), "unix:/run/nowhere/promptcached.sock")
        finally:
            os.environ.pop("XDG_RUNTIME_DIR")
            os.environ.update({} if before is None else {"XDG_RUNTIME_DIR": before})


# --- operations -----------------------------------------------------------------------------------


class Operations(Case):
    def setUp(self):
        self.it = self.client()

    def test_ping(self):
        self.it.ping()
        self.assertEqual(self.it.result(self.it.begin(oc.PING, {})).end, {})

    def test_query_then_hit(self):
        first = self.it.result(self.it.query("query then hit", model=MODEL))
        self.assertEqual((first.end["source"], first.end["stored"], first.end["reason"]), (oc.LLM, True, oc.STORED))
        self.assertEqual((first.end["finish_reason"], first.end["model"]), ("stop", MODEL))
        self.assertIsNone(first.head)
        self.assertEqual(first.chunks, [])
        self.assertGreater(first.end["prompt_tokens"], 0)
        self.assertGreater(first.end["completion_tokens"], 0)
        self.assertGreater(first.end["as_of"], 0)
        self.assertIn("total", first.end["stages_us"])
        second = self.it.result(self.it.query("query then hit", model=MODEL))
        self.assertEqual((second.end["source"], second.end["stored"], second.end["reason"]),
                         (oc.EXACT, True, oc.ALREADY))
        self.assertEqual(second.text, first.text)
        self.assertLessEqual({"age_ms", "entry", "tokens_saved", "cost_saved_nusd"}, second.end.keys())
        self.assertEqual(self.provider.calls("query then hit"), 1)

    def test_streamed_then_hit(self):
        fields = {"model": MODEL, "stream": True}
        # Without a pace the answer may be there at once, and then comes whole in END.
        prompt = "streamed [[answer-bytes:300]] [[pace:5ms]]"
        first = self.it.result(self.it.query(prompt, **fields))
        self.assertEqual((first.head["source"], first.head.get("model", MODEL)), (oc.LLM, MODEL))
        self.assertGreater(len(first.chunks), 1)
        self.assertEqual(len(first.text), 300)
        self.assertEqual(first.end["source"], oc.LLM)
        second = self.it.result(self.it.query(prompt, **fields))
        self.assertEqual((second.end["source"], second.text), (oc.EXACT, first.text))

    def test_messages_form(self):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "messages form"}]
        first = self.it.result(self.it.query(model=MODEL, messages=messages))
        self.assertIn("messages form", first.text)
        same = self.it.result(self.it.query("messages form", system="Be brief.", model=MODEL))
        self.assertEqual((same.end["source"], same.text), (oc.EXACT, first.text))

    def test_lookup(self):
        miss = self.it.result(self.it.lookup("lookup", model=MODEL))
        self.assertEqual((miss.end["source"], miss.end["reason"], miss.segments), (oc.NONE, oc.MISS, {}))
        answer = self.it.result(self.it.query("lookup", model=MODEL)).text
        hit = self.it.result(self.it.lookup("lookup", model=MODEL))
        self.assertEqual((hit.end["source"], hit.text), (oc.EXACT, answer))
        self.assertEqual(self.provider.calls("lookup"), 1)

    def test_put(self):
        put = self.it.result(self.it.put("put", model=MODEL, answer="mine", prompt_tokens=3, completion_tokens=4))
        self.assertEqual((put.end["stored"], put.end["reason"]), (True, oc.STORED))
        self.assertIsInstance(put.end["entry"], bytes)
        hit = self.it.result(self.it.lookup("put", model=MODEL))
        self.assertEqual((hit.text, hit.end["entry"]), ("mine", put.end["entry"]))
        self.assertEqual((hit.end["prompt_tokens"], hit.end["completion_tokens"]), (3, 4))
        self.assertEqual((hit.end["finish_reason"], hit.end["tokens_saved"]), ("stop", 7))

    def test_put_segments(self):
        segments = [[oc.REASONING, 0, b"because"], [oc.TEXT, 1, "so"],
                    [oc.TOOL_CALL, 2, b'{"id":"a","name":"f","arguments":"{}"}']]
        self.it.result(self.it.put("segments", model=MODEL, segments=segments, finish_reason="tool_calls"))
        hit = self.it.result(self.it.lookup("segments", model=MODEL))
        self.assertEqual((hit.text, hit.joined(oc.REASONING)), ("so", b"because"))
        self.assertEqual(json.loads(hit.joined(oc.TOOL_CALL))["name"], "f")

    def test_put_that_is_not_kept(self):
        put = self.it.result(self.it.put("cut off", model=MODEL, answer="half", finish_reason="length"))
        self.assertEqual((put.end["stored"], put.end["reason"]), (False, oc.UNFINISHED))
        self.refused(self.it, self.it.put("empty", model=MODEL, answer=""), "INVALID", "answer")
        self.refused(self.it, self.it.put("nothing", model=MODEL), "INVALID")
        self.refused(self.it, self.it.put("both", model=MODEL, answer="a", segments=[[1, 0, b"a"]]), "INVALID")

    def test_put_takes_proper_segments_only(self):
        wrong = [[[9, 0, b"x"]], [[1, 1, b"x"]], [[1, 0, b"x"], [1, 0, b"y"]], [[1, 0, b"\xff"]], [[1, 0, b""]],
                 [[1, 0]], []]
        for segments in wrong:
            with self.subTest(segments=segments):
                self.refused(self.it, self.it.put("improper", model=MODEL, segments=segments), "INVALID")

    def test_a_hit_tells_what_was_saved(self):
        self.it.result(self.it.put("uncounted", model=MODEL, answer="a"))
        hit = self.it.result(self.it.lookup("uncounted", model=MODEL))
        self.assertLessEqual({"age_ms", "entry", "tokens_saved", "cost_saved_nusd"}, hit.end.keys())
        self.assertNotIn("prompt_tokens", hit.end)

    def test_a_hit_has_stages(self):
        self.it.result(self.it.put("stages", model=MODEL, answer="a"))
        self.assertEqual(self.it.result(self.it.query("stages", model=MODEL)).end["stages_us"].keys(), {"total"})

    def test_what_the_cache_cannot_answer(self):
        for name, value in (("n", 2), ("logprobs", True)):
            request = self.it.query("unsupported", model=MODEL, params={name: value})
            self.refused(self.it, request, "UNSUPPORTED", f"params.{name}")
        self.assertEqual(self.provider.calls("unsupported"), 0)

    def test_n_of_one_as_a_float(self):
        self.it.result(self.it.lookup("one", model=MODEL, params={"n": 1}))
        self.it.result(self.it.lookup("one", model=MODEL, params={"n": 1.0}))

    def test_the_field_at_fault(self):
        request = self.it.lookup("fault", model=MODEL, params={"top_logprobs": 3})
        self.refused(self.it, request, "UNSUPPORTED", "params.top_logprobs")
        self.it.result(self.it.lookup("fault", model=MODEL, params={"logprobs": False, "top_logprobs": None}))

    def test_empty_strings(self):
        for name in ("prompt", "model", "namespace"):
            with self.subTest(name):
                self.refused(self.it, self.it.lookup(**{"prompt": "p", "model": MODEL, name: ""}), "INVALID", name)
        self.it.result(self.it.lookup("p", model=MODEL, system="", prompt_version=""))
        self.it.result(self.it.lookup(model=MODEL, messages=[{"role": "user", "content": ""}]))

    def test_what_is_not_looked_at(self):
        odd = {"messages": [{"role": "critic", "content": [5, None]}], "tools": ["hammer"],
               "params": {"temperature": "hot"}, "metadata": {1: b"x"}, "segments": [[oc.TOOL_CALL, 0, "no JSON"]]}
        self.assertTrue(self.it.result(self.it.put(model=MODEL, **odd)).end["stored"])

    def test_the_entry_has_a_name_also_when_it_is_not_kept(self):
        blank = self.it.result(self.it.put("name", model=MODEL, answer=" \n")).end
        self.assertEqual((blank["stored"], blank["reason"]), (False, oc.EMPTY))
        answer = self.it.result(self.it.query("name", model=MODEL, no_store=True)).end
        self.assertEqual((answer["stored"], answer["entry"]), (False, blank["entry"]))
        self.assertNotEqual(answer["entry"], oc.request_digest(MODEL, prompt="name"))

    def test_an_empty_answer_of_the_llm_is_not_kept(self):
        answer = self.it.result(self.it.query("empty [[fault:empty]]", model=MODEL))
        self.assertEqual((answer.segments, answer.end["stored"], answer.end["reason"]), ({}, False, oc.EMPTY))

    def test_no_cache_and_no_store(self):
        self.it.result(self.it.put("flags", model=MODEL, answer="old"))
        kept = self.it.result(self.it.query("flags", model=MODEL, no_cache=True, no_store=True))
        self.assertEqual((kept.end["source"], kept.end["reason"]), (oc.LLM, oc.NO_STORE))
        self.assertEqual(self.it.result(self.it.lookup("flags", model=MODEL)).text, "old")
        fresh = self.it.result(self.it.query("flags", model=MODEL, no_cache=True))
        self.assertEqual(fresh.end["source"], oc.LLM)
        self.assertEqual(self.it.result(self.it.lookup("flags", model=MODEL)).text, fresh.text)

    def test_max_age_and_ttl(self):
        self.it.result(self.it.put("ttl", model=MODEL, answer="a", ttl_ms=400))
        self.it.result(self.it.put("age", model=MODEL, answer="a"))
        for prompt in ("ttl", "age"):
            self.assertEqual(self.it.result(self.it.lookup(prompt, model=MODEL)).end["source"], oc.EXACT)
        time.sleep(0.5)
        for fields in ({"prompt": "ttl"}, {"prompt": "age", "max_age_ms": 100}, {"prompt": "age", "max_age_ms": 0}):
            self.assertEqual(self.it.result(self.it.lookup(model=MODEL, **fields)).end["source"], oc.NONE)
        self.assertEqual(self.it.result(self.it.lookup("age", model=MODEL)).end["source"], oc.EXACT)
        # 0 means the server's own here.
        self.it.result(self.it.put("none", model=MODEL, answer="a", ttl_ms=0))
        self.assertEqual(self.it.result(self.it.lookup("none", model=MODEL, timeout_ms=0)).end["source"], oc.EXACT)

    def test_unfinished_answers_are_not_kept(self):
        answer = self.it.result(self.it.query("long [[fault:length]]", model=MODEL))
        self.assertEqual((answer.end["finish_reason"], answer.end["stored"], answer.end["reason"]),
                         ("length", False, oc.UNFINISHED))

    def test_invalidate_request(self):
        question = {"model": MODEL, "params": {"temperature": 0.5}}
        self.it.result(self.it.put("forget me", answer="a", **question))
        gone = self.it.result(self.it.invalidate("forget me", **question)).end
        self.assertEqual(gone["removed"], 1)
        self.assertGreater(gone["as_of"], 0)
        self.assertEqual(self.it.result(self.it.lookup("forget me", **question)).end["source"], oc.NONE)
        self.assertEqual(self.it.result(self.it.invalidate("forget me", **question)).end["removed"], 0)

    def test_invalidate_namespace(self):
        for number in range(3):
            self.it.result(self.it.put(f"space {number}", model=MODEL, answer="a", namespace="one"))
        self.it.result(self.it.put("space 0", model=MODEL, answer="b", namespace="two"))
        gone = self.it.result(self.it.invalidate(target=1, namespace="one")).end
        self.assertGreater(gone["as_of"], 0)
        self.assertNotIn("removed", gone)
        self.refused(self.it, self.it.invalidate(target=2, namespace="one"), "INVALID", "target")
        self.assertEqual(self.it.result(self.it.lookup("space 1", model=MODEL, namespace="one")).end["source"], oc.NONE)
        self.assertEqual(self.it.result(self.it.lookup("space 0", model=MODEL, namespace="two")).text, "b")

    def test_stats(self):
        stats = self.it.stats()
        self.assertTrue(stats)
        for name, number in stats.items():
            self.assertIsInstance(name, str)
            self.assertIsInstance(number, int, name)
            self.assertGreaterEqual(number, 0, name)

    def test_tool_calls_of_the_llm(self):
        tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
        for stream in (True, False):
            answer = self.it.result(self.it.query("tools [[fault:tool-call]]", model=MODEL, tools=tools, stream=stream))
            call = json.loads(answer.joined(oc.TOOL_CALL))
            self.assertEqual((call["name"], answer.end["finish_reason"]), ("look", "tool_calls"))
            self.assertIsInstance(call["arguments"], str)

    def test_reasoning_and_refusal(self):
        answer = self.it.result(self.it.query("why [[fault:reasoning]]", model=MODEL, stream=True))
        self.assertTrue(answer.joined(oc.REASONING))
        self.assertTrue(answer.text)
        answer = self.it.result(self.it.query("no [[fault:refusal]]", model=MODEL))
        self.assertTrue(answer.joined(oc.REFUSAL))

    def test_metadata_does_not_count(self):
        self.it.result(self.it.put("metadata", model=MODEL, answer="a", metadata={"who": "me"}))
        hit = self.it.result(self.it.query("metadata", model=MODEL, metadata={"who": "you"}))
        self.assertEqual(hit.end["source"], oc.EXACT)


# --- the request digest ---------------------------------------------------------------------------


class Digest(Case):
    """The server shows no digest by that name; two questions with one digest share an answer, others do not."""

    BASE = {"prompt": "digest", "params": {"temperature": 1, "stop": ["a"], "seed": 7}}

    def setUp(self):
        self.it = self.client()
        self.it.result(self.it.put(answer="the one", model=MODEL, **self.BASE))

    def hits(self, question):
        return self.it.result(self.it.lookup(model=MODEL, **question)).end["source"] == oc.EXACT

    def test_same_digest_hits(self):
        one = oc.request_digest(MODEL, **self.BASE)
        same = [
            {"prompt": "digest", "params": {"seed": 7.0, "temperature": 1.0, "stop": ["a"], "n": None}},
            {"messages": [{"role": "user", "content": "digest"}], "params": self.BASE["params"]},
            self.BASE | {"namespace": "default"},
            self.BASE | {"prompt_version": ""},
            self.BASE | {"tools": []},
        ]
        for question in same:
            with self.subTest(question=question):
                self.assertEqual(oc.request_digest(MODEL, **question), one)
                self.assertTrue(self.hits(question))

    def test_other_digest_misses(self):
        one = oc.request_digest(MODEL, **self.BASE)
        other = [
            self.BASE | {"prompt": "Digest"},
            self.BASE | {"prompt": "digest "},
            self.BASE | {"system": ""},
            self.BASE | {"namespace": "other"},
            self.BASE | {"prompt_version": "2"},
            self.BASE | {"tools": [{}]},
            {"prompt": "digest"},
            {"prompt": "digest", "params": self.BASE["params"] | {"temperature": 0.5}},
            {"prompt": "digest", "params": self.BASE["params"] | {"stop": ["a", None]}},
            {"prompt": "digest", "params": self.BASE["params"] | {"seed": "7"}},
            {"messages": [{"role": "user", "content": "digest", "name": None}], "params": self.BASE["params"]},
        ]
        for question in other:
            with self.subTest(question=question):
                self.assertNotEqual(oc.request_digest(MODEL, **question), one)
                self.assertFalse(self.hits(question))

    def test_what_is_no_json(self):
        bodies = {
            "bin": {"params": {"seed": b"x"}}, "nan": {"params": {"temperature": float("nan")}},
            "key": {"params": {"logit_bias": {5: 1}}}, "ext": {"params": {"seed": msgpack.ExtType(1, b"x")}},
        }
        for name, fields in bodies.items():
            with self.subTest(name):
                self.refused(self.it, self.it.lookup("no json", model=MODEL, **fields), "INVALID")

    def test_doubled_key(self):
        doubled = b"\x82\xa1a\x01\xa1a\x01"
        payload = b"\x94\x11\x63\x00\x83\x01\xa1m\x02\xa1p\xcc\x83" + doubled
        self.it.answers[0x63] = oc.Answer(0x63)
        self.it.send_raw(oc.raw_frame(payload))
        self.refused(self.it, 0x63, "INVALID")

    def test_params_with_a_place_of_their_own(self):
        for name in ("model", "messages", "tools", "stream", "stream_options", "user", "metadata"):
            with self.subTest(name):
                request = self.it.lookup("own place", model=MODEL, params={name: "x"})
                self.refused(self.it, request, "INVALID", f"params.{name}")


# --- streams --------------------------------------------------------------------------------------


class Streams(Case):
    def test_answers_out_of_order(self):
        client = self.client()
        slow = client.query("slow [[latency:400ms]]", model=MODEL)
        quick = client.query("quick", model=MODEL)
        look = client.lookup("nothing", model=MODEL)
        for request in (slow, quick, look):
            client.result(request)
        self.assertEqual(client.order[-1], slow)

    def test_many_at_once(self):
        client = self.client()
        requests = {client.query(f"many {number}", model=MODEL): number for number in range(50)}
        for request, number in requests.items():
            self.assertIn(f'"many {number}"', client.result(request).text)

    def test_identical_questions_share_one_call(self):
        client = self.client()
        prompt = "shared [[latency:200ms]]"
        requests = [client.query(prompt, model=MODEL) for _ in range(5)]
        sources = sorted(client.result(request).end["source"] for request in requests)
        self.assertEqual(sources, [oc.LLM] + [oc.JOINED] * 4)
        self.assertEqual(self.provider.calls(prompt), 1)

    def test_one_who_wants_nothing_kept_counts_for_all(self):
        client = self.client()
        prompt = "shared and not kept [[latency:200ms]]"
        requests = [client.query(prompt, model=MODEL, no_store=no_store) for no_store in (False, True)]
        for request in requests:
            self.assertEqual(client.result(request).end["reason"], oc.NO_STORE)

    def test_a_lookup_does_not_wait_for_the_llm(self):
        client = self.client()
        running = client.query("at work [[latency:400ms]]", model=MODEL)
        client.quiet(0.1)
        self.assertEqual(client.result(client.lookup("at work [[latency:400ms]]", model=MODEL)).end["reason"], oc.MISS)
        self.assertFalse(client.answers[running].final)
        client.result(running)

    def test_late_comers_get_the_stream_from_its_beginning(self):
        client = self.client()
        fields = {"model": MODEL, "stream": True}
        prompt = "late comer [[answer-bytes:300]] [[pace:20ms]]"
        first = client.query(prompt, **fields)
        client.pump_until(lambda: client.answers[first].chunked > 50)
        second = client.query(prompt, **fields)
        self.assertEqual(client.result(second).text, client.result(first).text)
        self.assertEqual(client.answers[second].end["source"], oc.JOINED)

    def test_more_in_flight_than_the_server_takes(self):
        client = self.client()
        most = client.server["inflight_max"]
        body = {0x01: MODEL, 0x02: "crowd [[latency:600ms]]"}
        requests = list(range(1000, 1000 + most + 1))
        client.answers.update((request, oc.Answer(request)) for request in requests)
        # In one piece, so that all are there before the first is answered.
        client.send_raw(b"".join(oc.frame(oc.QUERY, request, body) for request in requests))
        self.assertTrue(self.refused(client, requests[-1], "OVERLOADED").body["retryable"])
        for request in requests[:-1]:
            client.result(request)

    def test_credit(self):
        client = self.client()
        size, first, more = 40000, 1000, 5000
        request = client.query(f"credit [[answer-bytes:{size}]]", model=MODEL, stream=True, window=first)
        answer = client.answers[request]
        client.pump_until(lambda: answer.chunked >= first)
        self.assertTrue(client.quiet(0.3))
        self.assertEqual(answer.chunked, first)
        client.grant(request, more)
        client.grant(request, more)
        client.pump_until(lambda: answer.chunked >= first + 2 * more)
        self.assertTrue(client.quiet(0.3))
        self.assertEqual(answer.chunked, first + 2 * more)
        client.grant(request, 10 * size)
        client.result(request)
        self.assertEqual(len(answer.text), size)

    def test_credit_of_a_short_streamed_hit(self):
        client = self.client()
        client.result(client.put("short stream", model=MODEL, answer="x" * 4096))
        request = client.lookup("short stream", model=MODEL, stream=True, window=100)
        client.pump_until(lambda: client.answers[request].chunked >= 100)
        self.assertTrue(client.quiet(0.1))
        client.grant(request, 4096)
        self.assertEqual(client.result(request).text, "x" * 4096)

    def test_credit_of_a_hit_that_asked_for_no_stream(self):
        client = self.client()
        client.result(client.put("whole", model=MODEL, answer="x" * 5000))
        request = client.lookup("whole", model=MODEL, window=2000)
        answer = client.answers[request]
        client.pump_until(lambda: answer.chunked >= 2000)
        self.assertTrue(client.quiet(0.2))
        client.grant(request, 3000)
        self.assertEqual(client.result(request).text, "x" * 5000)

    def test_window_zero_and_short_answers(self):
        client = self.client()
        client.result(client.put("short", model=MODEL, answer="four"))
        self.assertEqual(client.result(client.query("short", model=MODEL, window=4)).text, "four")
        request = client.query("short", model=MODEL, window=0)
        self.assertTrue(client.quiet(0.2))
        client.grant(request, 4)
        self.assertEqual(client.result(request).text, "four")
        client.grant(4711, 4)
        client.ping()

    def test_frame_max_of_the_client(self):
        limit = 4096
        client = self.client(frame_max=limit)
        text = "\u00e4" * 20000
        client.result(client.put("long", model=MODEL, answer=text))
        sizes = []
        take = client.read_exactly

        def measured(size, deadline):
            sizes.append(size - 5)
            take(size, deadline)

        client.read_exactly = measured
        answer = client.result(client.lookup("long", model=MODEL))
        self.assertEqual(answer.text, text)
        self.assertTrue(answer.chunks)
        self.assertLessEqual(max(sizes), limit)

    def test_a_client_without_streams_and_with_small_frames(self):
        client = self.client(features=0, frame_max=2000)
        client.result(client.put("too long for it", model=MODEL, answer="x" * 3000))
        self.refused(client, client.lookup("too long for it", model=MODEL), "TOO_LARGE", "frame_max")
        # A request that asks by itself overrides the features.
        for fields in ({"stream": True}, {"window": 5000}):
            answer = client.result(client.lookup("too long for it", model=MODEL, **fields))
            self.assertEqual((answer.chunked, answer.text), (3000, "x" * 3000))

    def test_frame_max_holds_for_stats(self):
        client = self.client(frame_max=1024)
        self.refused(client, client.begin(oc.STATS, {}), "TOO_LARGE", "frame_max")

    def test_a_stream_that_takes_too_long(self):
        client = self.client()
        request = client.query("slow [[answer-bytes:300]] [[pace:100ms]]", model=MODEL, timeout_ms=600, stream=True)
        self.assertNotIn("offset", self.refused(client, request, "TIMEOUT").body)
        self.assertTrue(client.answers[request].chunks)

    def test_a_large_answer_without_limits(self):
        client = self.client()
        answer = client.result(client.query("large [[answer-bytes:1000000]]", model=MODEL, timeout_ms=10000), 10)
        self.assertEqual(len(answer.text), 1000000)

    def test_cancel(self):
        client = self.client()
        request = client.query("cancel [[latency:5s]]", model=MODEL)
        self.assertTrue(client.quiet(0.1))
        client.cancel(request)
        self.refused(client, request, "CANCELLED")
        client.cancel(request)
        client.cancel(4711)
        # The id is free again.
        client.result(client.begin(oc.PING, {}, request))

    def test_what_is_wrong_with_a_cancel_ends_no_request(self):
        client = self.client()
        request = client.begin(oc.PING, {})
        client.result(request)
        for op, body, name in ((oc.CANCEL, {0x80: 1}, "UNSUPPORTED"), (oc.WINDOW, {}, "INVALID"),
                               (oc.GOAWAY, {0x01: "soon"}, "INVALID")):
            client.send_raw(oc.frame(op, request, body))
            self.spoken_error(client, name)
        client.send_raw(oc.frame(oc.CANCEL, 0, {}) + oc.frame(oc.WINDOW, 0, {0x01: 1}))
        self.assertTrue(client.quiet(0.1))

    def test_cancel_of_one_leaves_the_other(self):
        client = self.client()
        first = client.query("two wait [[latency:300ms]]", model=MODEL)
        second = client.query("two wait [[latency:300ms]]", model=MODEL)
        client.cancel(first)
        self.refused(client, first, "CANCELLED")
        self.assertIn("two wait", client.result(second).text)

    def test_cancel_of_a_stream(self):
        client = self.client()
        request = client.query("cancel stream [[answer-bytes:9000]]", model=MODEL, stream=True, window=100)
        client.pump_until(lambda: client.answers[request].chunks)
        client.cancel(request)
        self.refused(client, request, "CANCELLED")

    def test_timeout(self):
        client = self.client()
        request = client.query("late [[latency:5s]]", model=MODEL, timeout_ms=100)
        self.assertTrue(self.refused(client, request, "TIMEOUT").body["retryable"])

    def test_interrupted(self):
        client = self.client()
        prompt = "break [[answer-bytes:300]] [[pace:5ms]] [[fault:cut]]"
        request = client.query(prompt, model=MODEL, stream=True)
        error = self.refused(client, request, "INTERRUPTED")
        self.assertGreater(error.body["offset"], 0)
        self.assertEqual(error.body["offset"], client.answers[request].chunked)

    def test_interrupted_means_that_something_was_sent(self):
        client = self.client()
        answer = client.wait(client.query("break whole [[fault:cut]]", model=MODEL))
        self.assertNotEqual(answer.error.name, "INTERRUPTED")

    def test_refusals_of_the_provider(self):
        client = self.client()
        # The server tries again by itself for a while before it gives up, so all of them at once.
        expected = {"400": ("UPSTREAM_REFUSED", 400), "401": ("UPSTREAM_REFUSED", 401),
                    "429=1": ("RATE_LIMITED", 429), "500": ("UPSTREAM_FAILED", 500)}
        requests = {fault: client.query(f"refused [[fault:{fault}]]", model=MODEL) for fault in expected}
        for fault, (name, status) in expected.items():
            with self.subTest(fault):
                error = self.refused(client, requests[fault], name)
                self.assertEqual(error.body.get("upstream_status"), status, error)


# --- errors ---------------------------------------------------------------------------------------


class Errors(Case):
    def setUp(self):
        self.it = self.client()

    def tearDown(self):
        # In all of these cases the connection lives.
        self.it.ping()

    def test_unknown_operations(self):
        for op in (0x7F, 0x14, 0x22, oc.CHUNK, oc.END, 0x1234):
            with self.subTest(op=op):
                self.refused(self.it, self.it.begin(op, {}), "UNSUPPORTED", "op")

    def test_keys_that_must_be_understood(self):
        cases = [(oc.QUERY, {0x02: "p", 0xFF: 1}, "0xff"), (oc.LOOKUP, {0x02: "p", 0x8E: b"d"}, "0x8e (digest)"),
                 (oc.QUERY, {0x02: "p", 0x88: 1}, "0x88 (target)"), (oc.PING, {0x80: 1}, None)]
        for op, body, field in cases:
            with self.subTest(op=op, field=field):
                self.refused(self.it, self.it.begin(op, body), "UNSUPPORTED", field)

    def test_low_keys_are_skipped(self):
        body = {0x01: MODEL, 0x02: "low keys", 0x7F: {"any": [1]}, 0x14: 5, 0x20: "answer belongs to PUT"}
        self.assertIn("low keys", self.it.result(self.it.begin(oc.QUERY, body)).text)

    def test_flags_are_ignored(self):
        request = 70
        self.it.answers[request] = oc.Answer(request)
        self.it.send_raw(oc.frame(oc.LOOKUP, request, {0x01: MODEL, 0x02: "flags"}, 0xFE))
        self.assertEqual(self.it.result(request).end["source"], oc.NONE)

    def test_fields(self):
        cases = [
            ({}, "INVALID", None), ({0x02: ""}, "INVALID", "prompt"), ({0x02: 1}, "INVALID", "prompt"),
            ({0x02: None}, "INVALID", "prompt"), ({0x02: "p", 0x11: 1}, "INVALID", "stream"),
            ({0x02: "p", 0x10: -1}, "INVALID", "timeout_ms"), ({0x02: "p", 0x10: 3600001}, "TOO_LARGE", "timeout_ms"),
            ({0x02: "p", 0x80: "n" * 129}, "TOO_LARGE", "namespace"), ({0x02: b"p"}, "INVALID", "prompt"),
            ({0x02: "p", 0x04: [{"role": "user", "content": "p"}]}, "INVALID", None),
            ({0x04: []}, "INVALID", "messages"), ({0x04: [{"content": "p"}]}, "INVALID", "messages[0].role"),
            ({0x04: [{"role": "user", "content": "p"}, {"role": ""}]}, "INVALID", "messages[1].role"),
        ]
        for body, name, field in cases:
            with self.subTest(body=str(body)[:60]):
                self.refused(self.it, self.it.begin(oc.LOOKUP, {0x01: MODEL} | body), name, field)

    def raw(self, request, payload):
        self.it.answers[request] = oc.Answer(request)
        self.it.send_raw(oc.raw_frame(payload))

    def test_given_twice(self):
        self.raw(80, b"\x94\x11\x50\x00\x82\x02\xa1p\x02\xa1p")
        self.refused(self.it, 80, "INVALID", "prompt")

    def test_text_that_is_not_utf8(self):
        self.raw(81, b"\x94\x11\x51\x00\x81\x02\xa1\xff")
        self.refused(self.it, 81, "INVALID", "prompt")

    def test_errors_about_an_id_in_flight(self):
        request = self.it.query("twice [[latency:500ms]]", model=MODEL)
        wrong = [(oc.PING, {}, "DUPLICATE_ID"), (oc.QUERY, {0x02: "other"}, "DUPLICATE_ID"),
                 (oc.QUERY, {0x02: ""}, None), (0x7F, {}, "UNSUPPORTED"), (oc.HELLO, {0x01: 1}, "INVALID"),
                 (oc.WINDOW, {0x01: "no number"}, "INVALID"), (oc.CANCEL, {0x80: 1}, "UNSUPPORTED")]
        for op, body, name in wrong:
            with self.subTest(op=op, body=body):
                self.it.send_raw(oc.frame(op, request, body))
                self.spoken_error(self.it, name)
        # The older request goes on.
        self.assertIn("twice", self.it.result(request).text)

    def test_id_zero(self):
        self.it.send_raw(oc.frame(oc.LOOKUP, 0, {0x02: "zero"}))
        self.assertEqual(self.spoken_error(self.it, "INVALID")["field"], "id")

    def test_greatest_id(self):
        self.it.result(self.it.begin(oc.PING, {}, 2**64 - 1))

    def test_frames_that_are_no_frames(self):
        for payload in (b"\xc1", b"", b"\x01\x02", b"\x81\x01\x02", b"\xc0"):
            with self.subTest(payload=payload.hex()):
                self.it.send_raw(oc.raw_frame(payload))
                self.spoken_error(self.it, "PROTOCOL")

    def test_a_broken_body_is_answered_by_id(self):
        self.raw(90, b"\x94\x10\x5a\x00\x81\x02\xa9short")
        self.refused(self.it, 90, "PROTOCOL")
        wrong = {91: b"\x94\x02\x5b\x00\x80\x00", 94: b"\x93\x02\x5e\x00", 95: b"\x94\x02\x5f\x00\xc0"}
        for request, payload in wrong.items():
            self.raw(request, payload)
            self.refused(self.it, request, "PROTOCOL")

    def test_too_deep(self):
        self.raw(92, b"\x94\x11\x5c\x00\x82\x02\xa1p\xcc\x83\x81\xa1a" + b"\x91" * 30 + b"\x00")
        self.refused(self.it, 92, "TOO_LARGE")

    def test_oversize_frame(self):
        size = self.it.server["frame_max"] + 1
        start = b"\x94\x10\x5d\x00\x81\x02\xdb" + struct.pack(">I", size - 11)
        self.it.answers[93] = oc.Answer(93)
        self.it.send_raw(b"\xce" + struct.pack(">I", size) + start + b"x" * (size - len(start)))
        self.refused(self.it, 93, "TOO_LARGE")

    def test_garbage_first_byte(self):
        for hello in (False, True):
            with self.subTest(hello=hello):
                client = self.client(hello=hello)
                client.send_raw(b"GET / HTTP/1.1\r\n\r\n")
                said = client.drain()
                self.assertTrue(said.startswith(b"promptcached:"), said)
                self.assertEqual(said.count(b"\n"), 1)

    def test_garbage_between_frames(self):
        client = self.client()
        running = client.query("in the middle [[latency:300ms]]", model=MODEL)
        client.send_raw(b"garbage")
        self.assertTrue(client.drain().startswith(b"promptcached:"))
        self.assertFalse(client.answers[running].final)

    def test_a_long_path(self):
        error = self.refused(self.it, self.it.lookup("p", model=MODEL, params={"x" * 100: float("nan")}), "INVALID")
        self.assertEqual(error.field, ("params." + "x" * 100)[:63])

    def test_a_client_that_sends_no_more_is_gone(self):
        client = self.client()
        known = client.result(client.put("half closed", model=MODEL, answer="a"))
        answered = client.lookup("half closed", model=MODEL)
        running = client.query("half closed [[latency:300ms]]", model=MODEL)
        client.link.shutdown(socket.SHUT_WR)
        self.assertEqual(client.drain(), b"")
        self.assertEqual(client.answers[answered].end["entry"], known.end["entry"])
        self.assertFalse(client.answers[running].final)

    def test_before_hello_a_wrong_frame_closes(self):
        client = self.client(hello=False)
        client.send_raw(oc.raw_frame(b"\xc1"))
        self.spoken_error(client, "PROTOCOL")
        self.assertEqual(client.drain(), b"")


# --- leaving --------------------------------------------------------------------------------------


class Leaving(unittest.TestCase):
    """A server of its own, since it is asked to stop."""

    def setUp(self):
        if not BUILD:
            self.skipTest("PROMPTCACHE_BUILD names no folder with the binaries")
        self.folder = tempfile.mkdtemp(prefix="outside-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.provider = Provider()
        self.addCleanup(self.provider.stop)
        self.server = Server(self.folder, self.provider)
        self.addCleanup(self.server.stop)

    def test_goaway(self):
        client, idle, plain = (oc.Client(self.server.unix, features=bits) for bits in (7, 7, oc.STREAM))
        with client, idle, plain:
            client.result(client.begin(oc.PING, {}, 1000))
            running = client.query("last words [[latency:600ms]]", model=MODEL)
            client.quiet(0.1)
            self.server.child.send_signal(signal.SIGTERM)
            client.pump_until(lambda: client.goaway is not None)
            self.assertEqual(client.goaway["last_id"], running)
            self.assertGreater(client.goaway["grace_ms"], 0)
            late = client.query("too late", model=MODEL)
            self.assertEqual(client.wait(late).error.name, "SHUTTING_DOWN")
            self.assertIn("last words", client.result(running).text)
            self.assertEqual(client.drain(), b"")
            self.assertEqual(idle.drain(), b"")
            self.assertEqual(idle.goaway["last_id"], 0)
            self.assertEqual(plain.drain(), b"")
            self.assertIsNone(plain.goaway)
        self.assertEqual(self.server.child.wait(10), 0)

    def test_the_client_leaves(self):
        with oc.Client(self.server.unix) as client:
            running = client.query("leaving [[latency:200ms]]", model=MODEL)
            client.send_raw(oc.frame(oc.GOAWAY, 4711, {0x03: "done"}))
            late = client.begin(oc.PING, {})
            self.assertIn("leaving", client.result(running).text)
            self.assertEqual(client.drain(), b"")
            self.assertEqual(client.answers[late].error.name, "SHUTTING_DOWN")

    def test_what_was_stored_outlives_the_server(self):
        with oc.Client(self.server.unix) as client:
            client.result(client.put("durable", model=MODEL, answer="kept"))
            client.result(client.put("forgotten", model=MODEL, answer="gone"))
            client.result(client.invalidate("forgotten", model=MODEL))
        self.server.stop()
        self.server = Server(self.folder, self.provider)
        self.addCleanup(self.server.stop)
        with oc.Client(self.server.unix) as client:
            self.assertEqual(client.result(client.lookup("durable", model=MODEL)).text, "kept")
            self.assertEqual(client.result(client.lookup("forgotten", model=MODEL)).end["source"], oc.NONE)


if __name__ == "__main__":
    unittest.main()
