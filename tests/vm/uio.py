#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The uio transport on a real kernel, in a guest of QEMU's VMBus host."""
import guest


class Uio(guest.Case):
    def test_balloon(self):
        self.nested("uio.sh", programs=["balloon"], modules=["hv_vmbus", "uio_hv_generic", "hv_balloon"],
                    tools=["/usr/bin/setpriv"], settings={"ROUNDS": 10000, "CYCLES": 200},
                    devices=["vmbus-bridge", f"hv-balloon,instanceid={guest.BALLOON},status-report=on"])


if __name__ == "__main__":
    guest.main()
