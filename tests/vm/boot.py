#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The harness itself: a plain guest and a nested one come up, tell the truth, and failures are seen."""
import guest


class Boot(guest.Case):
    def test_plain(self):
        outcome = self.boot("boot.sh", tools=["setpriv", "mkfs.ext4"], cpus=2, settings={"GREETING": "it's here"})
        self.assertEqual(outcome.read("greeting").strip(), "it's here")

    def test_nested(self):
        self.nested("boot_nested.sh", modules=["hv_vmbus", "uio_hv_generic"])


if __name__ == "__main__":
    guest.main()
