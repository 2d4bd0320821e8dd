#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The fault plan as a user sees it: which error the client gets, and that the daemon goes on."""
import harness
import rawnbd

# Far behind what the scan at the start needs.
NTH = 300
REQUESTS = 600


class Faults(harness.Case):
    def errors(self, fault, command, *args):
        """Errors of REQUESTS requests one after another, and the daemon."""
        server = self.daemon(*args, emulate=f"disk=mem:16M,fault={fault}")
        client = rawnbd.Client(server.socket, timeout=harness.TIMEOUT).ready()
        data = b"\x42" * 4096
        errors = []
        for n in range(REQUESTS):
            error = client.do(command, n * 4096, 4096, data if command == rawnbd.WRITE else b"")
            if error:
                errors.append(error)
        # In the end all is well again: what is written is read.
        self.assertEqual(client.do(rawnbd.WRITE, 0, 4096, data), 0)
        client.request(rawnbd.READ, 0, 4096)
        self.assertEqual(client.simple_reply(4096)[2], data)
        return errors, server

    def rows(self, rows):
        for fault, command, want, *said in rows:
            with self.subTest(fault):
                errors, server = self.errors(fault, command)
                self.assertEqual(errors, want, server.output())
                for pattern in said:
                    self.assertRegex(server.output(), pattern)
                self.assertEqual(server.stop(), 0, server.output())

    def test_device_refuses(self):
        """Errors of the disk reach the client as what they are; nothing else happens."""
        self.rows([
            (f"medium-error@{NTH}", rawnbd.READ, [rawnbd.EIO]),
            (f"medium-error@{NTH}", rawnbd.WRITE, [rawnbd.EIO]),
            (f"nospace@{NTH}", rawnbd.WRITE, [rawnbd.ENOSPC]),
        ])

    def test_host_is_slow(self):
        self.rows([
            (f"delay:20@{NTH}", rawnbd.READ, []),
            (f"delay:5@{NTH}/50", rawnbd.WRITE, []),
            (f"busy@{NTH}", rawnbd.READ, []),
        ])

    def test_host_breaks_the_protocol(self):
        """The channel is given up, with the reason in the log; the request on its way fails; then it goes on."""
        self.rows([
            (f"shorten@{NTH}", rawnbd.READ, [rawnbd.EIO], r"(?i)protocol|short|length"),
            (f"bad-index@{NTH}", rawnbd.READ, [rawnbd.EIO], r"(?i)index"),
            (f"bad-length@{NTH}", rawnbd.READ, [rawnbd.EIO], r"(?i)length|bytes|moved|transfer"),
            (f"bad-sense@{NTH}", rawnbd.READ, [rawnbd.EIO], r"(?i)sense"),
            (f"wrong-id@{NTH}", rawnbd.READ, [rawnbd.EIO], r"(?i)\bid\b"),
        ])

    def test_answered_twice(self):
        """The first answer counts; for the second there is no request, so the channel is given up, and with it at most
        the request that was on its way by then."""
        errors, server = self.errors(f"repeat@{NTH}", rawnbd.WRITE)
        self.assertIn(errors, ([], [rawnbd.EIO]), server.output())
        self.assertRegex(server.output(), r"(?i)\bid\b")
        self.assertEqual(server.stop(), 0, server.output())

    def test_device_is_taken_away(self):
        self.rows([(f"rescind@{NTH}", rawnbd.WRITE, [rawnbd.EIO])])


class Timeouts(harness.Case):
    def test_no_answer(self):
        """One request is never answered: the others go on, the ladder of resets begins after 30 s, and the request fails
        after another 30; then all is well."""
        server = self.daemon(emulate=f"disk=mem:16M,fault=drop@{NTH}")
        client = rawnbd.Client(server.socket, timeout=150).ready()
        other = rawnbd.Client(server.socket, timeout=150).ready()
        for n in range(REQUESTS):
            client.request(rawnbd.READ, n * 4096, 4096, cookie=n)
        replies = [client.simple_reply(4096) for _ in range(REQUESTS - 1)]
        self.assertEqual({error for error, _, _ in replies}, {0})
        self.assertEqual(other.do(rawnbd.WRITE, 0, 4096, bytes(4096)), 0)
        error, cookie, _ = client.simple_reply(4096)
        self.assertEqual(error, rawnbd.EIO)
        self.assertEqual(sorted([cookie, *[c for _, c, _ in replies]]), list(range(REQUESTS)))
        self.assertRegex(server.output(), r"reset of the LUN")
        self.assertEqual(client.do(rawnbd.READ, 0, 4096), 0)
        self.assertEqual(server.stop(), 0, server.output())


if __name__ == "__main__":
    harness.main()
