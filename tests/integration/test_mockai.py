"""promptcache-mockai: every endpoint, fault, clock and counter, over plain sockets on the loopback.

PROMPTCACHE_BUILD names the build directory. Standard library only."""

import base64
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

BUILD = os.environ.get("PROMPTCACHE_BUILD", "build")
BINARY = os.path.join(BUILD, "bench", "promptcache-mockai")
TIMEOUT_S = 15


class Mockai:
    """One process on a free port."""

    def __init__(self, *options):
        command = [BINARY, "--listen", "127.0.0.1:0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip()
        assert line.startswith("listening on http://127.0.0.1:") and line.endswith("/v1"), line
        self.port = int(line.rsplit(":", 1)[1].split("/")[0])

    def stop(self, signo=signal.SIGTERM):
        self.process.send_signal(signo)
        code = self.process.wait(TIMEOUT_S)
        self.process.stdout.close()
        return code

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)

    def socket(self):
        return socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S)

    def call(self, method, path, body=None, headers=None):
        """One request on its own connection: status, headers, body."""
        connection = self.connect()
        try:
            data = body if isinstance(body, (bytes, str)) or body is None else json.dumps(body)
            connection.request(method, path, data, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def json(self, method, path, body=None):
        status, _, data = self.call(method, path, body)
        assert status == 200, (status, data)
        return json.loads(data)

    def control(self, **settings):
        return self.json("POST", "/control", settings)

    def stats(self):
        return self.json("GET", "/stats")


def chat_body(text, **more):
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}


def request_bytes(body, path="/v1/chat/completions", extra=""):
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n{extra}\r\n"
    return head.encode() + data


def read_all(sock):
    """Everything until the end; None: reset by the other side."""
    data = b""
    while True:
        try:
            part = sock.recv(65536)
        except ConnectionResetError:
            return None
        if not part:
            return data
        data += part


def events_of(data):
    return [e for e in data.decode().replace("\r\n", "\n").split("\n\n") if e]


def chunks_of(data):
    """The JSON of all data lines but [DONE]."""
    lines = [line for e in events_of(data) for line in e.split("\n") if line.startswith("data: ")]
    return [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]


def text_of(chunks, field="content"):
    return "".join(c["choices"][0]["delta"].get(field) or "" for c in chunks if c["choices"])


def finish_of(chunks):
    return [c["choices"][0]["finish_reason"] for c in chunks if c["choices"] and c["choices"][0]["finish_reason"]]


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b))


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.ai = Mockai("--seed", "7")

    @classmethod
    def tearDownClass(cls):
        assert cls.ai.stop() == 0

    def setUp(self):
        self.ai.control(latency="0", first_byte="0", pace="0", embeddings_latency="0", piece_bytes=24, answer_bytes=0,
                        seed=7, hold=False, embeddings_hold=False, faults=[], embeddings_faults=[])
        self.ai.call("POST", "/reset")

    def chat(self, text, **more):
        """The message of an answer that is not streamed."""
        return self.ai.json("POST", "/v1/chat/completions", chat_body(text, **more))

    def stream(self, text, **more):
        """Status, headers and body of a streamed answer."""
        return self.ai.call("POST", "/v1/chat/completions", chat_body(text, stream=True, **more))

    def raw(self, text, **more):
        """All bytes of the connection on which one chat was asked, for answers that are cut."""
        with self.ai.socket() as s:
            s.sendall(request_bytes(chat_body(text, **more)))
            return read_all(s)

    def wait_stats(self, name, value):
        for _ in range(200):
            if self.ai.stats()[name] == value:
                return
            time.sleep(0.01)
        self.fail(f"{name} is {self.ai.stats()[name]}, not {value}")


class Chat(Case):
    def test_answers_with_an_echo_usage_and_a_fresh_id(self):
        a, b = self.chat("What is a TTL?"), self.chat("What is a TTL?")
        self.assertEqual(a["object"], "chat.completion")
        self.assertEqual(a["model"], "gpt-4o")
        self.assertTrue(a["choices"][0]["message"]["content"].startswith('Answer to "What is a TTL?".'))
        self.assertEqual(a["choices"], b["choices"])
        self.assertNotEqual(a["id"], b["id"])
        self.assertEqual(a["choices"][0]["finish_reason"], "stop")
        usage = a["usage"]
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"])
        self.assertEqual(usage["prompt_tokens_details"]["cached_tokens"], 0)
        self.assertLess(abs(a["created"] - time.time()), 5)

    def test_model_messages_and_seed_change_the_answer(self):
        texts = {self.chat("q")["choices"][0]["message"]["content"],
                 self.chat("q", model="other")["choices"][0]["message"]["content"],
                 self.chat("q", messages=[{"role": "system", "content": "s"}, {"role": "user", "content": "q"}])
                 ["choices"][0]["message"]["content"]}
        self.ai.control(seed=8)
        texts.add(self.chat("q")["choices"][0]["message"]["content"])
        self.assertEqual(len(texts), 4)

    def test_a_stream_says_the_same_as_the_body(self):
        status, headers, data = self.stream('Tell "me", ü and 日本語', stream_options={"include_usage": True})
        self.assertEqual(status, 200)
        self.assertTrue(headers["Content-Type"].startswith("text/event-stream"))
        chunks = chunks_of(data)
        self.assertEqual(text_of(chunks), self.chat('Tell "me", ü and 日本語')["choices"][0]["message"]["content"])
        self.assertEqual(chunks[0]["choices"][0]["delta"]["role"], "assistant")
        self.assertEqual(finish_of(chunks), ["stop"])
        self.assertEqual(chunks[-1]["choices"], [])
        self.assertGreater(chunks[-1]["usage"]["completion_tokens"], 0)
        self.assertEqual({c["usage"] is None for c in chunks[:-1]}, {True})
        self.assertEqual(len({c["id"] for c in chunks}), 1)
        self.assertTrue(data.endswith(b"data: [DONE]\n\n"))

    def test_without_include_usage_there_is_none(self):
        self.assertFalse(any("usage" in c for c in chunks_of(self.stream("q")[2])))

    def test_every_piece_size_gives_the_same_text(self):
        whole = text_of(chunks_of(self.stream("日本語 ü")[2]))
        for size in (1, 2, 3, 7, 8192):
            self.ai.control(piece_bytes=size)
            self.assertEqual(text_of(chunks_of(self.stream("日本語 ü")[2])), whole)

    def test_azure_path_names_the_model(self):
        body = {"messages": [{"role": "user", "content": "q"}]}
        path = "/openai/deployments/my-gpt/chat/completions?api-version=2024-06-01"
        self.assertEqual(self.ai.json("POST", path, body)["model"], "my-gpt")
        chunks = chunks_of(self.ai.call("POST", path, {**body, "stream": True})[2])
        self.assertEqual(chunks[0]["choices"], [])
        self.assertEqual(chunks[1]["model"], "my-gpt")

    def test_answer_bytes_is_the_exact_size(self):
        for size in (1, 13, 14, 1000, 100000):
            text = self.chat(f"日本語 [[answer-bytes:{size}]]")
            self.assertEqual(len(text["choices"][0]["message"]["content"].encode()), size)

    def test_parts_choices_and_max_tokens(self):
        parts = [{"type": "text", "text": "one "}, {"type": "image_url", "image_url": {"url": "x"}},
                 {"type": "text", "text": "two"}]
        a = self.chat("", messages=[{"role": "user", "content": parts}], n=3)
        self.assertEqual([c["index"] for c in a["choices"]], [0, 1, 2])
        self.assertIn('"one two"', a["choices"][0]["message"]["content"])
        chunks = chunks_of(self.stream("q", n=2)[2])
        self.assertEqual({c["choices"][0]["index"] for c in chunks}, {0, 1})
        short = self.chat("q", max_tokens=2)["choices"][0]
        self.assertEqual((len(short["message"]["content"]), short["finish_reason"]), (8, "length"))

    def test_structured_answers_follow_the_schema(self):
        schema = {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer", "minimum": 3},
                                                   "kind": {"enum": ["a", "b"]},
                                                   "list": {"type": "array", "items": {"type": "boolean"}}}}
        a = self.chat("q", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
        value = json.loads(a["choices"][0]["message"]["content"])
        self.assertEqual((value["n"], value["kind"], value["list"]), (3, "a", [True]))
        a = self.chat("q", response_format={"type": "json_object"})
        self.assertIn("answer", json.loads(a["choices"][0]["message"]["content"]))
        a = self.chat("q [[fault:not-json]]", response_format={"type": "json_object"})
        self.assertTrue(a["choices"][0]["message"]["content"].startswith("Answer"))

    def test_a_required_tool_is_called(self):
        tools = [{"type": "function", "function": {"name": n, "parameters": {
            "type": "object", "properties": {"id": {"type": "integer"}}}}} for n in ("one", "two")]
        a = self.chat("q", tools=tools, tool_choice={"type": "function", "function": {"name": "two"}})
        call = a["choices"][0]["message"]["tool_calls"][0]
        self.assertEqual((call["function"]["name"], json.loads(call["function"]["arguments"])), ("two", {"id": 1}))
        self.assertEqual(self.chat("q", tools=tools)["choices"][0]["finish_reason"], "stop")


class Http(Case):
    def test_wrong_inputs_get_errors_of_the_provider(self):
        chat = "/v1/chat/completions"
        cases = [("POST", chat, "{not json", 400, None), ("POST", chat, "[]", 400, None),
                 ("POST", chat, "", 400, None), ("POST", chat, {"messages": []}, 400, "model"),
                 ("POST", chat, {"model": "m", "messages": []}, 400, "messages"),
                 ("POST", chat, {"model": "m", "messages": [3]}, 400, "messages"),
                 ("POST", chat, chat_body("x", n=99), 400, "n"),
                 ("POST", chat, chat_body("x", max_tokens=0), 400, "max_tokens"),
                 ("POST", chat, chat_body("[[fault:no-such-fault]]"), 400, None),
                 ("POST", chat, chat_body("[[latency:soon]]"), 400, None),
                 ("GET", chat, None, 405, None), ("POST", "/v1/nothing", {}, 404, None), ("GET", "/", None, 404, None),
                 ("POST", "/openai/deployments//chat/completions", {}, 404, None),
                 ("POST", "/v1/embeddings", {"model": "m"}, 400, "input"),
                 ("POST", "/v1/embeddings", {"model": "m", "input": []}, 400, "input"),
                 ("POST", "/v1/embeddings", {"model": "m", "input": [["x"]]}, 400, "input"),
                 ("POST", "/v1/embeddings", {"model": "m", "input": "x", "dimensions": 0}, 400, "dimensions"),
                 ("POST", "/v1/embeddings", {"model": "m", "input": "x", "encoding_format": "hex"}, 400,
                  "encoding_format")]
        for method, path, body, wanted, param in cases:
            status, _, data = self.ai.call(method, path, body)
            error = json.loads(data)["error"]
            self.assertEqual((status, error["param"]), (wanted, param), (path, body))
            self.assertTrue(error["message"] and error["type"])
        self.assertEqual(self.ai.stats()["refused"], len(cases))

    def test_brackets_that_are_no_marker_are_text(self):
        text = self.chat("see [[link]] and [[a:b]]")["choices"][0]["message"]["content"]
        self.assertIn('"see [[link]] and [[a:b]]"', text)

    def test_keep_alive_pipelining_and_close(self):
        one = request_bytes(chat_body("q"))
        last = request_bytes(chat_body("q"), extra="Connection: close\r\n")
        with self.ai.socket() as s:
            s.sendall(one * 300 + last)
            data = read_all(s)
        self.assertEqual(data.count(b"HTTP/1.1 200 OK"), 301)
        self.assertEqual(self.ai.stats()["answered"], 301)

    def test_a_request_may_come_byte_by_byte(self):
        with self.ai.socket() as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in request_bytes(chat_body("q"), extra="Connection: close\r\n"):
                s.sendall(bytes([byte]))
            self.assertIn(b"200 OK", read_all(s))

    def test_old_clients_get_no_chunks(self):
        data = json.dumps(chat_body("q", stream=True)).encode()
        with self.ai.socket() as s:
            s.sendall(b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            head, body = read_all(s).split(b"\r\n\r\n", 1)
        self.assertNotIn(b"chunked", head)
        self.assertTrue(body.endswith(b"data: [DONE]\n\n"))

    def test_expect_100_continue(self):
        head, body = request_bytes(chat_body("q"), extra="Expect: 100-continue\r\n").split(b"\r\n\r\n", 1)
        with self.ai.socket() as s:
            s.sendall(head + b"\r\n\r\n")
            self.assertEqual(s.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            s.sendall(body)
            self.assertTrue(s.recv(100).startswith(b"HTTP/1.1 200"))

    def test_bodies_up_to_32_MB(self):
        big = chat_body("x" * (31 << 20))
        status, _, data = self.ai.call("POST", "/v1/chat/completions", big)
        self.assertEqual(status, 200)
        with self.ai.socket() as s:
            s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 33554433\r\n\r\n" + b"x" * 100000)
            self.assertIn(b"413", read_all(s).split(b"\r\n")[0])
        with self.ai.socket() as s:
            s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3000000\r\n")
            try:
                for _ in range(0x30):
                    s.sendall(b"x" * (1 << 20))
            except OSError:
                pass  # refused while we were still sending: all right
            else:
                self.assertIn(b"413", read_all(s).split(b"\r\n")[0])
        self.chat("still here")

    def test_rubbish_gets_a_400(self):
        with self.ai.socket() as s:
            s.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            self.assertIn(b"400", read_all(s).split(b"\r\n")[0])
        with self.ai.socket() as s:
            s.sendall(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n")
            self.assertIn(b"414", read_all(s).split(b"\r\n")[0])
        with self.ai.socket() as s:
            s.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 70000 + b"\r\n\r\n")
            self.assertIn(b"431", read_all(s).split(b"\r\n")[0])

    def test_models(self):
        models = self.ai.json("GET", "/v1/models")
        self.assertEqual(models["object"], "list")
        self.assertIn("gpt-4o-mini", [m["id"] for m in models["data"]])


class Embeddings(Case):
    def embed(self, text, **more):
        return self.ai.json("POST", "/v1/embeddings", {"model": "text-embedding-3-small", "input": text, **more})

    def test_equal_texts_are_equal_and_shared_words_are_near(self):
        a, b, c, d = [e["embedding"] for e in self.embed(
            ["How do I reset my password?", "How do I reset my password?", "how can I reset the password",
             "Bananas are yellow fruit"])["data"]]
        self.assertEqual(len(a), 1536)
        self.assertAlmostEqual(cosine(a, a), 1, places=4)
        self.assertEqual(a, b)
        self.assertGreater(cosine(a, c), 0.7)
        self.assertLess(abs(cosine(a, d)), 0.3)

    def test_base64_holds_the_same_floats(self):
        floats = self.embed("x y z", dimensions=256)["data"][0]["embedding"]
        packed = self.embed("x y z", dimensions=256, encoding_format="base64")["data"][0]["embedding"]
        self.assertEqual(len(floats), 256)
        decoded = struct.unpack("<256f", base64.b64decode(packed))
        self.assertTrue(all(abs(x - y) < 1e-7 for x, y in zip(floats, decoded)))

    def test_tokens_lists_and_the_azure_path(self):
        self.assertEqual(len(self.embed([1, 2, 3])["data"]), 1)
        self.assertEqual(len(self.embed([[1, 2], [3]])["data"]), 2)
        a = self.ai.json("POST", "/openai/deployments/emb/embeddings?api-version=1", {"input": "x"})
        self.assertEqual((a["model"], a["object"], a["data"][0]["object"]), ("emb", "list", "embedding"))
        self.assertGreater(a["usage"]["total_tokens"], 0)
        self.assertEqual(self.ai.stats()["embeddings"], 3)
        self.assertEqual(self.ai.stats()["embeddings_inputs"], 4)

    def test_its_faults_and_latency_are_its_own(self):
        self.embed("plain [[fault:500]]")
        self.chat("plain [[embeddings-fault:500]]")
        body = {"model": "e", "input": "x [[embeddings-fault:429=3]]"}
        status, headers, _ = self.ai.call("POST", "/v1/embeddings", body)
        self.assertEqual((status, headers["Retry-After"]), (429, "3"))
        self.ai.control(embeddings_faults=["503#1"])
        self.assertEqual(self.ai.call("POST", "/v1/embeddings", {"model": "e", "input": "x"})[0], 503)
        self.embed("x")
        for fault in ("half-event", "malformed-sse"):
            data = self.ai.call("POST", "/v1/embeddings", {"model": "e", "input": f"x [[embeddings-fault:{fault}]]"})[2]
            self.assertRaises(ValueError, json.loads, data)
        before = time.monotonic()
        self.embed("x [[embeddings-latency:150ms]] [[latency:5s]]")
        self.assertTrue(0.14 < time.monotonic() - before < 1)
        plain, marked = [e["embedding"] for e in self.embed(["a b c", "a b c [[embeddings-latency:1ms]]"])["data"]]
        self.assertEqual(plain, marked)


class Faults(Case):
    def error(self, fault):
        status, headers, data = self.ai.call("POST", "/v1/chat/completions", chat_body(f"q [[fault:{fault}]]"))
        self.assertTrue(json.loads(data)["error"]["message"])
        return status, headers

    def test_statuses(self):
        self.assertEqual(self.error("429=7")[1]["Retry-After"], "7")
        self.assertRegex(self.error("429-date=60")[1]["Retry-After"], r"^\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT$")
        self.assertEqual(self.error("503=4")[1]["Retry-After"], "4")
        for fault, status in (("429", 429), ("500", 500), ("503", 503), ("401", 401), ("400", 400),
                              ("status=404", 404)):
            self.assertEqual(self.error(fault)[0], status)

    def test_html_and_wrong_type(self):
        status, headers, data = self.stream("q [[fault:html]]")
        self.assertEqual((status, headers["Content-Type"].split(";")[0]), (200, "text/html"))
        status, headers, data = self.stream("q [[fault:wrong-type]]")
        self.assertEqual(headers["Content-Type"], "application/json")
        self.assertIn("message", json.loads(data)["choices"][0])
        headers = self.ai.call("POST", "/v1/chat/completions", chat_body("q [[fault:wrong-type]]"))[1]
        self.assertTrue(headers["Content-Type"].startswith("text/event-stream"))

    def test_cuts(self):
        self.assertEqual(self.raw("q [[fault:cut-before]]"), b"")
        whole = len(self.stream("q")[2])
        cut = self.raw("q [[fault:cut]]", stream=True)
        self.assertIn(b"200 OK", cut)
        self.assertNotIn(b"[DONE]", cut)
        self.assertTrue(whole / 4 < len(cut) < whole)
        body = self.raw("q [[fault:cut]]")
        length = int(body.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        self.assertTrue(0 < len(body.split(b"\r\n\r\n", 1)[1]) < length)
        self.assertIsNone(self.raw("q [[fault:reset]] [[pace:1ms]]", stream=True))
        stats = self.ai.stats()
        self.assertEqual((stats["faults"]["cut"], stats["in_flight"], stats["aborted_by_client"]), (2, 0, 0))

    def test_hangs_last_until_the_client_leaves(self):
        for text, wanted in (("q [[fault:hang]]", 0), ("q [[fault:hang-mid]]", 1)):
            with self.ai.socket() as s:
                s.settimeout(0.15)
                s.sendall(request_bytes(chat_body(text, stream=True)))
                data = b""
                with self.assertRaises(TimeoutError):
                    while True:
                        part = s.recv(65536)
                        self.assertNotEqual(part, b"")
                        data += part
                self.assertEqual(data.count(b"200 OK"), wanted)
                self.assertNotIn(b"[DONE]", data)
                self.assertEqual(self.ai.stats()["in_flight"], 1)
            self.wait_stats("in_flight", 0)
        self.assertEqual(self.ai.stats()["aborted_by_client"], 2)

    def test_broken_streams(self):
        data = self.stream("q [[fault:malformed-sse]]")[2]
        self.assertRaises(ValueError, chunks_of, data)
        self.assertTrue(data.endswith(b"data: [DONE]\n\n"))
        data = self.stream("q [[fault:half-event]]")[2]
        self.assertFalse(data.endswith(b"\n"))
        data = self.stream("q [[fault:error-in-stream]]")[2]
        self.assertIn("error", chunks_of(data)[-1])
        self.assertNotIn(b"[DONE]", data)
        data = self.stream("q [[fault:no-done]]")[2]
        self.assertEqual(finish_of(chunks_of(data)), ["stop"])
        self.assertNotIn(b"[DONE]", data)
        data = self.stream("q [[fault:no-finish]] [[fault:no-usage]]", stream_options={"include_usage": True})[2]
        self.assertEqual(finish_of(chunks_of(data)), [])
        self.assertFalse(any(c.get("usage") for c in chunks_of(data)))

    def test_broken_bodies(self):
        for fault in ("malformed-sse", "half-event"):
            data = self.ai.call("POST", "/v1/chat/completions", chat_body(f"q [[fault:{fault}]]"))[2]
            self.assertRaises(ValueError, json.loads, data)
        self.assertIn("error", self.chat("q [[fault:error-in-stream]]"))

    def test_odd_but_valid_streams(self):
        data = self.stream("q [[fault:crlf]] [[fault:comments]]")[2]
        self.assertTrue(data.endswith(b"data: [DONE]\r\n\r\n"))
        self.assertNotIn(b"\n", data.replace(b"\r\n", b""))
        self.assertIn(b": keep-alive\r\n", data)
        self.assertTrue(text_of(chunks_of(data)).startswith('Answer to "q".'))
        data = self.stream("q [[fault:unknown-length]]")
        self.assertIsNone(data[1]["Transfer-Encoding"])
        self.assertIsNone(data[1]["Content-Length"])
        self.assertTrue(data[2].endswith(b"data: [DONE]\n\n"))
        status, headers, data = self.ai.call("POST", "/v1/chat/completions", chat_body("q [[fault:unknown-length]]"))
        self.assertIsNone(headers["Content-Length"])
        json.loads(data)

    def test_unusual_answers(self):
        def both(fault):
            return (self.chat(f"q [[fault:{fault}]]")["choices"][0],
                    chunks_of(self.stream(f"q [[fault:{fault}]]")[2]))

        for fault, finish in (("length", "length"), ("content-filter", "content_filter")):
            body, chunks = both(fault)
            self.assertEqual((body["finish_reason"], finish_of(chunks)), (finish, [finish]))
            self.assertEqual(body["message"]["content"], text_of(chunks))
        body, chunks = both("empty")
        self.assertEqual((body["message"]["content"], text_of(chunks), finish_of(chunks)), ("", "", ["stop"]))
        body, chunks = both("refusal")
        self.assertIsNone(body["message"]["content"])
        self.assertEqual(body["message"]["refusal"], text_of(chunks, "refusal"))
        body, chunks = both("reasoning")
        self.assertEqual(body["message"]["reasoning_content"], text_of(chunks, "reasoning_content"))
        kinds = [k for c in chunks for k in c["choices"][0]["delta"] if k in ("reasoning_content", "content")]
        self.assertEqual(kinds[1:], sorted(kinds[1:], reverse=True))  # the first is the empty content with the role
        usage = self.chat("q " + "x" * 400 + "[[fault:cached-tokens=64]]")["usage"]
        self.assertEqual(usage["prompt_tokens_details"]["cached_tokens"], 64)

    def test_tool_calls(self):
        for fault, count in (("tool-call", 1), ("tool-calls-2", 2)):
            choice = self.chat(f"q [[fault:{fault}]]")["choices"][0]
            self.assertEqual(choice["finish_reason"], "tool_calls")
            calls = choice["message"]["tool_calls"]
            self.assertEqual([c["function"]["name"] for c in calls], ["get_weather"] * count)
            self.ai.control(piece_bytes=4)
            chunks = chunks_of(self.stream(f"q [[fault:{fault}]]")[2])
            order, arguments = [], [""] * count
            for c in chunks:
                for call in c["choices"][0]["delta"].get("tool_calls", []):
                    order.append(call["index"])
                    arguments[call["index"]] += call["function"]["arguments"]
            self.assertEqual(arguments, [c["function"]["arguments"] for c in calls])
            self.assertEqual([set(json.loads(a)) for a in arguments], [{"city"}] * count)
            self.assertEqual(order[:4], [0, 1, 0, 1] if count == 2 else [0] * 4)

    def test_slow_bytes(self):
        before = time.monotonic()
        with self.ai.socket() as s:
            s.sendall(request_bytes(chat_body("q [[fault:slow-bytes]] [[answer-bytes:1]]")))
            sizes = []
            while sum(sizes) < 300:
                sizes.append(len(s.recv(65536)))
        self.assertGreater(len(sizes), 50)
        self.assertGreater(time.monotonic() - before, 0.1)

    def test_an_endless_line_is_written_with_back_pressure(self):
        with self.ai.socket() as s:
            s.sendall(request_bytes(chat_body("q [[fault:no-newline=2G]]", stream=True)))
            head = s.recv(4096)
            self.assertIn(b"200 OK", head)
            time.sleep(0.1)  # not read: it must stop, and answer others
            self.chat("another")
            sent = self.ai.stats()["bytes"]
            time.sleep(0.1)
            self.assertLess(self.ai.stats()["bytes"] - sent, 1 << 20)
            self.assertLess(sent, 64 << 20)
            got = 0
            while got < 100 << 20:
                part = s.recv(1 << 20)
                self.assertNotIn(b"\n", part)
                got += len(part)
        self.wait_stats("aborted_by_client", 1)
        for stream in (True, False):
            status, _, data = self.ai.call("POST", "/v1/chat/completions",
                                           chat_body("q [[fault:no-newline=3M]]", stream=stream))
            self.assertEqual((status, data.count(b"x" * (3 << 20))), (200, 1))

    def test_probability_and_count(self):
        self.ai.control(faults=["500#3"])
        self.assertEqual([self.ai.call("POST", "/v1/chat/completions", chat_body("q"))[0] for _ in range(5)],
                         [500, 500, 500, 200, 200])
        self.ai.control(faults=["503@0.3"])
        connection = self.ai.connect()
        failed = 0
        for _ in range(500):
            connection.request("POST", "/v1/chat/completions", json.dumps(chat_body("q")))
            response = connection.getresponse()
            response.read()
            failed += response.status == 503
        connection.close()
        self.assertTrue(100 < failed < 200, failed)
        self.assertEqual(self.ai.stats()["faults"], {"500": 3, "503": failed})

    def test_a_counting_marker_counts_the_calls_of_its_prompt(self):
        body = chat_body("retry me [[fault:500#2]]")
        self.assertEqual([self.ai.call("POST", "/v1/chat/completions", body)[0] for _ in range(4)],
                         [500, 500, 200, 200])


class Clock(Case):
    def first_byte_ms(self, text, **more):
        with self.ai.socket() as s:
            s.sendall(request_bytes(chat_body(text, **more), extra="Connection: close\r\n"))
            before = time.monotonic()
            s.recv(1)
            first = time.monotonic()
            read_all(s)
            return (first - before) * 1000, (time.monotonic() - first) * 1000

    def draws(self, latency, count=200):
        """Many at once: the distribution, not the sum of it."""
        self.ai.control(latency=latency)
        result = []

        def one():
            result.append(self.first_byte_ms("q")[0])

        threads = [threading.Thread(target=one) for _ in range(count)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return sorted(result)

    def test_fixed_latency_and_pace(self):
        self.ai.control(latency="200ms", pace="20ms", answer_bytes=240, piece_bytes=24)
        first, rest = self.first_byte_ms("q", stream=True)
        self.assertTrue(195 < first < 300, first)
        self.assertTrue(170 < rest < 320, rest)  # ten pieces, nine pauses
        first, rest = self.first_byte_ms("q")
        self.assertTrue(195 < first < 300 and rest < 50, (first, rest))

    def test_headers_may_come_before_the_first_event(self):
        first, rest = self.first_byte_ms("q [[latency:50ms]][[first-byte:150ms]]", stream=True)
        self.assertTrue(45 < first < 140 and 140 < rest < 300, (first, rest))

    def test_distributions(self):
        uniform = self.draws("uniform:100ms-400ms")
        self.assertTrue(95 < uniform[0] < 150 and 350 < uniform[-1] < 650, (uniform[0], uniform[-1]))
        lognormal = self.draws("lognormal:median=200ms,sigma=0.5")
        self.assertTrue(160 < lognormal[100] < 290, lognormal[100])
        self.assertGreater(lognormal[190] / lognormal[100], 1.5)
        exp = self.draws("exp:mean=200ms")
        self.assertTrue(140 < sum(exp) / len(exp) < 320, sum(exp) / len(exp))
        self.assertLess(exp[20], 90)

    def test_hold_keeps_answers_until_it_ends(self):
        self.ai.control(hold=True)
        threads = [threading.Thread(target=self.chat, args=(f"q{i}",)) for i in range(20)]
        for t in threads:
            t.start()
        self.wait_stats("in_flight", 20)
        time.sleep(0.1)
        self.assertEqual(self.ai.stats()["answered"], 0)
        self.ai.json("POST", "/v1/embeddings", {"model": "e", "input": "not held"})
        self.ai.control(embeddings_hold=True)
        held = ("POST", "/v1/embeddings", {"model": "e", "input": "x"})
        threads.append(threading.Thread(target=self.ai.json, args=held))
        threads[-1].start()
        self.wait_stats("in_flight", 21)
        self.ai.control(hold=False)
        self.wait_stats("in_flight", 1)
        self.ai.control(embeddings_hold=False)
        for t in threads:
            t.join()
        stats = self.ai.stats()
        self.assertEqual((stats["answered"], stats["in_flight"], stats["in_flight_max"]), (22, 0, 21))


class Panel(Case):
    def test_stats_tell_what_was_asked(self):
        self.chat("one")
        self.chat("one")
        self.stream("two")
        self.ai.call("POST", "/v1/chat/completions?a=b", chat_body("secret"),
                     {"Authorization": "Bearer sk-123", "api-key": "sk-123", "X-Test": "yes"})
        s = self.ai.stats()
        self.assertEqual((s["requests"], s["chat"], s["chat_streamed"], s["answered"]), (4, 4, 1, 4))
        self.assertEqual(s["by_prompt"], {"one": 2, "two": 1, "secret": 1})
        last = s["last_request"]
        self.assertEqual((last["method"], last["target"]), ("POST", "/v1/chat/completions?a=b"))
        self.assertEqual(json.loads(last["body"]), chat_body("secret"))
        self.assertEqual(last["headers"]["x-test"], "yes")
        self.assertNotIn("sk-123", json.dumps(s))
        self.assertIn(last["auth"], ("bearer", "api-key"))
        self.assertGreater(s["bytes"], 1000)
        brief = self.ai.json("GET", "/stats?brief=1")
        self.assertNotIn("by_prompt", brief)
        self.ai.call("POST", "/reset")
        s = self.ai.stats()
        self.assertEqual((s["requests"], s["by_prompt"], s["last_request"]), (0, {}, None))

    def test_what_is_kept_is_bounded(self):
        self.chat("ü" * 100000)
        s = self.ai.stats()
        self.assertEqual(list(s["by_prompt"]), ["ü" * 40])
        self.assertLessEqual(len(s["last_request"]["body"].encode()), 65536)
        self.assertGreater(s["last_request"]["body_bytes"], 200000)
        connection = self.ai.connect()
        for i in range(10050):
            connection.request("POST", "/v1/chat/completions", json.dumps(chat_body(f"q{i}")))
            connection.getresponse().read()
        connection.close()
        s = self.ai.stats()
        self.assertEqual((len(s["by_prompt"]), s["by_prompt_dropped"]), (10000, 51))

    def test_control_is_all_or_nothing(self):
        before = self.ai.json("GET", "/control")
        for bad in ({"latency": "1ms", "pace": "x"}, {"nothing": 1}, {"faults": ["cut", "nope"]}, {"faults": 3},
                    {"piece_bytes": 0}, {"answer_bytes": 1 << 30}, {"latency": None}, {"faults": ["cut"] * 99},
                    {"faults": ["500@2"]}, {"faults": ["no-newline=3G"]}, {"latency": "uniform:5ms-1ms"},
                    {"hold": "maybe"}):
            status, _, data = self.ai.call("POST", "/control", bad)
            self.assertEqual(status, 400, bad)
            self.assertTrue(json.loads(data)["error"]["message"])
        self.assertEqual(self.ai.call("POST", "/control", "nonsense")[0], 400)
        self.assertEqual(self.ai.json("GET", "/control"), before)
        after = self.ai.control(latency="5ms", faults=["cut@0.5", "429=2#3"])
        self.assertEqual((after["latency"], after["faults"]), ("5ms", ["cut@0.5", "429=2#3"]))
        self.assertEqual(self.ai.stats()["requests"], 0)

    def test_a_client_that_leaves_is_counted(self):
        self.ai.control(latency="10s")
        with self.ai.socket() as s:
            s.sendall(request_bytes(chat_body("q")))
            self.wait_stats("in_flight", 1)
        self.wait_stats("aborted_by_client", 1)
        self.assertEqual(self.ai.stats()["in_flight"], 0)


class Process(unittest.TestCase):
    def run_to_end(self, *arguments):
        return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S)

    def test_help_and_version(self):
        for option, text in (("--help", "--latency"), ("--version", "promptcache-mockai ")):
            done = self.run_to_end(option)
            self.assertEqual(done.returncode, 0)
            self.assertIn(text, done.stdout)

    def test_wrong_options_exit_2_and_say_why(self):
        for arguments, text in ((["--nope"], "--nope"), (["nope"], "nope"), (["--latency"], "--latency"),
                                (["--latency", "soon"], "soon"), (["--fault", "gremlin"], "gremlin"),
                                (["--listen", "nowhere"], "nowhere"), (["--listen", "127.0.0.1:99999"], "99999")):
            done = self.run_to_end(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(text, done.stderr)

    def test_a_port_in_use_exits_1(self):
        ai = Mockai()
        done = self.run_to_end("--listen", f"127.0.0.1:{ai.port}")
        self.assertEqual(done.returncode, 1)
        self.assertIn("in use", done.stderr)
        self.assertEqual(ai.stop(), 0)

    def test_signals_end_it_cleanly_even_with_clients(self):
        for signo in (signal.SIGTERM, signal.SIGINT):
            ai = Mockai("--latency=10s", "--fault", "no-newline=1G#1")
            with ai.socket() as waiting, ai.socket() as idle, ai.socket() as endless:
                waiting.sendall(request_bytes(chat_body("q")))
                endless.sendall(request_bytes(chat_body("q [[latency:0]]", stream=True)))
                idle.sendall(b"POST /v1/ch")
                time.sleep(0.1)
                self.assertEqual(ai.stop(signo), 0)

    def test_the_command_line_sets_what_control_sets(self):
        ai = Mockai("--latency", "3ms", "--pace=1ms", "--piece-bytes", "5", "--fault", "cut@0.1", "--fault", "429=2#1",
                    "--dimensions", "64", "--hold", "false")
        settings = ai.json("GET", "/control")
        self.assertEqual((settings["latency"], settings["pace"], settings["piece_bytes"]), ("3ms", "1ms", 5))
        self.assertEqual(settings["faults"], ["cut@0.1", "429=2#1"])
        a = ai.json("POST", "/v1/embeddings", {"model": "m", "input": "x"})
        self.assertEqual(len(a["data"][0]["embedding"]), 64)
        self.assertEqual(ai.stop(), 0)

    def test_a_storm_of_connections(self):
        import resource
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        count = min(3000, hard // 4)
        ai = Mockai("--latency", "100ms")
        sockets = [ai.socket() for _ in range(count)]
        for s in sockets:
            s.sendall(request_bytes(chat_body("q"), extra="Connection: close\r\n"))
        self.assertTrue(all(b"200 OK" in read_all(s) for s in sockets))
        for s in sockets:
            s.close()
        stats = ai.stats()
        self.assertEqual((stats["answered"], stats["in_flight"]), (count, 0))
        self.assertGreaterEqual(stats["connections_open_max"], count // 2)
        self.assertEqual(ai.stop(), 0)


if __name__ == "__main__":
    unittest.main()
