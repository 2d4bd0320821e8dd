# SPDX-License-Identifier: BSD-3-Clause
"""Measuring on a machine that is shared: placement of the cores, disturbance, medians.

A host may move the virtual cores nearer to or farther from each other, and other jobs come and go.  So each sample is
bracketed by a short cache-line hand-over (its placement) and by the CPU time that was not its own (its disturbance).
Only samples of one placement may be compared, best within one round.
"""
import json
import os
import platform
import resource
import statistics
import subprocess
import time

# One way, in ns.  Above the last: cores that share no cache, or that others kept busy during the probe.
PLACES = (("near", 70.0), ("mid", 165.0), ("far", 320.0))


def place(ns):
    for name, top in PLACES:
        if ns < top:
            return name
    return "torn"


def _total_cpu():
    """CPU seconds that the whole machine used since it started."""
    for path, read in (("/sys/fs/cgroup/cpuacct/cpuacct.usage", lambda s: int(s) / 1e9),
                       ("/sys/fs/cgroup/cpu.stat", lambda s: int(s.split()[1]) / 1e6)):
        try:
            with open(path, encoding="ascii") as file:
                return read(file.read())
        except (OSError, ValueError, IndexError):
            continue
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(x) for x in file.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4] - ticks[7]) / os.sysconf("SC_CLK_TCK")


def _own_cpu():
    used = (resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF))
    return sum(u.ru_utime + u.ru_stime for u in used)


class Window:
    """CPUs that everybody but us and our children used meanwhile."""

    def __init__(self):
        self.begin, self.total, self.own = time.monotonic(), _total_cpu(), _own_cpu()

    def others(self):
        seconds = time.monotonic() - self.begin
        return max(0.0, (_total_cpu() - self.total) - (_own_cpu() - self.own)) / seconds


class Sampler:
    """Runs programs that print one line of JSON, each between two probes."""

    def __init__(self, probe_program):
        self.probe_program = probe_program

    def probe(self):
        out = subprocess.run([self.probe_program, "-p", "-T", "0.02"], capture_output=True, text=True, check=True,
                             timeout=60)
        return float(out.stdout)

    def sample(self, command, timeout=60):
        before = self.probe()
        window = Window()
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
            result = json.loads(run.stdout) if run.returncode == 0 else {"fail": run.stderr.strip()[-300:] or "failed"}
        except subprocess.TimeoutExpired:
            result = {"fail": "timeout"}
        except ValueError:
            result = {"fail": "no JSON"}
        others = window.others()
        after = self.probe()
        here, there = place(before), place(after)
        result.update(others=round(others, 3), probe=[before, after], place=here if here == there else "torn")
        return result


def spread(values):
    ordered = sorted(values)
    return {"n": len(ordered), "median": statistics.median(ordered), "min": ordered[0], "max": ordered[-1]}


def machine():
    """What a reader of the figures wants to know about the machine."""
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": platform.release()}
