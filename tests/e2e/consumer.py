#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""An outside program links the installed libraries, shared by CMake and static by pkg-config, and reads a LUN."""
import glob
import os
import subprocess
import unittest

import harness

HERE = os.path.dirname(os.path.abspath(__file__))
CONSUMER = os.path.join(os.path.dirname(HERE), "consumer")
EXAMPLE = os.path.join(os.path.dirname(os.path.dirname(HERE)), "examples", "balloon")


class Consumer(harness.Case):
    @classmethod
    def setUpClass(cls):
        cls.prefix = os.path.join(harness.BUILD, "prefix")
        subprocess.run(["cmake", "--install", harness.BUILD, "--prefix", cls.prefix], check=True,
                       stdout=subprocess.DEVNULL)

    def read_lun(self, program, env=None):
        data = harness.pattern(4096)
        image = self.image(size=harness.MIB, data=data)
        host = self.host("--disk", image)
        run = subprocess.run([program, host.address], capture_output=True, check=False, timeout=harness.TIMEOUT,
                             env={**os.environ, **(env or {})})
        self.assertEqual(run.returncode, 0, run.stderr.decode())
        self.assertEqual(run.stdout, data[:512])
        self.assertEqual(host.stop(), 0, host.output())

    def installed(self, name):
        for folder, _, names in os.walk(self.prefix):
            if name in names:
                return folder
        self.fail(f"{name} was not installed")

    def test_cmake_shared(self):
        build = self.path("build")
        self.run_tool("cmake", "-S", CONSUMER, "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}")
        self.run_tool("cmake", "--build", build)
        program = os.path.join(build, "readblock")
        needed = self.run_tool("readelf", "-d", program).stdout
        self.assertIn("libstorvsc.so.0", needed)
        self.assertIn("libvmbus.so.0", needed)
        self.read_lun(program, {"LD_LIBRARY_PATH": self.installed("libvmbus.so.0")})

    def test_pkg_config_static(self):
        folder = self.installed("libstorvsc.pc")
        out = self.path("out")
        os.mkdir(out)
        self.run_tool("env", f"PKG_CONFIG_PATH={folder}", "make", "-C", CONSUMER, f"OUT={out}")
        program = os.path.join(out, "readblock")
        self.assertNotIn("libvmbus", self.run_tool("readelf", "-d", program).stdout)
        self.read_lun(program)

    def test_example(self):
        """The example stands on what is installed: built as its CMakeLists.txt says, it reaches a host."""
        path = f"PKG_CONFIG_PATH={self.installed('libvmbus.pc')}"
        flags = self.run_tool("env", path, "pkg-config", "--cflags", "--libs", "libvmbus").stdout.split()
        program = self.path("balloon")
        self.run_tool("cc", "-D_GNU_SOURCE", "-Wall", "-Werror", *glob.glob(EXAMPLE + "/*.c"), *flags, "-o", program)
        host = self.host("--disk", self.image())
        library = self.installed("libvmbus.so.0")
        run = self.run_tool("env", f"LD_LIBRARY_PATH={library}", program, host.address, check=False)
        self.assertEqual(run.returncode, 1)
        self.assertIn("offers no dynamic memory", run.stderr)

    def test_installed_files(self):
        """What a package needs is there: manual pages, unit, headers; and nothing private."""
        names = {os.path.relpath(os.path.join(folder, name), self.prefix)
                 for folder, _, files in os.walk(self.prefix) for name in files}
        for want in ("bin/hv-host", "bin/hvblk-daemon", "include/hv/vmbus.h", "include/hv/storvsc.h",
                     "include/hv/host.h", "include/hv/wire/ring.h", "lib/systemd/system/hvblk-daemon.service"):
            self.assertIn(want, names)
        self.assertTrue(any(n.endswith("/hvblk-daemon.8") for n in names), names)
        self.assertTrue(any(n.endswith("/hv-host.1") for n in names), names)
        self.assertFalse([n for n in names if n.startswith("include/hv/base") or n == "include/hv/ring.h"], names)


if __name__ == "__main__":
    harness.main()
