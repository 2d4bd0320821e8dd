#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""hvctl on a real kernel, in a guest of QEMU's VMBus host: what it says is held against the true sysfs."""
import guest


class Hvctl(guest.Case):
    def test_hvctl(self):
        self.nested("hvctl.sh", programs=["hvctl", "balloon"], modules=["hv_vmbus", "uio_hv_generic", "hv_balloon"],
                    devices=["vmbus-bridge", f"hv-balloon,instanceid={guest.BALLOON},status-report=on"])


if __name__ == "__main__":
    guest.main()
