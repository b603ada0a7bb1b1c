"""How the daemon starts and ends: signals, sockets, tokens, exit codes, and what it says about itself."""

import os
import re
import resource
import signal
import socket
import stat
import subprocess
import tempfile
import time
import unittest

import harness


class Ends:
    """Each test ends its own daemon."""

    options = {"shutdown.grace": "1500ms"}

    def setUp(self):
        super().setUp()
        if self.daemon.code is not None:
            self.start_daemon()
        self.addCleanup(self.let_it_end)

    def let_it_end(self):
        """A test that failed between signal and end must not fail others."""
        if self.daemon.code is None and "server.stopping" in self.daemon.log():
            self.daemon.wait()

    def ended(self, code=0):
        self.daemon.wait()
        self.daemon.check(code)

    def test_what_is_in_flight_finishes_within_the_grace(self):
        client, prompt = self.connect(), self.prompt()
        self.ai.control(hold=True)
        ids = [client.send("QUERY", prompt=prompt) for _ in range(10)]
        self.ai.wait_calls(1, prompt)
        harness.wait_until(lambda: self.daemon.stats()["engine_waiters"] == 10, "all requests in flight")
        self.daemon.signal(signal.SIGTERM)
        client.wait_frame(0, "GOAWAY")
        self.assertEqual(client.goaway["grace_ms"], 1500)
        self.assertEqual(client.goaway["last_id"], ids[-1])
        self.error(client.call("QUERY", prompt=self.prompt()), "SHUTTING_DOWN", retryable=True)
        with self.assertRaises(OSError):
            self.daemon.socket(self.transport)
        self.ai.control(hold=False)
        for id in ids:
            self.assertIn(prompt, self.end(client.reply(id)).text)
        self.assertEqual(client.rest(), b"")
        self.ended()

    def test_a_stream_in_flight_is_sent_to_its_end(self):
        client, prompt = self.connect(), self.prompt("Long [[answer-bytes:2000]] [[pace:5ms]]")
        id = client.send("QUERY", prompt=prompt, stream=True)
        client.wait_frame(id, "CHUNK")
        self.daemon.signal(signal.SIGTERM)
        self.assertGreaterEqual(len(self.end(client.reply(id)).text), 2000)
        self.ended()

    def test_what_does_not_finish_within_the_grace_is_ended_with_an_error(self):
        client, prompt = self.connect(), self.prompt()
        self.ai.control(hold=True)
        id = client.send("QUERY", prompt=prompt)
        self.ai.wait_calls(1, prompt)
        began = time.monotonic()
        self.daemon.signal(signal.SIGTERM)
        self.error(client.reply(id), "SHUTTING_DOWN", retryable=True)
        self.ended()
        self.assertTrue(1.4 < time.monotonic() - began < 6)

    def test_a_second_signal_does_not_wait(self):
        for first, second in ((signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)):
            client, prompt = self.connect(), self.prompt()
            self.ai.control(hold=True)
            client.send("QUERY", prompt=prompt)
            self.ai.wait_calls(1, prompt)
            began = time.monotonic()
            self.daemon.signal(first)
            client.wait_frame(0, "GOAWAY")
            self.daemon.signal(second)
            self.ended()
            self.assertLess(time.monotonic() - began, 1.2)
            client.close()
            self.ai.control(hold=False)
            self.start_daemon()

    def test_without_requests_the_end_comes_at_once(self):
        clients = [self.connect() for _ in range(20)]
        silent = self.greeted_socket()
        began = time.monotonic()
        self.daemon.signal(signal.SIGTERM)
        for client in clients:
            client.wait_frame(0, "GOAWAY")
            client.close()
        silent.close()
        self.ended()
        self.assertLess(time.monotonic() - began, 1.2)

    def test_clients_that_stay_connected_do_not_hold_the_end_up(self):
        clients = [self.connect() for _ in range(5)] + [self.greeted_socket()]
        deaf = self.connect()
        deaf.mute = True
        self.daemon.signal(signal.SIGTERM)
        self.ended()
        self.assertEqual(len(clients), 6)

    def test_sigint_ends_as_sigterm_does(self):
        self.daemon.signal(signal.SIGINT)
        self.ended()

    def test_sighup_is_told_and_changes_nothing(self):
        client = self.connect()
        self.daemon.signal(signal.SIGHUP)
        self.daemon.wait_log("server.reload")
        self.assert_serves(client)

    def test_the_socket_file_is_gone_after_the_end_and_replaced_after_a_crash(self):
        self.assertTrue(stat.S_ISSOCK(os.stat(self.daemon.socket_path).st_mode))
        self.daemon.signal(signal.SIGTERM)
        self.ended()
        self.assertFalse(os.path.exists(self.daemon.socket_path))
        self.start_daemon()
        self.daemon.kill()
        self.assertTrue(os.path.exists(self.daemon.socket_path))
        self.start_daemon()
        self.assert_serves()

    def test_a_client_that_leaves_in_good_order_gets_what_it_waits_for(self):
        client, prompt = self.connect(), self.prompt("Slow [[latency:100ms]]")
        id = client.send("QUERY", prompt=prompt)
        client.send("GOAWAY", id=0)
        self.end(client.reply(id))
        self.assertEqual(client.rest(), b"")


class Start(unittest.TestCase):
    """Starts that end by themselves, or whose places matter."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="promptcache-")
        self.addCleanup(directory.cleanup)
        self.home = directory.name

    def start(self, **more):
        daemon = harness.Daemon(self.home, **more)
        self.addCleanup(daemon.stop)
        return daemon

    def refused(self, *settings, words=(), code=1, env=None):
        arguments = [a for s in ("store.kind=none", *settings) for a in ("--set", s)]
        got, _, error = harness.run_daemon(self.home, *arguments, env=env)
        self.assertEqual(got, code, error)
        for word in words:
            self.assertIn(word, error)
        return error

    def test_the_log_says_who_answers_without_keys(self):
        upstreams = "upstreams:\n  - {name: a, base_url: 'http://127.0.0.1:1/v1/', api_key_env: KEY, models: [m, n*]}\n"
        daemon = self.start(config=upstreams, env={"KEY": harness.SECRET_KEY})
        self.assertIn('info upstream.ready name="a" base_url="http://127.0.0.1:1/v1" models="m,n*"', daemon.log())
        self.assertNotIn(harness.SECRET_KEY, daemon.log())
        daemon.stop()
        daemon = self.start(env={"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"})
        self.assertIn('upstream.ready name="default" base_url="http://127.0.0.1:1/v1" models="*"', daemon.log())
        daemon.stop()
        self.assertRegex(self.start().log(), r"warn upstream\.none reason=.*OPENAI_API_KEY.*upstreams")

    def test_the_token_is_made_at_the_first_start_and_stays(self):
        first = self.start(listens=["tcp://127.0.0.1:0"])
        path = os.path.join(first.state, "promptcached", "token")
        self.assertEqual(harness.mode_of(path), 0o600)
        self.assertEqual(harness.mode_of(os.path.dirname(path)) & 0o077, 0)
        token = first.token
        self.assertGreaterEqual(len(token), 32)
        first.stop()
        second = self.start(listens=["tcp://127.0.0.1:0"])
        self.assertEqual(second.token, token)
        self.assertNotIn(token, first.log() + second.log())

    def test_a_token_file_that_others_may_read_is_refused(self):
        path = os.path.join(self.home, "token")
        for mode, content, words in ((0o644, "x" * 64, ("token",)), (0o600, "short", ("token",)), (0o600, "", ("token",))):
            with open(path, "w", encoding="ascii") as f:
                f.write(content + "\n")
            os.chmod(path, mode)
            error = self.refused(f"token_file={path}", f"listen=unix:{self.home}/sock", words=words)
            self.assertNotIn("x" * 32, error)
        os.unlink(path)
        os.symlink("/dev/null", path)
        self.refused(f"token_file={path}", f"listen=unix:{self.home}/sock", words=("token",))

    def test_a_token_file_of_ones_own_is_used(self):
        path = os.path.join(self.home, "token")
        with open(path, "w", encoding="ascii") as f:
            f.write("t" * 40 + "\n")
        os.chmod(path, 0o600)
        daemon = self.start(options={"token_file": path})
        with harness.Client(daemon.socket("tcp")) as client:
            client.hello(token="t" * 40)
        with harness.Client(daemon.socket("tcp")) as client:
            client.send("HELLO", version=1, token="t" * 39)
            self.assertEqual(client.receive().body["name"], "UNAUTHENTICATED")

    def test_without_authentication_everybody_is_let_in_and_the_log_says_so(self):
        daemon = self.start(options={"auth": "none"})
        with harness.Client(daemon.socket("tcp")) as client:
            client.hello()
        self.assertIn("auth=none", daemon.log())

    def test_tcp_beyond_the_loopback_is_refused_without_insecure(self):
        for address in ("tcp://0.0.0.0:0", "tcp://[::]:0"):
            self.refused(f"listen={address}", words=("insecure",), code=2)
            code, out, error = harness.run_daemon(self.home, "--check-config", "--set", f"listen={address}")
            self.assertEqual((code, out), (2, ""))
            self.assertIn("insecure", error)
            code, _, error = harness.run_daemon(self.home, "--check-config", "--set", f"listen={address}", "--set", "insecure=true")
            self.assertEqual((code, error), (0, ""))
        daemon = self.start(listens=["tcp://0.0.0.0:0"], options={"insecure": "true"})
        with harness.Client(daemon.socket("tcp")) as client:
            client.hello(token=daemon.token)

    def test_the_socket_is_closed_to_others(self):
        daemon = self.start()
        self.assertEqual(harness.mode_of(daemon.socket_path) & 0o077, 0)

    def test_a_socket_in_use_is_refused_and_the_first_daemon_goes_on(self):
        daemon = self.start()
        error = self.refused(f"listen=unix:{daemon.socket_path}", words=(daemon.socket_path,))
        self.assertTrue(error)
        daemon.client().close()

    def test_a_port_in_use_is_refused(self):
        daemon = self.start()
        self.refused(f"listen=tcp://127.0.0.1:{daemon.port}", words=(f"listen tcp://127.0.0.1:{daemon.port}", "another port"))

    def test_the_default_port_in_use_is_told_and_the_unix_socket_alone_is_used(self):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                other.bind(("127.0.0.1", 7411))
                other.listen()
            except OSError:
                pass  # somebody else's listener does as well
            daemon = self.start(listens=[], wait=False)
            daemon.wait_ready(1)
            daemon.wait_log(r"warn server\.listen reason=.*7411.*next=")
            daemon.client().close()

    def test_a_socket_without_its_folder_is_refused_with_a_remedy(self):
        self.refused(f"listen=unix:{self.home}/no/sock", words=(f"listen unix:{self.home}/no/sock", f"the folder {self.home}/no is not there"))
        self.refused("listen=unix:no/sock", words=("listen unix:no/sock", "the folder no is not there", "absolute"))
        self.refused("listen=unix:/run/no-such-folder/sock", words=("RuntimeDirectory=no-such-folder)",))

    def test_an_address_that_is_none_is_refused_by_its_key(self):
        self.refused("listen=127.0.0.1:7411", words=("listen 127.0.0.1:7411: not an address",), code=2)
        self.refused("listen=tcp://no-such-host.invalid:1", words=("listen tcp://no-such-host.invalid:1",))

    def test_without_a_place_for_state_the_remedy_is_told(self):
        self.refused("listen=tcp://127.0.0.1:0", words=("XDG_STATE_HOME, or token_file and store.path",), env={"HOME": "", "XDG_STATE_HOME": ""})

    def test_an_option_without_its_value_is_told_as_that(self):
        for option in ("--config", "--set", "--check-store", "--describe", "--config="):
            self.assertIn(f"{option}: its value is missing", self.usage(option))
        self.assertIn("--confug: there is no such option", self.usage("--confug", "x"))
        self.assertIn("--configure: there is no such option", self.usage("--configure"))

    def usage(self, *arguments):
        code, out, error = harness.run_daemon(self.home, *arguments)
        self.assertEqual((code, out), (2, ""))
        return error

    def test_fewer_descriptors_than_connections_by_default_are_no_warning(self):
        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
        self.assertRegex(self.start(limits=few).log(), r"info net\.connections wanted=60000 lowered_to=\d+ reason=")
        self.assertIn("warn net.connections", self.start(limits=few, options={"net.connections": "50000"}, listens=["tcp://127.0.0.1:0"]).log())

    def test_a_signal_during_a_start_that_fails_does_no_harm(self):
        port = self.start().port
        environment = {"PATH": "/usr/bin:/bin", "HOME": self.home, "XDG_STATE_HOME": self.home, "XDG_RUNTIME_DIR": self.home}
        environment |= {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}
        for _ in range(5):
            failing = subprocess.Popen([harness.DAEMON, "--set", f"listen=tcp://127.0.0.1:{port}"], env=environment,
                                       stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            while not self.catches(failing.pid, signal.SIGTERM):
                pass  # the start takes but milliseconds
            failing.send_signal(signal.SIGTERM)
            _, error = failing.communicate(timeout=harness.TIMEOUT_S)
            self.assertEqual(failing.returncode, 1, error)
            self.assertIn(str(port), error)

    def catches(self, pid, signo):
        """Has the process a handler for the signal, or ended already?"""
        caught = re.search(r"SigCgt:\s+(\w+)", harness.read_text(f"/proc/{pid}/status"))
        return caught is None or int(caught[1], 16) >> (signo - 1) & 1

    def test_a_file_that_is_no_socket_is_never_replaced(self):
        path = os.path.join(self.home, "precious")
        with open(path, "w", encoding="ascii") as f:
            f.write("precious")
        self.refused(f"listen=unix:{path}", words=(path,))
        self.assertEqual(harness.read_text(path), "precious")

    def test_without_configuration_the_default_places_are_used(self):
        daemon = harness.Daemon(self.home, listens=[], wait=False, options={"store.kind": None})
        self.addCleanup(daemon.stop)
        daemon.wait_ready(1)
        daemon.wait_log(r"(server\.ready|server\.listen) \S*tcp://127\.0\.0\.1:7411")  # ready, or in use on this machine
        daemon.client().close()
        self.assertTrue(os.path.exists(os.path.join(daemon.state, "promptcached", "data.mdb")))

    def test_the_configuration_is_checked_without_starting(self):
        code, out, error = harness.run_daemon(self.home, "--check-config", "--set", "memory.limit=64MB")
        self.assertEqual((code, error), (0, ""))
        self.assertIn("valid", out)
        self.assertEqual(os.listdir(self.home), [])

    def test_the_described_configuration_loads_as_it_is_and_without_its_comments(self):
        code, text, _ = harness.run_daemon(self.home, "--describe", "config")
        self.assertEqual(code, 0)
        for key in ("listen", "memory", "store", "upstreams", "prices", "default_model"):
            self.assertRegex(text, rf"(?m)^#?{key}:")
        path = os.path.join(self.home, "described.yaml")
        uncommented = re.sub(r"(?m)^#(?= *(limit|kind|ttl|level|grace|inflight|commit_interval): )", "", text)
        self.assertNotEqual(uncommented, text)
        for content in (text, uncommented):
            with open(path, "w", encoding="utf-8") as f:
                f.write(content)
            code, _, error = harness.run_daemon(self.home, "--config", path, "--check-config")
            self.assertEqual((code, error), (0, ""))

    def test_metrics_are_described_in_words(self):
        code, text, _ = harness.run_daemon(self.home, "--describe", "metrics")
        self.assertEqual(code, 0)
        for line in text.splitlines():
            self.assertRegex(line, r"^[a-z_0-9]+ +(counter|gauge) +\S")

    def test_version_and_help(self):
        code, out, _ = harness.run_daemon(self.home, "--version")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"^promptcached \d+\.\d+\.\d+\n$")
        code, out, _ = harness.run_daemon(self.home, "--help")
        self.assertEqual(code, 0)
        for option in ("--config", "--set", "--check-config", "--describe", "--version"):
            self.assertIn(option, out)

    def test_a_set_wins_over_the_file(self):
        path = os.path.join(self.home, "c.yaml")
        with open(path, "w", encoding="ascii") as f:
            f.write("store:\n  kind: none\ndefault_model: from-file\n")
        ai = harness.Mockai()
        self.addCleanup(ai.stop)
        daemon = harness.Daemon(self.home, {"default_model": "from-set", "store.kind": None}, ai, arguments=("--config", path))
        self.addCleanup(daemon.stop)
        with daemon.client() as client:
            self.assertEqual(client.call("QUERY", prompt="Which model?").body["model"], "from-set")

    def test_a_daemon_whose_log_is_not_read_goes_on(self):
        read, write = os.pipe()
        path = os.path.join(self.home, "sock")
        env = {"HOME": self.home, "XDG_STATE_HOME": self.home, "PATH": "/usr/bin:/bin"}
        env |= {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}
        process = subprocess.Popen([harness.DAEMON, "--set", f"listen=unix:{path}", "--set", "store.kind=none", "--set", "log.level=debug"],
                                   env=env, stdin=subprocess.DEVNULL, stderr=write)
        os.close(write)
        try:
            harness.wait_until(lambda: os.path.exists(path), "the socket")
            for _ in range(3000):  # two lines each at this level: far more than pipe and ring hold
                s = socket.socket(socket.AF_UNIX)
                s.settimeout(harness.TIMEOUT_S)
                s.connect(path)
                with harness.Client(s) as client:
                    client.hello()
            s = socket.socket(socket.AF_UNIX)
            s.connect(path)
            with harness.Client(s) as client:
                self.assertGreater(client.hello().call("STATS").body["stats"]["log_dropped_total"], 0)
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(harness.TIMEOUT_S), 0)
        finally:
            process.kill()
            process.wait()
            os.close(read)


harness.variants(globals(), Ends, transport=("unix", "tcp"), store=("lmdb",))

if __name__ == "__main__":
    harness.main()
