#!/usr/bin/python3
"""Makes frames.txt, digests.txt and the examples of PROTOCOL.md. What was released is never changed here, only added to.

Run without arguments; check_vectors.py says whether the committed files are what this program makes."""

import pathlib
import re
import struct

import msgpack

from reference import (ACK, Invalid, OPS, as_json, body_of, digest_parts, frame, meaning, pack, prefix, request_digest,
                       sha256)

HERE = pathlib.Path(__file__).resolve().parent
PROTOCOL = HERE.parent.parent / "proto" / "PROTOCOL.md"

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Wie wird das Wetter in Zürich? ☂"},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Zürich\"}"}}]},
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
]
ENTRY = bytes(range(32))
TOOL_CALL = as_json({"id": "call_1", "name": "weather", "arguments": "{\"city\":\"Zürich\"}"}).encode()

# name, operation, id, body, flags: written and read as they stand here.
BOTH = [
    ("hello", "HELLO", 1, {"version": 1}, 0),
    ("hello-full", "HELLO", 1, {"version": 1, "features": 7, "token": "s3cret", "client": "example/1.0",
                                "frame_max": 1 << 20}, 0),
    ("ping-of-connection", "PING", 0, {}, 0),
    ("ping-of-connection-answer", "PING", 0, {}, ACK),
    ("ping-request", "PING", 12, {}, 0),
    ("query-prompt", "QUERY", 2, {"prompt": "What is a TTL?"}, 0),
    ("query-model-system", "QUERY", 3, {"model": "gpt-4o", "prompt": "What is a TTL?", "system": "Be brief."}, 0),
    ("query-chat", "QUERY", 2**64 - 1, {"model": "gpt-4o", "messages": CHAT, "tools": [WEATHER],
                                        "params": {"temperature": 0.5, "max_tokens": 200, "stop": ["\n", "\"\\"]}}, 0),
    ("query-streamed", "QUERY", 4, {"prompt": "Go", "timeout_ms": 30000, "stream": True, "window": 65536}, 0),
    ("query-narrowed", "QUERY", 5, {"prompt": "Go", "namespace": "support", "prompt_version": "v7", "no_cache": True,
                                    "no_store": False, "max_age_ms": 60000, "ttl_ms": 31622400000}, 0),
    ("query-metadata", "QUERY", 6, {"prompt": "Go", "metadata": {"trace": "abc", "depth": 3, "root": None}}, 0),
    ("lookup", "LOOKUP", 7, {"prompt": "What is a TTL?", "max_age_ms": 1000}, 0),
    ("put-answer", "PUT", 8, {"prompt": "What is a TTL?", "answer": "A time to live.", "finish_reason": "stop",
                              "prompt_tokens": 11, "completion_tokens": 6, "ttl_ms": 3600000}, 0),
    ("put-segments", "PUT", 9, {"prompt": "Weather?", "segments": [[2, 0, b"hm"], [4, 1, TOOL_CALL]],
                                "finish_reason": "tool_calls"}, 0),
    ("invalidate-request", "INVALIDATE", 10, {"prompt": "What is a TTL?"}, 0),
    ("invalidate-namespace", "INVALIDATE", 11, {"namespace": "support", "target": 1}, 0),
    ("stats", "STATS", 13, {}, 0),
    ("cancel", "CANCEL", 4, {}, 0),
    ("window", "WINDOW", 4, {"credit": 65536}, 0),
    ("goaway", "GOAWAY", 0, {"grace_ms": 10000, "last_id": 41, "reason": "shutting down"}, 0),
    ("head", "HEAD", 4, {"source": 3, "model": "gpt-4o"}, 0),
    ("head-semantic", "HEAD", 4, {"source": 2, "model": "gpt-4o", "age_ms": 90000, "similarity": 0.984375}, 0),
    ("chunk-text", "CHUNK", 4, {"kind": 1, "index": 0, "data": "Zü".encode()[:2]}, 0),
    ("chunk-tool-call", "CHUNK", 4, {"kind": 4, "index": 1, "data": TOOL_CALL}, 0),
    ("end-of-hello", "END", 1, {"version": 1, "features": 7, "server": "promptcached/0.1.0", "frame_max": 16777216,
                                "inflight_max": 1024, "ping_interval_ms": 15000}, 0),
    ("end-exact-hit", "END", 2, {
        "source": 1, "segments": [[1, 0, b"A time to live."]], "finish_reason": "stop", "model": "gpt-4o",
        "stored": True, "reason": 2, "prompt_tokens": 11, "completion_tokens": 6, "age_ms": 5000, "entry": ENTRY,
        "as_of": 1764000000000000, "stages_us": {"exact": 3, "total": 5}, "tokens_saved": 17,
        "cost_saved_nusd": 87500}, 0),
    ("end-semantic-hit", "END", 2, {"source": 2, "segments": [[1, 0, b"A time to live."]], "similarity": 0.984375,
                                    "confidence": 0.97, "upstream": "openai"}, 0),
    ("end-of-stream", "END", 4, {"source": 3, "segments": [], "finish_reason": "stop", "stored": True, "reason": 1,
                                 "cached_tokens": 1024}, 0),
    ("end-lookup-miss", "END", 7, {"source": 0, "stored": False, "reason": 11, "as_of": 1764000000000001}, 0),
    ("end-of-put", "END", 8, {"stored": True, "reason": 1, "entry": ENTRY}, 0),
    ("end-of-invalidate", "END", 10, {"as_of": 1764000000000002, "removed": 1}, 0),
    ("end-of-stats", "END", 13, {"stats": {"queries": 12, "hits": 7}}, 0),
    ("error-field", "ERROR", 5, {"code": 3, "name": "INVALID", "message": "prompt is empty", "field": "prompt",
                                 "retryable": False}, 0),
    ("error-retry", "ERROR", 5, {"code": 9, "name": "OVERLOADED", "retryable": True, "retry_after_ms": 250}, 0),
    ("error-interrupted", "ERROR", 4, {"code": 15, "name": "INTERRUPTED", "retryable": True, "offset": 2048,
                                       "upstream_status": 502}, 0),
    ("error-of-connection", "ERROR", 0, {"code": 5, "name": "UNAUTHENTICATED", "message": "send HELLO first"}, 0),
]


def read_only():
    """Frames that a sender may write in another way than we do."""
    yield "integers-in-long-forms", prefix(
        b"\xdd\0\0\0\x04" + b"\xcf" + struct.pack(">Q", 0x10) + b"\xd3" + struct.pack(">q", 7) + b"\xcd\0\0" +
        b"\xde\0\x02" + b"\xcc\x02\xdb\0\0\0\x02hi" + b"\xce\0\0\0\x10\xcd\0\x05")
    yield "float-32", prefix(b"\x94\x41\x01\0\x82\x01\x02\x04\xca" + struct.pack(">f", 0.5))
    yield "float-as-integer", prefix(pack([OPS["HEAD"], 1, 0, {1: 2, 4: 1}]))
    yield "unknown-low-keys", prefix(pack([OPS["QUERY"], 7, 0, {0x7F: {"a": [1, None]}, 2: "hi", 0x60: b"\xff"}]))
    yield "keys-in-any-order", prefix(pack([OPS["QUERY"], 7, 0, {0x87: 5, 2: "hi", 1: "m"}]))
    yield "str-for-bytes", prefix(pack([OPS["CHUNK"], 7, 0, {1: 1, 2: 0, 3: "hi"}]))
    yield "unknown-flags", prefix(pack([OPS["PING"], 7, 0xF0, {}]))


def refused():
    """name, frame, side that sends, op and id that can be told, error, field."""
    query = OPS["QUERY"]

    def q(body, id=7, flags=0):
        return prefix(pack([query, id, flags, body]))

    yield "length-0", prefix(b""), "client", 0, 0, "PROTOCOL", ""
    yield "not-an-array", prefix(b"\x80"), "client", 0, 0, "PROTOCOL", ""
    yield "three-parts", prefix(pack([query, 7, 0])), "client", query, 7, "PROTOCOL", ""
    yield "truncated-inside", prefix(q({2: "hi"})[5:-1]), "client", query, 7, "PROTOCOL", ""
    yield "two-values", prefix(q({2: "hi"})[5:] + b"\xc0"), "client", query, 7, "PROTOCOL", ""
    yield "byte-c1", prefix(b"\x94\x10\x07\0\x81\x02\xc1"), "client", query, 7, "PROTOCOL", ""
    yield "body-not-a-map", prefix(pack([query, 7, 0, []])), "client", query, 7, "PROTOCOL", "body"
    yield "id-negative", prefix(pack([query, -1, 0, {}])), "client", 0, 0, "PROTOCOL", "id"
    yield "claims-2-to-the-28", prefix(b"\x94\x10\x07\0\x81\x04\xdd\x10\0\0\0"), "client", query, 7, "TOO_LARGE", ""
    yield "too-deep", prefix(b"\x94\x10\x07\0\x81\x04" + b"\x91" * 23 + b"\xc0"), "client", query, 7, "TOO_LARGE", ""
    yield "id-0", q({2: "hi"}, id=0), "client", query, 0, "INVALID", "id"
    yield "operation-unknown", prefix(pack([0x5F, 7, 0, {}])), "client", 0x5F, 7, "UNSUPPORTED", "op"
    yield "operation-reserved", prefix(pack([0x14, 7, 0, {}])), "client", 0x14, 7, "UNSUPPORTED", "op"
    yield "operation-of-the-server", prefix(pack([OPS["END"], 7, 0, {}])), "client", OPS["END"], 7, "UNSUPPORTED", "op"
    yield "key-reserved", q({2: "hi", 0x8E: b"\0" * 32}), "client", query, 7, "UNSUPPORTED", "0x8e (digest)"
    yield "key-unknown", q({2: "hi", 0xA0: 1}), "client", query, 7, "UNSUPPORTED", "0xa0"
    yield ("key-of-another-operation", prefix(pack([OPS["LOOKUP"], 7, 0, {2: "hi", 0x84: True}])), "client",
           OPS["LOOKUP"], 7, "UNSUPPORTED", "0x84 (no_cache)")
    yield "key-not-a-number", q({"prompt": "hi"}), "client", query, 7, "INVALID", "body"
    yield "wrong-type", q({2: 5}), "client", query, 7, "INVALID", "prompt"
    yield "nil-is-a-wrong-type", q({2: "hi", 1: None}), "client", query, 7, "INVALID", "model"
    yield "key-twice", prefix(b"\x94\x10\x07\0\x82\x02\xa1a\x02\xa1b"), "client", query, 7, "INVALID", "prompt"
    yield "key-missing", prefix(pack([OPS["WINDOW"], 7, 0, {}])), "client", OPS["WINDOW"], 7, "INVALID", "credit"
    yield "invalid-utf-8", prefix(b"\x94\x10\x07\0\x81\x02\xa2\xc3\x28"), "client", query, 7, "INVALID", "prompt"
    yield "model-too-long", q({1: "m" * 257}), "client", query, 7, "TOO_LARGE", "model"
    yield "timeout-too-long", q({0x10: 3600001}), "client", query, 7, "TOO_LARGE", "timeout_ms"


def frame_lines():
    yield "# Frames of version 1: name, kind, bytes in hex, meaning as JSON. Made by make_vectors.py; lines are added, never changed."
    yield "# both: read as this meaning, and this meaning is written as these bytes · read: read only · fault: refused"
    for name, op, id, body, flags in BOTH:
        whole = frame(op, id, body, flags)
        yield f"{name} both {whole.hex()} {as_json(meaning(whole))}"
    for name, whole in read_only():
        yield f"{name} read {whole.hex()} {as_json(meaning(whole))}"
    for name, whole, side, op, id, code, field in refused():
        told = {"from": side, "op": op, "id": id, "error": code, "field": field}
        yield f"{name} fault {whole.hex()} {as_json(told)}"


def digest_requests():
    """name, body by key names; or the raw frame where Python's dict cannot say it."""
    yield "prompt", {"prompt": "What is a TTL?"}
    yield "prompt-as-messages", {"messages": [{"content": "What is a TTL?", "role": "user"}]}
    yield "default-model-given", {"model": "gpt-4o-mini", "prompt": "What is a TTL?"}
    yield "model", {"model": "gpt-4o", "prompt": "What is a TTL?"}
    yield "system", {"prompt": "What is a TTL?", "system": "Be brief."}
    yield "namespace", {"prompt": "What is a TTL?", "namespace": "support", "prompt_version": "v7"}
    yield "case-counts", {"prompt": "what is a TTL?"}
    yield "space-counts", {"prompt": "What is a TTL? "}
    for size in (31, 32, 255, 256, 4096, 65535, 65536):
        yield f"prompt-of-{size}-bytes", {"prompt": "p" * size}
    yield "unicode", {"prompt": "Zürich ☂ 日本 \U0001F600"}
    yield "chat", {"model": "gpt-4o", "messages": CHAT, "tools": [WEATHER]}
    yield "parts", {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}
    yield "tools-empty", {"prompt": "What is a TTL?", "tools": [], "params": {}}
    yield "params", {"prompt": "Go", "params": {"temperature": 0.7, "top_p": 1.0, "seed": 2**63, "n": -1, "a": -0.0,
                                                "big": 2.0**53, "bigger": 2.0**53 + 2, "x": 1e300, "y": -(2.0**53)}}
    yield "params-order", {"prompt": "Go", "params": {"b": 1, "a": {"d": [True, False, None], "c": ""}}}
    yield "params-nil", {"prompt": "Go", "params": {"stop": None, "b": 1, "a": {"d": [True, False, None], "c": ""}}}
    yield "operational-fields", {"prompt": "What is a TTL?", "timeout_ms": 5, "stream": True, "metadata": {"a": 1},
                                 "no_cache": True, "ttl_ms": 5}
    yield "float-32", prefix(b"\x94\x10\x01\0\x82\x02\xa2Go\xcc\x83\x81\xa1t\xca" + struct.pack(">f", 0.1))
    yield "long-forms", prefix(b"\x94\x10\x01\0\x82\x02\xdb\0\0\0\x02Go\xcc\x83\xdf\0\0\0\x01\xd9\x01t\xcf" +
                               struct.pack(">Q", 1))


def digest_faults():
    yield "no-question", {}, "prompt"
    yield "empty-prompt", {"prompt": ""}, "prompt"
    yield "both-questions", {"prompt": "a", "messages": CHAT}, "prompt"
    yield "no-messages", {"messages": []}, "messages"
    yield "system-alone", {"messages": CHAT, "system": "a"}, "system"
    yield "role-missing", {"messages": [{"role": "user", "content": "a"}, {"content": "b"}]}, "messages[1].role"
    yield "content-a-number", {"messages": [{"role": "user", "content": 5}]}, "messages[0].content"
    yield "bytes", {"messages": [{"role": "user", "content": [b"a"]}]}, "messages[0].content[0]"
    yield "nan", {"prompt": "a", "params": {"temperature": float("nan")}}, "params.temperature"
    yield "params-model", {"prompt": "a", "params": {"model": "m"}}, "params.model"
    yield "params-stream", {"prompt": "a", "params": {"stream": False}}, "params.stream"
    yield "params-twice", prefix(b"\x94\x10\x01\0\x82\x02\xa2Go\xcc\x83\x82\xa1t\x01\xa1t\x02"), "params.t"
    yield "params-number-key", prefix(b"\x94\x10\x01\0\x82\x02\xa2Go\xcc\x83\x81\x01\x02"), "params"


DEFAULT_MODEL = "gpt-4o-mini"


def as_frame(request):
    return request if isinstance(request, bytes) else frame("QUERY", 1, request)


def digest_lines():
    yield f"# Request digests of version 1: name, QUERY frame in hex, digest in hex, or the field at fault. default_model: {DEFAULT_MODEL}"
    for name, request in digest_requests():
        whole = as_frame(request)
        yield f"{name} {whole.hex()} {request_digest(body_of(whole), DEFAULT_MODEL).hex()}"
    for name, request, field in digest_faults():
        yield f"{name} {as_frame(request).hex()} INVALID:{field}"


def spaced(data):
    return " ".join(f"{byte:02x}" for byte in data)


def wrapped(data, indent, width=32):
    rows = [spaced(data[i:i + width]) for i in range(0, len(data), width)]
    return ("\n" + indent).join(rows)


def readable(value):
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [readable(v) for v in value]
    return {k: readable(v) for k, v in value.items()} if isinstance(value, dict) else value


def example_digest():
    body = {"model": "gpt-4o", "prompt": "What is a TTL?", "params": {"temperature": 1.0, "max_tokens": 50, "stop": None}}
    parts = digest_parts(body, DEFAULT_MODEL)
    yield f"request    {as_json(body)}"
    for label, part in zip(("header", "message 1", "tools", "params"), parts):
        yield f"{label:<10} {wrapped(part, ' ' * 11)}"
        yield f"  SHA-256  {sha256(part).hex()}"
    yield f"digest     {request_digest(body, DEFAULT_MODEL).hex()}"


def example_dialogue():
    steps = [
        ("C", "HELLO", 1, {"version": 1, "features": 7, "client": "example/1.0"}),
        ("C", "QUERY", 2, {"model": "gpt-4o", "prompt": "What is a TTL?", "timeout_ms": 30000}),
        ("S", "END", 1, {"version": 1, "features": 7, "server": "promptcached/0.1.0", "frame_max": 16777216,
                         "inflight_max": 1024, "ping_interval_ms": 15000}),
        ("S", "END", 2, {"source": 1, "segments": [[1, 0, b"A time to live."]], "finish_reason": "stop",
                         "model": "gpt-4o", "stored": True, "reason": 2}),
        ("C", "QUERY", 3, {"prompt": "Go on", "stream": True, "window": 65536}),
        ("S", "HEAD", 3, {"source": 3}),
        ("S", "CHUNK", 3, {"kind": 1, "index": 0, "data": b"It ends "}),
        ("S", "END", 3, {"source": 3, "segments": [[1, 0, b"here."]], "finish_reason": "stop", "stored": True, "reason": 1}),
        ("C", "QUERY", 4, {"prompt": ""}),
        ("S", "ERROR", 4, {"code": 3, "name": "INVALID", "message": "prompt is empty: there is nothing to answer",
                           "field": "prompt", "retryable": False}),
    ]
    for side, op, id, body in steps:
        whole = frame(op, id, body)
        yield f"{side}: {op} id {id} {as_json(readable(body))}"
        yield f"   {wrapped(whole, '   ')}"


EXAMPLES = {"digest": example_digest, "dialogue": example_dialogue}


def protocol_with_examples(text):
    for name, lines in EXAMPLES.items():
        block = f"<!-- example {name} -->\n```\n" + "\n".join(lines()) + f"\n```\n<!-- end {name} -->"
        text, count = re.subn(f"<!-- example {name} -->.*?<!-- end {name} -->", lambda _: block, text, flags=re.S)
        assert count == 1, f"PROTOCOL.md has {count} examples named {name}"
    return text


def files():
    """Every file this program makes, with its content."""
    return {
        HERE / "frames.txt": "\n".join(frame_lines()) + "\n",
        HERE / "digests.txt": "\n".join(digest_lines()) + "\n",
        PROTOCOL: protocol_with_examples(PROTOCOL.read_text(encoding="utf-8")),
    }


if __name__ == "__main__":
    for path, content in files().items():
        path.write_text(content, encoding="utf-8")
