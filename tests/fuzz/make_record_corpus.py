#!/usr/bin/env python3
"""Makes tests/fuzz/corpus/record: records of server/store/record.h, sound and not. Run from the root of the repository."""
import hashlib
import pathlib
import struct

OUT = pathlib.Path("tests/fuzz/corpus/record")


def record(key=bytes(32), numbers=(1, 2, 3, 4, 5, 6), tags=(), payload=b"", magic=b"PCR1", tags_count=None, payload_bytes=None):
    body = key + struct.pack("<6Q", *numbers)
    body += struct.pack("<2I", len(tags) if tags_count is None else tags_count, len(payload) if payload_bytes is None else payload_bytes)
    body += b"".join(tags) + payload
    return magic + hashlib.sha256(body).digest()[:8] + body


TAG = bytes(range(16))
CASES = {
    "empty": b"",
    "magic-only": b"PCR1",
    "smallest": record(),
    "payload": record(payload=b"an answer"),
    "tags": record(tags=[TAG] * 3, payload=b"x"),
    "most-tags": record(tags=[TAG] * 72, payload=b"x"),
    "too-many-tags": record(tags=[TAG] * 73),
    "other-key": record(key=bytes([7]) * 32, payload=b"x"),
    "largest-numbers": record(numbers=[2**64 - 1] * 6),
    "claims-tags": record(tags_count=2**32 - 1),
    "claims-payload": record(payload_bytes=2**32 - 1),
    "claims-sum": record(tags_count=1, payload_bytes=2**32 - 16),
    "cut": record(payload=b"an answer")[:-1],
    "longer": record(payload=b"an answer") + b"!",
    "version-2": record(magic=b"PCR2", payload=b"x"),
    "foreign": b"SQLite format 3\0" + bytes(100),
}

OUT.mkdir(parents=True, exist_ok=True)
for name, data in CASES.items():
    (OUT / name).write_bytes(data)
