"""What the integration tests share: the daemon and the simulated provider as processes on private addresses, and a small client that speaks
the protocol with Python's msgpack, so that a mistake of the C client cannot hide one of the server.

PROMPTCACHE_BUILD names the build directory. Everything lives in a temporary directory a test class; nothing but the loopback is used. A
daemon must end with 0 after SIGTERM and leave no report of a sanitizer behind, or the class fails."""

import collections
import http.client
import itertools
import json
import os
import re
import selectors
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import msgpack

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "vectors"))
sys.dont_write_bytecode = True
import reference  # noqa: E402  the protocol's numbers, written a second time from PROTOCOL.md

BUILD = os.path.abspath(os.environ.get("PROMPTCACHE_BUILD", os.path.join(ROOT, "build")))
DAEMON = os.path.join(BUILD, "server", "promptcached")
MOCKAI = os.path.join(BUILD, "bench", "promptcache-mockai")
CLI = os.path.join(BUILD, "client", "cli", "promptcache")

TIMEOUT_S = 30
REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "Assertion `")
SECRET_KEY = "sk-integration-0123456789abcdef"
FEATURE_STREAM, FEATURE_WINDOW, FEATURE_GOAWAY = 1, 2, 4
TEXT, REASONING, REFUSAL, TOOL_CALL = 1, 2, 3, 4
SOURCES = ("none", "exact", "semantic", "llm", "joined", "stale")
REASONS = ("none", "stored", "already", "no_store", "unfinished", "empty", "invalidated", "too_large", "uncacheable", "no_memory",
           "disabled", "miss")
FINAL = ("END", "ERROR")


def binary_has(path, word):
    with open(path, "rb") as f:
        return word in f.read()


SANITIZED = os.path.exists(DAEMON) and binary_has(DAEMON, b"__asan_init")


def wait_until(condition, what, timeout_s=TIMEOUT_S):
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout_s} s")
        time.sleep(0.01)


def read_text(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


# ---- processes


class Mockai:
    """The simulated provider, on a free port."""

    def __init__(self, *options):
        self.process = subprocess.Popen([MOCKAI, "--listen", "127.0.0.1:0", *options], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip()
        assert line.startswith("listening on http://"), line
        self.base_url = line.removeprefix("listening on ")
        self.port = int(self.base_url.rsplit(":", 1)[1].split("/")[0])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(TIMEOUT_S)
        self.process.stdout.close()
        return code

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            data = response.read()
            assert response.status == 200, (response.status, data)
            return json.loads(data) if data else None
        finally:
            connection.close()

    def control(self, **settings):
        return self.call("POST", "/control", settings)

    def reset(self):
        self.control(latency="0", first_byte="0", pace="0", piece_bytes=24, answer_bytes=0, hold=False, faults=[])
        self.call("POST", "/reset")

    def stats(self):
        return self.call("GET", "/stats")

    def last_request(self):
        return self.stats()["last_request"]

    def calls(self, prompt=None):
        """How often the provider was asked: in all, or with this text as the last user message."""
        stats = self.stats()
        return stats["chat"] if prompt is None else stats["by_prompt"].get(prompt.encode()[:80].decode(), 0)

    def wait_calls(self, count, prompt=None):
        wait_until(lambda: self.calls(prompt) >= count, f"{count} calls of the provider")


class Daemon:
    """One promptcached. `listens`: addresses, default a Unix socket and TCP on a free port. Options are those of the configuration; None
    leaves one out."""

    def __init__(self, home, options=None, ai=None, config=None, env=None, listens=None, arguments=(), wait=True, limits=None):
        self.home = home
        self.state = os.path.join(home, "state")
        self.socket_path = os.path.join(home, "promptcached.sock")  # the default, with XDG_RUNTIME_DIR below
        self.log_path = os.path.join(home, f"daemon-{len(os.listdir(home))}.log")
        self.code = None
        self.env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": home, "XDG_STATE_HOME": self.state, "XDG_RUNTIME_DIR": home}
        self.env |= {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}
        if ai is not None:
            self.env |= {"OPENAI_BASE_URL": ai.base_url, "OPENAI_API_KEY": SECRET_KEY}
        self.env |= env or {}
        listens = [f"unix:{self.socket_path}", "tcp://127.0.0.1:0"] if listens is None else listens
        settings = {"store.kind": "none", "listen": ",".join(listens) or None} | (options or {})
        command = [DAEMON, *arguments]
        if config is not None:
            path = os.path.join(home, "promptcached.yaml")
            with open(path, "w", encoding="utf-8") as f:
                f.write(config)
            command += ["--config", path]
        for key, value in settings.items():
            if value is not None:
                command += ["--set", f"{key}={value}"]
        self.log_file = open(self.log_path, "wb")
        self.process = subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=self.log_file, stderr=self.log_file,
                                        cwd=home, preexec_fn=limits)
        if wait:
            self.wait_ready(len(listens) or 2)

    def log(self):
        return read_text(self.log_path)

    def wait_ready(self, count):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.log()}")
            return self.log().count("server.ready") >= count
        wait_until(ready, f"{count} lines server.ready")

    def wait_log(self, pattern, timeout_s=TIMEOUT_S):
        return wait_until(lambda: re.search(pattern, self.log()), f"a log line with {pattern}", timeout_s)

    @property
    def port(self):
        return int(re.search(r"server\.ready listen=tcp://\S*:(\d+)", self.log())[1])

    @property
    def token(self):
        return read_text(os.path.join(self.state, "promptcached", "token")).strip()

    def client(self, transport="unix", **hello):
        c = Client(self.socket(transport))
        try:
            return c.hello(token=self.token if transport == "tcp" else None, **hello)
        except BaseException:
            c.close()
            raise

    def socket(self, transport="unix"):
        if transport == "tcp":
            return socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S)
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.connect(self.socket_path)  # blocking: with a timeout a full backlog is an error
        s.settimeout(TIMEOUT_S)
        return s

    def stats(self):
        with self.client() as c:
            return c.call("STATS").body["stats"]

    def memory_kb(self, field="VmRSS"):
        return int(re.search(rf"{field}:\s+(\d+)", read_text(f"/proc/{self.process.pid}/status"))[1])

    def signal(self, signo):
        self.process.send_signal(signo)

    def wait(self, timeout_s=TIMEOUT_S):
        self.code = self.process.wait(timeout_s)
        self.log_file.close()
        return self.code

    def kill(self):
        """As after a crash: nothing is flushed."""
        if self.code is None:
            self.process.kill()
            self.wait()

    def check(self, code=0):
        log = self.log()
        for report in REPORTS:
            assert report not in log, f"{report} in the daemon's log:\n{log[-20000:]}"
        assert SECRET_KEY not in log, "the provider's key is in the log"
        assert self.code == code, f"the daemon ended with {self.code}, not {code}:\n{log[-8000:]}"

    def stop(self):
        """The ordinary end, with what every test wants of it."""
        if self.code is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGABRT)
                self.wait()
                raise AssertionError(f"the daemon did not end within {TIMEOUT_S} s of SIGTERM:\n{self.log()[-8000:]}") from None
            self.check()


# ---- the protocol

Frame = collections.namedtuple("Frame", "op id flags body")
KEY_NAMES = {op: {number: name for name, number in keys.items()} for op, keys in reference.KEYS.items()}


class Closed(Exception):
    """The server has closed the connection; `rest` is what it said that is no whole frame."""

    def __init__(self, rest=b""):
        super().__init__(f"closed by the server, after {rest!r}")
        self.rest = rest


class Reply:
    """All frames of one request."""

    def __init__(self, frames):
        self.frames = frames
        self.op, self.body = frames[-1].op, frames[-1].body
        self.head = next((f.body for f in frames if f.op == "HEAD"), None)
        self.chunks = [f.body for f in frames if f.op == "CHUNK"]
        self.segments = []
        pieces = [(c["kind"], c["index"], c["data"]) for c in self.chunks] + [tuple(s) for s in self.body.get("segments", [])]
        for kind, index, data in pieces:
            if self.segments and self.segments[-1][1] == index:
                self.segments[-1][2] += data
            else:
                self.segments.append([kind, index, data])

    def of(self, kind):
        return b"".join(data for k, _, data in self.segments if k == kind).decode()

    @property
    def text(self):
        return self.of(TEXT)

    @property
    def content(self):
        """The segments without the ids of tool calls, which a replay makes anew."""
        return [[kind, index, re.sub(rb'"id":"[^"]*"', b"", data) if kind == TOOL_CALL else data] for kind, index, data in self.segments]

    @property
    def source(self):
        return SOURCES[self.body["source"]]

    @property
    def reason(self):
        return REASONS[self.body["reason"]]

    def __repr__(self):
        return f"Reply({self.op}, {self.body})"


def payload(op, id, body, flags=0):
    return reference.pack([op, id, flags, body])


class Client:
    """One connection, blocking. PINGs of the server are answered unless `mute`."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = bytearray()
        self.ids = itertools.count(1)
        self.kept = collections.defaultdict(list)  # frames of requests that nobody has asked about yet
        self.server_hello = None
        self.mute = False
        self.goaway = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def hello(self, token=None, version=1, features=FEATURE_STREAM | FEATURE_WINDOW | FEATURE_GOAWAY, **more):
        body = {"version": version, "features": features, "client": "integration"} | more
        if token is not None:
            body["token"] = token
        reply = self.call("HELLO", **body)
        assert reply.op == "END", reply
        self.server_hello = reply.body
        return self

    def raw(self, data):
        self.sock.sendall(data)

    def send(self, op, id=None, flags=0, **body):
        id = next(self.ids) if id is None else id
        self.raw(reference.frame(op, id, body, flags))
        return id

    def take(self):
        """A whole frame from the buffer, or None."""
        if not self.buffer:
            return None
        if self.buffer[0] != 0xCE:
            raise Closed(bytes(self.buffer))
        if len(self.buffer) < 5:
            return None
        n, = struct.unpack_from(">I", self.buffer, 1)
        if len(self.buffer) < 5 + n:
            return None
        op, id, flags, body = msgpack.unpackb(bytes(self.buffer[5:5 + n]), strict_map_key=False)
        del self.buffer[:5 + n]
        op = reference.OP_NAMES[op]
        frame = Frame(op, id, flags, {KEY_NAMES[op].get(number, number): value for number, value in body.items()})
        if op == "PING" and id == 0 and not flags & reference.ACK and not self.mute:
            self.raw(reference.frame("PING", 0, {}, reference.ACK))
        if op == "GOAWAY":
            self.goaway = frame.body
        return frame

    def fill(self):
        """More bytes from the socket; Closed at its end."""
        try:
            data = self.sock.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(bytes(self.buffer))
        self.buffer += data

    def receive(self, timeout_s=TIMEOUT_S):
        self.sock.settimeout(timeout_s)
        while True:
            frame = self.take()
            if frame is not None:
                return frame
            self.fill()

    def reply(self, id, timeout_s=TIMEOUT_S):
        """Waits for the final frame of a request; frames of others are kept for them."""
        end = time.monotonic() + timeout_s
        while not (self.kept[id] and self.kept[id][-1].op in FINAL):
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no final frame for {id}, only {self.kept[id]}")
            frame = self.receive(left)
            self.kept[frame.id].append(frame)
        return Reply(self.kept.pop(id))

    def wait_frame(self, id, op, timeout_s=TIMEOUT_S):
        """Waits for a frame that is not final, and keeps it."""
        end = time.monotonic() + timeout_s
        while not any(f.op == op for f in self.kept[id]):
            frame = self.receive(max(end - time.monotonic(), 0.001))
            self.kept[frame.id].append(frame)
            if frame.id == id and frame.op in FINAL and op not in FINAL:
                raise AssertionError(f"{frame} came before {op}")
        return next(f for f in self.kept[id] if f.op == op)

    def call(self, op, timeout_s=TIMEOUT_S, **body):
        return self.reply(self.send(op, **body), timeout_s)

    def rest(self, timeout_s=TIMEOUT_S):
        """Everything until the server closes."""
        self.sock.settimeout(timeout_s)
        try:
            while True:
                self.fill()
        except Closed as closed:
            return closed.rest

    def frames_until_closed(self, timeout_s=TIMEOUT_S):
        frames = []
        try:
            while True:
                frames.append(self.receive(timeout_s))
        except Closed as closed:
            return frames, closed.rest


def gather(waiting, timeout_s=TIMEOUT_S):
    """Reads on many connections at once. waiting: {client: ids}. Returns {(client, id): (Reply, when it ended)}."""
    replies = {}
    left = {client: set(ids) for client, ids in waiting.items()}
    end = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        for client in waiting:
            client.sock.settimeout(timeout_s)
            selector.register(client.sock, selectors.EVENT_READ, client)
        while any(left.values()):
            ready = selector.select(max(end - time.monotonic(), 0))
            if not ready:
                raise TimeoutError(f"{sum(map(len, left.values()))} answers did not come within {timeout_s} s")
            for key, _ in ready:
                client = key.data
                client.fill()
                while (frame := client.take()) is not None:
                    client.kept[frame.id].append(frame)
                    if frame.op in FINAL and frame.id in left[client]:
                        left[client].discard(frame.id)
                        replies[client, frame.id] = (Reply(client.kept.pop(frame.id)), time.monotonic())
    return replies


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


# ---- test classes


class Case(unittest.TestCase):
    """One daemon and one provider a class. Variants set the transport and the store; classes add options, or a configuration in which
    {base_url} is the provider's."""

    transport = "unix"
    store = "none"
    options = {}
    config = None
    env = {}
    ai_options = ()
    limits = None
    counter = itertools.count(1)

    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.mkdtemp(prefix="promptcache-")
        cls.addClassCleanup(shutil.rmtree, cls.home, ignore_errors=True)
        cls.ai = Mockai(*cls.ai_options)
        cls.addClassCleanup(cls.stop_ai)
        cls.daemon = None
        cls.addClassCleanup(cls.stop_daemon)
        cls.start_daemon()

    @classmethod
    def start_daemon(cls, **more):
        options = {"store.kind": cls.store} | cls.options | more.pop("options", {})
        config = cls.config.replace("{base_url}", cls.ai.base_url) if cls.config else None
        arguments = {"config": config, "env": cls.env, "limits": cls.limits} | more
        cls.daemon = Daemon(cls.home, options, cls.ai, **arguments)
        return cls.daemon

    @classmethod
    def stop_daemon(cls):
        if cls.daemon is not None and cls.daemon.code is None:
            try:
                if cls.daemon.process.poll() is None:
                    cls.check_idle()
            finally:
                cls.daemon.stop()

    @classmethod
    def stop_ai(cls):
        code = cls.ai.stop()
        assert code == 0, f"the simulated provider ended with {code}"

    @classmethod
    def check_idle(cls):
        """Nothing is left of what the tests asked for. Refused or abandoned calls may need a moment."""
        cls.ai.reset()
        names = ("net_requests", "engine_flights", "engine_waiters", "upstream_in_flight", "upstream_waiting", "http_in_flight")
        wait_until(lambda: not any(cls.daemon.stats().get(name) for name in names), "an idle daemon: " + ", ".join(names))

    @classmethod
    def restart_daemon(cls, **more):
        cls.stop_daemon()
        return cls.start_daemon(**more)

    def setUp(self):
        self.ai.reset()

    def connect(self, **hello):
        """A client that is closed at the end of the test."""
        client = self.daemon.client(self.transport, **hello)
        self.addCleanup(client.close)
        return client

    def greeted_socket(self):
        """A socket on which nothing was said yet."""
        client = Client(self.daemon.socket(self.transport))
        self.addCleanup(client.close)
        return client

    def prompt(self, text="What is a TTL?"):
        """A question that no other test has asked."""
        return f"Q{next(self.counter)} {text}"

    def query(self, client, prompt, timeout_s=TIMEOUT_S, **body):
        return self.end(client.call("QUERY", timeout_s=timeout_s, prompt=prompt, **body))

    def lookup(self, client, prompt, **body):
        return self.end(client.call("LOOKUP", prompt=prompt, **body))

    def end(self, reply):
        self.assertEqual(reply.op, "END", reply)
        return reply

    def error(self, reply, name, field=None, retryable=None):
        """An ERROR of this name, complete and consistent."""
        self.assertEqual(reply.op, "ERROR", reply)
        body = reply.body
        self.assertEqual(body["name"], name, body)
        self.assertTrue(body["message"], body)
        self.assertNotIn(SECRET_KEY, str(body))
        if field is not None:
            self.assertEqual(body.get("field"), field, body)
        if retryable is not None:
            self.assertEqual(body["retryable"], retryable, body)
        return body

    def assert_serves(self, client=None):
        """The daemon lives and answers an ordinary client."""
        prompt = self.prompt("Are you well?")
        reply = self.query(client or self.connect(), prompt)
        self.assertEqual(reply.source, "llm")
        self.assertIn("Are you well?", reply.text)


def variants(names, cases, **parameters):
    """cases: a class of tests without TestCase. Puts one test class a combination of parameters into `names` (globals())."""
    for values in itertools.product(*parameters.values()):
        name = "_".join([cases.__name__, *values])
        names[name] = type(name, (cases, Case), dict(zip(parameters, values)) | {"__module__": names["__name__"]})


def run_daemon(home, *arguments, env=None, timeout_s=TIMEOUT_S):
    """A daemon that is expected to end by itself: (code, output, error output)."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": home, "XDG_STATE_HOME": os.path.join(home, "state"), "XDG_RUNTIME_DIR": home}
    environment |= {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}
    done = subprocess.run([DAEMON, *arguments], env=environment | (env or {}), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          cwd=home, timeout=timeout_s)
    for report in REPORTS:
        assert report not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def main():
    unittest.main(verbosity=2 if os.environ.get("VERBOSE") else 1)
