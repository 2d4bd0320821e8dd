#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Block devices of hvblk-daemon on a real kernel: file systems, verified load, recovery after kill -9, clean removal."""
import os

import guest

TOOLS = ["mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "fio", "blkdiscard", "blockdev", "fstrim", "nbd-client", "setpriv"]
MODULES = ["ublk_drv", "nbd", "ext4", "xfs", "crc32c_generic"]


class Ublk(guest.Case):
    def test_disks(self):
        self.boot("ublk.sh", programs=["hvblk-daemon", "hv-host", "ask"],
                  tools=TOOLS, modules=MODULES, cpus=2, memory=1536, settings={"CYCLES": 100},
                  files={"/hv/blocks": os.path.join(guest.HERE, "guest/blocks")})


if __name__ == "__main__":
    guest.main()
