#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Where the packages of guests come from: whatever apt sources a machine has, for its release, with the backports."""
import os
import tempfile
import unittest

import cache

DEB822 = """# as installed
Types: deb deb-src
# a comment between
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: https://tool.example/
Suites: nodistro
Components: main
"""
ONE_LINE = """# deb http://commented.example/debian bookworm main
deb http://mirror.example/debian/ bookworm main contrib # here
deb [arch=amd64 trusted=yes] http://mirror.example/security bookworm-security main
deb-src http://mirror.example/debian bookworm main
deb https://packages.example/apt cloud-bookworm main
deb http://mirror.example/extra bookworm contrib
"""


class Sources(unittest.TestCase):
    def found(self, **files):
        with tempfile.TemporaryDirectory() as etc:
            os.mkdir(os.path.join(etc, "sources.list.d"))
            for name, text in files.items():
                path = "sources.list" if name == "list" else f"sources.list.d/debian.{name}"
                with open(os.path.join(etc, path), "w", encoding="utf-8") as file:
                    file.write(text)
            return cache.sources(etc, "bookworm")

    def test_deb822(self):
        lines, stanzas = self.found(sources=DEB822)
        self.assertEqual((lines, len(stanzas)), ([], 2))
        self.assertIn("suites: bookworm bookworm-updates bookworm-backports\n", stanzas[0])
        self.assertIn("types: deb\n", stanzas[0])
        self.assertIn("components: main\n", stanzas[0])
        self.assertIn(" mQINBF\n -----END PGP", stanzas[0])
        self.assertIn("suites: bookworm-security\n", stanzas[1])
        self.assertIn("signed-by: /usr/share/keyrings/debian-archive-keyring.gpg\n", stanzas[1])

    def test_one_line(self):
        lines, stanzas = self.found(list=ONE_LINE)
        self.assertEqual(stanzas, [])
        self.assertEqual(lines, ["deb http://mirror.example/debian/ bookworm main",
                                 "deb http://mirror.example/debian/ bookworm-backports main",
                                 "deb [arch=amd64 trusted=yes] http://mirror.example/security bookworm-security main"])

    def test_both(self):
        lines, stanzas = self.found(list=ONE_LINE, sources=DEB822)
        self.assertEqual((len(lines), len(stanzas)), (3, 2))

    def test_none(self):
        with self.assertRaisesRegex(cache.Unavailable, "no apt source of bookworm"):
            self.found(list="deb http://mirror.example/debian trixie main\n")

    def test_newest(self):
        """Numbers count as numbers."""
        names = ["linux-image-6.12.9-amd64", "linux-image-6.12.95+deb12-amd64", "linux-image-6.12.117+deb12-amd64",
                 "linux-image-6.12.117+deb12.1-amd64", "linux-image-6.12.200+deb12-rt-amd64", "linux-image-6.12-amd64",
                 "linux-image-6.12.200+deb12-amd64-unsigned", "linux-image-6.120.1-amd64"]

        class Apt(cache.Apt):
            def __init__(self):  # pylint: disable=super-init-not-called
                pass

            def run(self, *_words, **_how):
                return "\n".join(names)

        self.assertEqual(Apt().newest_kernel(), "linux-image-6.12.117+deb12.1-amd64")


if __name__ == "__main__":
    unittest.main()
