#!/usr/bin/python3
"""Makes the corpora of fuzz_frame, fuzz_message and fuzz_digest from the golden vectors; they are small and binary."""

import pathlib

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
VECTORS = HERE.parent / "vectors"


def rows(name):
    for line in (VECTORS / name).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            yield line.split(" ")


def write(noun, name, data):
    (CORPUS / noun).mkdir(parents=True, exist_ok=True)
    (CORPUS / noun / name).write_bytes(data)


def main():
    frames = [(row[0], row[1], bytes.fromhex(row[2])) for row in rows("frames.txt")]
    for name, kind, frame in frames:
        if len(frame) <= 2048:
            write("message", name, frame[5:])
    good = [frame for _, kind, frame in frames if kind == "both"]
    write("frame", "two", b"\x01" + good[0] + good[5])
    write("frame", "many-in-small-reads", b"\x02" + b"".join(good[:12]))
    write("frame", "oversize", b"\x83" + b"".join(good[4:12]))
    write("frame", "cut", b"\x05" + good[0] + good[6][:-3])
    write("frame", "garbage", b"\x00" + good[0] + b"GET / HTTP/1.1\r\n\r\n")
    write("frame", "length-0", b"\x00\xce\0\0\0\0" + good[0])
    for name, frame, _ in rows("digests.txt"):
        if len(frame) <= 2048:
            write("digest", name, bytes.fromhex(frame)[5:])


if __name__ == "__main__":
    main()
