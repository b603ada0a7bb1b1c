"""Version 1 of the protocol, written a second time: frames and digests from PROTOCOL.md, with Python's msgpack and hashlib only.

Nothing here is read from proto/schema.h, on purpose: a number that changes its meaning there must disagree with what stands here.
Released numbers never change, so the tables below only grow."""

import hashlib
import json
import math
import struct

import msgpack

OPS = {
    "HELLO": 0x01, "PING": 0x02, "QUERY": 0x10, "LOOKUP": 0x11, "PUT": 0x12, "INVALIDATE": 0x13, "STATS": 0x20,
    "CANCEL": 0x30, "WINDOW": 0x31, "GOAWAY": 0x32, "HEAD": 0x41, "CHUNK": 0x42, "END": 0x43, "ERROR": 0x44,
}
REQUEST = {
    "model": 0x01, "prompt": 0x02, "system": 0x03, "messages": 0x04, "timeout_ms": 0x10, "stream": 0x11, "window": 0x12,
    "metadata": 0x13, "answer": 0x20, "segments": 0x21, "finish_reason": 0x22, "prompt_tokens": 0x23,
    "completion_tokens": 0x24, "namespace": 0x80, "prompt_version": 0x81, "tools": 0x82, "params": 0x83, "no_cache": 0x84,
    "no_store": 0x85, "max_age_ms": 0x86, "ttl_ms": 0x87, "target": 0x88,
}
KEYS = {
    "HELLO": {"version": 1, "features": 2, "token": 3, "client": 4, "frame_max": 5},
    "PING": {}, "STATS": {}, "CANCEL": {},
    "QUERY": REQUEST, "LOOKUP": REQUEST, "PUT": REQUEST, "INVALIDATE": REQUEST,
    "WINDOW": {"credit": 1},
    "GOAWAY": {"grace_ms": 1, "last_id": 2, "reason": 3},
    "HEAD": {"source": 1, "model": 2, "age_ms": 3, "similarity": 4},
    "CHUNK": {"kind": 1, "index": 2, "data": 3},
    "END": {
        "source": 1, "segments": 2, "finish_reason": 3, "model": 4, "stored": 5, "reason": 6, "prompt_tokens": 7,
        "completion_tokens": 8, "cached_tokens": 9, "age_ms": 10, "entry": 11, "as_of": 12, "stages_us": 13,
        "similarity": 14, "confidence": 15, "tokens_saved": 16, "cost_saved_nusd": 17, "upstream": 18, "version": 0x20,
        "features": 0x21, "server": 0x22, "frame_max": 0x23, "inflight_max": 0x24, "ping_interval_ms": 0x25,
        "removed": 0x30, "stats": 0x31,
    },
    "ERROR": {
        "code": 1, "name": 2, "message": 3, "field": 4, "retryable": 5, "retry_after_ms": 6, "offset": 7,
        "upstream_status": 8,
    },
}
FLOATS = {"similarity", "confidence"}  # an integer is taken for them too
BYTES = {"data", "entry"}  # str is taken for them too
OP_NAMES = {number: name for name, number in OPS.items()}
ACK = 1


def pack(value):
    return msgpack.packb(value, use_bin_type=True)


def prefix(payload):
    return b"\xce" + struct.pack(">I", len(payload)) + payload


def frame(op, id, body=None, flags=0):
    """A whole frame; the body's keys by name, written in the order of their numbers."""
    numbered = {KEYS[op][name]: value for name, value in (body or {}).items()}
    return prefix(pack([OPS[op], id, flags, dict(sorted(numbered.items()))]))


def plain(value):
    """What JSON cannot say is said as {"$hex": ...}."""
    if isinstance(value, bytes):
        return {"$hex": value.hex()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def meaning(whole):
    """The frame as a value for JSON: known keys by name in the order of their numbers, unknown low ones left out."""
    assert whole[:1] == b"\xce" and struct.unpack(">I", whole[1:5])[0] == len(whole) - 5
    op, id, flags, body = msgpack.unpackb(whole[5:], strict_map_key=False)
    names = {number: name for name, number in KEYS[OP_NAMES[op]].items()}
    known = {names[number]: body[number] for number in sorted(body) if number in names}
    for name in FLOATS & known.keys():
        known[name] = float(known[name])
    for name in BYTES & known.keys():
        known[name] = known[name].encode() if isinstance(known[name], str) else known[name]
    known = {name: plain(value) for name, value in known.items()}
    return {"op": OP_NAMES[op], "id": id, "flags": flags, "body": known}


def as_json(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Invalid(Exception):
    """The request has no digest; the argument names the field."""


def canonical_value(value, field):
    if isinstance(value, bool) or value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Invalid(field)
        return int(value) if value.is_integer() and abs(value) <= 2**53 else value
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return [canonical_value(v, f"{field}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, dict):
        if not all(isinstance(k, str) for k in value):
            raise Invalid(field)
        ordered = sorted(value.items(), key=lambda entry: entry[0].encode())
        return {k: canonical_value(v, f"{field}.{k}") for k, v in ordered}
    raise Invalid(field)


def canonical(value, field):
    return pack(canonical_value(value, field))


def sha256(data):
    return hashlib.sha256(data).digest()


def messages_of(body):
    if "messages" in body:
        return body["messages"]
    system = [{"role": "system", "content": body["system"]}] if "system" in body else []
    return system + [{"role": "user", "content": body["prompt"]}]


def digest_parts(body, default_model):
    """The canonical bytes of each part: header, messages, tools, params."""
    header = [1, body.get("namespace", "default"), body.get("model", default_model), body.get("prompt_version", "")]
    params = {k: v for k, v in body.get("params", {}).items() if v is not None}
    messages = [canonical(m, f"messages[{i}]") for i, m in enumerate(messages_of(body))]
    return [pack(header), *messages, canonical(body.get("tools", []), "tools"), canonical(params, "params")]


def request_digest(body, default_model):
    return sha256(b"".join(sha256(part) for part in digest_parts(body, default_model)))


def body_of(whole):
    """The body of a request frame with its keys by name, values as msgpack gives them."""
    op, _, _, body = msgpack.unpackb(whole[5:], strict_map_key=False)
    names = {number: name for name, number in KEYS[OP_NAMES[op]].items()}
    return {names[number]: value for number, value in body.items() if number in names}
