#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""One TCP connection of the kernel through two taps and a forwarding testpmd, with the taps' offloads and without.

  HV_BUILD_DIR=BUILD tcp.py [SECONDS]      prints {"with": bit/s, "without": bit/s}; root

The rig is that of the end-to-end test tests/e2e/net_tap.py:
  namespace - tap - hv-host - VMBus - testpmd - VMBus - hv-host - tap - namespace
"""
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "e2e"))
import namespaces  # noqa: E402
import net_tap  # noqa: E402

SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
RATES = {}


class Rate(net_tap.Tap):
    def rate(self, kernel):
        self.wire(kernel=(kernel, kernel))
        return self.tcp(seconds=SECONDS)

    def test_with(self):
        RATES["with"] = self.rate("")

    def test_without(self):
        RATES["without"] = self.rate(",kernel-offloads=off")


def main():
    why = namespaces.leave()
    if why:
        sys.exit(why)
    with open(os.devnull, "w") as nowhere:
        result = unittest.TextTestRunner(stream=nowhere).run(unittest.defaultTestLoader.loadTestsFromTestCase(Rate))
    for _, text in result.failures + result.errors + result.skipped:
        print(text, file=sys.stderr)
    if len(RATES) != 2:
        sys.exit(1)
    print(json.dumps(RATES))


if __name__ == "__main__":
    main()
