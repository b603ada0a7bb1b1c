#!/usr/bin/python3
"""The golden vectors against an implementation that shares no line with ours: Python's msgpack and hashlib."""

import json
import pathlib
import sys
import unittest

sys.dont_write_bytecode = True

import msgpack  # noqa: E402

import make_vectors  # noqa: E402
import reference  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent


def lines(name, parts):
    for line in (HERE / name).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            yield line.split(" ", parts - 1)


class Files(unittest.TestCase):
    def test_committed_files_are_what_the_generator_makes(self):
        for path, content in make_vectors.files().items():
            self.assertEqual(path.read_text(encoding="utf-8"), content, f"{path.name}: run make_vectors.py")

    def test_names_are_unique(self):
        for file, parts in (("frames.txt", 4), ("digests.txt", 3)):
            names = [row[0] for row in lines(file, parts)]
            self.assertEqual(len(names), len(set(names)), file)


class Frames(unittest.TestCase):
    def test_each_frame_reads_as_its_meaning(self):
        for name, kind, hex_bytes, text in lines("frames.txt", 4):
            if kind != "fault":
                with self.subTest(name):
                    self.assertEqual(reference.as_json(reference.meaning(bytes.fromhex(hex_bytes))), text)

    def test_each_meaning_is_written_as_its_frame(self):
        for name, kind, hex_bytes, text in lines("frames.txt", 4):
            if kind == "both":
                with self.subTest(name):
                    told = json.loads(text, object_hook=lambda o: bytes.fromhex(o["$hex"]) if "$hex" in o else o)
                    frame = reference.frame(told["op"], told["id"], told["body"], told["flags"])
                    self.assertEqual(frame.hex(), hex_bytes)

    def test_a_stream_of_all_frames_is_a_stream_of_msgpack_values(self):
        stream = msgpack.Unpacker(strict_map_key=False)
        count = 0
        for _, kind, hex_bytes, _ in lines("frames.txt", 4):
            if kind == "both":
                stream.feed(bytes.fromhex(hex_bytes))
                count += 1
        values = list(stream)
        self.assertEqual(len(values), 2 * count)
        for length, frame in zip(values[::2], values[1::2]):
            self.assertIsInstance(length, int)
            self.assertEqual(len(frame), 4)

    def test_every_operation_is_there(self):
        seen = {json.loads(text)["op"] for _, kind, _, text in lines("frames.txt", 4) if kind == "both"}
        self.assertEqual(seen, set(reference.OPS))


class Digests(unittest.TestCase):
    def test_each_digest_is_that_of_its_request(self):
        for name, hex_bytes, expected in lines("digests.txt", 3):
            if not expected.startswith("INVALID:"):
                with self.subTest(name):
                    body = reference.body_of(bytes.fromhex(hex_bytes))
                    self.assertEqual(reference.request_digest(body, make_vectors.DEFAULT_MODEL).hex(), expected)

    def test_requests_that_are_one_question_have_one_digest(self):
        digest = {name: expected for name, _, expected in lines("digests.txt", 3)}
        for a, b in (("prompt", "prompt-as-messages"), ("prompt", "default-model-given"), ("prompt", "tools-empty"),
                     ("prompt", "operational-fields"), ("params-order", "params-nil")):
            self.assertEqual(digest[a], digest[b], (a, b))
        different = ["prompt", "model", "system", "namespace", "case-counts", "space-counts"]
        self.assertEqual(len({digest[name] for name in different}), len(different))


if __name__ == "__main__":
    unittest.main()
