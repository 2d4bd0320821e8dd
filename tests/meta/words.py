#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What no file may contain: unfinished work, somebody's folders, trailing blanks, tabs in C, broken line ends."""
import re

import tree

DATA = ("tests/fuzz/corpus/", "tests/vectors/")
HERE = "tests/meta/words.py"
RULES = [
    (re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b"), "unfinished work: open an issue or do it", None),
    (re.compile(r"(?<![\w.])/(home|root|work|Users)/[\w.]"), "a folder of one machine", None),
    (re.compile(r"/tmp/b-"), "a folder of one machine", None),
    (re.compile(r"[ \t]+$"), "blanks at the end of the line", None),
    (re.compile(r"\t"), "a tab", (".c", ".h", ".py", ".cmake")),
    (re.compile(r"\r"), "a carriage return", None),
    (re.compile(r"\b(u?sleep|nanosleep)\("), "sleeping is no synchronisation", (".c", ".h")),
    (re.compile(r"\btime\.sleep\s*\("), "sleeping is no synchronisation: wait for what happens", (".py",)),
]

findings, checked = [], 0
for path in tree.files():
    if path.startswith(DATA) or path == HERE:
        continue
    text = tree.text(path)
    if text is None:
        continue
    checked += 1
    if text and not text.endswith("\n") and not path.endswith((".svg", ".json")):
        findings.append(f"{path}: no line end at the end of the file")
    for number, line in enumerate(text.split("\n"), 1):
        for rule, why, suffixes in RULES:
            if (suffixes is None or path.endswith(suffixes)) and rule.search(line):
                findings.append(f"{path}:{number}: {why}: {line.strip()[:80]}")
tree.finish(findings, checked, "files")
