#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A library exports exactly the functions that its public headers declare; its map lists the same.

symbols.py MAP LIBRARY HEADER...     check
symbols.py --print HEADER...         the names, for the map
"""
import re
import subprocess
import sys

import tree


def declared(paths):
    names = set()
    for path in paths:
        text = re.sub(r"/\*.*?\*/", "", tree.text(path), flags=re.S)
        text = re.sub(r"^[ \t]*#(?:.*\\\n)*.*$", "", text, flags=re.M)
        text = re.sub(r"static inline[^{;]*\{.*?^\}", "", text, flags=re.S | re.M)
        text = re.sub(r"\b(?:struct|enum|union)(?: \w+)? *\{.*?^\}[^;]*;", "", text, flags=re.S | re.M)
        names.update(re.findall(r"\b(hv_\w+)\s*\((?!\*)", text))
    return names


def main():
    if sys.argv[1] == "--print":
        print("\n".join(f"        {name};" for name in sorted(declared(sys.argv[2:]))))
        return
    version_map, library, headers = sys.argv[1], sys.argv[2], sys.argv[3:]
    want = declared(headers)
    listed = set(re.findall(r"^\s+(hv_\w+);", tree.text(version_map), re.M))
    nm = subprocess.run(["nm", "--dynamic", "--defined-only", "--format=posix", library], check=True,
                        capture_output=True, text=True).stdout
    exported = {line.split("@")[0].split()[0] for line in nm.splitlines() if " A " not in line}
    findings = [f"{version_map}: {name} is declared in a public header, not listed" for name in sorted(want - listed)]
    findings += [f"{version_map}: {name} is listed, no public header declares it" for name in sorted(listed - want)]
    findings += [f"{library}: {name} is declared, not exported" for name in sorted(want - exported)]
    findings += [f"{library}: {name} is exported, not declared" for name in sorted(exported - want)]
    tree.finish(findings, len(want), "functions")


if __name__ == "__main__":
    main()
