#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Our driver on DPDK's vmbus bus: loaded with -d it has the device before DPDK's own driver, and drives it through uio."""
import os
import sys

import stock_netvsc
from stock_netvsc import HERE, MBUFS, PRELOAD

sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import harness  # noqa: E402
import netrig  # noqa: E402


class OwnDriver(stock_netvsc.Rig):
    def forward(self, host, mode, queues=1, *more, args=""):
        """testpmd with -a GUID, forwarding."""
        cpus = len(os.sched_getaffinity(0))
        program = harness.Program(
            "stdbuf", "-oL", os.path.join(HERE, "launch"), self.path("host.sock"), PRELOAD, self.tool("dpdk-testpmd"),
            "-d", netrig.loadable(self), "--lcores", "0@0,1@1" if cpus > 1 else "0@0,1@0", "--no-pci", "--in-memory",
            "--iova-mode=pa", "-m", "256", "-a", self.nic()["instance"] + args, "--log-level=pmd.net.hvnet:debug", "--",
            f"--forward-mode={mode}", "--nb-cores=1", "--stats-period=1", f"--total-num-mbufs={MBUFS}",
            f"--rxq={queues}", f"--txq={queues}", *more)
        self.programs.append(program)
        program.wait_for("net_hvnet: .*NVSP|No probed")
        program.wait_for(r"(TX|RX) queue: 0")
        return program

    def ended(self, program):
        """Both sides' counts, after the port was closed in order."""
        counted = self.end(program)
        nic = self.nic()
        self.assertEqual((nic["open_channels"], nic["dropped_bad"]), (0, 0))
        return counted, nic

    def test_transmit(self):
        host = self.nic_host("sink")
        program = self.forward(host, "txonly", args=",max_nvsp=5")
        self.wait_for_rate(program, "Tx-pps")
        self.assertEqual(self.nic()["nvsp_version"], 0x50000)
        counted, nic = self.ended(program)
        self.assertGreater(counted["TX-packets"], 1000)
        self.assertEqual(nic["from_guest_packets"], counted["TX-packets"])

    def test_bounce_2_queues(self):
        host = self.nic_host("loop", 2)
        program = self.forward(host, "io", 2, "--tx-first", "--port-topology=loop", "--no-flush-rx")
        self.wait_for_rate(program, "Rx-pps")
        self.assertEqual(self.nic()["open_channels"], 2)
        counted, nic = self.ended(program)
        self.assertGreater(counted["RX-packets"], 1000)
        self.assertEqual(nic["from_guest_packets"], counted["TX-packets"])
        # those that turn round while the port stops find its filter closed
        self.assertEqual(nic["to_guest_packets"] + nic["dropped_no_buffer"] + nic["dropped_filter"], nic["from_guest_packets"])
        self.assertLessEqual(nic["to_guest_packets"] - counted["RX-packets"], 2 * 32)  # the bursts on their way

    def test_bad_argument(self):
        """The message names the argument, and DPDK's own driver does not step in."""
        self.nic_host("sink")
        said = self.run_tool("timeout", "60", os.path.join(HERE, "launch"), self.path("host.sock"), PRELOAD,
                             self.tool("dpdk-testpmd"), "-d", netrig.loadable(self), "--no-pci", "--in-memory",
                             "--iova-mode=pa", "-m", "256", "-a", self.nic()["instance"] + ",ring=1", "--",
                             f"--total-num-mbufs={MBUFS}", check=False)
        self.assertIn("ring=1: allowed are 64 to 16384 KiB", said.stdout + said.stderr)
        self.assertIn("No probed ethernet devices", said.stdout + said.stderr)


if __name__ == "__main__":
    harness.main()
