#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every header below an include/ folder compiles alone, twice in a row, with all warnings: as C, and as C++ where it says
extern "C".  headers.py CC [CXX]"""
import os
import subprocess
import sys

import tree

C_FLAGS = ["-x", "c", "-std=gnu11", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Wundef",
           "-Wmissing-prototypes", "-Wstrict-prototypes", "-Wvla", "-Werror"]
CXX_FLAGS = ["-x", "c++", "-std=c++17", "-Wall", "-Wextra", "-Werror"]


def compile_alone(command, flags, includes, name):
    source = f"#include <{name}>\n#include <{name}>\n"
    run = subprocess.run([command, *flags, *includes, "-D_GNU_SOURCE", "-fsyntax-only", "-"], input=source,
                         capture_output=True, text=True, check=False)
    return None if run.returncode == 0 else run.stderr.strip()


def main():
    cc = sys.argv[1] if len(sys.argv) > 1 else "gcc"
    cxx = sys.argv[2] if len(sys.argv) > 2 else None
    headers = [h for h in tree.files(".h", below=("lib/", "host/")) if "/include/" in h]
    roots = sorted({h.split("/include/")[0] + "/include" for h in headers})
    includes = [f"-I{os.path.join(tree.ROOT, r)}" for r in roots]
    findings = []
    for header in headers:
        name = header.split("/include/", 1)[1]
        wrong = compile_alone(cc, C_FLAGS, includes, name)
        if wrong:
            findings.append(f"{header}: as C:\n{wrong}")
        if cxx and 'extern "C"' in tree.text(header):
            wrong = compile_alone(cxx, CXX_FLAGS, includes, name)
            if wrong:
                findings.append(f"{header}: as C++:\n{wrong}")
    if not cxx:
        print("no C++ compiler: headers were tried as C only")
    tree.finish(findings, len(headers), "headers")


if __name__ == "__main__":
    main()
