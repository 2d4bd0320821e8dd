#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Exceptions need reasons: each check that .clang-tidy switches off is explained there, each NOLINT where it stands."""
import re

import tree

findings, checked = [], 0
config = tree.text(".clang-tidy").splitlines()
block = "\n".join(line for line in config if line.startswith("#"))
for line in config:
    for check in re.findall(r"(?:^|[\s,'\"])-([a-z][A-Za-z0-9.*-]+)", "" if line.startswith("#") else line):
        checked += 1
        if not re.search(rf"{re.escape(check)}: .{{10,}}", block):
            findings.append(f".clang-tidy: -{check}: no comment \"# {check}: reason\"")
for path in tree.files(".c", ".h"):
    for number, line in enumerate(tree.text(path).split("\n"), 1):
        if "NOLINT" in line:
            checked += 1
            if not re.search(r"NOLINT(?:NEXTLINE)?\([a-z][^)]*\): .{10,}", line):
                findings.append(f"{path}:{number}: NOLINT without \"(check): reason\"")
tree.finish(findings, checked, "exceptions")
