"""promptcache-bench: its own behaviour against a small daemon, its exit codes, its JSON, and small versions of what bench/*.sh measure.

PROMPTCACHE_BUILD names the build directory. Standard library only."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.request

BUILD = os.environ.get("PROMPTCACHE_BUILD", "build")
BENCH = os.path.join(BUILD, "bench", "promptcache-bench")
MOCKAI = os.path.join(BUILD, "bench", "promptcache-mockai")
DAEMON = os.path.join(BUILD, "server", "promptcached")
TIMEOUT_S = 60

FAILED, USAGE, CONNECT = 1, 2, 3


class Lab:
    """A provider and a daemon in a folder of their own."""

    def __init__(self):
        self.folder = tempfile.mkdtemp()
        self.environment = {**os.environ, "XDG_STATE_HOME": os.path.join(self.folder, "state"), "OPENAI_API_KEY": "test"}
        for name in ("PROMPTCACHE_SERVER", "PROMPTCACHE_TOKEN", "XDG_RUNTIME_DIR"):
            self.environment.pop(name, None)
        self.provider = subprocess.Popen([MOCKAI, "--listen", "127.0.0.1:0", "--answer-bytes", "1024"], stdout=subprocess.PIPE, text=True)
        url = self.provider.stdout.readline().split()[-1]
        self.provider_url = url.removesuffix("/v1")
        self.environment["OPENAI_BASE_URL"] = url
        self.unix = "unix:" + os.path.join(self.folder, "sock")
        self.log_path = os.path.join(self.folder, "log")
        with open(self.log_path, "w", encoding="utf-8") as log:
            self.daemon = subprocess.Popen(
                [DAEMON, "--set", f"listen={self.unix},tcp://127.0.0.1:0", "--set", "store.kind=none"],
                stderr=log, env=self.environment)
        self.tcp = self.wait_for(r"server\.ready listen=(tcp:\S+)")

    def wait_for(self, pattern):
        until = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until and self.daemon.poll() is None:
            with open(self.log_path, encoding="utf-8") as log:
                found = re.search(pattern, log.read())
            if found:
                return found.group(1)
            time.sleep(0.02)
        raise AssertionError(f"the daemon did not say {pattern}")

    def bench(self, *options, server=None):
        return subprocess.run([BENCH, "--server", server or self.unix, *options], env=self.environment, capture_output=True, text=True,
                              timeout=TIMEOUT_S, check=False)

    def control(self, **settings):
        request = urllib.request.Request(self.provider_url + "/control", json.dumps(settings).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            response.read()

    def provider_calls(self):
        with urllib.request.urlopen(self.provider_url + "/stats?brief=1", timeout=TIMEOUT_S) as response:
            return json.load(response)["chat"]

    def stop(self):
        codes = []
        for process in (self.daemon, self.provider):
            process.send_signal(signal.SIGTERM)
            codes.append(process.wait(TIMEOUT_S))
        self.provider.stdout.close()
        shutil.rmtree(self.folder)
        return codes


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()

    @classmethod
    def tearDownClass(cls):
        assert cls.lab.stop() == [0, 0]

    def json(self, *options, code=0, **more):
        done = self.lab.bench(*options, "--json", **more)
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        return json.loads(done.stdout)


class Load(Case):
    small = ("--connections", "4", "--depth", "4", "--keys", "20", "--requests", "400")

    def test_each_request_is_answered_and_counted_once(self):
        for server in (self.lab.unix, self.lab.tcp):
            report = self.json(*self.small, server=server)
            self.assertEqual(report["prime"]["sources"], {"put": 20})
            self.assertEqual(report["server"]["answered"], 400)
            self.assertEqual(report["server"]["sources"], {"exact": 400})
            self.assertEqual(report["server"]["errors"], {})

    def test_priming_by_asking_calls_the_provider_once_for_each_key(self):
        before = self.lab.provider_calls()
        report = self.json(*self.small, "--prime", "query", "--seed", "77")
        self.assertEqual(self.lab.provider_calls() - before, 20)
        self.assertEqual(report["prime"]["sources"], {"llm": 20})
        self.assertEqual(report["server"]["sources"], {"exact": 400})
        again = self.json(*self.small, "--prime", "query", "--seed", "77")
        self.assertEqual(again["prime"]["sources"], {"exact": 20})

    def test_the_hit_ratio_is_kept(self):
        report = self.json(*self.small, "--hit-ratio", "0.5")
        sources = report["server"]["sources"]
        self.assertEqual(sources["exact"] + sources["llm"], 400)
        self.assertTrue(120 < sources["llm"] < 280, sources)

    def test_a_lookup_that_misses_is_an_answer_and_calls_nobody(self):
        before = self.lab.provider_calls()
        report = self.json(*self.small, "--operation", "lookup", "--hit-ratio", "0")
        self.assertEqual(report["server"]["sources"], {"none": 400})
        self.assertEqual(self.lab.provider_calls(), before)

    def test_streamed_answers_count_like_others(self):
        report = self.json(*self.small, "--stream", "--hit-ratio", "0.9")
        self.assertEqual(report["server"]["answered"], 400)

    def test_a_phase_by_time_ends(self):
        report = self.json("--connections", "2", "--depth", "2", "--keys", "5", "--seconds", "0.2", "--rounds", "3", "--warmup", "0.05")
        self.assertEqual(len(report["server"]["rounds"]), 3)
        self.assertEqual(sum(r["requests"] for r in report["server"]["rounds"]), report["server"]["answered"])
        for each in report["server"]["rounds"]:
            self.assertTrue(0.19 < each["elapsed_s"] < 5, each)

    def test_the_report_says_how_to_repeat_it_and_what_a_closed_loop_hides(self):
        report = self.json(*self.small, "--seed", "9", "--model", "gpt-4o")
        self.assertEqual(report["loop"], "closed")
        self.assertIn("understated", report["caveat"])
        wanted = {"server": self.lab.unix, "connections": 4, "depth": 4, "keys": 20, "requests": 400, "request_bytes": 4096, "seed": 9,
                  "operation": "query", "prime": "put", "floor": "none", "stream": False, "hit_ratio": 1.0, "model": "gpt-4o"}
        self.assertEqual({name: report["parameters"][name] for name in wanted}, wanted)
        self.assertTrue(report["version"] and report["run"] and report["host"]["cpus"])
        self.assertIn("understated", self.lab.bench(*self.small).stdout)

    def test_quantiles_rise(self):
        latency = self.json(*self.small)["server"]["latency_us"]
        values = [latency[name] for name in ("p50", "p90", "p99", "p99.9", "max")]
        self.assertEqual(values, sorted(values))
        self.assertGreater(values[0], 0)

    def test_failed_requests_are_named_and_end_with_1(self):
        self.lab.control(faults=["400"])
        try:
            report = self.json(*self.small, "--hit-ratio", "0.5", code=FAILED)
        finally:
            self.lab.control(faults=[])
        self.assertEqual(list(report["server"]["errors"]), ["UPSTREAM_REFUSED"])
        self.assertEqual(report["server"]["failed"] + report["server"]["answered"], 400)

    def test_a_server_that_dies_ends_the_run(self):
        lab = Lab()
        command = [BENCH, "--server", lab.unix, "--connections", "4", "--seconds", "30", "--keys", "5", "--json"]
        bench = subprocess.Popen(command, env=lab.environment, stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        lab.daemon.kill()
        out, _ = bench.communicate(timeout=TIMEOUT_S)
        self.assertEqual(bench.returncode, FAILED)
        self.assertGreater(json.loads(out)["server"]["errors"]["UNAVAILABLE"], 0)
        lab.stop()


class Floor(Case):
    options = ("--connections", "4", "--depth", "4", "--keys", "20", "--requests", "2000", "--rounds", "2")

    def test_the_echo_gets_the_same_number_of_the_same_bytes(self):
        for kind, server in (("unix", self.lab.unix), ("tcp", self.lab.tcp)):
            report = self.json(*self.options, "--floor", kind, "--server-pid", str(self.lab.daemon.pid), server=server)
            for phase in ("server", "floor", "echo"):
                self.assertEqual(report[phase]["answered"], 4000, phase)
                self.assertEqual([r["requests"] for r in report[phase]["rounds"]], [2000, 2000])
                self.assertGreater(report[phase]["cpu_us_per_request"]["median"], 0, phase)
            sent = report["server"]["rounds"][0]["received_bytes"] / 2000
            self.assertLess(abs(sent - report["echo_request_bytes"]), 0.02 * sent)
            self.assertGreater(report["sha256_us"]["median"], 0)
            ratio = report["ratio"]
            self.assertTrue(0 < ratio["least"] <= ratio["median"] <= ratio["most"])

    def test_without_a_pid_no_cpu_time_is_told(self):
        report = self.json(*self.options)
        self.assertIsNone(report["server"]["cpu_us_per_request"])
        self.assertNotIn("ratio", report)

    def test_no_echo_is_left_running(self):
        for ending in (signal.SIGKILL, signal.SIGINT, None):
            command = [BENCH, "--server", self.lab.unix, "--floor", "unix", "--connections", "2", "--keys", "5", "--seconds", "0.3"]
            bench = subprocess.Popen(command, env=self.lab.environment, stdout=subprocess.DEVNULL)
            child = self.child_of(bench.pid)
            if ending is not None:
                bench.send_signal(ending)
            bench.wait(TIMEOUT_S)
            self.assertTrue(self.ends(child), ending)

    def child_of(self, pid):
        until = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
                children = file.read().split()
            if children:
                return int(children[0])
            time.sleep(0.005)
        raise AssertionError("it started no echo")

    def ends(self, pid):
        """Soon there is no such process, or only what its adopting parent has not yet picked up."""
        until = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until:
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                    if file.read().rpartition(")")[2].split()[0] == "Z":
                        return True
            except (FileNotFoundError, ProcessLookupError):
                return True
            time.sleep(0.01)
        return False


class Storm(Case):
    storm = ("--connections", "10", "--storm", "100", "--request-bytes", "400")

    def setUp(self):
        self.lab.control(latency="300ms")
        self.before = self.lab.provider_calls()

    def tearDown(self):
        self.lab.control(latency="0ms")

    def test_a_hundred_identical_questions_are_one_call(self):
        for server in (self.lab.unix, self.lab.tcp):
            for how in ((), ("--stream",)):
                before = self.lab.provider_calls()
                storm = self.json(*self.storm, *how, server=server)["storm"]
                self.assertEqual(storm["answered"], 100)
                self.assertEqual(storm["sources"], {"llm": 1, "joined": 99})
                self.assertEqual(storm["different"], 0)
                self.assertEqual(self.lab.provider_calls() - before, 1)
                self.assertGreater(storm["latency_us"]["p50"], 290_000)

    def test_the_first_connection_may_go_half_way(self):
        storm = self.json(*self.storm, "--cut-after", "100")["storm"]
        self.assertEqual((storm["answered"], storm["cut"], storm["failed"]), (90, 10, 0))
        self.assertEqual(self.lab.provider_calls() - self.before, 1)

    def test_each_storm_asks_something_new(self):
        for _ in range(2):
            self.assertEqual(self.json(*self.storm)["storm"]["sources"]["llm"], 1)

    def test_a_storm_that_times_out_fails_by_name(self):
        storm = self.json(*self.storm, "--timeout", "50", code=FAILED)["storm"]
        self.assertEqual(storm["errors"], {"TIMEOUT": 100})


class CommandLine(unittest.TestCase):
    def run_bench(self, *options):
        return subprocess.run([BENCH, *options], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    def test_help_and_version(self):
        done = self.run_bench("--help")
        self.assertEqual(done.returncode, 0)
        for option in ("--server", "--depth", "--hit-ratio", "--storm", "--floor", "--server-pid", "--seed", "--timeout"):
            self.assertIn(option, done.stdout)
        self.assertRegex(self.run_bench("--version").stdout, r"^promptcache-bench \d+\.\d+\.\d+\n$")

    def test_usage_is_2_and_says_what_is_wrong(self):
        for options, word in ((("--nonsense",), "--nonsense"), (("stray",), "stray"), (("--depth",), "--depth"),
                              (("--depth", "0"), "0"), (("--depth=x",), "'x'"), (("--hit-ratio", "1.5"), "1.5"),
                              (("--hit-ratio", "nan"), "nan"), (("--operation", "que"), "query|lookup"), (("--json=1",), "json"),
                              (("--request-bytes", "10"), "request-bytes"), (("--cut-after", "5"), "--storm"),
                              (("--keys", "10000000"), "1 GB"), (("--storm", "5", "--floor", "tcp"), "--floor"),
                              (("--stream", "--operation", "lookup"), "--stream")):
            done = self.run_bench(*options)
            self.assertEqual((done.returncode, done.stdout), (USAGE, ""), options)
            self.assertIn(word, done.stderr)

    def test_an_address_that_is_none_and_a_server_that_is_away_are_3(self):
        for address in ("unix:/nonexistent/sock", "tcp://127.0.0.1:1", "nonsense:x", "tls://127.0.0.1:1"):
            done = self.run_bench("--server", address, "--connections", "3")
            self.assertEqual((done.returncode, done.stdout), (CONNECT, ""), address)
            self.assertRegex(done.stderr, r"promptcache-bench: [A-Z]+: \w")


if __name__ == "__main__":
    unittest.main()
