#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The whole image in and out over every protocol level, block size and number of channels."""
import os

import harness
from harness import MIB

VERSIONS = ("2.0", "4.2", "5.1", "6.0", "6.2")
SIZE = 12 * MIB


class Levels(harness.Case):
    def round_trip(self, words, *args):
        source = self.image("source", data=os.urandom(SIZE))
        image = self.image("disk.img", size=SIZE)
        server = self.daemon(*args, emulate=f"disk={image},{words}")
        self.run_tool("nbdcopy", "--flush", source, server.uri)
        self.run_tool("nbdcopy", server.uri, self.path("back"))
        self.assertEqual(server.stop(), 0, server.output())
        want = harness.sha256(source)
        self.assertEqual(harness.sha256(self.path("back")), want, "what the client read back")
        self.assertEqual(harness.sha256(image), want, "the image itself")

    def test_matrix(self):
        self.tool("nbdcopy")
        for block in (512, 4096):
            for channels in (1, 2, 3, 4):
                for version in VERSIONS:
                    with self.subTest(block=block, channels=channels, version=version):
                        self.round_trip(f"block={block},channels={channels},version={version}")

    def test_small_transfers(self):
        """A host that takes 4 KiB a command: everything is split."""
        self.round_trip("max-transfer=4K")

    def test_buffered_and_write_through(self):
        self.round_trip("direct=off")
        self.round_trip("cache=off")


if __name__ == "__main__":
    harness.main()
