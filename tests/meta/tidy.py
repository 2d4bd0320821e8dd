#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""clang-tidy 14.

tidy.py --reasons   exceptions need reasons: each check that .clang-tidy switches off is explained there, each NOLINT
                    where it stands
tidy.py BUILD       every source in BUILD/compile_commands.json; what did not change since it was clean is not done
                    again; after BOX_SECONDS no further file is begun, and those left are named
"""
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

import tree

BOX_SECONDS = 480


def reasons():
    findings, checked = [], 0
    for path in tree.files(".clang-tidy"):
        config = tree.text(path).splitlines()
        block = "\n".join(line for line in config if line.startswith("#"))
        for line in config:
            for check in re.findall(r"(?:^|[\s,'\"])-([a-z][A-Za-z0-9.*-]+)", "" if line.startswith("#") else line):
                checked += 1
                if not re.search(rf"{re.escape(check)}: .{{10,}}", block):
                    findings.append(f"{path}: -{check}: no comment \"# {check}: reason\"")
    for path in tree.files(".c", ".h"):
        for number, line in enumerate(tree.text(path).split("\n"), 1):
            if "NOLINT" in line:
                checked += 1
                if not re.search(r"NOLINT(?:NEXTLINE)?\([a-z][^)]*\): .{10,}", line):
                    findings.append(f"{path}:{number}: NOLINT without \"(check): reason\"")
    tree.finish(findings, checked, "exceptions")


def digest(paths):
    total = hashlib.sha256()
    for path in paths:
        with open(os.path.join(tree.ROOT, path), "rb") as file:
            total.update(hashlib.sha256(file.read()).digest())
    return total


def main(build):
    tool = shutil.which("clang-tidy-14")
    if not tool:
        tree.skip("clang-tidy-14 is not installed (scripts/setup check)")
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        commands = {entry["file"]: entry["command"] for entry in json.load(file)}
    sources = sorted(f for f in commands if f.startswith(tree.ROOT + "/"))
    common = digest(tree.files(".clang-tidy", ".h"))
    stamps = os.path.join(build, "tidy")
    os.makedirs(stamps, exist_ok=True)
    end = time.monotonic() + BOX_SECONDS

    def look(source):
        """None = clean, "" = not begun, else what was found."""
        key = common.copy()
        key.update(commands[source].encode() + digest([source]).digest())
        stamp = os.path.join(stamps, key.hexdigest())
        if os.path.exists(stamp):
            return None
        if time.monotonic() > end:
            return ""
        run = subprocess.run([tool, "-p", build, "--quiet", source], cwd=tree.ROOT, capture_output=True, text=True,
                             check=False)
        if run.returncode == 0:
            with open(stamp, "w", encoding="utf-8"):
                return None
        errors = [line for line in run.stdout.splitlines() if re.search(r": (error|warning): ", line)]
        return "\n".join(errors) or run.stderr.strip()

    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = dict(zip(sources, pool.map(look, sources)))
    left = [os.path.relpath(s, tree.ROOT) for s, r in results.items() if r == ""]
    if left:
        print(f"time is up after {BOX_SECONDS} s, not looked at: {' '.join(left)}")
    tree.finish([r for r in results.values() if r], len(sources) - len(left), "sources")


if __name__ == "__main__":
    if sys.argv[1] == "--reasons":
        reasons()
    main(os.path.abspath(sys.argv[1]))
