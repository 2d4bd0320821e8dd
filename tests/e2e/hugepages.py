# SPDX-License-Identifier: BSD-3-Clause
"""Huge pages of 2 MiB for a test: one test program of the machine at a time has the pool, and leaves it as it was."""
import fcntl
import os

FOLDER = "/sys/kernel/mm/hugepages/hugepages-2048kB/"
POOL = FOLDER + "nr_hugepages"


def _number(name):
    with open(FOLDER + name, encoding="ascii") as file:
        return int(file.read())


def _resize(pages):
    with open(POOL, "w", encoding="ascii") as file:
        file.write(str(pages))


class Pool:
    """`pages` free ones until put_back().  Pool.why says what is missing, None = nothing."""

    def __init__(self, pages):
        self.why, self.lock, self.before = None, None, None
        if os.geteuid() or not os.access(POOL, os.W_OK):
            self.why = f"huge pages cannot be reserved here ({POOL})"
            return
        self.lock = os.open(POOL, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self.lock, fcntl.LOCK_EX)  # whoever else changes the pool waits until we are done
        self.before = _number("nr_hugepages")
        _resize(self.before + max(0, pages - _number("free_hugepages")))
        if _number("free_hugepages") < pages:
            self.why = f"{pages} huge pages cannot be had here, {_number('free_hugepages')} can"
            self.put_back()

    def put_back(self):
        """Returns None, or what is wrong with the pool now."""
        if self.lock is None:
            return None
        _resize(self.before)
        now = _number("nr_hugepages")
        os.close(self.lock)
        self.lock = None
        return None if now == self.before else f"the pool has {now} huge pages, {self.before} before"
