#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Verified load: fio's NBD engine."""
import os

import harness
from harness import MIB


class Load(harness.Case):
    def fio(self, uri, *args, timeout=120):
        self.tool("fio")
        run = self.run_tool("fio", "--name=load", "--ioengine=nbd", f"--uri={uri}", "--output-format=json", *args,
                            timeout=timeout)
        jobs = harness.load_json(run.stdout[run.stdout.index("{"):])["jobs"]
        for job in jobs:
            self.assertEqual(job["error"], 0, run.stdout)
        return jobs

    def verified(self, server):
        """4 jobs, depth 32, 512 B to 1 MiB, each block with its checksum, read back and compared."""
        jobs = self.fio(server.uri, "--rw=randrw", "--rwmixread=40", "--bsrange=512-1M", "--bs_unaligned=0",
                        "--blockalign=512", "--iodepth=32", "--numjobs=4", "--size=24M", "--offset_increment=24M",
                        "--verify=crc32c", "--verify_fatal=1", "--serialize_overlap=1", "--randseed=7",
                        "--end_fsync=1")
        self.assertEqual(len(jobs), 4)
        for job in jobs:
            self.assertGreater(job["read"]["total_ios"] + job["write"]["total_ios"], 0)
        return jobs

    def test_verified_on_a_file(self):
        server = self.daemon(emulate=f"disk={self.image(size=96 * MIB)},channels=2")
        self.verified(server)
        self.assertEqual(server.stop(), 0, server.output())

    def test_verified_on_memory(self):
        cpus = sorted(os.sched_getaffinity(0))[:2]
        server = self.daemon("--cpus", ",".join(map(str, cpus)), "--poll", emulate="disk=mem:96M,channels=2")
        self.verified(server)
        self.assertEqual(server.stop(), 0, server.output())

    def test_verified_across_processes(self):
        host = self.host("--disk", self.image(size=96 * MIB))
        server = self.daemon("--device", host.address)
        self.verified(server)
        self.assertEqual(server.stop(), 0, server.output())
        self.assertEqual(host.stop(), 0, host.output())

    def test_trims_beside_writes(self):
        """Trims on one half while the other half is written and verified."""
        server = self.daemon(emulate=f"disk={self.image(size=128 * MIB)},channels=2")
        self.fio(server.uri, "--group_reporting=0", "--iodepth=16", "--size=32M", "--verify_fatal=1",
                 "--rw=randwrite", "--bsrange=512-256k", "--blockalign=512", "--verify=crc32c",
                 "--serialize_overlap=1",
                 "--name=trims", "--ioengine=nbd", f"--uri={server.uri}", "--rw=randtrim", "--bs=64k", "--offset=64M",
                 "--size=32M", "--iodepth=16", "--verify=0",
                 "--name=both", "--ioengine=nbd", f"--uri={server.uri}", "--rw=trimwrite", "--bs=128k",
                 "--offset=96M", "--size=32M", "--iodepth=1", "--verify=0")
        self.assertEqual(server.stop(), 0, server.output())


if __name__ == "__main__":
    harness.main()
