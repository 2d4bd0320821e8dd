#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Debian's own testpmd with librte_net_hvnet.so: every forwarding mode, every frame accounted for and compared."""
import harness
from netrig import NetCase, read_pcap, split_tcp4, tcp4, udp4, write_pcap

LIMIT = 20.0  # seconds; a frame takes microseconds
SIZES = (60, 64, 65, 128, 255, 256, 257, 511, 512, 513, 1000, 1499, 1500, 1513, 1514)


class Counts(NetCase):
    """Both sides count the same."""

    def test_txonly(self):
        host = self.nic_host("sink")
        pmd = self.pmd(host)
        pmd.forward("txonly")
        harness.until(lambda: self.counts(host)["from_guest_packets"] > 100000, "100,000 frames at the host")
        pmd.command("stop")
        sent = self.settle(pmd.stats, "sending is over")
        seen = self.settle(lambda: self.counts(host), "the host is done")
        self.assertEqual(sent["tx_packets"], seen["from_guest_packets"])
        self.assertEqual(sent["tx_bytes"], seen["from_guest_bytes"])
        self.assertEqual(sent["tx_errors"], 0)
        more = pmd.xstats()
        self.assertEqual(more["tx_copied"] + more["tx_by_page"], sent["tx_packets"])
        self.assertLess(more["tx_messages"], sent["tx_packets"])  # several frames in one
        self.assertEqual(pmd.quit(), 0)

    def test_rxonly(self):
        host = self.nic_host("source:64,count=200000,flows=16")
        pmd = self.pmd(host, app=("--no-flush-rx",))
        pmd.forward("rxonly")
        seen = self.settle(lambda: self.counts(host), "the source is empty")
        got = self.settle(pmd.stats, "all is received")
        pmd.command("stop")
        self.assertEqual(seen["to_guest_packets"] + seen["dropped_no_buffer"], 200000)
        self.assertEqual(got["rx_packets"] + got["rx_missed"] + got["rx_nombuf"], seen["to_guest_packets"])
        self.assertGreater(got["rx_packets"], 100000)
        self.assertEqual(pmd.quit(), 0)

    def bounce(self, *nics):
        """Frames that go round and round; then they are taken out, and none is lost without a count."""
        host = self.nic_host(*nics)
        pmd = self.pmd(host, app=("--port-topology=" + ("loop" if len(nics) == 1 else "paired"),))
        ports = range(len(nics))
        pmd.forward("io", "start tx_first 4")
        harness.until(lambda: pmd.stats()["rx_packets"] > 20000, "20,000 frames around")
        pmd.command("stop")
        pmd.forward("rxonly")

        def sums():
            total = sum((pmd.stats(p) for p in ports), start=type(pmd.stats())())
            dropped = sum(self.counts(host, p)["dropped_no_buffer"] for p in ports)
            return total["tx_packets"], total["rx_packets"] + total["rx_missed"] + total["rx_nombuf"] + dropped

        sent, found = self.settle(sums, "all is taken out")
        self.assertEqual(sent, found)
        self.assertEqual(pmd.quit(), 0)

    def test_loop(self):
        self.bounce("loop")

    def test_loop_zero_copy(self):
        """testpmd promises one pool and one reference; mbufs that point into the receive buffer give it back all the same."""
        pmd = self.pmd(self.nic_host("loop"), app=("--port-topology=loop",))
        pmd.command("set txpkts 1000")
        pmd.forward("io", "start tx_first 4")
        # 4096 are held at most: those came back several times
        harness.until(lambda: pmd.xstats()["rx_zero_copy_packets"] > 20000, "20,000 frames held and given back")
        self.assertEqual(pmd.quit(), 0)

    def test_pair(self):
        self.bounce("pair:a,mac=02:00:00:00:00:01", "pair:a,mac=02:00:00:00:00:02")


class Contents(NetCase):
    """Frames from a file through testpmd into another file."""

    def through(self, frames, mode, *devargs, app=(), nic="", commands=(), huge=None):
        write_pcap(self.path("in.pcap"), frames)
        out = self.path("out.pcap")
        host = self.nic_host(f"pcap:{self.path('in.pcap')},{out},mac=02:00:00:00:00:01{nic}")
        pmd = self.pmd(host, *devargs, app=("--port-topology=loop", "--no-flush-rx", *app), huge=huge)
        for command in commands:
            pmd.command(command)
        pmd.forward(mode)
        harness.until(lambda: self.counts(host)["from_guest_packets"] >= len(frames), f"{len(frames)} frames back", LIMIT)
        xstats = pmd.xstats()
        self.assertEqual(pmd.quit(), 0)
        host.stop()
        return read_pcap(out), xstats

    def test_io(self):
        frames = [udp4(size, flow=i) for i, size in enumerate(SIZES * 20)]
        back, xstats = self.through(frames, "io")
        self.assertEqual(back, frames)
        # above the threshold nothing is copied, below everything
        self.assertEqual(xstats["rx_zero_copy_packets"], sum(len(f) > 256 for f in frames))
        self.assertEqual(xstats["rx_copied_bytes"], sum(len(f) for f in frames if len(f) <= 256))

    def test_io_copied(self):
        frames = [udp4(size, flow=i) for i, size in enumerate(SIZES * 4)]
        back, xstats = self.through(frames, "io", "rx_copybreak=65535", "tx_copybreak=1514", "aggregate=1")
        self.assertEqual(back, frames)
        self.assertEqual(xstats["rx_zero_copy_packets"], 0)
        self.assertEqual(xstats["tx_by_page"], 0)
        self.assertEqual(xstats["tx_aggregated"], 0)

    def test_io_no_huge(self):
        frames = [udp4(size, flow=i) for i, size in enumerate(SIZES * 4)]
        back, _ = self.through(frames, "io", huge=False)
        self.assertEqual(back, frames)

    def test_by_page(self):
        """Copied on receipt, so in mbufs of a pool: sent from where they lie."""
        frames = [udp4(size, flow=i) for i, size in enumerate(SIZES * 4)]
        back, xstats = self.through(frames, "io", "rx_copybreak=65535", "tx_copybreak=64")
        self.assertEqual(back, frames)
        if not xstats["tx_by_page"]:
            self.skipTest("no huge pages here: nothing can be named by page")
        self.assertGreater(xstats["tx_by_page"], len(frames) // 2)

    def test_mac(self):
        frames = [udp4(size, flow=i) for i, size in enumerate(SIZES)]
        back, _ = self.through(frames, "mac")
        self.assertEqual([f[12:] for f in back], [f[12:] for f in frames])
        self.assertEqual({f[6:12] for f in back}, {bytes.fromhex("020000000001")})  # the port's own address

    def test_macswap(self):
        frames = [udp4(size, flow=i) for i, size in enumerate(SIZES)]
        back, _ = self.through(frames, "macswap")
        self.assertEqual(back, [f[6:12] + f[:6] + f[12:] for f in frames])

    def test_5tswap(self):
        frames = [udp4(size, flow=i) for i, size in enumerate(SIZES)]
        back, _ = self.through(frames, "5tswap")
        self.assertEqual(back, [f[6:12] + f[:6] + f[12:26] + f[30:34] + f[26:30] + f[36:38] + f[34:36] + f[38:] for f in frames])

    def test_csum(self):
        """testpmd leaves the sums to the NIC, and the frames come out with right ones."""
        frames = [udp4(size, flow=i) for i, size in enumerate(SIZES)]
        setup = ("csum set ip hw 0", "csum set udp hw 0", "csum mac-swap off 0", "port start 0")
        back, _ = self.through(frames, "csum", commands=setup, app=("--disable-device-start",))
        # testpmd may put new addresses in; the sums do not cover them
        self.assertEqual([f[12:] for f in back], [f[12:] for f in frames])

    def test_tso(self):
        """A large TCP segment leaves as small ones, each with its own numbers and sums."""
        payload = bytes(i * 7 & 0xff for i in range(3800))
        setup = ("csum set ip hw 0", "csum set tcp hw 0", "tso set 1000 0", "csum mac-swap off 0", "port start 0")
        back, _ = self.through([tcp4(payload)], "csum", commands=setup, nic=",mtu=9000",
                               app=("--disable-device-start", "--max-pkt-len=9018", "--enable-scatter", "--tx-offloads=0x8000"))
        pieces = [split_tcp4(frame) for frame in back]
        self.assertEqual([len(p) for _, p in pieces], [1000, 1000, 1000, 800])
        self.assertEqual([n for n, _ in pieces], [1000, 2000, 3000, 4000])
        self.assertEqual(b"".join(p for _, p in pieces), payload)

    def test_vlan(self):
        tagged = [udp4(size, flow=i, vlan=100 + i) for i, size in enumerate(SIZES[:-1])]
        plain = [f[:12] + f[16:] for f in tagged]
        for name, app, want in (("kept", (), tagged), ("stripped", ("--enable-hw-vlan-strip",), plain)):
            with self.subTest(name):
                back, _ = self.through(tagged, "io", app=app)
                self.assertEqual(back, want)

    def test_jumbo(self):
        frames = [udp4(size, flow=i) for i, size in enumerate((1514, 1515, 2048, 2049, 4096, 6100, 9000, 9014))]
        for break_at in ("256", "65535"):  # in place, and scattered over several mbufs
            with self.subTest(rx_copybreak=break_at):
                back, _ = self.through(frames, "io", f"rx_copybreak={break_at}", nic=",mtu=9000",
                                       app=("--max-pkt-len=9018", "--enable-scatter", "--tx-offloads=0x8000"))
                self.assertEqual(back, frames)

    def test_levels(self):
        frames = [udp4(size, flow=i) for i, size in enumerate(SIZES)]
        for level in ("1", "2", "4", "5", "6", "6.1"):
            with self.subTest(nvsp=level):
                write_pcap(self.path("in.pcap"), frames)
                host = self.nic_host(f"pcap:{self.path('in.pcap')},{self.path('out.pcap')},mac=02:00:00:00:00:01")
                pmd = self.pmd(host, f"max_nvsp={level}", app=("--port-topology=loop", "--no-flush-rx"))
                self.assertIn(f"NVSP {level},", pmd.command("show port info 0"))
                pmd.forward("io")
                harness.until(lambda: self.counts(host)["from_guest_packets"] >= len(frames), "all frames back")
                self.assertEqual(pmd.quit(), 0)
                host.stop()
                self.assertEqual(read_pcap(self.path("out.pcap")), frames)


class Spread(NetCase):
    def test_rss(self):
        """Flows come to both queues; then the table sends all of them to one."""
        host = self.nic_host("source:64,flows=64,rss,queues=2", args=("--workers", "1"))
        pmd = self.pmd(host, "queues=2", app=("--rxq=2", "--txq=2", "--rss-udp"))
        pmd.forward("rxonly")
        harness.until(lambda: all(pmd.xstats()[f"rx_q{q}_packets"] > 1000 for q in (0, 1)), "frames on both queues")
        for first in range(0, 128, 8):  # testpmd takes words of less than 128 characters
            pmd.command("port config 0 rss reta " + ",".join(f"({i},1)" for i in range(first, first + 8)))
        self.assertNotIn("queue=0", pmd.command("show port 0 rss reta 128 (0xffffffffffffffff,0xffffffffffffffff)"))
        pmd.command("clear port stats 0")
        # what was under way still comes to queue 0
        last = self.settle(lambda: pmd.xstats()["rx_q0_packets"], "queue 0 is quiet")
        seen = pmd.xstats()["rx_q1_packets"]
        harness.until(lambda: pmd.xstats()["rx_q1_packets"] > seen + 10000, "more on queue 1")
        self.assertEqual(pmd.xstats()["rx_q0_packets"], last)
        self.assertEqual(pmd.quit(), 0)


class Loss(NetCase):
    def test_bad_devargs(self):
        host = self.nic_host("sink")
        for args, wants in (("queues=65", "queues=65: allowed are 1 to 64"), ("speed=1", 'unknown argument "speed"'),
                            ("ring=1", "ring=1: allowed are 64 to 16384 KiB"), ("max_nvsp=3", "1, 2, 4, 5, 6, 6.1")):
            with self.subTest(args):
                pmd = self.pmd(host, args, huge=False)
                pmd.quit()
                self.assertIn(wants, pmd.output())
                self.assertIn("No probed ethernet devices", pmd.output())

    def gone(self, take):
        host = self.nic_host("loop")
        pmd = self.pmd(host, app=("--port-topology=loop",))
        pmd.forward("io", "start tx_first 4")
        harness.until(lambda: pmd.stats()["rx_packets"] > 1000, "frames around")
        take(host)
        pmd.wait_for(r"net_hvnet0: the device is gone")
        # testpmd detaches a removed port by itself
        pmd.wait_for(r"Port 0 is closed|removed|Device .* is detached|detached")
        self.assertEqual(pmd.quit(), 0)

    def test_host_killed(self):
        self.gone(lambda host: host.kill())

    def test_removed(self):
        self.gone(lambda host: host.control("nic-remove", nic=0))


if __name__ == "__main__":
    harness.main()
