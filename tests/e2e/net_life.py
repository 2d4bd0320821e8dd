#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Life of a DPDK port: interrupts, 1,000 starts and stops, 100 removals, frames that outlive the port (net_life.c)."""
import os
import subprocess

import harness
from netrig import NetCase

PROGRAM = os.path.join(harness.BUILD, "tests", "net_life")


class Life(NetCase):
    def life(self, *words):
        program = harness.Program(PROGRAM, *words, stdin=subprocess.PIPE)
        self.programs.append(program)
        return program

    def ended(self, program):
        code = program.wait()
        self.assertEqual(code, 0, program.output())

    def test_interrupts(self):
        host = self.nic_host("pair:a,mac=02:00:00:00:00:01", "pair:a,mac=02:00:00:00:00:02")
        program = self.life("interrupts", *(f"{host.address},{i}" for i in self.instances(host)))
        self.ended(program)
        self.assertIn("woken 200", program.output("out"))

    def test_cycles(self):
        host = self.nic_host("loop")
        program = self.life("cycles", host.address, 1000)
        self.ended(program)
        self.assertIn("cycles 1000", program.output("out"))

    def test_removals(self):
        host = self.nic_host("loop")
        program = self.life("removals", host.address, 100)
        for i in range(100):
            program.wait_for(f"^up {i}$")
            self.assertTrue(host.control("nic-remove", nic=0)["ok"])
            program.wait_for(f"^closed {i}$")
            self.assertTrue(host.control("nic-add", option="loop")["ok"])
            program.process.stdin.write("next\n")
            program.process.stdin.flush()
        self.ended(program)
        guests = host.control("status")
        self.assertFalse(guests.get("guests"), guests)

    def test_held(self):
        host = self.nic_host("loop")
        program = self.life("held", host.address)
        self.ended(program)
        self.assertIn("held", program.output("out"))

    def test_refused(self):
        host = self.nic_host("loop")
        program = self.life("refused", host.address)
        self.ended(program)
        self.assertIn("refused", program.output("out"))


if __name__ == "__main__":
    harness.main()
