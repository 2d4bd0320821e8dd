#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The kernel's NBD client on hvblk-daemon: file systems and verified load over two connections."""
import os

import guest

TOOLS = ["nbd-client", "mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "fio", "fstrim"]


class Nbd(guest.Case):
    def test_kernel(self):
        self.boot("nbd.sh", programs=["hvblk-daemon", "ask"], tools=TOOLS,
                  modules=["nbd", "ext4", "xfs", "crc32c_generic"], cpus=2, memory=1536,
                  files={"/hv/blocks": os.path.join(guest.HERE, "guest/blocks")})


if __name__ == "__main__":
    guest.main()
