#!/usr/bin/env python3
"""Writes the corpus of fuzz_input: eight bytes that say how the stream arrives, then frames of lengths around every border."""
import pathlib
import struct

FRAME_MAX = 5000  # as in fuzz_input.c
folder = pathlib.Path(__file__).parent / "corpus" / "input"


def frame(n, claim=None):
    return b"\xce" + struct.pack(">I", n if claim is None else claim) + bytes(i * 7 % 256 for i in range(n))


streams = {
    "empty_frames": frame(0) * 3,
    "small": b"".join(frame(n) for n in (1, 4, 19, 20, 21, 59, 60, 64, 65)),
    "borders": b"".join(frame(n) for n in (1018, 1019, 1024)),
    "large": frame(4000) + frame(3),
    "oversize": frame(FRAME_MAX + 1) + frame(2),
    "cut": frame(10) + frame(5, claim=500),
    "claims_4_gb": frame(40, claim=0xFFFFFFFF),
    "garbage": frame(3) + b"GET / HTTP/1.1\r\n",
}
plans = {"bytes": bytes(8), "pieces": bytes([3, 7, 1, 40, 9, 2, 30, 5]), "floods": bytes([255] * 8)}

folder.mkdir(parents=True, exist_ok=True)
for name, stream in streams.items():
    for plan, head in plans.items():
        if plan == "bytes" and len(stream) > 4500:
            continue
        (folder / f"{name}_{plan}").write_bytes(head + stream)
