#!/usr/bin/python3
"""Makes the corpus of fuzz_chat_body: the QUERYs among the golden vectors; they are small and binary."""

import pathlib

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = HERE / "corpus" / "chat_body"
QUERY = 0x10


def main():
    CORPUS.mkdir(parents=True, exist_ok=True)
    for line in (HERE.parent / "vectors" / "frames.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, _, frame = line.split(" ")[:3]
        body = bytes.fromhex(frame)[5:]
        if len(body) <= 2048 and body[1:2] == bytes([QUERY]):
            (CORPUS / name).write_bytes(body)


if __name__ == "__main__":
    main()
