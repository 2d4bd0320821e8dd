# SPDX-License-Identifier: BSD-3-Clause
"""The NBD servers that are measured: ours in its shapes, and the peers.

Every server exports 1 GiB on one Unix socket.  A server may consist of several
processes (hv-host and hvblk-daemon); its CPU time is the sum of all of them.
"""
import os
import select
import shutil
import signal
import subprocess
import time

SIZE = 1 << 30
PEERS_NEEDED = {"nbdkit": "nbdkit", "qemu-nbd": "qemu-utils"}
TICKS = os.sysconf("SC_CLK_TCK")


def process_cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as handle:
        fields = handle.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def process_rss_mib(pid):
    """Memory of its own: what is shared with the kernel's page cache is not counted."""
    total = 0
    with open(f"/proc/{pid}/smaps_rollup") as handle:
        for line in handle:
            if line.startswith(("Private_Dirty:", "Private_Clean:", "Shared_Dirty:")):
                total += int(line.split()[1])
    return total / 1024


class Server:
    """One running server: `uri` to connect to, CPU seconds, memory."""

    def __init__(self, name, work, build, cpus, image=None):
        self.name = name
        self.work = work
        self.socket = os.path.join(work, "bench.sock")
        self.host_socket = os.path.join(work, "host.sock")
        self.uri = f"nbd+unix:///?socket={self.socket}"
        self.build = build
        self.cpus = cpus
        self.image = image
        self.processes = []
        self.ready_ms = None
        for path in (self.socket, self.host_socket):
            if os.path.exists(path):
                os.unlink(path)
        try:
            self._start()
        except Exception:
            self.stop()
            raise

    # -- how each is started ---------------------------------------------------------------

    def _start(self):
        ours = {
            "hvblk": (False, []),
            "hvblk-poll": (False, ["--poll"]),
            "hvblk-2r": (False, ["--reactors", "2"]),
            "hvblk-2proc": (True, []),
            "hvblk-2proc-2r": (True, ["--reactors", "2"]),
        }
        if self.name in ours:
            split, extra = ours[self.name]
            self._start_ours(split, extra)
            return
        commands = {
            "nbdkit": ["nbdkit", "-f", "-U", self.socket, "memory", str(SIZE)],
            "qemu-nbd": ["qemu-nbd", "-k", self.socket, "-f", "raw", "-e", "16", "-t",
                         "--cache=writeback", "--aio=io_uring", str(self.image)],
            "qemu-nbd-native": ["qemu-nbd", "-k", self.socket, "-f", "raw", "-e", "16", "-t",
                                "--cache=none", "--aio=native", str(self.image)],
        }
        self._spawn(commands[self.name])
        self._wait_for_socket(self.socket)

    def _start_ours(self, split, extra):
        daemon = os.path.join(self.build, "bin", "hvblk-daemon")
        disk = self.image or f"mem:{SIZE}"
        channels = 2 if "2" in extra else 1
        if split:
            host = os.path.join(self.build, "bin", "hv-host")
            self._spawn_ready([host, "--listen", self.host_socket, "--disk", disk,
                               "--channels", str(channels), "--workers", str(channels)])
            source = ["--device", f"unix:{self.host_socket}"]
        else:
            source = ["--emulate", f"disk={disk},channels={channels}"]
        begin = time.monotonic()
        self._spawn_ready([daemon] + source + ["--export", f"nbd:unix:{self.socket}"] + extra)
        self.ready_ms = (time.monotonic() - begin) * 1000

    def _spawn(self, command, stdout=None):
        log = open(os.path.join(self.work, f"server{len(self.processes)}.log"), "w+")
        prefix = ["taskset", "-c", self.cpus] if self.cpus else []
        process = subprocess.Popen(prefix + command, stdin=subprocess.DEVNULL,
                                   stdout=stdout or log, stderr=log)
        process.log = log
        self.processes.append(process)
        return process

    def _spawn_ready(self, command):
        process = self._spawn(command, stdout=subprocess.PIPE)
        ready, _, _ = select.select([process.stdout], [], [], 10)
        line = process.stdout.readline() if ready else b""
        if not line.startswith(b"ready "):
            raise RuntimeError(self._complaint(process, command))

    def _complaint(self, process, command):
        process.log.seek(0)
        return f"{' '.join(command)}: {process.log.read()[-400:]}"

    def _wait_for_socket(self, path):
        # Peers print nothing when ready; a connect that succeeds is their ready line.
        import socket
        process = self.processes[-1]
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            probe = socket.socket(socket.AF_UNIX)
            try:
                probe.connect(path)
                return
            except OSError:
                select.select([], [], [], 0.01)
            finally:
                probe.close()
        raise RuntimeError(self._complaint(process, [self.name]))

    # -- what is asked of it -----------------------------------------------------------------

    def cpu_seconds(self):
        return sum(process_cpu_seconds(p.pid) for p in self.processes)

    def rss_mib(self):
        return sum(process_rss_mib(p.pid) for p in self.processes)

    def fill(self, source):
        """Give the disk real data, so that no server reads holes."""
        subprocess.run(["nbdcopy", source, self.uri], check=True, capture_output=True,
                       timeout=120)

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            if process.stdout:
                process.stdout.close()
            process.log.close()
        self.processes = []


def missing():
    """Peers that are not installed, as (program, Debian package)."""
    return [(p, package) for p, package in PEERS_NEEDED.items() if not shutil.which(p)]
