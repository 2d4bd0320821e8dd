#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The kernel's network stack at the ends, testpmd with our driver between:

    namespace 1 - tap - hv-host - VMBus - testpmd - VMBus - hv-host - tap - namespace 2

ping, TCP with and without offloads as a capture shows them, VLAN, large packets, multicast.
"""
import json
import os
import re
import struct
import sys

import harness
import namespaces
from netrig import NetCase, read_pcap, udp4

FIRST, SECOND = "10.99.0.1", "10.99.0.2"


class Capture:
    """tcpdump on an interface; frames() ends it."""

    def __init__(self, namespace, case, name, what, *words):
        self.path = case.path(f"{name}-{what}.pcap".replace(" ", "-"))
        self.program = namespace.start(case.tool("tcpdump"), "-i", name, "-U", "-n", "-w", self.path, "-Z", "root", "-s", "200",
                                       "--immediate-mode", *words, what)
        self.program.wait_for("listening on")

    def lengths(self):
        """Length on the wire of each frame."""
        self.program.stop()
        with open(self.path, "rb") as file:
            data = file.read()
        at, found = 24, []
        while at + 16 <= len(data):
            stored, length = struct.unpack_from("<II", data, at + 8)
            found.append(length)
            at += 16 + stored
        return found


class Tap(NetCase):
    def setUp(self):
        super().setUp()
        for name in ("ip", "nsenter", "unshare", "ping"):
            self.tool(name)

    def wire(self, nic="", devargs=(), app=(), mode="io", commands=(), mtu=None, kernel=("", "")):
        """Both namespaces, connected through testpmd."""
        self.ends = [namespaces.Namespace(self) for _ in range(2)]
        self.host_ = self.nic_host(*[f"tap:hvt{i}{kernel[i]}{nic}" for i in range(2)])
        for i, (end, address) in enumerate(zip(self.ends, (FIRST, SECOND))):
            end.take(f"hvt{i}", f"{address}/24", f"fd99::{i + 1}/64", mtu=mtu)
        self.testpmd = self.pmd(self.host_, *devargs, app=("--port-topology=paired", *app))
        for command in commands:
            self.testpmd.command(command)
        self.testpmd.forward(mode)
        return self.ends

    def reach(self, end, *words, count=5):
        """So many pings are answered.  ping alone waits two round trips for a late one, too short on a busy machine: -w."""
        run = end.run("ping", "-n", "-c", count, "-i", "0.01", "-w", "20", *words, check=False)
        answered = re.search(r"transmitted, (\d+) received", run.stdout)
        self.assertGreaterEqual(int(answered.group(1)) if answered else 0, count, run.stdout + run.stderr)
        return run.stdout

    def tcp(self, reverse=False, seconds=2):
        """Bits per second of one connection, as the receiver counts them."""
        tool = self.tool("iperf3")
        server = self.ends[1].start("stdbuf", "-oL", tool, "-s", "-1")
        server.wait_for("Server listening")
        run = self.ends[0].run(tool, "-c", SECOND, "-t", seconds, "-J", *(["-R"] if reverse else []), check=False)
        result = json.loads(run.stdout)
        self.assertNotIn("error", result, result.get("error"))
        self.assertEqual(server.wait(), 0, server.output())
        end = result["end"]
        self.assertGreater(end["sum_received"]["bytes"], 1 << 20)
        return end["sum_received"]["bits_per_second"]


class Ping(Tap):
    def test_echo_of_testpmd(self):
        """One tap; testpmd itself answers ARP and ping."""
        end = namespaces.Namespace(self)
        host = self.nic_host("tap:hvt0")
        end.take("hvt0", f"{FIRST}/24")
        testpmd = self.pmd(host, app=("--port-topology=loop",))
        testpmd.forward("icmpecho")
        self.reach(end, "10.99.0.77", count=20)
        self.reach(end, "-s", 1472, "-M", "do", "10.99.0.78")
        self.assertEqual(testpmd.quit(), 0)

    def test_both_ways(self):
        first, second = self.wire()

        def counts():
            one, two = (self.counts(self.host_, n) for n in (0, 1))
            return [one["to_guest_packets"], two["to_guest_packets"], two["from_guest_packets"], one["from_guest_packets"]]

        before = self.settle(counts, "nothing moves")  # what came before testpmd forwarded is not sent on
        self.reach(first, SECOND, count=100)
        self.reach(second, FIRST)
        self.reach(first, "fd99::2")
        self.reach(first, "-s", 1472, "-M", "do", SECOND)
        moved = [now - then for now, then in zip(self.settle(counts, "all is through"), before)]
        self.assertGreater(moved[0], 100)
        self.assertEqual(moved[:2], moved[2:])

    def test_multicast(self):
        first, _ = self.wire()
        text = self.reach(first, "-I", "hvt0", "ff02::1%hvt0")
        self.assertRegex(text, r"bytes from fe80::")
        first.run("ip", "route", "add", "239.1.1.1/32", "dev", "hvt0")
        listener = self.ends[1].start("ip", "maddress", "show", "dev", "hvt1")
        listener.wait()
        self.assertIn("224.0.0.1", listener.output())
        harness.until(lambda: f"bytes from {SECOND}" in self.reach(first, "-I", "hvt0", "224.0.0.1"), "an answer of the other end")

    def test_vlan(self):
        """Tagged frames cross with their tag, whether or not this kernel has VLAN devices."""
        first, second = self.wire()
        capture = Capture(second, self, "hvt1", "vlan 100")
        frames = [udp4(size, flow=size, vlan=0x6064) for size in (64, 300, 1518)]
        first.run(sys.executable, "-c", "import socket, sys\n"
                  "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n"
                  "s.bind(('hvt0', 0))\n"
                  "for frame in sys.argv[1:]: s.send(bytes.fromhex(frame))", *[f.hex() for f in frames])
        harness.until(lambda: os.path.getsize(capture.path) >= 24 + 3 * 16 + sum(min(len(f), 200) for f in frames), "3 frames")
        capture.program.stop()
        self.assertEqual(read_pcap(capture.path), [f[:200] for f in frames])

    def jumbo(self, nic="", devargs=()):
        first, _ = self.wire(nic=",mtu=9000" + nic, mtu=9000, devargs=devargs,
                             app=("--max-pkt-len=9018", "--enable-scatter", "--tx-offloads=0x8000"))
        self.reach(first, "-s", 8972, "-M", "do", SECOND)
        self.reach(first, "-s", 4000, "-M", "do", SECOND)
        run = first.run("ping", "-n", "-c", "1", "-W", "1", "-s", "8973", "-M", "do", SECOND, check=False)
        self.assertRegex(run.stdout + run.stderr, r"too long|0 received")

    def test_jumbo(self):
        self.jumbo(nic=",section=16K")

    def test_jumbo_in_sections_too_small(self):
        self.jumbo()

    def test_jumbo_in_mbufs(self):
        self.jumbo(devargs=("rx_copybreak=65535",))

    def test_carrier(self):
        """The NIC switched off at the host: no carrier at the kernel's end, and back."""
        first, _ = self.wire()
        self.reach(first, SECOND)
        for up, word in ((False, "NO-CARRIER"), (True, "LOWER_UP")):
            self.host_.control("nic-link", nic=0, up=up)
            harness.until(lambda w=word: w in first.run("ip", "link", "show", "hvt0").stdout, word)
        harness.until(lambda: first.run("ping", "-n", "-c", "1", "-W", "1", SECOND, check=False).returncode == 0, "a ping")


class Sleep(Tap):
    def host_cpu(self):
        with open(f"/proc/{self.host_.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def test_unwanted_frames(self):
        """Frames wait in the tap and the guest takes none: the host sleeps, and goes on when the guest does."""
        first, _ = self.wire()
        self.reach(first, SECOND)
        for stop, start in (("stop", "start"), ("port stop all", "port start all")):
            with self.subTest(stop):
                if stop.startswith("port"):
                    self.testpmd.command("stop")
                self.testpmd.command(stop)
                first.run("ip", "neigh", "replace", SECOND, "lladdr", "02:00:00:00:00:99", "dev", "hvt0", "nud", "permanent")
                first.run("ping", "-q", "-n", "-f", "-c", "40000", "-l", "40000", "-W", "1", SECOND, check=False)
                before = self.host_cpu()
                first.run("ping", "-q", "-n", "-c", "10", "-i", "0.1", "-W", "1", SECOND, check=False)  # about two seconds
                self.assertLess(self.host_cpu() - before, 0.2)
                first.run("ip", "neigh", "del", SECOND, "dev", "hvt0")
                self.testpmd.command(start)
                if stop.startswith("port"):
                    self.testpmd.command("start")
                harness.until(lambda: first.run("ping", "-n", "-c", "1", "-W", "1", SECOND, check=False).returncode == 0, "a ping")


class Tcp(Tap):
    def measure(self, kernel):
        """One connection through both taps: its rate, the frames that left and came, and those on VMBus."""
        ends = self.wire(kernel=(kernel, kernel))
        sent = Capture(ends[0], self, "hvt0", f"tcp and src {FIRST}", "-c", "5000")
        came = Capture(ends[1], self, "hvt1", f"tcp and src {FIRST}", "-c", "5000", "-Q", "in")
        rate = self.tcp()
        counts = self.counts(self.host_, 0)
        self.assertLessEqual(counts["to_guest_bytes"], 1514 * counts["to_guest_packets"])
        sent, came = sent.lengths(), came.lengths()
        self.assertGreater(min(len(sent), len(came)), 50)
        for program in self.programs:
            program.stop()
        for n in ("hvt0", "hvt1"):
            os.unlink(self.path(f"{n}-tcp-and-src-{FIRST}.pcap"))
        return rate, max(sent), max(came)

    def test_offloads(self):
        """Large segments leave one kernel whole, cross VMBus cut to what fits, and come to the other one joined again."""
        fast, sent, came = self.measure("")
        self.assertGreater(sent, 9000)
        self.assertGreater(came, 2000)
        slow, sent, came = self.measure(",kernel-offloads=off")  # the kernels cut and sum by themselves
        self.assertLessEqual(max(sent, came), 1514)
        print("TCP through two taps, Mbit/s: with offloads %.0f, without %.0f" % (fast / 1e6, slow / 1e6))

    def test_kernel_cuts(self):
        """Offloads of the interface switched off: the kernel leaves nothing undone, and TCP goes on."""
        self.tool("ethtool")
        ends = self.wire()
        for i, end in enumerate(ends):
            end.offloads(f"hvt{i}", False)
        sent = Capture(ends[0], self, "hvt0", f"tcp and src {FIRST}", "-c", "5000")
        self.tcp()
        self.assertLessEqual(max(sent.lengths()), 1514)

    def test_reverse(self):
        self.wire()
        self.tcp(reverse=True)

    def test_two_queues(self):
        self.wire(nic=",queues=2", devargs=("queues=2",), app=("--rxq=2", "--txq=2"))
        self.tcp()


class Transmit(Tap):
    """What the guest leaves to its NIC: testpmd's csum engine with segmentation to 500 bytes."""
    COMMANDS = ("set promisc all on", "port stop all", *[c for p in (0, 1) for c in (
        f"csum set ip hw {p}", f"csum set tcp hw {p}", f"tso set 500 {p}", f"csum mac-swap off {p}")], "port start all")

    def through(self, kernel):
        ends = self.wire(mode="csum", commands=self.COMMANDS, kernel=("", kernel))
        came = Capture(ends[1], self, "hvt1", f"tcp and src {FIRST} and greater 400", "-c", "5000", "-Q", "in")
        self.tcp()
        lengths = came.lengths()
        self.assertGreater(len(lengths), 100)
        return lengths, self.counts(self.host_, 1)

    def test_left_to_the_kernel(self):
        lengths, counts = self.through("")
        self.assertGreater(max(lengths), 1000)  # still in one piece: the kernel would cut it where it leaves

    def test_cut_by_the_host(self):
        lengths, counts = self.through(",kernel-offloads=off")
        # 500 bytes of payload behind at most 14 + 20 + 60
        self.assertLessEqual(max(lengths), 594)
        self.assertGreater(counts["segmented"], 100)


if __name__ == "__main__":
    why = namespaces.leave()
    if why:
        print(f"skipped: {re.sub('^.*/', '', sys.argv[0])}: {why}")
        sys.exit(harness.SKIPPED)
    harness.main()
