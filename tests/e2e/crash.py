#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""kill -9 in the middle: what was flushed is there, and the others notice and go on."""
import threading

import harness
import rawnbd
from harness import MIB

SIZE = 64 * MIB
BLOCK = 16384


def content(n):
    return harness.pattern(BLOCK, seed=n)


class Writer(threading.Thread):
    """Writes block after block, a flush (or FUA) after every eighth; remembers what was acknowledged as durable."""

    def __init__(self, path, fua):
        super().__init__(daemon=True)
        self.client = rawnbd.Client(path).ready()
        self.fua = fua
        self.durable = 0
        self.progress = threading.Condition()
        self.ended = None

    def run(self):
        try:
            for n in range(SIZE // BLOCK):
                error = self.client.do(rawnbd.WRITE, n * BLOCK, BLOCK, content(n), rawnbd.FUA if self.fua else 0)
                if not error and not self.fua and n % 8 == 7:
                    error = self.client.do(rawnbd.FLUSH, 0, 0)
                if error:
                    self.ended = error
                    break
                if self.fua or n % 8 == 7:
                    with self.progress:
                        self.durable = n + 1
                        self.progress.notify_all()
        except (rawnbd.Closed, OSError):
            self.ended = "closed"
        with self.progress:
            self.ended = self.ended or "done"
            self.progress.notify_all()

    def wait_for(self, blocks):
        with self.progress:
            self.progress.wait_for(lambda: self.durable >= blocks or self.ended, harness.TIMEOUT)
        assert self.durable >= blocks, (self.durable, self.ended)


class Crash(harness.Case):
    def check_durable(self, writer, server):
        """Through a fresh server: every durable block is what was written."""
        writer.join(harness.TIMEOUT)
        self.assertGreater(writer.durable, 0)
        client = rawnbd.Client(server.socket).ready()
        for n in range(writer.durable):
            client.request(rawnbd.READ, n * BLOCK, BLOCK)
            error, _, data = client.simple_reply(BLOCK)
            self.assertEqual((error, data == content(n)), (0, True), f"block {n} of {writer.durable}")
        client.close()

    def test_daemon_killed(self):
        for fua in (False, True):
            with self.subTest(fua=fua):
                image = self.image(f"disk{fua}.img", size=SIZE)
                server = self.daemon(emulate=f"disk={image}")
                writer = Writer(server.socket, fua)
                writer.start()
                writer.wait_for(64)
                server.kill()
                again = self.daemon(emulate=f"disk={image}")  # the dead socket and lock are no obstacle
                self.check_durable(writer, again)
                self.assertEqual(again.stop(), 0)

    def test_daemon_killed_guest_of_a_host(self):
        """The host cleans up behind the dead guest and serves the next one."""
        host = self.host("--disk", self.image(size=SIZE))
        server = self.daemon("--device", host.address)
        writer = Writer(server.socket, False)
        writer.start()
        writer.wait_for(64)
        server.kill()
        again = self.daemon("--device", host.address)
        self.check_durable(writer, again)
        self.assertEqual(again.stop(), 0)
        self.assertEqual(host.stop(), 0, host.output())

    def test_host_killed(self):
        """The daemon notices at once, fails what was on its way, and reconnects to the next host."""
        image = self.image(size=SIZE)
        host = self.host("--disk", image)
        server = self.daemon("--device", host.address)
        writer = Writer(server.socket, False)
        writer.start()
        writer.wait_for(64)
        host.kill()
        host = self.host("--disk", image)
        writer.join(harness.TIMEOUT)

        def served():
            client = rawnbd.Client(server.socket).ready()
            try:
                return client.do(rawnbd.READ, 0, 512) == 0
            finally:
                client.close()

        harness.until(served, "the daemon is connected again")
        self.check_durable(writer, server)
        self.assertEqual(server.stop(), 0, server.output())
        self.assertEqual(host.stop(), 0, host.output())

    def test_term_drains(self):
        """SIGTERM: what was taken up is answered, then both the socket and the process end; exit code 0."""
        image = self.image(size=SIZE)
        server = self.daemon(emulate=f"disk={image}")
        client = rawnbd.Client(server.socket).ready()
        for n in range(128):
            client.request(rawnbd.WRITE, n * BLOCK, BLOCK, content(n), cookie=n)
        first = client.simple_reply()
        server.signal(15)
        replies = [first]
        try:
            while len(replies) < 128:
                replies.append(client.simple_reply())
        except rawnbd.Closed:
            pass
        for error, cookie, _ in replies:
            self.assertIn(error, (0, rawnbd.ESHUTDOWN), cookie)
        self.assertEqual(server.wait(), 0, server.output())
        with open(image, "rb") as file:
            for error, cookie, _ in replies:
                if not error:
                    file.seek(cookie * BLOCK)
                    self.assertEqual(file.read(BLOCK), content(cookie), cookie)


if __name__ == "__main__":
    harness.main()
