#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""hvnet-pmd, the program: modes, status, capture, options, signals, loss of its device."""
import json
import os
import signal
import socket

import harness
from netrig import NetCase, read_pcap, udp4, write_pcap

CPU = str(min(os.sched_getaffinity(0)))
ME, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"


class Program(NetCase):
    def runner(self, *words):
        if not os.path.exists(os.path.join(harness.BIN, "hvnet-pmd")):
            self.skipTest("hvnet-pmd was not built (scripts/setup dpdk)")
        return self.start("hvnet-pmd", "--cores", CPU, "--no-huge", "--json", "--interval", "100", *words)

    def lines(self, program, event):
        found = [json.loads(line) for line in program.output("out").splitlines()]
        return [line for line in found if line["event"] == event]

    def taken(self, program):
        """Frames that port 0 has got, as its newest status line says."""
        lines = self.lines(program, "status")
        return sum(lines[-1]["ports"][0][k] for k in ("rx_packets", "rx_missed", "rx_nombuf")) if lines else 0

    def lost(self, host):
        """Frames that the host had no buffer for, or nobody wanted."""
        counts = self.counts(host, 0)
        return counts["dropped_no_buffer"] + counts["dropped_filter"]

    def last(self, program):
        return self.lines(program, "end")[0]["ports"]

    def replay(self, mode, frames, *words):
        write_pcap(self.path("in.pcap"), frames)
        host = self.nic_host(f"pcap:{self.path('in.pcap')},{self.path('out.pcap')},mac={ME}")
        program = self.runner("--port", host.address, "--mode", mode, *words)
        harness.until(lambda: self.counts(host)["from_guest_packets"] >= len(frames), "all frames back", 20)
        self.assertEqual(program.stop(), 0, program.output())
        host.stop()
        return program, read_pcap(self.path("out.pcap"))

    def test_io(self):
        frames = [udp4(size, flow=size) for size in (60, 128, 257, 1514)]
        program, back = self.replay("io", frames, "--pcap", self.path("seen.pcap"), "--snap", "100")
        self.assertEqual(back, frames)
        self.assertEqual(read_pcap(self.path("seen.pcap")), [f[:100] for f in frames])
        end = self.lines(program, "end")[0]
        self.assertEqual((end["captured"], end["capture_missed"]), (len(frames), 0))
        self.assertEqual(end["ports"][0]["rx_packets"], len(frames))
        self.assertEqual(end["ports"][0]["tx_bytes"], sum(map(len, frames)))

    def test_mac_swap(self):
        frames = [udp4(size, flow=size) for size in (60, 1514)]
        _, back = self.replay("mac-swap", frames)
        self.assertEqual(back, [f[6:12] + f[:6] + f[12:] for f in frames])

    def test_l2fwd(self):
        """From a source on one port to a sink on the other, and every frame is somewhere."""
        host = self.nic_host("source:64,count=50000", "sink")
        program = self.runner(*[w for i in self.instances(host) for w in ("--port", f"{host.address},{i}")],
                              "--mode", "l2fwd", "--promiscuous")
        program.wait_for('"ready"')
        harness.until(lambda: self.taken(program) and self.taken(program) + self.lost(host) == 50000, "all is taken")
        self.assertEqual(program.stop(), 0, program.output())
        first, second = self.last(program)
        self.assertEqual(second["tx_packets"], self.counts(host, 1)["from_guest_packets"])
        self.assertEqual(first["rx_packets"], second["tx_packets"] + first["tx_dropped"])

    def test_txonly_rxonly(self):
        host = self.nic_host(f"pair:a,mac={ME}", f"pair:a,mac={OTHER}")
        first, second = self.instances(host)
        receiver = self.runner("--port", f"{host.address},{second}", "--mode", "rxonly", "--promiscuous")
        receiver.wait_for('"ready"')
        sender = self.runner("--port", f"{host.address},{first}", "--mode", "txonly", "--size", "200", "--duration", "1")
        self.assertEqual(sender.wait(), 0, sender.output())
        self.settle(lambda: self.counts(host, 1)["to_guest_packets"], "the pair is quiet")
        seen = self.counts(host, 1)
        self.assertEqual(receiver.stop(), 0, receiver.output())
        sent, got = self.last(sender)[0], self.last(receiver)[0]
        self.assertGreater(sent["tx_packets"], 1000)
        self.assertEqual(sent["tx_bytes"], 200 * sent["tx_packets"])
        self.assertEqual(self.counts(host, 0)["from_guest_packets"], sent["tx_packets"])
        self.assertEqual(got["rx_packets"] + got["rx_missed"] + got["rx_nombuf"], seen["to_guest_packets"])

    def test_emulated(self):
        """A host inside the process; status lines come at their interval."""
        program = self.runner("--emulate", "source:64,count=20000", "--mode", "rxonly", "--duration", "2")
        self.assertEqual(program.wait(), 0, program.output())
        port = self.last(program)[0]
        # the host drops what it has no buffer for, and nobody but it knows how many
        self.assertLessEqual(port["rx_packets"] + port["rx_missed"] + port["rx_nombuf"], 20000)
        self.assertGreater(port["rx_packets"], 1000)
        self.assertGreaterEqual(len(self.lines(program, "status")), 2)

    def test_text(self):
        program = self.start("hvnet-pmd", "--cores", CPU, "--no-huge", "--interval", "100", "--emulate", "sink", "--mode", "txonly")
        program.wait_for(r"^ready: txonly, 1 port, 1 queue each, 1 core$")
        program.wait_for(r"port 0 sink  link up  received 0  sent [1-9]")
        program.wait_for(r"port 0 queue 0 .* tx +[0-9.]+ [kM]pkt/s")
        program.signal(signal.SIGINT)
        self.assertEqual(program.wait(), 0, program.output())

    def test_telemetry(self):
        host = self.nic_host("sink")
        program = self.runner("--port", f"{host.address},max_nvsp=5", "--mode", "txonly")
        program.wait_for('"status"')
        folder = "/var/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", "/tmp")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.settimeout(harness.TIMEOUT)
            client.connect(f"{folder}/dpdk/hvnet-{program.pid}/dpdk_telemetry.v2")
            client.recv(16384)  # a greeting

            def ask(what):
                client.send(what.encode())
                return json.loads(client.recv(16384))[what.split(",")[0]]

            self.assertEqual(ask("/hvnet/list"), [0])
            info = ask("/hvnet/info,0")
            self.assertIsNone(ask("/hvnet/info,1"))
        self.assertEqual((info["nvsp"], info["alive"], info["channels"], info["mtu"]), ("5", 1, 1, 1500))
        self.assertGreater(info["queue_0"]["tx_packets"], 0)
        self.assertEqual(program.stop(), 0, program.output())

    def test_taken_away(self):
        host = self.nic_host("loop")
        program = self.runner("--port", host.address)
        program.wait_for('"ready"')
        host.kill()
        program.wait_for("the device was taken away")
        self.assertEqual(program.wait(), 1, program.output())

    def test_wrong_options(self):
        if not os.path.exists(os.path.join(harness.BIN, "hvnet-pmd")):
            self.skipTest("hvnet-pmd was not built (scripts/setup dpdk)")
        port = ("--port", "unix:/nowhere")
        for words, wants in ((("--cores", CPU), "--port or --emulate is missing"), (port, "--cores is missing"),
                             (("--cores", CPU, *port, "--mode", "fast"), "io, mac-swap, l2fwd, rxonly, txonly"),
                             (("--cores", CPU, *port, "--mode", "l2fwd"), "even number"),
                             (("--cores", CPU, "--port", "unix:/x,queues=99"), "queues=99: allowed are 1 to 64"),
                             (("--cores", CPU, "--port", "tcp:1"), "unix:PATH"), (("--cores", "x", *port), "--cores"),
                             (("--cores", CPU, *port, "--burst", "65"), "--burst"), (("--cores", CPU, *port, "--size", "59"), "--size"),
                             (("--cores", CPU, *port, "--interval", "5"), "100 to 60000"), (("--bogus",), "--bogus"),
                             (("--cores", CPU, *port, "more"), "more"), (("--cores",), "--cores")):
            with self.subTest(words):
                self.assertIn(wants, self.refused("hvnet-pmd", *words))
        said = self.refused("hvnet-pmd", "--cores", CPU, "--no-huge", *port, code=1)
        self.assertIn("no host at unix:/nowhere", said)
        self.assertIn("Examples:", self.run_tool(os.path.join(harness.BIN, "hvnet-pmd"), "--help").stdout)


if __name__ == "__main__":
    harness.main()
