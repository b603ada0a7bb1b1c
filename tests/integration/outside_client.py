"""A small client of promptcached, written from proto/PROTOCOL.md alone.

It exists to keep that document honest: nothing in here was learnt from the C code. One thread, one socket, the standard
library and msgpack. The section a rule comes from is named where the rule is applied.
"""

import hashlib
import itertools
import os
import socket
import stat
import struct
import time

import msgpack

# Operations
HELLO, PING, QUERY, LOOKUP, PUT, INVALIDATE, STATS = 0x01, 0x02, 0x10, 0x11, 0x12, 0x13, 0x20
CANCEL, WINDOW, GOAWAY = 0x30, 0x31, 0x32
HEAD, CHUNK, END, ERROR = 0x41, 0x42, 0x43, 0x44

# Frame: bit 0 of flags
ACK = 1

# Opening: bits of the features
STREAM, CREDIT, LEAVING = 1, 2, 4

# Requests and answers: kinds of segments
TEXT, REASONING, REFUSAL, TOOL_CALL = 1, 2, 3, 4

# Vocabularies of END
NONE, EXACT, SEMANTIC, LLM, JOINED, STALE = range(6)
(NO_REASON, STORED, ALREADY, NO_STORE, UNFINISHED, EMPTY, INVALIDATED, LARGE, UNCACHEABLE, MEMORY, DISABLED,
 MISS) = range(12)

ERRORS = {
    1: "PROTOCOL", 2: "UNSUPPORTED", 3: "INVALID", 4: "TOO_LARGE", 5: "UNAUTHENTICATED", 6: "FORBIDDEN",
    7: "DUPLICATE_ID", 8: "NO_UPSTREAM", 9: "OVERLOADED", 10: "TIMEOUT", 11: "CANCELLED", 12: "UPSTREAM_FAILED",
    13: "UPSTREAM_REFUSED", 14: "RATE_LIMITED", 15: "INTERRUPTED", 16: "SHUTTING_DOWN", 17: "NO_MEMORY",
    18: "STORE_FAILED", 19: "INTERNAL",
}

HELLO_KEYS = {"version": 0x01, "features": 0x02, "token": 0x03, "client": 0x04, "frame_max": 0x05}
REQUEST_KEYS = {
    "model": 0x01, "prompt": 0x02, "system": 0x03, "messages": 0x04, "timeout_ms": 0x10, "stream": 0x11,
    "window": 0x12, "metadata": 0x13, "answer": 0x20, "segments": 0x21, "finish_reason": 0x22,
    "prompt_tokens": 0x23, "completion_tokens": 0x24, "namespace": 0x80, "prompt_version": 0x81, "tools": 0x82,
    "params": 0x83, "no_cache": 0x84, "no_store": 0x85, "max_age_ms": 0x86, "ttl_ms": 0x87, "target": 0x88,
}
HEAD_NAMES = {0x01: "source", 0x02: "model", 0x03: "age_ms", 0x04: "similarity"}
CHUNK_NAMES = {0x01: "kind", 0x02: "index", 0x03: "data"}
END_NAMES = {
    0x01: "source", 0x02: "segments", 0x03: "finish_reason", 0x04: "model", 0x05: "stored", 0x06: "reason",
    0x07: "prompt_tokens", 0x08: "completion_tokens", 0x09: "cached_tokens", 0x0A: "age_ms", 0x0B: "entry",
    0x0C: "as_of", 0x0D: "stages_us", 0x0E: "similarity", 0x0F: "confidence", 0x10: "tokens_saved",
    0x11: "cost_saved_nusd", 0x12: "upstream", 0x20: "version", 0x21: "features", 0x22: "server",
    0x23: "frame_max", 0x24: "inflight_max", 0x25: "ping_interval_ms", 0x30: "removed", 0x31: "stats",
}
ERROR_NAMES = {
    0x01: "code", 0x02: "name", 0x03: "message", 0x04: "field", 0x05: "retryable", 0x06: "retry_after_ms",
    0x07: "offset", 0x08: "upstream_status",
}
GOAWAY_NAMES = {0x01: "grace_ms", 0x02: "last_id", 0x03: "reason"}
NAMES = {HEAD: HEAD_NAMES, CHUNK: CHUNK_NAMES, END: END_NAMES, ERROR: ERROR_NAMES, GOAWAY: GOAWAY_NAMES}


class ProtocolFault(Exception):
    """The server broke the protocol."""


class Closed(Exception):
    """The connection ended; `text` is what the server said in plain text, if it did."""

    def __init__(self, text=b""):
        super().__init__(text.decode("utf-8", "replace") or "the server closed the connection")
        self.text = text


class Refused(Exception):
    """An ERROR frame."""

    def __init__(self, body):
        self.body = named(ERROR, body)
        self.code = self.body["code"]
        self.name = ERRORS.get(self.code, "?")
        self.field = self.body.get("field")
        super().__init__(f"{self.name} {self.field or ''}: {self.body.get('message', '')}")


def named(op, body):
    """A body with the names of its keys; keys that are not known stay numbers."""
    names = NAMES.get(op, {})
    return {names.get(key, key): value for key, value in body.items()}


def numbered(keys, fields):
    """A body from names; what is None does not apply and is left out (Frame: nil is a wrong type)."""
    return {keys[name]: value for name, value in fields.items() if value is not None}


def raw_frame(payload):
    return b"\xce" + struct.pack(">I", len(payload)) + payload


def frame(op, request, body, flags=0):
    return raw_frame(msgpack.packb([op, request, flags, body]))


# --- where the server is --------------------------------------------------------------------------


def default_address():
    """Connection: the address when none is given."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        return f"unix:{runtime}/promptcached.sock"
    folder = f"/tmp/promptcached-{os.getuid()}"
    about = os.lstat(folder)
    private = stat.S_ISDIR(about.st_mode) and stat.S_IMODE(about.st_mode) == 0o700
    if not private or about.st_uid != os.getuid():
        raise PermissionError(f"{folder} is not a private folder of this user")
    return f"unix:{folder}/sock"


def read_token():
    """Connection: the token of the server of this user."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    with open(f"{state}/promptcached/token", encoding="utf-8") as file:
        return file.read().strip()


def dial(address, timeout):
    """A connected socket for unix:/path or tcp://host:port."""
    if address.startswith("unix:"):
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(timeout)
        link.connect(address[len("unix:"):])
        return link
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if not host:
        host, port = port, "7411"
    return socket.create_connection((host.strip("[]"), int(port)), timeout)


# --- answers --------------------------------------------------------------------------------------


class Answer:
    """What came for one request, in the order it came."""

    def __init__(self, request):
        self.request = request
        self.head = None
        self.end = None
        self.error = None
        self.chunks = []
        self.segments = {}
        self.trouble = None

    @property
    def final(self):
        return self.end is not None or self.error is not None

    @property
    def chunked(self):
        """Bytes that came in CHUNKs: what credit is counted in."""
        return sum(len(chunk["data"]) for chunk in self.chunks)

    @property
    def text(self):
        return self.joined(TEXT).decode("utf-8")

    def joined(self, kind):
        return b"".join(bytes(data) for _, (its, data) in sorted(self.segments.items()) if its == kind)

    def append(self, kind, index, data):
        """Streaming: an equal index goes on, another one is new."""
        if isinstance(data, str):
            data = data.encode("utf-8")
        known, so_far = self.segments.setdefault(index, (kind, bytearray()))
        if known != kind:
            self.trouble = f"segment {index} changed its kind"
        so_far += data

    def take(self, op, body):
        if self.final:
            raise ProtocolFault(f"a frame behind the final frame of {self.request}")
        fields = named(op, body)
        if op == HEAD:
            if self.head is not None or self.chunks:
                self.trouble = "HEAD comes at most once and before the first CHUNK"
            self.head = fields
        elif op == CHUNK:
            self.chunks.append(fields)
            self.append(fields["kind"], fields["index"], fields["data"])
        elif op == END:
            for kind, index, data in fields.get("segments", ()):
                self.append(kind, index, data)
            self.end = fields
        elif op == ERROR:
            self.error = Refused(body)


# --- the connection -------------------------------------------------------------------------------


class Client:
    """One connection. Requests are begun with the verbs and finished with wait() or result(), in any order."""

    def __init__(self, address, token=None, hello=True, timeout=5.0, **limits):
        self.link = dial(address, timeout)
        self.timeout = timeout
        self.buffer = bytearray()
        self.ids = itertools.count(1)
        self.answers = {}
        self.spoken = []        # frames with id 0, beside the PINGs that were answered
        self.order = []         # ids in the order their final frames came
        self.goaway = None
        self.pongs = 0
        self.server = None
        if hello:
            try:
                self.server = self.result(self.hello(token=token, **limits)).end
            except BaseException:
                self.close()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.link.close()

    # sending

    def send_raw(self, data):
        self.link.sendall(data)

    def begin(self, op, body, request=None):
        """Send a request; the answer is collected under the id that is returned."""
        request = next(self.ids) if request is None else request
        self.answers[request] = Answer(request)
        self.send_raw(frame(op, request, body))
        return request

    def hello(self, **fields):
        fields = {"version": 1, "features": STREAM | CREDIT | LEAVING, "client": "outside_client/1"} | fields
        return self.begin(HELLO, numbered(HELLO_KEYS, fields))

    def query(self, prompt=None, **fields):
        return self.begin(QUERY, numbered(REQUEST_KEYS, {"prompt": prompt} | fields))

    def lookup(self, prompt=None, **fields):
        return self.begin(LOOKUP, numbered(REQUEST_KEYS, {"prompt": prompt} | fields))

    def put(self, prompt=None, **fields):
        return self.begin(PUT, numbered(REQUEST_KEYS, {"prompt": prompt} | fields))

    def invalidate(self, prompt=None, **fields):
        return self.begin(INVALIDATE, numbered(REQUEST_KEYS, {"prompt": prompt} | fields))

    def stats(self):
        return self.result(self.begin(STATS, {})).end["stats"]

    def cancel(self, request):
        self.send_raw(frame(CANCEL, request, {}))

    def grant(self, request, credit):
        self.send_raw(frame(WINDOW, request, {0x01: credit}))

    def ping(self):
        """Liveness: id 0, answered by PING with ACK."""
        before = self.pongs
        self.send_raw(frame(PING, 0, {}))
        self.pump_until(lambda: self.pongs > before)

    # receiving

    def read_exactly(self, size, deadline):
        while len(self.buffer) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no frame in time")
            self.link.settimeout(left)
            try:
                piece = self.link.recv(65536)
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise Closed(bytes(self.buffer))
            self.buffer += piece
            # What the server says to a stranger is one line of plain text and a close: read on until the close.
            if self.buffer[0] != 0xCE:
                size = len(self.buffer) + 1

    def read_frame(self, deadline):
        self.read_exactly(5, deadline)
        size = struct.unpack_from(">I", self.buffer, 1)[0]
        self.read_exactly(5 + size, deadline)
        payload = bytes(self.buffer[5:5 + size])
        del self.buffer[:5 + size]
        value = msgpack.unpackb(payload, strict_map_key=False)
        if not isinstance(value, list) or len(value) != 4:
            raise ProtocolFault(f"not [op, id, flags, body]: {value!r}")
        return value

    def pump(self, timeout=None):
        """Take one frame and put it where it belongs; its operation and id are returned."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        op, request, flags, body = self.read_frame(deadline)
        if request == 0:
            self.take_own(op, flags, body)
        elif request in self.answers:
            answer = self.answers[request]
            answer.take(op, body)
            if answer.final:
                self.order.append(request)
        else:
            raise ProtocolFault(f"operation {op:#x} for id {request}, which was never sent")
        return op, request

    def take_own(self, op, flags, body):
        """A frame that speaks of the connection itself."""
        if op == PING and flags & ACK:
            self.pongs += 1
        elif op == PING:
            self.send_raw(frame(PING, 0, {}, ACK))
        else:
            if op == GOAWAY:
                self.goaway = named(op, body)
            self.spoken.append((op, named(op, body)))

    def pump_until(self, done, timeout=None):
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not done():
            self.pump(max(0.0, deadline - time.monotonic()))

    def wait(self, request, timeout=None):
        """The whole answer, an END or an ERROR."""
        answer = self.answers[request]
        self.pump_until(lambda: answer.final, timeout)
        if answer.trouble:
            raise ProtocolFault(answer.trouble)
        return answer

    def result(self, request, timeout=None):
        """The whole answer of a request that succeeded."""
        answer = self.wait(request, timeout)
        if answer.error is not None:
            raise answer.error
        return answer

    def quiet(self, seconds):
        """Whether no frame comes for so long."""
        try:
            self.pump(seconds)
        except TimeoutError:
            return True
        return False

    def drain(self, timeout=None):
        """Everything until the server closes; what it said in plain text, if it did."""
        try:
            while True:
                self.pump(timeout)
        except Closed as end:
            return end.text


# --- the request digest ---------------------------------------------------------------------------


def canonical(value):
    """The value as the canonical form has it; msgpack.packb then writes each in its shortest form."""
    if isinstance(value, float):
        return canonical_float(value)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("keys must be strings")
        return {key: canonical(value[key]) for key in sorted(value, key=lambda key: key.encode("utf-8"))}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise ValueError(f"no place in JSON: {type(value).__name__}")


def canonical_float(value):
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("JSON has no NaN and no infinities")
    if value.is_integer() and -2**53 <= value <= 2**53:
        return int(value)
    return value


def canonical_bytes(value):
    return msgpack.packb(canonical(value))


def digest_parts(model, prompt=None, system=None, messages=None, namespace="default", prompt_version="", tools=(),
                 params=None):
    """The byte strings that are hashed, in order."""
    if messages is None:
        messages = [{"content": prompt, "role": "user"}]
        if system is not None:
            messages.insert(0, {"content": system, "role": "system"})
    given = {key: value for key, value in (params or {}).items() if value is not None}
    return [canonical_bytes(part) for part in ([1, namespace, model, prompt_version], *messages, list(tools), given)]


def request_digest(model, **question):
    parts = digest_parts(model, **question)
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()
