"""Bad input, and what it gets: an error that names the fault, and a daemon that goes on serving others."""

import os
import resource
import socket
import struct
import threading
import time

import msgpack

import harness
from harness import payload, reference

FRAME_BYTES_MAX = 16 * 1024 * 1024
HELLO_BYTES_MAX = 4096
DEPTH_MAX = 24
QUERY = reference.OPS["QUERY"]


class BadInput:
    def tearDown(self):
        """Whatever was sent: the daemon lives, and an ordinary client is served."""
        self.assertIsNone(self.daemon.process.poll(), self.daemon.log()[-4000:])
        self.assert_serves()

    def refused(self, data, name, field=None, id=7, client=None):
        """The bytes get this error, and the connection lives. id: that of the ERROR."""
        client = client or self.connect()
        client.raw(data)
        error = self.error(client.reply(id), name, field)
        ping = client.send("PING")
        self.end(client.reply(ping))
        return error

    @staticmethod
    def body(body, op=QUERY, id=7):
        return reference.prefix(payload(op, id, body))

    # ---- frames

    def test_a_frame_over_the_limit_is_skipped_and_named(self):
        client = self.connect()
        n = FRAME_BYTES_MAX + 1
        head = msgpack.packb([QUERY, 7, 0])[1:]
        data = b"\xce" + struct.pack(">I", n) + b"\x94" + head + b"\x81\x02"
        client.raw(data + bytes(n + 5 - len(data)) + reference.frame("QUERY", 8, {"prompt": self.prompt("after it")}))
        self.error(client.reply(7), "TOO_LARGE", retryable=False)
        self.end(client.reply(8))

    def test_a_frame_that_claims_4_gigabytes_is_skipped_by_counting(self):
        client = self.connect()
        client.raw(b"\xce\xff\xff\xff\xff" + payload(QUERY, 7, {2: "x"}) + bytes(1 << 20))
        self.error(client.reply(7), "TOO_LARGE")
        before = self.daemon.memory_kb()
        for _ in range(32):
            client.raw(bytes(1 << 20))
        self.assertLess(self.daemon.memory_kb() - before, 8_000)

    def test_a_frame_of_the_largest_size_is_taken(self):
        client = self.connect()
        overhead = len(payload(QUERY, 7, {0x02: "", 0x85: True})) + 4
        prompt = self.prompt().ljust(FRAME_BYTES_MAX - overhead, "x")
        data = self.body({0x02: prompt, 0x85: True})
        self.assertEqual(len(data) - 5, FRAME_BYTES_MAX)
        client.raw(data)
        reply = client.reply(7)
        self.assertTrue(reply.op == "END" or reply.body["name"] in ("TOO_LARGE", "UPSTREAM_REFUSED"), reply)

    def test_a_frame_of_length_0_is_not_well_formed(self):
        self.refused(b"\xce\0\0\0\0", "PROTOCOL", id=0)

    def test_a_frame_cut_at_any_byte_is_not_served_and_not_complained_of(self):
        whole = reference.frame("QUERY", 7, {"prompt": self.prompt("cut")})
        for n in range(1, len(whole)):
            client = self.connect()
            client.raw(whole[:n])
            client.sock.shutdown(socket.SHUT_WR)
            frames, rest = client.frames_until_closed()
            self.assertEqual((frames, rest), ([], b""), n)

    def test_a_payload_cut_at_any_byte_is_not_well_formed(self):
        whole = payload(QUERY, 7, {0x02: "cut", 0x83: {"temperature": 0.5}})
        client = self.connect()
        for n in range(len(whole)):
            client.raw(reference.prefix(whole[:n]))
            frame = client.receive()
            self.assertEqual((frame.op, frame.body["name"]), ("ERROR", "PROTOCOL"), n)
            self.assertIn(frame.id, (0, 7))
        self.end(client.reply(client.send("PING")))

    def test_bytes_behind_the_value_are_not_well_formed(self):
        self.refused(reference.prefix(payload(QUERY, 7, {2: "x"}) + b"\xc0"), "PROTOCOL")

    def test_every_single_byte_changed_is_answered_or_served(self):
        whole = payload(QUERY, 7, {0x01: "gpt-4o", 0x02: "change me", 0x83: {"temperature": 0.5}})
        client = self.connect()
        for at in range(len(whole)):
            for value in (0x00, 0x7F, 0x80, 0xC0, 0xC1, 0xD9, 0xDD, 0xFF):
                changed = bytearray(whole)
                changed[at] = value
                client.raw(reference.prefix(bytes(changed)))
        self.end(client.reply(client.send("PING", id=1 << 40)))

    def test_frames_in_pieces_of_one_byte_are_put_together(self):
        client, prompt = self.connect(), self.prompt()
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) if self.transport == "tcp" else None
        for byte in reference.frame("QUERY", 7, {"prompt": prompt}):
            client.raw(bytes([byte]))
        self.end(client.reply(7))

    def test_what_is_not_the_protocol_gets_a_line_of_text_and_a_close(self):
        for data in (b"hello\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0" * 64, bytes(range(0x80, 0x100))):
            client = self.greeted_socket()
            client.raw(data)
            line = client.rest()
            self.assertTrue(line.startswith(b"promptcached:") and line.endswith(b"\n") and line.count(b"\n") == 1, line)

    def test_garbage_after_good_frames_gets_a_line_of_text_and_a_close(self):
        client = self.connect()
        client.raw(reference.frame("PING", 5) + b"garbage")
        frames, rest = client.frames_until_closed()
        self.assertEqual([(f.op, f.id) for f in frames], [("END", 5)])
        self.assertTrue(rest.startswith(b"promptcached:"))

    def test_an_http_request_is_told_where_it_is(self):
        for method in (b"GET", b"POST"):
            client = self.greeted_socket()
            client.raw(method + b" / HTTP/1.1\r\nHost: x\r\n\r\n")
            line = client.rest()
            self.assertTrue(line.startswith(b"promptcached:"))
            self.assertIn(b"HTTP", line)

    # ---- values

    def test_an_unknown_operation_is_unsupported(self):
        for op in (0x00, 0x03, 0x14, 0x22, 0x33, 0x7F, 1 << 20, 0x41, 0x43, 0x45):
            self.refused(self.body({}, op=op), "UNSUPPORTED", field="op")

    def test_an_unknown_low_key_is_skipped(self):
        client, prompt = self.connect(), self.prompt()
        client.raw(self.body({0x02: prompt, 0x7F: {"anything": [1, 2, None]}, 0x30: 1.5}))
        self.assertEqual(self.end(client.reply(7)).source, "llm")
        self.assertEqual(self.lookup(client, prompt).source, "exact")

    def test_an_unknown_key_that_must_be_understood_is_named(self):
        for key, name in ((0xA0, "0xa0"), (0x8E, "0x8e"), (0x90, "0x90"), (1 << 32, "0x100000000")):
            error = self.refused(self.body({0x02: "x", key: 1}), "UNSUPPORTED")
            self.assertTrue(error["field"].startswith(name), error)
        error = self.refused(self.body({0x02: "x", 0x88: 1}), "UNSUPPORTED")  # known, in another operation
        self.assertTrue(error["field"].startswith("0x88"), error)

    def test_a_wrong_type_names_its_field(self):
        for body, field in (({0x02: 7}, "prompt"), ({0x02: None}, "prompt"), ({0x02: "x", 0x01: True}, "model"),
                            ({0x02: "x", 0x11: 1}, "stream"), ({0x02: "x", 0x10: "soon"}, "timeout_ms"), ({0x02: "x", 0x10: -1}, "timeout_ms"),
                            ({0x02: "x", 0x83: []}, "params"), ({0x02: "x", 0x82: {}}, "tools"), ({0x04: "x"}, "messages"),
                            ({0x04: ["x"]}, "messages[0]"), ({0x04: [{"content": "x"}]}, "messages[0].role"),
                            ({0x04: [{"role": 1, "content": "x"}]}, "messages[0].role"), ({0x02: "x", 0x13: "m"}, "metadata")):
            self.refused(self.body(body), "INVALID", field=field)

    def test_parameters_with_a_place_of_their_own_are_refused_by_name(self):
        for name in ("model", "messages", "tools", "stream", "stream_options", "user", "metadata"):
            self.refused(self.body({0x02: "x", 0x83: {name: 1}}), "INVALID", field=f"params.{name}")

    def test_what_json_cannot_say_is_refused_by_name(self):
        for value in (float("nan"), float("inf"), b"bytes", msgpack.ExtType(5, b"x")):
            self.refused(self.body({0x02: "x", 0x83: {"temperature": value}}), "INVALID", field="params.temperature")

    def test_a_missing_question_is_named(self):
        for op in ("QUERY", "LOOKUP", "PUT", "INVALIDATE"):
            error = self.refused(self.body({0x01: "gpt-4o"}, op=reference.OPS[op]), "INVALID")
            self.assertIn(error["field"], ("prompt", "messages"), op)
        error = self.refused(self.body({0x02: "x"}, op=reference.OPS["PUT"]), "INVALID")
        self.assertIn(error["field"], ("answer", "segments"))
        self.refused(self.body({0x02: "x", 0x04: [{"role": "user", "content": "x"}]}), "INVALID")

    def test_a_key_given_twice_is_named(self):
        twice = b"\x94\x10\x07\x00\x82\x02\xa1x\x02\xa1y"
        self.refused(reference.prefix(twice), "INVALID", field="prompt")
        params = b"\x94\x10\x07\x00\x82\x02\xa1x\xcc\x83\x82\xa1k\x01\xa1k\x02"
        self.refused(reference.prefix(params), "INVALID", field="params.k")

    def test_an_empty_question_is_named(self):
        self.refused(self.body({0x02: ""}), "INVALID", field="prompt")
        self.refused(self.body({0x04: []}), "INVALID", field="messages")

    def test_text_that_is_not_utf_8_is_named(self):
        for text in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80"):
            data = b"\x94\x10\x07\x00\x81\x02" + bytes([0xA0 + len(text)]) + text
            self.refused(reference.prefix(data), "INVALID", field="prompt")

    def test_a_frame_that_is_not_of_four_elements_is_not_well_formed(self):
        for value in ([QUERY, 7, 0], [QUERY, 7, 0, {}, 1], {"op": QUERY}, 7, "text", [QUERY, 7, 0, []]):
            client = self.connect()
            client.raw(reference.prefix(reference.pack(value)))
            frame = client.receive()
            self.assertEqual((frame.op, frame.body["name"]), ("ERROR", "PROTOCOL"), value)
            self.end(client.reply(client.send("PING")))

    def test_id_0_is_no_request(self):
        self.refused(self.body({0x02: "x"}, id=0), "INVALID", field="id", id=0)

    def test_the_greatest_id_is_an_id(self):
        client = self.connect()
        client.send("QUERY", id=2**64 - 1, prompt=self.prompt())
        self.end(client.reply(2**64 - 1))

    def test_an_id_in_flight_twice_is_told_and_the_first_request_goes_on(self):
        client, prompt = self.connect(), self.prompt()
        self.ai.control(hold=True)
        client.send("QUERY", id=7, prompt=prompt)
        self.ai.wait_calls(1, prompt)
        client.send("QUERY", id=7, prompt=self.prompt("another"))
        frame = client.receive()
        self.assertEqual((frame.op, frame.id, frame.body["name"], frame.body["field"]), ("ERROR", 0, "DUPLICATE_ID", "id"))
        self.ai.control(hold=False)
        self.assertIn(prompt, self.end(client.reply(7)).text)

    def test_an_array_that_claims_2_to_the_28_elements_allocates_nothing(self):
        client = self.connect()
        self.query(client, self.prompt())
        before = self.daemon.memory_kb("VmHWM")
        for claim in (b"\xdd\x10\x00\x00\x00", b"\xdf\x10\x00\x00\x00", b"\xdb\x10\x00\x00\x00", b"\xc6\x10\x00\x00\x00"):
            client.raw(reference.prefix(b"\x94\x10\x07\x00\x81\x04" + claim + b"\x00" * 64))
            frame = client.receive()
            self.assertEqual(frame.op, "ERROR")
            self.assertIn(frame.body["name"], ("TOO_LARGE", "PROTOCOL"))
            client.raw(reference.prefix(claim))
            self.assertEqual(client.receive().op, "ERROR")
        self.assertLess(self.daemon.memory_kb("VmHWM") - before, 4_000)
        self.end(client.reply(client.send("PING")))

    def test_more_elements_than_the_limit_are_refused(self):
        params = {"logit_bias": {str(i): 1 for i in range(200_000)}}
        self.refused(self.body({0x02: "x", 0x83: params}), "TOO_LARGE")

    def test_nesting_10_000_deep_is_refused(self):
        deep = b"\x94\x10\x07\x00\x82\x02\xa1x\xcc\x83\x81\xa1k" + b"\x91" * 10_000 + b"\x00"
        self.refused(reference.prefix(deep), "TOO_LARGE")

    def test_fields_over_their_limits_are_named(self):
        for body, field in (({0x02: "x", 0x01: "m" * 257}, "model"), ({0x02: "x", 0x80: "n" * 129}, "namespace"),
                            ({0x02: "x", 0x10: 3_600_001}, "timeout_ms"), ({0x02: "x", 0x83: {f"p{i}": 1 for i in range(65)}}, "params"),
                            ({0x02: "x", 0x82: [{}] * 513}, "tools"), ({0x04: [{"role": "user"}] * 4097}, "messages")):
            self.refused(self.body(body), "TOO_LARGE", field=field)

    # ---- the opening

    def test_nothing_is_served_before_hello(self):
        for op, body, id in (("QUERY", {"prompt": "x"}, 7), ("STATS", {}, 7), ("PUT", {"prompt": "x", "answer": "y"}, 7), ("CANCEL", {}, 0),
                             ("WINDOW", {"credit": 1}, 0), ("GOAWAY", {}, 0)):  # the last three are no requests
            client = self.greeted_socket()
            client.send(op, id=7, **body)
            frames, rest = client.frames_until_closed()
            self.assertEqual([(f.op, f.id, f.body["name"]) for f in frames], [("ERROR", id, "UNAUTHENTICATED")], op)
            self.assertEqual(rest, b"")

    def test_a_ping_is_answered_before_hello(self):
        client = self.greeted_socket()
        client.send("PING", id=0)
        frame = client.receive()
        self.assertEqual((frame.op, frame.id, frame.flags), ("PING", 0, reference.ACK))

    def test_a_wrong_or_missing_token_is_refused_on_tcp(self):
        for token in ("wrong", "x" * 64, None, self.daemon.token[:-1], self.daemon.token + "0"):
            client = harness.Client(self.daemon.socket("tcp"))
            body = {"version": 1} if token is None else {"version": 1, "token": token}
            client.send("HELLO", id=1, **body)
            client.send("QUERY", id=2, prompt="What do you know?")
            frames, _ = client.frames_until_closed()
            self.assertEqual([(f.op, f.id, f.body["name"], f.body["field"]) for f in frames], [("ERROR", 1, "UNAUTHENTICATED", "token")])
            self.assertNotIn(self.daemon.token, str(frames))
            client.close()
        self.assertNotIn(self.daemon.token, self.daemon.log())

    def test_a_long_frame_before_hello_ends_the_connection(self):
        client = self.greeted_socket()
        client.raw(reference.frame("HELLO", 1, {"version": 1, "client": "x" * 5000}))
        frames, _ = client.frames_until_closed()
        self.assertEqual([f.body["name"] for f in frames], ["TOO_LARGE"])

    def test_a_malformed_frame_before_hello_ends_the_connection(self):
        client = self.greeted_socket()
        client.raw(b"\xce\0\0\0\1\xc1")
        frames, _ = client.frames_until_closed()
        self.assertEqual([f.body["name"] for f in frames], ["PROTOCOL"])

    def test_version_0_is_unsupported_and_a_later_version_is_answered_with_ours(self):
        client = self.greeted_socket()
        client.send("HELLO", id=1, version=0)
        frames, _ = client.frames_until_closed()
        self.assertEqual([(f.body["name"], f.body["field"]) for f in frames], [("UNSUPPORTED", "version")])
        self.assertEqual(self.connect(version=99).server_hello["version"], 1)

    def test_a_second_hello_is_an_error_and_the_connection_lives(self):
        client = self.connect()
        self.error(client.call("HELLO", version=1), "INVALID")
        self.assert_serves(client)

    # ---- requests in flight

    def test_a_client_that_shuts_down_its_sending_side_counts_as_gone(self):
        client, prompt = self.connect(), self.prompt()
        self.ai.control(hold=True)
        client.send("QUERY", id=7, prompt=prompt)
        self.ai.wait_calls(1, prompt)
        client.sock.shutdown(socket.SHUT_WR)
        self.assertEqual(client.frames_until_closed(), ([], b""))
        self.assertEqual(self.daemon.stats()["engine_waiters"], 0)
        self.ai.control(hold=False)

    def test_no_frame_is_longer_than_a_client_takes(self):
        prompt = self.prompt("Long [[answer-bytes:50000]] [[piece-bytes:8000]]")
        text = self.query(self.connect(), prompt).text
        client = self.connect(frame_max=1024)
        client.send("QUERY", id=7, prompt=prompt)
        seen = []
        while not seen or seen[-1].op not in harness.FINAL:
            while len(client.buffer) < 5:
                client.fill()
            self.assertLessEqual(struct.unpack_from(">I", client.buffer, 1)[0], 1024)
            seen.append(client.receive())
        self.assertEqual(self.end(harness.Reply(seen)).text, text)
        plain = self.connect(frame_max=1024, features=0)
        self.error(plain.call("QUERY", prompt=prompt), "TOO_LARGE", field="frame_max")
        self.assertEqual(self.query(plain, prompt, stream=True).text, text)

    def test_a_client_that_takes_less_than_the_least_frame_is_refused(self):
        client = self.greeted_socket()
        client.send("HELLO", version=1, frame_max=1023, token=self.daemon.token)
        frames, _ = client.frames_until_closed()
        self.assertEqual([(f.body["name"], f.body["field"]) for f in frames], [("INVALID", "frame_max")])

    def test_cancel_and_window_of_unknown_ids_do_nothing(self):
        client = self.connect()
        client.send("CANCEL", id=12345)
        client.send("WINDOW", id=12345, credit=10)
        self.assert_serves(client)

    def test_a_client_that_leaves_at_any_moment_leaves_nothing_behind(self):
        for _ in range(50):
            client = self.daemon.client(self.transport)
            for _ in range(20):
                client.send("QUERY", prompt=self.prompt(), stream=True)
            client.close()

    def test_a_client_that_resets_its_connection_leaves_nothing_behind(self):
        for _ in range(20):
            client = self.daemon.client(self.transport)
            client.send("QUERY", prompt=self.prompt())
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()


def raise_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Crowds(harness.Case):
    """Many that say nothing."""

    def test_ten_thousand_silent_connections_disturb_nobody(self):
        count = min(10_000, raise_descriptors() * 3 // 4 - 200)
        before = self.daemon.memory_kb()
        silent = []
        self.addCleanup(lambda: [s.close() for s in silent])
        began = time.monotonic()
        for _ in range(count):
            silent.append(self.daemon.socket())
        client = self.connect()
        asked = time.monotonic()
        self.assert_serves(client)
        took = time.monotonic() - asked
        connections = self.daemon.stats()["net_connections"]
        each = (self.daemon.memory_kb() - before) * 1024 / count
        print(f"{count} silent connections in {asked - began:.2f} s, {each:.0f} bytes each; an ordinary client waited {took * 1000:.1f} ms")
        self.assertLess(took, 1)
        if not harness.SANITIZED and asked - began < 4:
            self.assertGreater(connections, count * 9 // 10)
            self.assertLess(each, 4096)
        harness.wait_until(lambda: self.daemon.stats()["net_hello_timeouts_total"] >= count, "the silent ones to be closed")
        harness.wait_until(lambda: self.daemon.stats()["net_connections"] < 5, "their descriptors to be free")
        self.assert_serves(client)

    def test_a_connection_without_hello_is_closed_in_time(self):
        client = harness.Client(self.daemon.socket("tcp"))
        began = time.monotonic()
        client.raw(b"\xce\x00")
        frames, _ = client.frames_until_closed(10)
        took = time.monotonic() - began
        self.assertEqual([(f.op, f.id, f.body["name"]) for f in frames], [("ERROR", 0, "TIMEOUT")])
        client.close()
        self.assertTrue(4.5 < took < 7, took)


class ConnectionLimit(harness.Case):
    options = {"net.connections": "20"}

    def test_over_the_limit_of_connections_a_client_is_told_and_others_are_served(self):
        first = self.connect()
        clients = [self.daemon.socket() for _ in range(19)]
        client = harness.Client(self.daemon.socket())
        client.raw(reference.frame("HELLO", 1, {"version": 1}))
        try:
            frames, _ = client.frames_until_closed()
            self.assertIn([(f.id, f.body["name"]) for f in frames], ([(0, "OVERLOADED")], []))
        except BrokenPipeError:
            pass
        client.close()
        self.assertGreater(first.call("STATS").body["stats"]["net_connections_refused_total"], 0)
        self.assert_serves(first)
        for s in clients:
            s.close()


class Descriptors(harness.Case):
    """Few descriptors, more connections."""

    @staticmethod
    def limits():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    def test_without_descriptors_the_daemon_goes_on(self):
        sockets = [self.daemon.socket() for _ in range(400)]
        time.sleep(0.2)
        for s in sockets:
            s.close()

        def recovered():
            try:
                return self.daemon.stats()["net_connections"] < 5
            except (harness.Closed, OSError):
                return False
        harness.wait_until(recovered, "the connections to be closed")
        self.assert_serves()


class Slow:
    """Small time limits."""

    options = {"net.frame_timeout": "300ms", "net.idle_timeout": "700ms", "net.write_timeout": "500ms", "net.high_water": "64KB",
               "net.low_water": "16KB"}

    def test_half_a_frame_is_waited_for_only_so_long(self):
        client = self.connect()
        frame = reference.frame("QUERY", 7, {"prompt": "half"})
        began = time.monotonic()
        client.raw(frame[:-3])
        frames, rest = client.frames_until_closed(10)
        self.assertEqual(([(f.op, f.id, f.body["name"]) for f in frames], rest), ([("ERROR", 0, "TIMEOUT")], b""))
        self.assertTrue(0.25 < time.monotonic() - began < 3)
        self.assertGreater(self.daemon.stats()["net_frame_timeouts_total"], 0)

    def test_a_frame_that_trickles_in_is_waited_for_only_so_long(self):
        client = self.connect()
        frame = reference.frame("QUERY", 7, {"prompt": "trickle " * 10})
        with self.assertRaises((BrokenPipeError, ConnectionResetError, harness.Closed)):
            for byte in frame:
                client.raw(bytes([byte]))
                time.sleep(0.03)
            client.reply(7, 5)

    def test_an_idle_connection_is_closed_and_one_that_waits_is_not(self):
        idle, waiting, prompt = self.connect(), self.connect(), self.prompt()
        self.ai.control(hold=True)
        id = waiting.send("QUERY", prompt=prompt)
        idle.rest(10)
        time.sleep(0.5)
        self.ai.control(hold=False)
        self.end(waiting.reply(id))
        self.assertGreater(self.daemon.stats()["net_idle_timeouts_total"], 0)

    def test_a_client_that_never_reads_is_dropped_and_nobody_else_waits(self):
        client, prompt = self.connect(), self.prompt()
        self.ai.control(answer_bytes=100_000, piece_bytes=8192)
        self.query(client, prompt)
        deaf = self.connect()
        before = self.daemon.memory_kb("VmHWM")

        def shout():
            try:
                for i in range(1, 2001):
                    deaf.raw(reference.frame("QUERY", 1000 + i, {"prompt": prompt}))
            except OSError:
                pass
        thread = threading.Thread(target=shout)
        thread.start()
        asked = time.monotonic()
        with self.connect() as other:
            self.assertEqual(self.query(other, prompt).source, "exact")
        self.assertLess(time.monotonic() - asked, 1)
        harness.wait_until(lambda: self.daemon.stats()["net_write_timeouts_total"] > 0, "the deaf client to be dropped", 10)
        thread.join()
        self.assertLess(self.daemon.memory_kb("VmHWM") - before, 30_000)
        self.assert_serves()

    def test_a_slow_reader_of_a_stream_slows_nobody_else(self):
        prompt = self.prompt("Long [[answer-bytes:4000000]] [[piece-bytes:8192]]")
        slow, quick = self.connect(), self.connect()
        slow.send("QUERY", id=7, prompt=prompt, stream=True)
        reply = self.query(quick, prompt, stream=True)
        self.assertGreaterEqual(len(reply.text), 3_900_000)
        self.assertEqual(self.ai.calls(prompt), 1)
        if harness.SANITIZED:
            return
        self.assertEqual(self.end(slow.reply(7)).text, reply.text)


class Configuration(harness.unittest.TestCase):
    """A configuration that is wrong: exit code 2 and a sentence with the key, the line and what is allowed."""

    def refused(self, text, *words, settings=()):
        with harness.tempfile.TemporaryDirectory() as home:
            path = os.path.join(home, "c.yaml")
            with open(path, "wb") as f:
                f.write(text.encode() if isinstance(text, str) else text)
            for check in ((), ("--check-config",)):
                arguments = ["--config", path, *check]
                for setting in settings:
                    arguments += ["--set", setting]
                code, out, error = harness.run_daemon(home, *arguments)
                self.assertEqual((code, out), (2, ""), error)
                for word in words:
                    self.assertIn(word, error)
            self.assertFalse(os.path.exists(os.path.join(home, "promptcached.sock")))

    def test_a_misspelt_key_is_told_with_its_line_and_the_nearest_one(self):
        self.refused("store:\n  kind: none\nmemory:\n  limt: 64MB\n", "c.yaml:4", "memory.limt", "did you mean memory.limit?")
        self.refused("upstreams:\n  - name: a\n    base_ulr: http://x/v1\n", "c.yaml:3", "base_ulr", "base_url")

    def test_what_this_version_or_this_environment_has_not_is_told(self):
        upstream = "  - {name: %s, base_url: 'http://x/v1'%s}\n"
        self.refused("store:\n  kind: redis\n", "store.kind redis", "later version")
        self.refused("upstreams:\n" + upstream % ("a", ", api_key_env: NOT_SET_ANYWHERE"), "upstream a", "NOT_SET_ANYWHERE is not set")
        self.refused("upstreams:\n" + upstream % ("a", "") + upstream % ("a", ""), "upstreams[1].name", "a too")

    def test_a_misspelt_key_on_the_command_line_is_told_too(self):
        self.refused("", "store.knd", "store.kind", settings=["store.knd=none"])

    def test_a_wrong_type_is_told_with_what_is_allowed(self):
        for text, words in (("memory:\n  limit: lots\n", ("c.yaml:2", "memory.limit")), ("insecure: perhaps\n", ("c.yaml:1", "insecure")),
                            ("cache:\n  ttl: soon\n", ("c.yaml:2", "cache.ttl")), ("store:\n  kind: sqlite\n", ("store.kind", "lmdb")),
                            ("net:\n  inflight: 1.5\n", ("net.inflight",)), ("listen:\n  a: b\n", ("listen",)), ("store: none\n", ("store",)),
                            ("prices:\n  - model: m\n    prompt: cheap\n", ("prompt",))):
            self.refused(text, *words)

    def test_a_value_out_of_range_is_told_with_the_range(self):
        self.refused("net:\n  inflight: 0\n", "net.inflight", "1", "65536")
        self.refused("memory:\n  limit: 1KB\n", "memory.limit", "1MB")
        self.refused("flight:\n  timeout: 2d\n", "flight.timeout")

    def test_bad_yaml_is_told_with_its_line(self):
        self.refused("store:\n  kind: [none\n", "c.yaml:")
        self.refused("a: b: c\n", "c.yaml:1")
        self.refused("\tstore: none\n", "c.yaml:1")
        self.refused(b"\xff\xfe\xfa", "c.yaml")

    def test_a_file_that_cannot_be_read_is_told(self):
        with harness.tempfile.TemporaryDirectory() as home:
            for path in (os.path.join(home, "none.yaml"), home):
                code, _, error = harness.run_daemon(home, "--config", path)
                self.assertEqual(code, 2)
                self.assertIn(path, error)

    def test_addresses_that_are_none_are_told(self):
        for address in ("tcp://", "http://x", "tcp://127.0.0.1:99999", "unix:", "tls://127.0.0.1:1", "nonsense"):
            self.refused("store:\n  kind: none\n", "promptcached:", settings=[f"listen={address}"])

    def test_an_upstream_that_cannot_be_one_is_told_by_its_name(self):
        upstream = "upstreams:\n  - name: main\n    base_url: {}\n"
        self.refused(upstream.format("htp://api.example/v1"), "main", "base_url")
        self.refused(upstream.format("https://key@api.example/v1"), "main", "base_url", "api_key_env")
        self.refused(upstream.format("https://api.example/v1") + "    headers: [nonsense]\n", "main", "headers")

    def test_a_command_line_that_is_wrong_is_told(self):
        with harness.tempfile.TemporaryDirectory() as home:
            for arguments in (("--nonsense",), ("--config",), ("--set",), ("--set", "novalue"), ("--describe", "weather"), ("stray",)):
                code, _, error = harness.run_daemon(home, *arguments)
                self.assertEqual(code, 2, (arguments, error))
                self.assertTrue(error)


harness.variants(globals(), BadInput, transport=("unix", "tcp"))
harness.variants(globals(), Slow, transport=("unix", "tcp"))

if __name__ == "__main__":
    harness.main()
