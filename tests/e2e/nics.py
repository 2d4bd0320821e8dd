#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""hv-host with NICs: every option and what it refuses, and the commands of the control socket."""
import os

import harness
import hosts


class Options(harness.Case):
    def test_refused(self):
        for nic, *said in (
                ("", "link"),
                ("wire", "wire"),
                ("tap:", "tap:"),
                ("tap:" + "x" * 40, "tap:"),
                ("source:banana", "banana"),
                ("pcap:" + self.path("missing.pcap"), "missing.pcap"),
                ("loop,mac=02:00:00", "02:00:00", "XX:XX"),
                ("loop,mac=01:00:00:00:00:00", "group"),
                ("loop,mac=00:00:00:00:00:00", "zero"),
                ("loop,queues=0", "queues", "64"),
                ("loop,queues=65", "65", "64"),
                ("loop,mtu=1499", "1499", "9202"),
                ("loop,mtu=9203", "9203", "9202"),
                ("loop,max-nvsp=7.0", "7.0", "6.1"),
                ("loop,packets-per-message=33", "33", "32"),
                ("loop,section=1K", "1K"),
                ("loop,section=3001", "3001", "64"),
                ("loop,offloads=tx-csum+lro", "lro", "tx-csum+tso+rx-csum+vlan+rss"),
                ("loop,speed=fast", "fast", "400G"),
                ("loop,speed=1T", "1T", "400G"),
                ("loop,guid=42", "42", "GUID"),
                ("loop,fault=explode@1", "explode", "refuse"),
                ("loop,fault=drop", "ACTION@N"),
                ("loop,colour=red", "colour")):
            with self.subTest(nic):
                path = os.path.join(harness.BIN, "hv-host")
                result = self.run_tool(path, "--listen", self.path("h"), "--nic", nic, check=False)
                self.assertIn(result.returncode, (1, 2), result)
                self.assertIn("--nic", result.stderr)
                for word in said:
                    self.assertIn(word, result.stderr)

    def test_two_of_one_kind(self):
        """Three ends of a pair; two NICs with one identity."""
        path = os.path.join(harness.BIN, "hv-host")
        result = self.run_tool(path, "--listen", self.path("h"), "--nic", "pair:a", "--nic", "pair:a,mac=02:00:00:00:00:02",
                               "--nic", "pair:a,mac=02:00:00:00:00:03", check=False)
        self.assertEqual(result.returncode, 1, result)
        self.assertIn("pair:a", result.stderr)
        result = self.run_tool(path, "--listen", self.path("h"), "--nic", "loop", "--nic", "loop", check=False)
        self.assertEqual(result.returncode, 1, result)
        self.assertIn("--nic loop", result.stderr)


class Commands(harness.Case):
    def controlled(self, *args):
        host = self.host("--control", self.path("control"), *args)
        host.control = hosts.Control(self.path("control"))
        self.addCleanup(host.control.close)
        return host

    def test_list(self):
        host = self.controlled(
            "--nic", "loop,mac=02:00:00:00:00:07,queues=4,mtu=4000,speed=25G,guid=12345678-9abc-def0-1234-56789abcdef0",
            "--nic", "sink")
        nics = host.control("nic-list")["nics"]
        self.assertEqual(nics, host.control("status")["nics"])
        self.assertEqual(len(nics), 2)
        self.assertEqual(nics[0]["mac"], "02:00:00:00:00:07")
        self.assertEqual(nics[0]["current_mac"], nics[0]["mac"])
        self.assertEqual(nics[0]["instance"], "12345678-9abc-def0-1234-56789abcdef0")
        self.assertEqual((nics[0]["queues"], nics[0]["max_mtu"], nics[0]["bits_per_second"]), (4, 4000, 25 * 10 ** 9))
        self.assertEqual((nics[0]["guest"], nics[0]["nvsp_version"], nics[0]["open_channels"]), (0, 0, 0))
        self.assertTrue(nics[0]["link_up"] and nics[0]["carrier"])
        self.assertNotEqual(nics[1]["mac"], nics[0]["mac"])
        self.assertFalse(host.control("status")["offered"])  # no disk, no controller
        stats = host.control("nic-stats")["nics"]
        self.assertEqual([s["nic"] for s in stats], [0, 1])
        self.assertTrue(all(not value for s in stats for key, value in s.items() if key != "nic"), stats)

    def test_add_remove(self):
        host = self.controlled()
        self.assertEqual(host.control("nic-list")["nics"], [])
        self.assertEqual(host.control("nic-add", option="pair:a")["nic"], 0)
        self.assertFalse(host.control("nic-list")["nics"][0]["carrier"])  # alone
        self.assertEqual(host.control("nic-add", option="pair:a,mac=02:00:00:00:00:02")["nic"], 1)
        self.assertTrue(all(n["carrier"] for n in host.control("nic-list")["nics"]))
        self.assertFalse(host.control("nic-add", option="pair:a,mac=02:00:00:00:00:03")["ok"])
        self.assertIn("wire", host.control("nic-add", option="wire")["error"])
        self.assertIn("option", host.control("nic-add")["error"])
        self.assertTrue(host.control("nic-remove", nic=0)["ok"])
        self.assertIn("no NIC 0", host.control("nic-remove", nic=0)["error"])
        self.assertIn("0 to 63", host.control("nic-remove", nic=64)["error"])
        nics = host.control("nic-list")["nics"]
        self.assertEqual([n["nic"] for n in nics], [1])
        self.assertFalse(nics[0]["carrier"])
        self.assertEqual(host.control("nic-add", option="sink")["nic"], 0)  # the number is free again

    def test_link_and_vf(self):
        host = self.controlled("--nic", "pair:a", "--nic", "pair:a,mac=02:00:00:00:00:02")
        self.assertTrue(host.control("nic-link", nic=0, up=False)["ok"])
        nics = host.control("nic-list")["nics"]
        self.assertEqual((nics[0]["link_up"], nics[1]["link_up"]), (False, True))
        self.assertFalse(nics[1]["carrier"])  # the other end was switched off
        self.assertTrue(host.control("nic-link", nic=0, up=True)["ok"])
        self.assertTrue(all(n["carrier"] and n["link_up"] for n in host.control("nic-list")["nics"]))
        self.assertTrue(host.control("nic-vf", nic=1, present=True, serial=77)["ok"])
        nic = host.control("nic-list")["nics"][1]
        self.assertEqual((nic["vf_present"], nic["vf_serial"], nic["vf_active"]), (True, 77, False))
        self.assertTrue(host.control("nic-vf", nic=1, present=False)["ok"])
        self.assertFalse(host.control("nic-list")["nics"][1]["vf_present"])
        for command, words, said in (("nic-link", {"nic": 0}, "up"), ("nic-link", {"nic": 5, "up": True}, "no NIC 5"),
                                     ("nic-link", {"nic": "0", "up": True}, "nic"), ("nic-vf", {"nic": 0}, "present"),
                                     ("nic-vf", {"nic": 0, "present": True}, "serial"),
                                     ("nic-vf", {"nic": 0, "present": True, "serial": -1}, "serial")):
            with self.subTest(words):
                self.assertIn(said, host.control(command, **words)["error"])

    def test_disk_later(self):
        host = self.controlled("--nic", "sink")
        self.assertEqual(host.control("attach", disk="mem:1M")["lun"], 0)
        self.assertTrue(host.control("status")["offered"])
        self.assertTrue(host.control("rescind")["ok"])
        self.assertEqual(host.control("attach", disk="mem:1M")["lun"], 1)
        self.assertFalse(host.control("status")["offered"])  # who took it away brings it back
        self.assertTrue(host.control("offer")["ok"])

    def test_ends_in_order(self):
        host = self.controlled("--nic", "loop", "--nic", "source:64,queues=2", "--disk", "mem:1M")
        host.stop()


if __name__ == "__main__":
    harness.main()
