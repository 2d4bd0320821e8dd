#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""hvblk-daemon as an operator meets it: control socket, statistics, configuration, service manager, full disk."""
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess

import harness
import rawnbd
from harness import MIB


class Control:
    """A command a line, an object a line."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(harness.TIMEOUT)
        self.socket.connect(path)
        self.file = self.socket.makefile("rw")

    def __call__(self, line):
        self.file.write(line + "\n")
        self.file.flush()
        return json.loads(self.file.readline())

    def close(self):
        self.file.close()
        self.socket.close()


class Operator(harness.Case):
    def controlled(self, *args, **words):
        server = self.daemon("--control", self.path("control"), *args, **words)
        server.control = Control(self.path("control"))
        self.addCleanup(server.control.close)
        return server

    def client(self, server):
        client = rawnbd.Client(server.socket).ready()
        self.addCleanup(client.close)
        return client

    def test_status_and_statistics(self):
        server = self.controlled("--stats-json", self.path("stats.json"), emulate="disk=mem:8M,luns=2,channels=2")
        client = self.client(server)
        for n in range(10):
            self.assertEqual(client.do(rawnbd.WRITE, n * 4096, 4096, bytes(4096)), 0)
        for n in range(20):
            self.assertEqual(client.do(rawnbd.READ, n * 8192, 8192), 0)
        self.assertEqual(client.do(rawnbd.FLUSH, 0, 0), 0)
        self.assertEqual(client.do(rawnbd.READ, 8 * MIB, 512), rawnbd.EINVAL)
        status = server.control("status")["status"]
        self.assertEqual((status["state"], status["reactors"], status["connections"]), ("serving", 2, 1))
        self.assertEqual(status["storage_protocol"], "6.2")
        self.assertEqual([lun["name"] for lun in server.control("luns")["luns"]], ["lun0", "lun1"])
        stats = server.control('{"command": "stats"}')["stats"]
        self.assertEqual(stats["operations"]["write"], 10)
        self.assertEqual(stats["operations"]["flush"], 1)
        self.assertEqual(stats["errors"]["read"], 1)
        self.assertEqual((stats["written_bytes"], stats["read_bytes"]), (10 * 4096, 20 * 8192))
        self.assertEqual(len(stats["channels"]), 2)
        self.assertGreater(sum(c["packets_out"] for c in stats["channels"]), 31)
        client.close()
        self.assertEqual(server.stop(), 0, server.output())
        with open(self.path("stats.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["operations"]["write"], 10)

    def test_each_reactor_has_its_channel(self):
        """Connections are spread over reactors; the requests of each go through its own channel."""
        server = self.controlled(emulate="disk=mem:8M,channels=2")
        for client in [self.client(server) for _ in range(4)]:
            for n in range(50):
                self.assertEqual(client.do(rawnbd.READ, n * 4096, 4096), 0)
        submitted = [c["submitted"] for c in server.control("stats")["stats"]["channels"]]
        self.assertEqual(sum(submitted), 200)
        self.assertGreaterEqual(min(submitted), 50, submitted)

    def test_versions_are_what_was_asked_for(self):
        for version in ("2.0", "4.2", "5.1", "6.0", "6.2"):
            for words, args in ((f",version={version}", ()), ("", ("--max-storvsc", version))):
                with self.subTest(version=version, by=args or "emulate"):
                    server = self.controlled(*args, emulate=f"disk=mem:1M{words}")
                    self.assertEqual(server.control("status")["status"]["storage_protocol"], version)
                    self.assertEqual(server.stop(), 0)

    def test_prometheus(self):
        server = self.controlled(emulate="disk=mem:8M")
        self.assertEqual(self.client(server).do(rawnbd.READ, 0, 4096), 0)
        scrape = socket.socket(socket.AF_UNIX)
        self.addCleanup(scrape.close)
        scrape.settimeout(harness.TIMEOUT)
        scrape.connect(self.path("control"))
        scrape.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b""
        while piece := scrape.recv(65536):
            text += piece
        head, body = text.decode().split("\r\n\r\n", 1)
        self.assertTrue(head.startswith("HTTP/1.0 200"))
        for line in body.splitlines():
            self.assertRegex(line, r'^(# (HELP|TYPE) \w+ .+|\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? -?[0-9.e+-]+)$')
        self.assertRegex(body, r'(?m)^\w+\{[^}]*"read"[^}]*\} 1$')

    def test_control_nonsense(self):
        server = self.controlled(emulate="disk=mem:1M")
        for line in ("explode", "{", "[]", '{"command": 7}', '{"other": "stats"}', "x" * 900):
            with self.subTest(line[:20]):
                reply = server.control(line)
                self.assertFalse(reply["ok"])
                self.assertTrue(reply["error"])
        flood = socket.socket(socket.AF_UNIX)
        self.addCleanup(flood.close)
        flood.settimeout(harness.TIMEOUT)
        flood.connect(self.path("control"))
        try:
            flood.sendall(b"y" * 1000000)
            while flood.recv(65536):
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass
        self.assertTrue(server.control("status")["ok"])
        self.assertEqual(server.stop(), 0, server.output())

    def test_control_socket_is_the_owners(self):
        server = self.controlled(emulate="disk=mem:1M")
        self.assertEqual(os.stat(self.path("control")).st_mode & 0o077, 0)
        self.assertEqual(server.stop(), 0)
        self.assertFalse(os.path.exists(self.path("control")))
        self.assertFalse(os.path.exists(server.socket))

    def test_drain_and_resume(self):
        """While drained whoever comes has to wait; who is there is served on."""
        server = self.controlled(emulate="disk=mem:8M")
        before = self.client(server)
        self.assertEqual(before.do(rawnbd.WRITE, 0, 4096, b"d" * 4096), 0)
        self.assertTrue(server.control("drain")["ok"])
        self.assertEqual(server.control("status")["status"]["state"], "draining")
        late = rawnbd.Client(server.socket)
        self.addCleanup(late.close)
        self.assertEqual(before.do(rawnbd.READ, 0, 4096), 0)
        self.assertEqual(select.select([late.socket], [], [], 0.3)[0], [], "greeted while drained")
        before.close()
        harness.until(lambda: server.control("status")["status"]["connections"] == 0, "nobody is left")
        self.assertTrue(server.control("resume")["ok"])
        self.assertEqual(late.ready().do(rawnbd.READ, 0, 4096), 0)
        self.assertEqual(server.control("status")["status"]["state"], "serving")
        self.assertTrue(server.control("quit")["ok"])
        self.assertEqual(server.wait(), 0, server.output())

    def test_config_file(self):
        config = self.path("daemon.conf")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"# comment\nemulate = disk=mem:8M,serial=FROMFILE\nexport = nbd:unix:{self.path('a')}\n"
                       "log-level = debug\n\n; another\nreactors = 2\n")
        program = self.start("hvblk-daemon", "--config", config, "--control", self.path("control"))
        program.wait_for(r"^ready nbd\+unix:")
        control = Control(self.path("control"))
        self.assertEqual(control("status")["status"]["reactors"], 2)
        self.assertIn("FROMFILE", control("luns")["luns"][0]["description"])
        control.close()
        self.assertEqual(program.stop(), 0)
        for number, text in ((1, "colour = red\n"), (2, "\nblock = 7\n"), (3, "# x\nemulate = disk=mem:1M\nreactors = x\n")):
            with self.subTest(text):
                with open(config, "w", encoding="utf-8") as file:
                    file.write(text)
                message = self.refused("hvblk-daemon", "--config", config, "--export", f"nbd:unix:{self.path('a')}")
                self.assertIn(f"line {number}", message)
        self.assertIn("nowhere", self.refused("hvblk-daemon", "--config", "/nowhere.conf"))

    def test_pid_file(self):
        pid_file = self.path("pid")
        for number in (signal.SIGTERM, signal.SIGINT):
            server = self.daemon("--pid-file", pid_file, emulate="disk=mem:1M")
            with open(pid_file, encoding="utf-8") as file:
                self.assertEqual(int(file.read()), server.pid)
            server.signal(number)
            self.assertEqual(server.wait(), 0)
            self.assertFalse(os.path.exists(pid_file))

    def test_service_manager(self):
        """READY=1 when clients may come, STOPPING=1 when it ends."""
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notify.close)
        notify.settimeout(harness.TIMEOUT)
        notify.bind(self.path("notify"))
        server = self.daemon(emulate="disk=mem:1M", env={"NOTIFY_SOCKET": self.path("notify")})
        said = notify.recv(4096).decode()
        self.assertIn("READY=1", said)
        self.assertEqual(self.client(server).do(rawnbd.READ, 0, 512), 0)
        server.signal(signal.SIGTERM)
        while "STOPPING=1" not in said:
            said = notify.recv(4096).decode()
        self.assertEqual(server.wait(), 0)

    def test_socket_activation(self):
        """The listening socket comes from the service manager, as descriptor 3."""
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path("given"))
        listener.listen(8)
        command = f'exec 3<&{listener.fileno()}; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
        process = subprocess.Popen(["bash", "-c", command, "bash", os.path.join(harness.BIN, "hvblk-daemon"),
                                    "--emulate", "disk=mem:8M"], pass_fds=[listener.fileno()],
                                   preexec_fn=harness.die_with_parent, stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)
        try:
            client = rawnbd.Client(self.path("given"), timeout=harness.TIMEOUT).ready()
            self.assertEqual(client.do(rawnbd.READ, 0, 512), 0)
            client.close()
            process.terminate()
            self.assertEqual(process.wait(harness.TIMEOUT), 0)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def test_full_disk(self):
        """Writes beyond what the file system holds: ENOSPC for those, and what was there stays readable."""
        self.tool("unshare")
        inside = self.path("mnt")
        os.mkdir(inside)
        namespace = ["unshare", "-m"] if os.getuid() == 0 else ["unshare", "-Urm"]
        mount = f"mount -t tmpfs -o size=8m none {inside}"
        probe = self.run_tool(*namespace, "sh", "-c", mount, check=False)
        if probe.returncode:
            self.skipTest(f"no small file system here: {probe.stderr.strip()}")
        program = harness.Program(*namespace, "sh", "-c", f'{mount} && exec "$@"', "sh",
                                  os.path.join(harness.BIN, "hvblk-daemon"), "--emulate",
                                  f"disk={inside}/disk.img,size=32M", "--export", f"nbd:unix:{self.path('s')}")
        self.programs.append(program)
        program.wait_for(r"^ready ")
        client = rawnbd.Client(self.path("s"), timeout=harness.TIMEOUT).ready()
        errors, data = [], harness.pattern(65536)
        for n in range(512):
            errors.append(client.do(rawnbd.WRITE, n * 65536, 65536, data))
        self.assertEqual(set(errors), {0, rawnbd.ENOSPC}, program.output())
        good = errors.index(rawnbd.ENOSPC)
        self.assertGreater(good, 50)
        for n in range(good):
            client.request(rawnbd.READ, n * 65536, 65536)
            self.assertEqual(client.simple_reply(65536)[2], data)
        # Room again after a trim.
        self.assertEqual(client.do(rawnbd.TRIM, 0, 4 * MIB), 0)
        self.assertEqual(client.do(rawnbd.WRITE, 30 * MIB, 65536, data), 0)
        client.close()
        self.assertEqual(program.stop(), 0, program.output())

    def test_host_is_away_at_start(self):
        message = self.refused("hvblk-daemon", "--device", f"unix:{self.path('nobody')}", "--export",
                               f"nbd:unix:{self.path('s')}", code=1)
        self.assertIn("nobody", message)

    def test_ready_soon(self):
        """Ready within the 200 ms promised; the bound here leaves room for a busy machine."""
        run = self.run_tool(shutil.which("bash"), "-c",
                            f'time (exec 3< <(exec "$@" & echo pid $!; wait); while read -r line <&3; do '
                            f'case $line in pid*) pid=${{line#pid }};; ready*) kill $pid; break;; esac; done)',
                            "bash", os.path.join(harness.BIN, "hvblk-daemon"), "--emulate", "disk=mem:64M", "--export",
                            f"nbd:unix:{self.path('s')}")
        minutes, seconds = re.search(r"real\s+(\d+)m([\d.,]+)s", run.stderr).groups()
        self.assertLess(int(minutes) * 60 + float(seconds.replace(",", ".")), 2.0)


if __name__ == "__main__":
    harness.main()
