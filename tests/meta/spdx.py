#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every source says its licence in its first line (the second after #!)."""
import tree

SUFFIXES = (".c", ".h", ".py", ".sh", ".cmake", ".map", ".in", ".1", ".8", ".3", ".5", ".txt", ".service", ".yml")
NAMES = ("Makefile", "CMakeLists.txt", ".clang-format", ".clang-tidy")
# Data, not sources: seeds of the fuzz targets, vectors.
DATA = ("tests/fuzz/corpus/", "tests/vectors/")
TAG = "SPDX-License-Identifier: BSD-3-Clause"

findings, checked = [], 0
for path in tree.files():
    if path.startswith(DATA):
        continue
    text = tree.text(path)
    if text is None:
        continue
    script = text.startswith("#!")
    if not (script or path.endswith(SUFFIXES) or path.split("/")[-1] in NAMES):
        continue
    checked += 1
    lines = text.split("\n", 2)
    if TAG not in (lines[1] if script and len(lines) > 1 else lines[0]):
        findings.append(f"{path}:1: no {TAG}")
tree.finish(findings, checked, "sources")
