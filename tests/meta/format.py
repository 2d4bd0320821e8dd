#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""clang-format 14 leaves every C file as it is."""
import shutil
import subprocess
import sys

import tree

tool = shutil.which("clang-format-14")
if not tool:
    tree.skip("clang-format-14 is not installed (scripts/setup check)")
paths = tree.files(".c", ".h")
run = subprocess.run([tool, "--dry-run", "-Werror", *paths], cwd=tree.ROOT, capture_output=True, text=True, check=False)
wrong = sorted({line.split(":")[0] for line in run.stderr.splitlines() if "clang-format-violations" in line})
findings = [f"{path}: run clang-format-14 -i on it" for path in wrong]
if run.returncode and not findings:
    sys.exit(run.stderr)
tree.finish(findings, len(paths), "files")
