#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What an application can set and ask at a port, by testpmd's commands, and what the host knows of it."""
import harness
from netrig import NetCase

DIRECTED, ALL_MULTICAST, PROMISCUOUS = 0x1, 0x4, 0x20  # of the packet filter


class Settings(NetCase):
    def nic(self, host):
        return host.control("nic-list")["nics"][0]

    def test_queues(self):
        """A stopped queue neither sends nor receives, the other one goes on; started again, it does both."""
        host = self.nic_host("loop,queues=2")
        pmd = self.pmd(host, app=("--port-topology=loop", "--rxq=2", "--txq=2", "--rss-udp"))
        pmd.command("port 0 txq 1 stop")
        pmd.forward("txonly")
        harness.until(lambda: pmd.xstats()["tx_q0_packets"] > 1000, "frames sent on queue 0")
        self.assertEqual(pmd.xstats()["tx_q1_packets"], 0)
        pmd.command("stop")
        pmd.command("port 0 txq 1 start")
        pmd.command("start")
        harness.until(lambda: pmd.xstats()["tx_q1_packets"] > 1000, "frames sent on queue 1")
        pmd.command("stop")
        for queue in (0, 1):
            pmd.command(f"port 0 rxq {queue} stop")
        self.assertIn("Rx queue state: stopped", pmd.command("show rxq info 0 0"))
        pmd.command("clear port stats 0")
        pmd.forward("io", "start tx_first 1")
        pmd.command("stop")
        self.assertEqual(pmd.stats()["rx_packets"], 0)
        for queue in (0, 1):
            pmd.command(f"port 0 rxq {queue} start")
        pmd.command("start tx_first 1")
        harness.until(lambda: pmd.stats()["rx_packets"] > 1000, "frames around")
        self.assertEqual(pmd.quit(), 0)

    def test_told(self):
        host = self.nic_host("loop")
        pmd = self.pmd(host, "max_nvsp=5", app=("--port-topology=loop",))
        self.assertIn("Firmware-version: NVSP 5, NDIS 6.", pmd.command("show port info 0"))
        receive, transmit = pmd.command("show rxq info 0 0"), pmd.command("show txq info 0 0")
        self.assertIn("Burst mode: Scalar, zero-copy above 256 bytes", receive)
        self.assertIn("Burst mode: Scalar, by page above 2048 bytes", transmit)
        for text in (receive, transmit):
            self.assertIn("Number of RXDs: 1024" if text is receive else "Number of TXDs: 1024", text)
            self.assertIn("queue state: started", text)
        self.assertIn("AVAILABLE", pmd.command("show port 0 rxq 0 desc 0 status"))
        self.assertIn("DONE", pmd.command("show port 0 txq 0 desc 0 status"))
        self.assertIn("= 0", pmd.command("show port 0 rxq 0 desc used count"))
        self.assertIn("L4_UDP", pmd.command("show port 0 ptypes"))
        pmd.forward("txonly")
        pmd.command("stop")
        self.assertNotRegex(pmd.command("port cleanup 0 txq 0 0"), "(?i)not supported|fail|error")
        names = pmd.xstats()
        for name in ("tx_full", "rx_held", "rx_signals", "tx_signals", "tx_aggregated", "rx_bad_packets_range",
                     "rx_bad_packets_rndis", "rx_bad_packets_ppi", "rx_bad_packets_length", "rx_q0_held", "tx_q0_full"):
            self.assertIn(name, names)
        self.assertEqual(pmd.quit(), 0)

    def test_filters(self):
        host = self.nic_host("loop")
        pmd = self.pmd(host, app=("--port-topology=loop",))
        for command, bit, there in (("set promisc 0 off", PROMISCUOUS, False), ("set allmulti 0 on", ALL_MULTICAST, True),
                                    ("set allmulti 0 off", PROMISCUOUS, False), ("set promisc 0 on", PROMISCUOUS, True)):
            with self.subTest(command):
                pmd.command(command)
                self.assertEqual(bool(self.nic(host)["packet_filter"] & bit), there)
                self.assertTrue(self.nic(host)["packet_filter"] & (DIRECTED | PROMISCUOUS))
        pmd.command("mac_addr set 0 02:00:00:00:00:55")
        self.assertEqual(self.nic(host)["current_mac"], "02:00:00:00:00:55")
        self.assertNotRegex(pmd.command("mcast_addr add 0 01:00:5e:00:00:01"), "(?i)fail|error")
        for command in ("port stop 0", "port config mtu 0 4000", "port start 0"):
            pmd.command(command)
        self.assertEqual(self.nic(host)["mtu"], 4000)
        self.assertEqual(self.nic(host)["current_mac"], "02:00:00:00:00:55")
        self.assertEqual(pmd.quit(), 0)

    def test_events(self):
        """The host takes the link down and up; a reset port works like a new one."""
        host = self.nic_host("loop")
        pmd = self.pmd(host, app=("--port-topology=loop",))
        pmd.forward("rxonly")  # what the host says comes on queue 0
        for up, word in ((False, "down"), (True, "up")):
            host.control("nic-link", nic=0, up=up)
            harness.until(lambda w=word: f"Link status: {w}" in pmd.command("show port info 0"), f"link {word}")
        pmd.wait_for("Port 0: link state change event")
        for command in ("stop", "port stop 0", "port reset 0", "port start 0"):
            pmd.command(command)
        pmd.forward("io", "start tx_first 1")
        harness.until(lambda: pmd.stats()["rx_packets"] > 1000, "frames around")
        self.assertEqual(pmd.quit(), 0)

    def test_hash(self):
        host = self.nic_host("loop,queues=2")
        pmd = self.pmd(host, app=("--port-topology=loop", "--rxq=2", "--txq=2", "--rss-udp"))
        key = bytes(range(1, 41)).hex()
        pmd.command(f"port config 0 rss-hash-key ipv4-udp {key}")
        self.assertIn(key.upper(), pmd.command("show port 0 rss-hash key").upper())
        self.assertTrue(self.nic(host)["rss"])
        self.assertEqual(pmd.quit(), 0)


if __name__ == "__main__":
    harness.main()
