#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The harness itself: a plain guest and a nested one come up, and nothing that goes wrong in one is overlooked."""
import unittest

import guest


class Wrong(guest.Case):
    """Not a test: what Boot.test_wrong looks at."""

    def test_guest(self):
        self.boot("boot_wrong.sh")

    def test_slow(self):
        self.boot("boot_slow.sh", limit=10)


class Boot(guest.Case):
    def test_plain(self):
        outcome = self.boot("boot.sh", tools=["setpriv", "mkfs.ext4"], cpus=2, settings={"GREETING": "it's here"})
        self.assertEqual(outcome.read("greeting").strip(), "it's here")

    def test_nested(self):
        self.nested("boot_nested.sh", modules=["hv_vmbus", "uio_hv_generic"])

    def seen(self, name):
        """What a run of Wrong reports: {subtest: text}."""
        result = unittest.TestResult()
        Wrong(name).run(result)
        self.assertEqual(result.errors, [])
        found = {str(test): text for test, text in result.failures}
        self.assertEqual(result.skipped, [])
        return found

    def one(self, found, name):
        texts = [text for test, text in found.items() if f"[{name}]" in test]
        self.assertEqual(len(texts), 1, f"{name} in {list(found)}")
        return texts[0]

    def test_wrong(self):
        found = self.seen("test_guest")
        self.assertIn("before the command", self.one(found, "command_fails"))
        self.assertNotIn("after it", self.one(found, "command_fails"))
        self.assertIn('the number: expected "1", got "2"', self.one(found, "expectation"))
        self.assertIn("NOBODY_SET_THIS", self.one(found, "unset_variable"))
        self.assertIn("did not come to it", self.one(found, "kernel_dies"))
        self.assertIn("did not come to it", self.one(found, "never_comes"))
        self.assertIn("BUG: not a real one", self.one(found, "kernel"))
        self.assertIn("core.", self.one(found, "core dumps"))
        self.assertFalse([test for test in found if "[passes]" in test or "[skips]" in test])
        self.assertFalse([test for test in found if "[dumps_core]" in test])  # the core says it

    def test_hangs(self):
        found = self.seen("test_slow")
        self.assertIn("did not come to it", self.one(found, "for_ever"))
        self.assertIn("waiting for ever", self.one(found, "for_ever"))
        self.assertIn("limit", self.one(found, "end"))


def load_tests(loader, _tests, _pattern):
    return loader.loadTestsFromTestCase(Boot)


if __name__ == "__main__":
    guest.main()
