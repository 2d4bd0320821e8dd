# SPDX-License-Identifier: BSD-3-Clause
"""Starts and ends our programs for the end-to-end tests.

Everything lives in a folder of its own that is removed at the end; programs are ended by their process id, and die with
the test even when that is killed.  Nothing sleeps: a test waits for a line, for a descriptor, or for a process.
"""
import ctypes
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

SKIPPED = 77
BUILD = os.environ.get("HV_BUILD_DIR") or sys.exit("HV_BUILD_DIR says where the programs are; CTest sets it")
BIN = os.path.join(BUILD, "bin")
TIMEOUT = 60.0
KIB, MIB = 1024, 1024 * 1024
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Ended(AssertionError):
    """The program ended before it said what was waited for."""


class Program:
    """A running program; its output is collected line by line."""

    def __init__(self, *args, env=None, stack=None, stdin=subprocess.DEVNULL):
        def prepare():
            die_with_parent()
            if stack:  # of each thread
                resource.setrlimit(resource.RLIMIT_STACK, (stack, resource.getrlimit(resource.RLIMIT_STACK)[1]))

        self.args = [str(a) for a in args]
        self.lines = []  # (stream name, line)
        self.changed = threading.Condition()
        self.open_streams = 2
        self.process = subprocess.Popen(self.args, stdin=stdin, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, errors="replace", bufsize=1,
                                        preexec_fn=prepare, env={**os.environ, **(env or {})})
        self.readers = [threading.Thread(target=self._read, args=(name, stream), daemon=True)
                        for name, stream in (("out", self.process.stdout), ("err", self.process.stderr))]
        for reader in self.readers:
            reader.start()

    def _read(self, name, stream):
        for line in stream:
            with self.changed:
                self.lines.append((name, line.rstrip("\n")))
                self.changed.notify_all()
        stream.close()
        with self.changed:
            self.open_streams -= 1
            self.changed.notify_all()

    @property
    def pid(self):
        return self.process.pid

    def output(self, *names):
        with self.changed:
            return "\n".join(line for name, line in self.lines if not names or name in names)

    def wait_for(self, pattern, timeout=TIMEOUT, after=0):
        """The match of the first line from index `after` on that has the pattern."""
        found = []

        def look():
            for _, line in self.lines[after:]:
                match = re.search(pattern, line)
                if match:
                    found.append(match)
                    return True
            return self.open_streams == 0

        with self.changed:
            self.changed.wait_for(look, timeout)
        if found:
            return found[0]
        what = f"no line with \"{pattern}\"" + ("" if self.open_streams else ", program ended")
        raise (AssertionError if self.open_streams else Ended)(f"{self.args}: {what}; it said:\n{self.output()}")

    def mark(self):
        """Index of the next line, for wait_for(after=...)."""
        with self.changed:
            return len(self.lines)

    def wait(self, timeout=TIMEOUT):
        """Exit code, once all output is in."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.args}: still running after {timeout} s; it said:\n{self.output()}") from None
        for reader in self.readers:
            reader.join(timeout)
        return code

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """As kill -9 does; waits until it is gone."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def stop(self, timeout=TIMEOUT):
        """Ask it to end; its exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait(timeout)


class Case(unittest.TestCase):
    """A test with a folder and programs that end with it."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="hv-e2e-", dir=os.environ.get("HV_E2E_DIR"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.programs = []
        self.addCleanup(self._end_programs)

    def _end_programs(self):
        for program in self.programs:
            if program.process.poll() is None:
                program.kill()

    def path(self, name):
        return os.path.join(self.dir, name)

    def start(self, program, *args, env=None, stack=None):
        started = Program(os.path.join(BIN, program), *args, env=env, stack=stack)
        self.programs.append(started)
        return started

    def image(self, name="disk.img", size=None, data=b""):
        """A new image: `data`, then zeroes up to `size`, which is 64 MiB when neither is said."""
        path = self.path(name)
        with open(path, "wb") as file:
            file.write(data)
            if size is None:
                size = len(data) or 64 * MIB
            file.truncate(size)
        return path

    def daemon(self, *args, emulate=None, socket="nbd.sock", env=None):
        """hvblk-daemon with an NBD export on a Unix socket, ready; .uri is what clients take."""
        words = list(args)
        if emulate is not None:
            words += ["--emulate", emulate]
        program = self.start("hvblk-daemon", *words, "--export", f"nbd:unix:{self.path(socket)}", env=env)
        program.uri = program.wait_for(r"^ready (nbd\+unix:\S+)").group(1)
        program.socket = self.path(socket)
        return program

    def host(self, *args, socket="host.sock"):
        """hv-host, ready; .address is what guests take."""
        program = self.start("hv-host", "--listen", self.path(socket), *args)
        program.wait_for(r"^ready\b")
        program.address = f"unix:{self.path(socket)}"
        return program

    def run_tool(self, *args, check=True, timeout=TIMEOUT, data=None):
        """Run a client to its end.  Its CompletedProcess; fails the test when it fails and check is set."""
        run = subprocess.run([str(a) for a in args], input=data, stdin=None if data is not None else subprocess.DEVNULL,
                             capture_output=True, text=data is None or isinstance(data, str),
                             errors="replace" if data is None or isinstance(data, str) else None, timeout=timeout,
                             check=False, cwd=self.dir, preexec_fn=die_with_parent)
        if check and run.returncode != 0:
            self.fail(f"{args}: exit code {run.returncode}\n{run.stdout}\n{run.stderr}")
        return run

    def refused(self, program, *args, code=2):
        """The program must end with this code and say why on stderr; what it said."""
        run = self.run_tool(os.path.join(BIN, program), *args, check=False)
        self.assertEqual(run.returncode, code, f"{args}: {run.stdout}{run.stderr}")
        self.assertNotIn("ready", run.stdout)
        return run.stderr

    def tool(self, name):
        """Path of a client; the test is skipped aloud when it is not installed."""
        found = shutil.which(name)
        if not found:
            self.skipTest(f"{name} is not installed (scripts/setup check)")
        return found


def sha256(path):
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(MIB):
            total.update(block)
    return total.hexdigest()


def pattern(size, seed=1):
    """Bytes that differ in every block and are the same every time."""
    out = bytearray()
    count = 0
    while len(out) < size:
        out += hashlib.sha512(f"{seed}:{count}".encode()).digest() * 8  # 512 bytes
        count += 1
    return bytes(out[:size])


def until(condition, what, timeout=TIMEOUT, interval=0.05):
    """Poll something outside that offers nothing to wait for, with a deadline."""
    end = time.monotonic() + timeout
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        pause.wait(interval)


def load_json(text):
    return json.loads(text)


class Result(unittest.TextTestResult):
    """Says each skip in the form that scripts/summary reads."""

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(f"skipped: {test.id().split('.', 1)[-1]}: {reason}", flush=True)


def main():
    """Run the tests of the calling file.  Exit code 77 when all were skipped; nothing run is a failure."""
    program = unittest.main(module="__main__", exit=False, verbosity=2,
                            testRunner=unittest.TextTestRunner(resultclass=Result, verbosity=2))
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    if not result.testsRun and not result.skipped:  # a class that is skipped as a whole runs none
        sys.exit("no test ran")
    sys.exit(SKIPPED if len(result.skipped) >= result.testsRun else 0)
