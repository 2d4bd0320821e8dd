#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The NBD server of hvblk-daemon under the kernel's own client: file systems, verified load, a server that dies."""
import os

import guest

TOOLS = ["mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "fio", "blkdiscard", "blockdev", "fstrim", "nbd-client"]
MODULES = ["nbd", "ext4", "xfs", "crc32c_generic"]


class Nbd(guest.Case):
    def test_disks(self):
        self.boot("nbd.sh", programs=["hvblk-daemon", "ask"], tools=TOOLS, modules=MODULES, cpus=2, memory=1280,
                  files={"/hv/blocks": os.path.join(guest.HERE, "guest/blocks")})


if __name__ == "__main__":
    guest.main()
