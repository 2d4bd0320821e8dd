# SPDX-License-Identifier: BSD-3-Clause
"""What all checks of the tree share: its files, and how findings are told."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SKIPPED = 77


def have_git():
    return os.path.exists(os.path.join(ROOT, ".git"))


def git(*args):
    # The checkout may belong to somebody else, as on build machines; we only read it.
    return subprocess.run(["git", "-c", "safe.directory=*", "-C", ROOT, *args], check=True, capture_output=True, text=True).stdout


def files(*suffixes, below=()):
    """Paths from the top, sorted: what git knows or would take; without git whatever lies there."""
    if have_git():
        found = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    else:
        found = []
        for folder, folders, names in os.walk(ROOT):
            folders[:] = [f for f in folders if not f.startswith((".git", "build"))]
            found += [os.path.relpath(os.path.join(folder, n), ROOT) for n in names]
    keep = [f for f in found if f and os.path.isfile(os.path.join(ROOT, f))
            and (not suffixes or f.endswith(suffixes)) and (not below or f.startswith(tuple(below)))]
    return sorted(set(keep))


def text(path, root=ROOT):
    """The file's text, or None when it is not text."""
    with open(os.path.join(root, path), "rb") as file:
        data = file.read()
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def finish(findings, checked, what):
    """End the check: every finding on its own line, and never a silent pass over nothing."""
    for finding in findings:
        print(finding)
    if not checked:
        print(f"nothing to check: no {what} found")
    print(f"{checked} {what} checked, {len(findings)} findings")
    sys.exit(1 if findings or not checked else 0)
