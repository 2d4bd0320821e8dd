#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Links of the documentation: files exist, and so do the files that prose names in `code` below a folder of ours."""
import os
import re

import tree

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
NAMED = re.compile(r"`((?:lib|host|apps|tests|docs|cmake|scripts|packaging|bench)/[A-Za-z0-9_./-]+)`")

findings, checked = [], 0
for path in tree.files(".md"):
    text = tree.text(path)
    for target in LINK.findall(text):
        if "://" in target or target.startswith("mailto:"):
            continue
        checked += 1
        if not os.path.exists(os.path.join(tree.ROOT, os.path.dirname(path), target)):
            findings.append(f"{path}: link to {target}: no such file")
    for target in NAMED.findall(text):
        if "NAME" in target:  # stands for any of them
            continue
        checked += 1
        if not os.path.exists(os.path.join(tree.ROOT, target)):
            findings.append(f"{path}: names {target}: no such file")
tree.finish(findings, checked, "links and names")
