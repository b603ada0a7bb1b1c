"""Who does not know the token, and what that costs the others."""

import harness
from harness import reference


class Strangers(harness.Case):
    options = {"log.level": "info"}

    def test_wrong_tokens_do_not_fill_the_log(self):
        before = len(self.daemon.log())
        for _ in range(300):
            with self.daemon.socket("tcp") as s:
                s.sendall(reference.frame("HELLO", 1, {"version": 1, "token": "guess\n\x1b[2J"}))
                self.assertIn(b"UNAUTHENTICATED", s.recv(4096))
        log = self.daemon.log()[before:]
        self.assertIn("conn.unauthenticated", log)
        self.assertLess(log.count("\n"), 60)
        self.assertNotIn("guess", log)
        self.assertGreaterEqual(self.daemon.stats()["net_unauthenticated_total"], 300)


if __name__ == "__main__":
    harness.main()
