#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Commit subjects: "module: imperative, lower case", at most 60 characters."""
import re

import tree

# Names such as NBD or GPADL keep their capitals.
SUBJECT = re.compile(r"^[a-z0-9][a-z0-9_./, -]*: (?:[a-z0-9_\"'(-]|[A-Z][A-Z0-9_]).*[^.]$")
# First words that tell what was done, or is being done, instead of what the commit does.
NOT_IMPERATIVE = re.compile(r"^(?:add|chang|creat|fix|implement|improv|introduc|mov|remov|renam|replac|updat|us)(?:ed|ing)\b")
# In the history already, which is not rewritten.
PAST = ("e2e: clients, protocol, levels, load, crashes, faults, options",)

if not tree.have_git():
    tree.skip("no .git here, no commits to look at")
findings, checked = [], 0
for line in tree.git("log", "--no-merges", "--format=%h %s").splitlines():
    commit, subject = line.split(" ", 1)
    checked += 1
    if subject in PAST:
        continue
    if len(subject) > 60:
        findings.append(f"{commit}: {len(subject)} characters: {subject}")
    elif not SUBJECT.match(subject):
        findings.append(f"{commit}: not \"module: imperative\": {subject}")
    elif NOT_IMPERATIVE.match(subject.split(": ", 1)[1]):
        findings.append(f"{commit}: not an imperative: {subject}")
tree.finish(findings, checked, "commit subjects")
