"""What outlives the daemon: answers and invalidations, after a good end, after kill -9, and beside a damaged file or a full disk."""

import os
import re
import random
import shutil
import subprocess
import threading
import time

import harness

COMMIT_MS = 50
KILL_ROUNDS = int(os.environ.get("KILL_ROUNDS", "10" if harness.SANITIZED else "50"))


def without_call_ids(answer):
    """The segments but for the ids of tool calls: each replay has fresh ones."""
    return [re.sub(r'"id":"[^"]*"', '"id":""', repr(segment)) for segment in answer.segments]


class Restart(harness.Case):
    store = "lmdb"

    @property
    def path(self):
        return os.path.join(self.daemon.state, "promptcached")

    def settle(self):
        """One commit interval and the commit itself."""
        time.sleep(COMMIT_MS / 1000)
        harness.wait_until(lambda: self.daemon.stats()["lmdb_pending_bytes"] == 0, "the commit")

    def crash(self, **more):
        self.daemon.kill()
        return self.start_daemon(**more)

    def test_answers_survive_a_good_end(self):
        client = self.connect()
        asked = {}
        for i in range(50):
            prompt = self.prompt("Keep it [[fault:tool-call]]" if i % 10 == 0 else "Keep it [[fault:reasoning]]")
            asked[prompt] = self.query(client, prompt, model="gpt-4o")
        self.restart_daemon()
        client = self.connect()
        for prompt, first in asked.items():
            hit = self.lookup(client, prompt, model="gpt-4o")
            self.assertEqual((hit.source, without_call_ids(hit)), ("exact", without_call_ids(first)))
            for name in ("finish_reason", "model", "prompt_tokens", "completion_tokens"):
                self.assertEqual(hit.body[name], first.body[name])
            self.assertEqual(hit.body["tokens_saved"], first.body["prompt_tokens"] + first.body["completion_tokens"])

    def test_an_answer_given_right_before_the_end_survives_it(self):
        prompt = self.prompt()
        self.query(self.connect(), prompt)
        self.restart_daemon()
        self.assertEqual(self.lookup(self.connect(), prompt).source, "exact")

    def test_ttl_and_age_go_on_while_the_daemon_is_down(self):
        client, short, long = self.connect(), self.prompt(), self.prompt()
        self.query(client, short, ttl_ms=500)
        self.query(client, long)
        self.restart_daemon()
        time.sleep(0.5)
        client = self.connect()
        self.assertEqual(self.lookup(client, short).source, "none")
        hit = self.lookup(client, long)
        self.assertEqual(hit.source, "exact")
        self.assertGreaterEqual(hit.body["age_ms"], 500)

    def test_large_answers_survive_kill_9(self):
        self.ai.control(answer_bytes=1_000_000, piece_bytes=8192)
        prompts = [self.prompt() for _ in range(4)]
        texts = {prompt: self.query(self.connect(), prompt).text for prompt in prompts}
        self.settle()
        self.crash()
        for prompt in prompts:
            self.assertEqual(self.lookup(self.connect(), prompt).text, texts[prompt])

    def test_an_invalidation_survives_kill_9_right_after_its_end(self):
        for target in ("request", "namespace"):
            client, prompts = self.connect(), [self.prompt() for _ in range(10)]
            for prompt in prompts:
                self.query(client, prompt, namespace="mine")
                self.query(client, prompt, namespace="other")
            self.settle()
            if target == "namespace":
                self.end(client.call("INVALIDATE", target=1, namespace="mine"))
            else:
                for prompt in prompts:
                    self.end(client.call("INVALIDATE", prompt=prompt, namespace="mine"))
            self.crash()
            client = self.connect()
            for prompt in prompts:
                self.assertEqual(self.lookup(client, prompt, namespace="mine").source, "none", target)
                self.assertEqual(self.lookup(client, prompt, namespace="other").source, "exact", target)
            again = self.query(client, prompts[0], namespace="mine")
            self.assertEqual((again.source, again.reason), ("llm", "stored"))
            self.assertEqual(self.lookup(client, prompts[0], namespace="mine").source, "exact")

    def test_memory_that_is_too_small_is_backed_by_the_disk(self):
        self.restart_daemon(options={"memory.limit": "1MB"})
        self.ai.control(answer_bytes=20_000)
        client, prompts = self.connect(), [self.prompt() for _ in range(150)]
        texts = {prompt: self.query(client, prompt).text for prompt in prompts}
        for prompt in prompts:
            hit = self.query(client, prompt)
            self.assertEqual((hit.source, hit.text), ("exact", texts[prompt]))
        self.assertEqual(self.ai.calls(), 150)
        self.assertGreater(self.daemon.stats()["lmdb_reads_found_total"], 0)
        self.restart_daemon()

    def test_the_stores_limit_holds(self):
        self.restart_daemon(options={"store.limit": "1MB", "store.path": os.path.join(self.home, "small")})
        self.ai.control(answer_bytes=20_000)
        client, prompts = self.connect(), [self.prompt() for _ in range(150)]
        for prompt in prompts:
            self.query(client, prompt)
        self.settle()
        harness.wait_until(lambda: self.daemon.stats()["lmdb_bytes"] <= 1 << 20, "room in the store")
        stats = self.daemon.stats()
        self.assertGreater(stats["lmdb_swept_total"], 0)
        self.assertEqual(stats["lmdb_degraded"], 0)
        self.assertLess(os.path.getsize(os.path.join(self.home, "small", "data.mdb")), 8 << 20)
        self.restart_daemon()

    def test_a_second_daemon_on_the_same_store_is_refused_by_name(self):
        with harness.tempfile.TemporaryDirectory() as home:
            arguments = ["--set", "store.kind=lmdb", "--set", f"store.path={self.path}", "--set", f"listen=unix:{home}/sock"]
            code, _, error = harness.run_daemon(home, *arguments)
            self.assertEqual(code, 1, error)
            self.assertIn(self.path, error)
        self.assert_serves()

    def test_the_store_is_closed_to_others(self):
        self.assertEqual(harness.mode_of(self.path) & 0o077, 0)
        self.assertEqual(harness.mode_of(os.path.join(self.path, "data.mdb")) & 0o077, 0)


class Damage(harness.Case):
    store = "lmdb"

    @property
    def data(self):
        return os.path.join(self.daemon.state, "promptcached", "data.mdb")

    def start_with(self, damage):
        """A store with answers in it, damaged while the daemon is down."""
        client = self.connect()
        prompts = [self.prompt() for _ in range(20)]
        texts = {prompt: self.query(client, prompt).text for prompt in prompts}
        self.stop_daemon()
        damage(self.data)
        self.start_daemon()
        return texts

    def overwrite(self, path, offset, n):
        with open(path, "r+b") as f:
            f.seek(offset)
            f.write(random.Random(offset).randbytes(n))

    def assert_works(self, texts):
        """Nothing wrong is served, and new answers are kept."""
        client = self.connect()
        for prompt, text in texts.items():
            hit = self.lookup(client, prompt)
            if hit.source == "exact":
                self.assertEqual(hit.text, text)
        self.assert_serves(client)
        prompt = self.prompt()
        self.query(client, prompt)
        self.assertEqual(self.lookup(client, prompt).source, "exact")

    def test_a_file_of_garbage_is_set_aside_with_a_line_in_the_log(self):
        texts = self.start_with(lambda path: self.overwrite(path, 0, os.path.getsize(path)))
        self.daemon.wait_log(r"error store\.\w+ ")
        self.assert_works(texts)
        self.assertTrue([n for n in os.listdir(os.path.dirname(self.data)) if n.startswith("data.mdb.damaged-")])

    def test_damage_anywhere_never_crashes_and_never_serves_a_wrong_answer(self):
        for offset in (0, 24, 4096, 8192, 12288, 16384, 20480, 28672):
            def damage(path, at=offset):
                os.utime(path)
                self.overwrite(path, at, 2048)
            with self.subTest(offset):
                self.assert_works(self.start_with(damage))

    def test_a_truncated_file_never_crashes(self):
        for size in (0, 100, 4096, 10_000, 20_000):
            with self.subTest(size):
                self.assert_works(self.start_with(lambda path, n=size: os.truncate(path, n)))

    def test_a_default_store_that_is_a_file_is_worked_without_and_told(self):
        state, token = os.path.join(self.home, "elsewhere"), os.path.join(self.home, "token")
        os.mkdir(state)
        with open(os.path.join(state, "promptcached"), "w", encoding="ascii") as f:
            f.write("not a directory")
        self.stop_daemon()
        self.start_daemon(options={"token_file": token}, env={"XDG_STATE_HOME": state})
        self.daemon.wait_log(r"store\.unusable .*remedy=")
        self.assert_serves()
        self.restart_daemon()

    def test_a_store_that_was_named_and_is_a_file_is_refused(self):
        path = os.path.join(self.home, "file")
        with open(path, "w", encoding="ascii") as f:
            f.write("not a directory")
        for place in (path, os.path.join(path, "below")):
            code, _, error = harness.run_daemon(self.home, "--set", f"store.path={place}", "--set", f"listen=unix:{self.home}/other")
            self.assertEqual(code, 1, error)
            self.assertIn(f"promptcached: store.path {place} cannot be made: Not a directory", error)

    def check_store(self, path, code, words):
        got, out, error = harness.run_daemon(self.home, "--check-store", path)
        self.assertEqual((got, out, error), (code, f"{path}: {words}\n", ""))

    def test_a_store_is_checked_without_a_daemon(self):
        client, path = self.connect(), os.path.dirname(self.data)
        for _ in range(20):
            self.query(client, self.prompt())
        self.check_store(path, 2, "in use by a daemon; stop it first")
        self.stop_daemon()
        code, out, error = harness.run_daemon(self.home, "--check-store", path)
        self.assertEqual((code, error), (0, ""))
        found = re.fullmatch(re.escape(path) + r": sound, (\d+) entries\n", out)
        self.assertGreaterEqual(int(found[1]), 20)
        cut = os.path.join(self.home, "cut")
        os.mkdir(cut)
        shutil.copy(self.data, cut)
        os.truncate(os.path.join(cut, "data.mdb"), os.path.getsize(self.data) // 2)
        self.check_store(cut, 1, "damaged; the next start sets it aside")
        self.check_store(self.home, 2, "no data.mdb here")
        self.start_daemon()


class Load(threading.Thread):
    """Asks without pause until the connection breaks. ended: {prompt: (text, when END came)}, invalidated: the same for INVALIDATE."""

    def __init__(self, daemon, prompts):
        super().__init__(daemon=True)
        self.clients = [daemon.client() for _ in range(4)]
        self.prompts = iter(prompts)
        self.ended, self.invalidated, self.doubtful = {}, {}, set()  # doubtful: an INVALIDATE was sent

    def run(self):
        try:
            while True:
                batch = {client: [next(client.ids) for _ in range(8)] for client in self.clients}
                names = {}
                for client, ids in batch.items():
                    for id in ids:
                        names[client, id] = next(self.prompts)
                    client.raw(b"".join(harness.reference.frame("QUERY", id, {"prompt": names[client, id]}) for id in ids))
                for key, (reply, at) in harness.gather(batch).items():
                    if reply.op == "END" and reply.body.get("stored"):
                        self.ended[names[key]] = (reply.text, at)
                victim = next(iter(self.ended))
                self.doubtful.add(victim)
                if self.clients[0].call("INVALIDATE", prompt=victim).op == "END":
                    self.invalidated[victim] = time.monotonic()
                del self.ended[victim]
        except (harness.Closed, OSError):
            pass
        finally:
            for client in self.clients:
                client.close()


class Stalls(threading.Thread):
    """How long this machine let a process wait that had work to do: so long may the daemon have waited too."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over, self.longest_s = threading.Event(), 0

    def run(self):
        while not self.over.is_set():
            began = time.monotonic()
            time.sleep(0.005)
            self.longest_s = max(self.longest_s, time.monotonic() - began - 0.005)

    def end(self):
        self.over.set()
        self.join()
        return self.longest_s


class Kill9(harness.Case):
    store = "lmdb"
    options = {"store.commit_interval": f"{COMMIT_MS}ms"}

    def test_what_was_ended_a_commit_interval_before_kill_9_is_served_again(self):
        kept_all, lost, wrong, checked, back = {}, [], [], 0, []
        chance = random.Random(7)
        answers, longest_s = 0, 0
        for round in range(KILL_ROUNDS):
            load = Load(self.daemon, (f"R{round} N{i}" for i in range(1_000_000)))
            stalls = Stalls()
            stalls.start()
            load.start()
            time.sleep(chance.uniform(0.15, 0.35))
            killed = time.monotonic()
            self.daemon.kill()
            stalled_s = stalls.end()
            longest_s = max(longest_s, stalled_s)
            load.join(harness.TIMEOUT_S)
            self.daemon.check(-9)
            self.start_daemon()
            must = {prompt: text for prompt, (text, at) in load.ended.items()
                    if at < killed - COMMIT_MS / 1000 - stalled_s and prompt not in load.doubtful}
            sample = dict(chance.sample(sorted(kept_all.items()), min(50, len(kept_all))))
            client = self.connect()
            found = self.look_up_all(client, list(must) + list(sample) + list(load.ended) + list(load.invalidated))
            for prompt, text in (must | sample).items():
                checked += 1
                if found[prompt] is None:
                    lost.append(prompt)
            for prompt, (text, _) in load.ended.items():
                if found[prompt] not in (None, text):
                    wrong.append(prompt)
            back += [prompt for prompt in load.invalidated if found[prompt] is not None]
            kept_all |= must
            answers += len(load.ended)
        print(f"kill -9: {KILL_ROUNDS} rounds, {answers} answers, {checked} looked up again, {len(lost)} lost, {len(wrong)} wrong, "
              f"{len(back)} invalidated ones back; the machine stalled for up to {longest_s * 1000:.0f} ms")
        self.assertEqual((lost, wrong, back), ([], [], []))
        self.assertGreater(checked, KILL_ROUNDS * 10)

    def look_up_all(self, client, prompts):
        """{prompt: its text, or None}."""
        prompts = list(dict.fromkeys(prompts))
        found = {}
        for at in range(0, len(prompts), 500):
            part = {next(client.ids): prompt for prompt in prompts[at:at + 500]}
            client.raw(b"".join(harness.reference.frame("LOOKUP", id, {"prompt": prompt}) for id, prompt in part.items()))
            for (_, id), (reply, _) in harness.gather({client: part}).items():
                found[part[id]] = self.end(reply).text if reply.source == "exact" else None
        return found


class FullDisk(harness.Case):
    """A disk of 3 MB that fills up while the daemon runs. Needs the right to mount."""

    store = "lmdb"

    @classmethod
    def setUpClass(cls):
        mount = shutil.which("mount", path="/usr/bin:/bin:/sbin:/usr/sbin")
        cls.disk = harness.tempfile.mkdtemp(prefix="promptcache-disk-")
        cls.addClassCleanup(shutil.rmtree, cls.disk, ignore_errors=True)
        done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", cls.disk], capture_output=True)
        if not mount or done.returncode != 0:
            raise harness.unittest.SkipTest("no right to mount a small disk")
        cls.addClassCleanup(subprocess.run, ["umount", cls.disk], check=True)
        cls.options = {"store.path": os.path.join(cls.disk, "store"), "store.limit": "1GB"}
        super().setUpClass()

    def test_a_full_disk_is_told_and_answers_go_on_from_memory(self):
        self.ai.control(answer_bytes=50_000, piece_bytes=8192)
        client, prompts = self.connect(), [self.prompt() for _ in range(200)]
        texts = {prompt: self.query(client, prompt).text for prompt in prompts}
        self.daemon.wait_log(r"error store\.degraded")
        for prompt in prompts:
            hit = self.lookup(client, prompt)
            self.assertEqual((hit.source, hit.text), ("exact", texts[prompt]))
        self.assertGreater(self.daemon.stats()["store_write_failures_total"], 0)

        def degraded():  # a probe, which needs little room, may have ended it
            prompts.append(self.prompt())
            self.query(client, prompts[-1])
            return self.daemon.stats()["lmdb_degraded"] == 1
        harness.wait_until(degraded, "a degraded store")
        self.error(client.call("INVALIDATE", prompt=prompts[-1]), "STORE_FAILED", retryable=True)
        self.assertEqual(self.lookup(client, prompts[-1]).source, "none")  # in force, as the error says


if __name__ == "__main__":
    harness.main()
