#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Bad options and bad images: each refused at once, with what was wrong, what is allowed, and the right exit code."""
import os
import re
import shutil
import stat
import subprocess

import harness
from harness import MIB


class Options(harness.Case):
    def table(self, program, rows, common):
        for what, args, *said in rows:
            with self.subTest(what):
                message = self.refused(program, *args, *common(args))
                self.assertTrue(message.startswith(program), message)
                for word in said:
                    self.assertIn(word, message)

    def test_daemon(self):
        emulate = ["--emulate", "disk=mem:1M"]
        export = ["--export", f"nbd:unix:{self.path('s')}"]
        long_path = "/tmp/" + "x" * 120
        self.table("hvblk-daemon", [
            ("nothing", []),
            ("unknown option", ["--frobnicate"], "--frobnicate"),
            ("no export", emulate, "--export"),
            ("no device", export, "--emulate"),
            ("both devices", [*emulate, "--device", "unix:/nowhere", *export], "--device"),
            ("a word too many", [*emulate, *export, "surplus"], "surplus"),
            ("value missing", [*emulate, "--export"], "--export"),
            ("export of unknown kind", [*emulate, "--export", "iscsi:x"], "iscsi:x", "nbd:unix:"),
            ("empty path", [*emulate, "--export", "nbd:unix:"], "nbd:unix:"),
            ("path too long", [*emulate, "--export", f"nbd:unix:{long_path}"], long_path),
            ("no port", [*emulate, "--export", "nbd:tcp:127.0.0.1"], "nbd:tcp:127.0.0.1"),
            ("bad port", [*emulate, "--export", "nbd:tcp:127.0.0.1:70000"], "70000"),
            ("no disk=", ["--emulate", "size=1G", *export], "--emulate", "disk="),
            ("empty disk", ["--emulate", "disk=", *export], "disk"),
            ("unknown word", ["--emulate", "disk=mem:1M,colour=red", *export], "colour"),
            ("bad block", ["--emulate", "disk=mem:1M,block=1000", *export], "1000", "512", "4096"),
            ("bad size", ["--emulate", "disk=mem:banana", *export], "banana"),
            ("size of nothing", ["--emulate", "disk=mem:0", *export], "--emulate", "0 is not allowed"),
            ("size beyond 64 bits", ["--emulate", "disk=null:99999999999999999999", *export], "99999999999999999999"),
            ("no LUN", ["--emulate", "disk=mem:1M,luns=0", *export], "luns", "64"),
            ("too many LUNs", ["--emulate", "disk=mem:1M,luns=65", *export], "65", "64"),
            ("no channel", ["--emulate", "disk=mem:1M,channels=0", *export], "channels"),
            ("bad version", ["--emulate", "disk=mem:1M,version=9.9", *export], "9.9", "6.2"),
            ("bad fault", ["--emulate", "disk=mem:1M,fault=explode@1", *export], "explode"),
            ("fault at nothing", ["--emulate", "disk=mem:1M,fault=drop@0", *export], "drop@0"),
            ("bad transfer", ["--emulate", "disk=mem:1M,max-transfer=1", *export], "max-transfer"),
            ("serial too long", ["--emulate", "disk=mem:1M,serial=" + "x" * 65, *export], "serial"),
            ("bad CPU", [*emulate, *export, "--cpus", "zero"], "--cpus", "zero"),
            ("no such CPU", [*emulate, *export, "--cpus", "100000"], "--cpus", "100000"),
            ("bad address", ["--device", "floppy:a", *export], "--device", "floppy:a", "unix:"),
        ], lambda args: [])

    def test_completion(self):
        """What bash offers for hvctl, word by word, is what hvctl has."""
        program = os.path.join(harness.BUILD, "bin/hvctl")
        if not os.path.exists(program) or not shutil.which("bash"):
            self.skipTest("no hvctl in this build, or no bash")
        told = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
        commands = set(re.findall(r"^  ([a-z]+)\b", told, re.M)) - {"hvctl"}  # those are examples
        script = os.path.join(os.path.dirname(__file__), "../../apps/hvctl/hvctl.bash")

        def offered(*words):
            line = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hvctl; echo "${COMPREPLY[*]}"'
            run = subprocess.run(["bash", "-c", line, "bash", script, "hvctl", *words], capture_output=True, text=True, check=True)
            self.assertEqual(run.stderr, "")
            return set(run.stdout.split())

        self.assertIn("trace", commands)
        self.assertEqual(offered(""), commands | {"--help", "--version"})
        self.assertEqual(offered("unb"), {"unbind"})
        self.assertEqual(offered("ring", ""), {"dump"})
        self.assertEqual(offered("ring", "-"), set())
        options = set().union(*(offered(command, "dump", "-") for command in commands)) | {"--version"}
        self.assertEqual(options, set(re.findall(r"--[a-z]+", told)))

    def test_host(self):
        listen = ["--listen", self.path("h")]
        self.table("hv-host", [
            ("nothing", []),
            ("unknown option", [*listen, "--frobnicate"], "--frobnicate"),
            ("no disk word", [*listen, "--disk"], "--disk"),
            ("empty disk", [*listen, "--disk", ""], "--disk"),
            ("bad block", [*listen, "--disk", "mem:1M,block=7"], "7", "512"),
            ("bad LUN", [*listen, "--disk", "mem:1M,lun=64"], "64", "63"),
            ("LUN taken", [*listen, "--disk", "mem:1M,lun=3", "--disk", "mem:1M,lun=3"], "3"),
            ("path too long", ["--listen", "/tmp/" + "x" * 120, "--disk", "mem:1M"], "--listen"),
            ("bad fault", [*listen, "--disk", "mem:1M", "--fault", "explode@1"], "explode"),
        ], lambda args: [])

    def test_help_and_version(self):
        for program in ("hvblk-daemon", "hv-host"):
            path = os.path.join(harness.BIN, program)
            out = self.run_tool(path, "--help").stdout
            self.assertIn(program, out)
            self.assertRegex(out, r"(?i)example")
            self.assertRegex(self.run_tool(path, "--version").stdout, r"\d+\.\d+\.\d+")


class Images(harness.Case):
    def setUp(self):
        super().setUp()
        self.export = ["--export", f"nbd:unix:{self.path('s')}"]

    def bad(self, word, *said):
        for program, args in (("hvblk-daemon", ["--emulate", f"disk={word}", *self.export]),
                              ("hv-host", ["--listen", self.path("h"), "--disk", word])):
            with self.subTest(program):
                message = self.refused(program, *args, code=1)
                for text in said:
                    self.assertIn(text, message)
                self.assertFalse(os.path.exists(self.path("s")), "no export before the image is good")

    def test_missing(self):
        self.bad(self.path("none.img"), "none.img", "no such image", "size")

    def test_created_when_asked(self):
        server = self.daemon(emulate=f"disk={self.path('new.img')},size=16M")
        self.assertEqual(os.path.getsize(self.path("new.img")), 16 * MIB)
        self.assertEqual(server.stop(), 0)

    def test_odd_size(self):
        """No multiple of the block: refused with the nearest sizes."""
        self.bad(self.image("odd.img", size=MIB + 100), "odd.img", str(MIB + 100), str(MIB), str(MIB + 512))
        self.bad(self.image("odd4.img", size=MIB + 512) + ",block=4096", str(MIB), str(MIB + 4096))

    def test_empty(self):
        self.bad(self.image("empty.img", size=0), "empty.img")

    def test_folder(self):
        self.bad(self.dir, self.dir)

    def test_busy(self):
        image = self.image(size=MIB)
        server = self.daemon(emulate=f"disk={image}", socket="other.sock")
        self.bad(image, image)
        self.assertEqual(server.stop(), 0)
        self.assertEqual(self.daemon(emulate=f"disk={image}").stop(), 0)  # free again

    def test_unwritable(self):
        """As a user who may only read it."""
        self.tool("setpriv")
        image = self.image(size=MIB)
        os.chmod(image, 0o444)
        os.chmod(self.dir, 0o777)
        program = shutil.copy(os.path.join(harness.BIN, "hvblk-daemon"), self.path("daemon"))
        os.chmod(program, stat.S_IRWXU | stat.S_IROTH | stat.S_IXOTH)
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
        run = self.run_tool(*drop, program, "--emulate", f"disk={image}", *self.export, check=False)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertIn("Permission denied", run.stderr)
        self.assertIn(image, run.stderr)

    def test_socket_taken(self):
        server = self.daemon(emulate="disk=mem:1M", socket="s")
        message = self.refused("hvblk-daemon", "--emulate", "disk=mem:1M", *self.export, code=1)
        self.assertIn(self.path("s"), message)
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    harness.main()
