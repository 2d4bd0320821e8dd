#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Budgets: 600 lines a source, 300 a header, 60 a function."""
import json
import shutil
import subprocess

import tree

SOURCE_LINES, HEADER_LINES, FUNCTION_LINES = 600, 300, 60
# path or path:function -> why it may be longer (and then it must be)
ALLOWED = {}

tool = shutil.which("ctags")
if not tool or "Universal" not in subprocess.run([tool, "--version"], capture_output=True, text=True,
                                                 check=False).stdout:
    tree.skip("universal-ctags is not installed (scripts/setup check)")

paths = tree.files(".c", ".h")
findings, used = [], set()


def over(key, lines, limit, what):
    if lines <= limit:
        return
    if key in ALLOWED:
        used.add(key)
    else:
        findings.append(f"{key}: {lines} lines, a {what} has at most {limit}")


for path in paths:
    lines = tree.text(path).count("\n")
    if path.endswith(".h"):
        over(path, lines, HEADER_LINES, "header")
    else:
        over(path, lines, SOURCE_LINES, "source")

tags = subprocess.run([tool, "--languages=C", "--langmap=C:.c.h", "--kinds-C=f", "--fields=+ne", "--output-format=json",
                       "-o", "-", *paths], cwd=tree.ROOT, capture_output=True, text=True, check=True).stdout
for line in tags.splitlines():
    tag = json.loads(line)
    if "end" in tag:
        over(f"{tag['path']}:{tag['name']}", tag["end"] - tag["line"] + 1, FUNCTION_LINES, "function")
findings += [f"sizes.py: {key} is allowed to be long but is not" for key in sorted(set(ALLOWED) - used)]
tree.finish(findings, len(paths), "files")
