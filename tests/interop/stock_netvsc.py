#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Debian's own DPDK netvsc PMD in testpmd, unmodified, against our host: it attaches, and every frame is accounted for.

The PMD and its VMBus bus are code that we did not write: they read the layouts of NVSP, RNDIS and the rings for themselves.
"""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
import hugepages  # noqa: E402
from harness import BUILD, Case, Program  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
PRELOAD = os.path.join(BUILD, "tests", "libhv_uio_preload.so")
PAGES = 160  # of 2 MiB: what testpmd needs with 8192 buffers
MBUFS = 8192
# The driver counts a frame as sent when its completion was read, and reads none after the last burst: what its 512
# descriptors of 8 frames a queue can hold may be missing in its count at the end, never in the host's.
UNCOUNTED = 512 * 8


class Rig(Case):
    """A host with NICs, huge pages, testpmd inside a kernel that we play."""
    pool = None

    @classmethod
    def setUpClass(cls):
        if os.geteuid():
            raise unittest.SkipTest("a mount namespace and physical addresses need root")
        if subprocess.run(["unshare", "--mount", "--propagation", "unchanged", "true"], check=False,
                          capture_output=True).returncode:
            raise unittest.SkipTest("no mount namespace can be made here")
        cls.pool = hugepages.Pool(PAGES)
        if cls.pool.why:
            raise unittest.SkipTest(cls.pool.why)

    @classmethod
    def tearDownClass(cls):
        wrong = cls.pool.put_back() if cls.pool else None
        if wrong:
            raise AssertionError(wrong)

    def nic_host(self, link, queues=1, *more):
        host = self.host("--nic", f"{link},queues={queues},monitor", "--control", self.path("control"),
                         "--workers", queues, *more)
        return host

    def nic(self):
        """State and counters of NIC 0, from the host's control socket."""
        both = {}
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(self.path("control"))
            lines = control.makefile()
            for command in ("nic-list", "nic-stats"):
                control.sendall(json.dumps({"command": command}).encode() + b"\n")
                both.update(json.loads(lines.readline())["nics"][0])
        return both

    def end(self, program):
        """SIGINT; what testpmd counted at the port."""
        program.signal(signal.SIGINT)
        self.assertEqual(program.wait(), 0, program.output())
        text = program.output()
        block = text[text.index("Forward statistics for port 0"):]
        return {key: int(value) for key, value in re.findall(r"([RT]X-(?:packets|dropped)): (\d+)", block)[:4]}

    def wait_for_rate(self, program, column):
        program.wait_for(rf"{column}:\s+[1-9]", after=program.mark())


class StockNetvsc(Rig):
    def forward(self, host, mode, queues=1, *more):
        """The stock driver in testpmd, forwarding."""
        self.tool("dpdk-testpmd")
        program = Program("stdbuf", "-oL", os.path.join(HERE, "launch"), self.path("host.sock"), PRELOAD,
                          "dpdk-testpmd", "--lcores", "0@0,1@1" if os.cpu_count() > 1 else "0@0,1@0", "--no-pci",
                          "--in-memory", "--iova-mode=pa", "-m", "256", "--log-level=pmd.net.netvsc.*:debug", "--",
                          f"--forward-mode={mode}", "--nb-cores=1", "--stats-period=1",
                          f"--total-num-mbufs={MBUFS}", f"--rxq={queues}", f"--txq={queues}", *more)
        self.programs.append(program)
        program.wait_for(r"(TX|RX) queue: 0")
        return program

    def test_attaches(self):
        host = self.nic_host("loop")
        program = self.forward(host, "rxonly")
        program.wait_for(r"NVS version 0x60001, NDIS version 6\.30")
        state = self.nic()
        program.wait_for("Port 0 is up")
        self.assertIn(state["mac"].upper(), program.output())
        self.assertEqual(state["open_channels"], 1)
        self.assertEqual(state["packet_filter"] & 0x20, 0x20)  # testpmd wants everything
        self.end(program)

    def transmit(self, queues):
        host = self.nic_host("sink", queues)
        program = self.forward(host, "txonly", queues)
        self.wait_for_rate(program, "Tx-pps")
        self.assertEqual(self.nic()["open_channels"], queues)
        counted = self.end(program)
        harness.until(lambda: self.nic()["open_channels"] == 0, "the driver closed its channels")
        nic = self.nic()
        self.assertGreater(counted["TX-packets"], 1000)
        self.check_sent(nic, counted, 64, queues)

    def check_sent(self, nic, counted, frame, queues):
        uncounted = nic["from_guest_packets"] - counted["TX-packets"]
        self.assertGreaterEqual(uncounted, 0)
        self.assertLessEqual(uncounted, queues * UNCOUNTED)
        self.assertEqual(nic["from_guest_bytes"], frame * nic["from_guest_packets"])
        self.assertEqual(nic["dropped_bad"], 0)

    def test_transmit(self):
        self.transmit(1)

    def test_transmit_2_queues(self):
        self.transmit(2)

    def receive(self, queues):
        host = self.nic_host("source:64", queues)
        program = self.forward(host, "rxonly", queues)
        self.wait_for_rate(program, "Rx-pps")
        self.assertEqual(self.nic()["open_channels"], queues)
        if queues > 1:
            self.assertTrue(self.nic()["rss"])
        counted = self.end(program)
        nic = self.nic()
        self.assertGreater(counted["RX-packets"], 1000)
        # frames that came before the first poll and after the last are in the host's count only
        self.assertGreaterEqual(nic["to_guest_packets"], counted["RX-packets"])
        self.assertEqual(nic["dropped_bad"], 0)

    def test_receive(self):
        self.receive(1)

    def test_receive_2_queues(self):
        self.receive(2)

    def test_bounce(self):
        """What testpmd forwards comes back, again and again, and nothing is lost or made up on the way."""
        host = self.nic_host("loop")
        program = self.forward(host, "io", 1, "--tx-first", "--port-topology=loop", "--no-flush-rx")
        self.wait_for_rate(program, "Rx-pps")
        counted = self.end(program)
        nic = self.nic()
        self.assertGreater(counted["RX-packets"], 1000)
        self.assertGreaterEqual(nic["from_guest_packets"], counted["TX-packets"])
        self.assertLessEqual(nic["from_guest_packets"] - counted["TX-packets"], 32)  # the burst on its way
        self.assertEqual(nic["to_guest_packets"], nic["from_guest_packets"])
        self.assertLessEqual(nic["to_guest_packets"] - counted["RX-packets"], 32)

    def test_large_frames(self):
        """1500 bytes in three pieces: by page, with scattered buffers."""
        host = self.nic_host("sink")
        program = self.forward(host, "txonly", 1, "--txpkts=500,500,500")
        self.wait_for_rate(program, "Tx-pps")
        counted = self.end(program)
        self.assertGreater(counted["TX-packets"], 1000)
        self.check_sent(self.nic(), counted, 1500, 1)

    def test_link_follows_the_host(self):
        host = self.nic_host("sink")
        program = self.forward(host, "txonly")
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(self.path("control"))
            control.sendall(b'{"command":"nic-link","nic":0,"up":false}\n')
            self.assertIn('"ok"', control.makefile().readline())
        program.wait_for(r"(?i)link status 0x4001000c|Port 0 is down|link state change", after=0)
        self.end(program)


if __name__ == "__main__":
    harness.main()
