#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Building and testing leave no file behind outside the build folders.

clean.py --before FILE   remember what git sees
clean.py FILE            compare with it
"""
import os
import sys

import tree


def state():
    lines = tree.git("status", "--porcelain", "--ignored").splitlines()
    return sorted(line for line in lines if not line[3:].startswith(("build/", "build-")))


def main():
    if not tree.have_git():
        tree.skip("no .git here")
    if sys.argv[1] == "--before":
        with open(sys.argv[2], "w", encoding="utf-8") as file:
            file.write("\n".join(state()))
        return
    if not os.path.exists(sys.argv[1]):
        tree.skip("nobody remembered the state before; make check does")
    with open(sys.argv[1], encoding="utf-8") as file:
        before = file.read().split("\n")
    tree.finish([f"left behind or changed: {line}" for line in state() if line not in before], 1, "tree")


if __name__ == "__main__":
    main()
