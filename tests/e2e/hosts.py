#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""hv-host as a process of its own: several guests, hot add, remove and resize, its control socket, garbage from guests."""
import json
import os
import signal
import socket
import unittest

import harness
import rawnbd
from harness import MIB


class Control:
    """One JSON object a line, both ways."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(harness.TIMEOUT)
        self.socket.connect(path)
        self.file = self.socket.makefile("rw")

    def answer(self):
        return json.loads(self.file.readline())

    def send(self, text):
        self.file.write(text + "\n")
        self.file.flush()
        return self.answer()

    def post(self, command, **words):
        """Without waiting for the answer."""
        self.file.write(json.dumps({"command": command, **words}) + "\n")
        self.file.flush()

    def __call__(self, command, **words):
        self.post(command, **words)
        return self.answer()

    def close(self):
        self.file.close()
        self.socket.close()


class Hosts(harness.Case):
    def controlled(self, *disks):
        host = self.host("--control", self.path("control"), *[w for d in disks for w in ("--disk", d)])
        host.control = Control(self.path("control"))
        self.addCleanup(host.control.close)
        return host

    def client(self, server, name=b""):
        client = rawnbd.Client(server.socket).ready(name)
        self.addCleanup(client.close)
        return client

    def size_of(self, server, name):
        """Size of an export now, None when there is none."""
        client = rawnbd.Client(server.socket)
        try:
            client.hello()
            return client.size if client.go(name) == rawnbd.REP_ACK else None
        finally:
            client.close()

    def test_guests_share_a_disk(self):
        """Three guests: each sees what the others flushed; one dies, the others go on."""
        host = self.controlled(self.image(size=16 * MIB))
        servers = [self.daemon("--device", host.address, socket=f"s{n}") for n in range(3)]
        clients = [self.client(s) for s in servers]
        for n, client in enumerate(clients):
            self.assertEqual(client.do(rawnbd.WRITE, n * MIB, 65536, bytes([n + 1]) * 65536, rawnbd.FUA), 0)
        for client in clients:
            for n in range(3):
                client.request(rawnbd.READ, n * MIB, 65536)
                self.assertEqual(client.simple_reply(65536)[2], bytes([n + 1]) * 65536)
        status = host.control("status")
        self.assertTrue(status["ok"])
        self.assertEqual(len(status["guests"]), 3)
        servers[1].kill()
        harness.until(lambda: len(host.control("status")["guests"]) == 2, "the host has cleaned up")
        for n in (0, 2):
            clients[n].request(rawnbd.READ, MIB, 65536)
            self.assertEqual(clients[n].simple_reply(65536)[2], b"\x02" * 65536)
            self.assertEqual(servers[n].stop(), 0, servers[n].output())
        self.assertEqual(host.stop(), 0, host.output())

    def test_hot_add_and_remove(self):
        host = self.controlled("mem:8M")
        server = self.daemon("--device", host.address)
        self.assertEqual(self.size_of(server, b"lun0"), 8 * MIB)
        self.assertIsNone(self.size_of(server, b"lun5"))
        self.assertTrue(host.control("attach", disk="mem:4M,lun=5")["ok"])
        self.assertEqual(harness.until(lambda: self.size_of(server, b"lun5"), "lun5 is exported"), 4 * MIB)
        client = self.client(server, b"lun5")
        self.assertEqual(client.do(rawnbd.WRITE, 0, 4096, b"5" * 4096), 0)
        self.assertTrue(host.control("detach", lun=5)["ok"])
        harness.until(lambda: self.size_of(server, b"lun5") is None, "lun5 is gone")
        client = self.client(server)
        self.assertEqual(client.do(rawnbd.READ, 0, 4096), 0)
        self.assertEqual(server.stop(), 0, server.output())
        self.assertEqual(host.stop(), 0, host.output())

    def test_resize(self):
        """As with any SCSI disk the news come with the next command: a unit attention, then the new size."""
        host = self.controlled(self.image(size=8 * MIB))
        server = self.daemon("--device", host.address)
        self.assertTrue(host.control("resize", lun=0, bytes=12 * MIB)["ok"])
        self.assertEqual(self.client(server).do(rawnbd.READ, 0, 512), 0)
        harness.until(lambda: self.size_of(server, b"") == 12 * MIB, "grown")
        client = self.client(server)
        self.assertEqual(client.do(rawnbd.WRITE, 12 * MIB - 4096, 4096, b"e" * 4096), 0)
        self.assertTrue(host.control("resize", lun=0, bytes="4M")["ok"])
        self.assertEqual(client.do(rawnbd.READ, 0, 512), 0)
        harness.until(lambda: self.size_of(server, b"") == 4 * MIB, "shrunk")
        client = self.client(server)
        self.assertEqual(client.do(rawnbd.READ, 4 * MIB, 4096), rawnbd.EINVAL)
        self.assertEqual(os.path.getsize(self.path("disk.img")), 4 * MIB)
        self.assertEqual(server.stop(), 0, server.output())

    def test_rescind_and_offer(self):
        """The controller goes and comes back: errors between, then all is well; the daemon stays."""
        host = self.controlled("mem:8M")
        server = self.daemon("--device", host.address)
        client = self.client(server)
        self.assertEqual(client.do(rawnbd.WRITE, 0, 4096, b"r" * 4096), 0)
        self.assertTrue(host.control("rescind")["ok"])
        self.assertTrue(host.control("offer")["ok"])

        def back():
            probe = rawnbd.Client(server.socket)
            try:
                probe.hello()
                if probe.go() != rawnbd.REP_ACK:
                    return False
                probe.request(rawnbd.READ, 0, 4096)
                error, _, data = probe.simple_reply(4096)
                return not error and data == b"r" * 4096
            except rawnbd.Closed:
                return False
            finally:
                probe.close()

        harness.until(back, "the daemon uses the controller again")
        self.assertEqual(server.stop(), 0, server.output())
        self.assertEqual(host.stop(), 0, host.output())

    def test_detach_while_rescinded(self):
        """A disk does not go before the channels that use it, whoever asks at that very moment."""
        host = self.controlled(self.image(size=8 * MIB))
        second = Control(self.path("control"))
        self.addCleanup(second.close)
        self.assertTrue(second("stats")["ok"])
        server = self.daemon("--device", host.address)
        client = self.client(server)
        self.assertEqual(client.do(rawnbd.WRITE, 0, 4096, b"d" * 4096), 0)
        host.signal(signal.SIGSTOP)
        with open(f"/proc/{host.pid}/stat", encoding="ascii") as stat:
            harness.until(lambda: stat.seek(0) or stat.read().rsplit(")", 1)[1].split()[0] == "T", "stopped")
        host.control.post("rescind")
        second.post("detach", lun=0)
        host.signal(signal.SIGCONT)
        refused = second.answer()
        self.assertFalse(refused["ok"])
        self.assertIn("rescinded", refused["error"])
        self.assertTrue(host.control.answer()["ok"])
        self.assertTrue(second("detach", lun=0)["ok"])
        self.assertEqual(second("status")["disks"], [])
        self.assertEqual(server.stop(), 0, server.output())
        self.assertEqual(host.stop(), 0, host.output())

    def test_control_commands(self):
        host = self.controlled("mem:8M", "mem:8M,ro,lun=9")
        for text, what in (("", "empty"), ("nonsense", "no JSON"), ("[1]", "no object"), ("{}", "no command"),
                           ('{"command":"explode"}', "unknown"), ('{"command":"detach"}', "no lun"),
                           ('{"command":"detach","lun":77}', "lun out of range"),
                           ('{"command":"detach","lun":3}', "no such lun"),
                           ('{"command":"attach","disk":"mem:1M,lun=9"}', "lun taken"),
                           ('{"command":"attach","disk":"/nowhere/x"}', "no image"),
                           ('{"command":"resize","lun":0,"bytes":100}', "odd size"),
                           ('{"command":"resize","lun":0}', "no size"),
                           ('{"command":"resize","lun":0,"bytes":null}', "null for a size"),
                           ('{"command":"resize","lun":0,"bytes":-1}', "less than nothing"),
                           ('{"command":"attach","disk":null}', "null for a disk"),
                           ('{"command":null}', "null for a command")):
            with self.subTest(what):
                reply = host.control.send(text)
                self.assertFalse(reply["ok"])
                self.assertTrue(reply["error"])
        stats = host.control("stats")
        self.assertTrue(stats["ok"])
        self.assertTrue(host.control("shutdown")["ok"])
        self.assertEqual(host.wait(), 0, host.output())

    def test_idle_is_asleep(self):
        """Workers with nothing to do are not woken again and again, however they were started."""
        host = self.controlled("mem:8M")
        for n in range(5):
            server = self.daemon("--device", host.address, socket=f"s{n}")
            before = []

            def quiet():
                before.append([w["sleeps"] for guest in host.control("status")["guests"] for w in guest["workers"]])
                return len(before) > 1 and before[-1] == before[-2]

            harness.until(quiet, "a time without wake-ups", timeout=10)
            self.assertEqual(server.stop(), 0, server.output())

    @unittest.skipIf("thread" in os.environ.get("HV_SANITIZE", ""),
                     "ThreadSanitizer does not start with so large a stack limit")
    def test_no_threads_for_a_guest(self):
        """A guest that cannot have its threads is told so at once instead of waiting for answers for ever."""
        host = self.start("hv-host", "--listen", self.path("host.sock"), "--disk", "mem:1M", stack=1 << 50)
        host.wait_for(r"^ready\b")
        message = self.refused("hvblk-daemon", "--device", f"unix:{self.path('host.sock')}",
                               "--export", f"nbd:unix:{self.path('nbd.sock')}", code=1)
        self.assertIn("no threads", message + host.output())
        host.wait_for("is gone")
        self.assertEqual(host.stop(), 0, host.output())

    def test_garbage_from_a_guest(self):
        """Somebody who connects and talks nonsense loses the connection; the others do not notice."""
        host = self.controlled("mem:8M")
        server = self.daemon("--device", host.address)
        client = self.client(server)
        for data in (b"", b"x", bytes(8), b"\xff" * 64, os.urandom(256), os.urandom(4096)):
            with self.subTest(len(data)):
                guest = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                guest.settimeout(harness.TIMEOUT)
                guest.connect(self.path("host.sock"))
                try:
                    if data:
                        guest.send(data)
                        while guest.recv(65536):
                            pass
                except ConnectionResetError:
                    pass
                guest.close()
        self.assertEqual(client.do(rawnbd.READ, 0, 4096), 0)
        self.assertEqual(server.stop(), 0, server.output())
        self.assertEqual(host.stop(), 0, host.output())

    def test_socket_in_the_way(self):
        """A dead socket file is replaced, a live one is not."""
        host = self.host("--disk", "mem:1M")
        message = self.refused("hv-host", "--listen", self.path("host.sock"), "--disk", "mem:1M", code=1)
        self.assertIn("host.sock", message)
        host.kill()
        self.assertEqual(self.host("--disk", "mem:1M").stop(), 0)

    def test_ends_in_order(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            pid_file = self.path("pid")
            host = self.host("--disk", self.image(size=MIB), "--pid-file", pid_file)
            with open(pid_file, encoding="utf-8") as file:
                self.assertEqual(int(file.read()), host.pid)
            host.signal(number)
            self.assertEqual(host.wait(), 0, host.output())
            self.assertFalse(os.path.exists(pid_file))


if __name__ == "__main__":
    harness.main()
