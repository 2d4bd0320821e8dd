#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""mandoc -Tlint is content with every manual page, and every program has one.  man.py PROGRAM..."""
import re
import shutil
import subprocess
import sys

import tree

tool = shutil.which("mandoc")
if not tool:
    tree.skip("mandoc is not installed (scripts/setup check)")
pages = [p for p in tree.files() if re.search(r"\.[1-8]$", p) and p.startswith(("apps/", "docs/", "lib/", "packaging/"))]
findings = []
for page in pages:
    run = subprocess.run([tool, "-Tlint", "-Wwarning", page], cwd=tree.ROOT, capture_output=True, text=True, check=False)
    findings += [line for line in (run.stdout + run.stderr).splitlines() if line.strip()]
for program in sys.argv[1:]:
    if not any(re.search(rf"/{re.escape(program)}\.[18]$", p) for p in pages):
        findings.append(f"{program}: no manual page")
tree.finish(findings, len(pages), "manual pages")
