#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""NBD exports against nbdkit and qemu-nbd: the block goals, as ratios inside one run.

  run.py --build BUILD [--quick] [--only B1,B3] [--out FILE.json]

Each goal names a client load, where client and server run, our server and a peer.
All servers of a goal are measured one after the other inside each round, rounds are
repeated, and the ratio is that of the medians; its spread is over the rounds' own
ratios.  Placement: "one" = client and all server processes on CPU 0; "two" = client on
CPU 0, server on CPU 1; "free" = the scheduler decides.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import servers  # noqa: E402

LOADS = {
    "randread-d32": ("randread", "4k", 32, 1),
    "randread-d1": ("randread", "4k", 1, 1),
    "randread-d32x4": ("randread", "4k", 32, 4),
    "randwrite-d32": ("randwrite", "4k", 32, 1),
    "read128k-d32": ("read", "128k", 32, 1),
    "nbdcopy": None,
}

# id, what, load, placement, ours, peer, metric, "min"/"max", goal
GOALS = [
    ("B1a", "4k random read, depth 32, all on one core, provider process", "randread-d32", "one",
     "hvblk-2proc", "nbdkit", "iops", "min", 1.5),
    ("B1b", "the same against qemu-nbd", "randread-d32", "one", "hvblk-2proc", "qemu-nbd", "iops",
     "min", 2.3),
    ("B2a", "depth 1, all on one core, provider process", "randread-d1", "one", "hvblk-2proc",
     "nbdkit", "iops", "min", 1.2),
    ("B2b", "depth 1, all on one core, embedded", "randread-d1", "one", "hvblk", "nbdkit", "iops",
     "min", 1.9),
    ("B3a", "4k random read, depth 32, two cores", "randread-d32", "two", "hvblk", "nbdkit",
     "iops", "min", 1.4),
    ("B3b", "the same against qemu-nbd", "randread-d32", "two", "hvblk", "qemu-nbd", "iops", "min",
     2.5),
    ("B3c", "server CPU per I/O, depth 32, two cores", "randread-d32", "two", "hvblk", "nbdkit",
     "cpu", "max", 0.75),
    ("B4a", "4 jobs, depth 32, cores free, provider process", "randread-d32x4", "free",
     "hvblk-2proc", "nbdkit", "iops", "min", 1.4),
    ("B4b", "4 jobs, depth 32, cores free, embedded, against qemu-nbd", "randread-d32x4", "free",
     "hvblk-2r", "qemu-nbd", "iops", "min", 2.8),
    ("B4c", "4 jobs, depth 32, cores free, embedded", "randread-d32x4", "free", "hvblk-2r",
     "nbdkit", "iops", "min", 1.9),
    ("B5a", "4k random write, depth 32, one core", "randwrite-d32", "one", "hvblk", "nbdkit",
     "iops", "min", 1.05),
    ("B5b", "4k random write, depth 32, two cores", "randwrite-d32", "two", "hvblk", "qemu-nbd",
     "iops", "min", 2.5),
    ("B6a", "128k sequential read, depth 32, one core", "read128k-d32", "one", "hvblk", "nbdkit",
     "iops", "min", 1.1),
    ("B6b", "128k sequential read, depth 32, two cores, warm peer", "read128k-d32", "two", "hvblk",
     "qemu-nbd", "iops", "min", 1.5),
    ("B7a", "depth 1, polling, two cores", "randread-d1", "two", "hvblk-poll", "nbdkit", "iops",
     "min", 2.0),
    ("B7b", "depth 1, polling, two cores: median latency", "randread-d1", "two", "hvblk-poll",
     "nbdkit", "p50_us", "max", 0.5),
    ("B7c", "depth 1, adaptive, two cores", "randread-d1", "two", "hvblk", "nbdkit", "iops", "min",
     1.2),
    ("B8", "server CPU per I/O against qemu-nbd", "randread-d32", "two", "hvblk", "qemu-nbd",
     "cpu", "max", 0.45),
    ("B9", "nbdcopy to null:, two cores", "nbdcopy", "two", "hvblk", "nbdkit", "mib_s", "min",
     1.0),
]
FILE_GOALS = [
    ("F1", "file with O_DIRECT, 4k random read, depth 32, two cores", "randread-d32", "two",
     "hvblk", "qemu-nbd-native", "iops", "min", 1.0),
    ("F2", "file with O_DIRECT, 4k random write, depth 32, two cores", "randwrite-d32", "two",
     "hvblk", "qemu-nbd-native", "iops", "min", 1.0),
    ("F3", "file with O_DIRECT, 128k sequential read, depth 32, two cores", "read128k-d32", "two",
     "hvblk", "qemu-nbd-native", "iops", "min", 1.0),
]


def places(placement):
    return {"one": ("0", "0"), "two": ("0", "1"), "free": (None, None)}[placement]


def run_fio(uri, load, client_cpu, seconds):
    pattern, block, depth, jobs = LOADS[load]
    command = (["taskset", "-c", client_cpu] if client_cpu else []) + [
        "fio", "--name=j", "--ioengine=nbd", f"--uri={uri}", f"--rw={pattern}", f"--bs={block}",
        f"--iodepth={depth}", f"--numjobs={jobs}", "--size=1G", "--time_based",
        f"--runtime={seconds}", "--randrepeat=0", "--norandommap", "--group_reporting",
        "--output-format=json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 10 * seconds)
    if done.returncode:
        raise RuntimeError(f"fio: {done.stderr[-300:]}")
    job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
    if job["error"]:
        raise RuntimeError(f"fio: error {job['error']}")
    side = job["read"] if pattern.endswith("read") else job["write"]
    percentile = side["clat_ns"].get("percentile", {})
    return {"iops": side["iops"], "mib_s": side["bw"] / 1024, "ios": side["total_ios"],
            "p50_us": percentile.get("50.000000", 0) / 1000,
            "p99_us": percentile.get("99.000000", 0) / 1000}


def run_nbdcopy(uri, client_cpu):
    command = (["taskset", "-c", client_cpu] if client_cpu else []) + ["nbdcopy", uri, "null:"]
    begin = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    seconds = time.monotonic() - begin
    return {"mib_s": servers.SIZE / (1 << 20) / seconds, "ios": servers.SIZE >> 18}


def measure(server, load, client_cpu, seconds):
    before = server.cpu_seconds()
    sample = (run_nbdcopy(server.uri, client_cpu) if load == "nbdcopy"
              else run_fio(server.uri, load, client_cpu, seconds))
    sample["cpu"] = (server.cpu_seconds() - before) / sample["ios"] * 1e6
    sample["rss_mib"] = server.rss_mib()
    sample["ready_ms"] = server.ready_ms
    return sample


class Bench:
    def __init__(self, args, work):
        self.args = args
        self.work = work
        self.samples = {}  # (server, load, placement, on file) -> one sample a round
        self.data = os.path.join(work, "data.img")
        self.file = None

    def prepare(self):
        with open(self.data, "wb") as handle:
            block = os.urandom(1 << 20)
            for _ in range(servers.SIZE >> 20):
                handle.write(block)
        folder = self.args.file_dir
        self.file = os.path.join(folder, "hv-bench-file.img")
        shutil.copyfile(self.data, self.file)

    def cleanup(self):
        if self.file and os.path.exists(self.file):
            os.unlink(self.file)

    def wanted(self, goals):
        only = self.args.only.split(",") if self.args.only else None
        return [g for g in goals if not only or any(g[0].startswith(o) for o in only)]

    def round(self, goals, on_file):
        """Every (server, load, placement) that a goal needs, once; servers in turn."""
        needed = {}
        for _, _, load, placement, ours, peer, *_ in goals:
            for name in (ours, peer):
                needed.setdefault((name, placement), set()).add(load)
        for (name, placement), loads in sorted(needed.items(), key=lambda n: n[0][1]):
            client_cpu, server_cpu = places(placement)
            image = self.file if on_file else self.data if name.startswith("qemu") else None
            server = servers.Server(name, self.work, self.args.build, server_cpu, image)
            try:
                if not on_file:
                    server.fill(self.data)
                else:
                    run_nbdcopy(server.uri, client_cpu)  # warm, the same for all
                for load in sorted(loads):
                    sample = measure(server, load, client_cpu, self.args.seconds)
                    key = (name, load, placement, on_file)
                    self.samples.setdefault(key, []).append(sample)
                    print(f"  {name:16} {load:15} {placement:4} "
                          + " ".join(f"{k}={v:.1f}" for k, v in sample.items()
                                     if isinstance(v, float)), file=sys.stderr, flush=True)
            finally:
                server.stop()

    def table(self, goals, on_file):
        rows = []
        for ident, what, load, placement, ours, peer, metric, sense, goal in goals:
            a = [s[metric] for s in self.samples[(ours, load, placement, on_file)]]
            b = [s[metric] for s in self.samples[(peer, load, placement, on_file)]]
            ratios = [x / y for x, y in zip(a, b)]
            ratio = statistics.median(a) / statistics.median(b)
            met = ratio >= goal if sense == "min" else ratio <= goal
            rows.append({"id": ident, "what": what, "ours": ours, "peer": peer, "metric": metric,
                         "ours_median": statistics.median(a), "peer_median": statistics.median(b),
                         "ratio": ratio, "ratio_min": min(ratios), "ratio_max": max(ratios),
                         "sense": sense, "goal": goal, "met": met, "rounds": len(a)})
        return rows


def print_rows(rows):
    print(f"{'id':4} {'what':66} {'ours':>10} {'peer':>10} {'ratio':>6} {'min-max':>12} goal")
    for r in rows:
        sign = ">=" if r["sense"] == "min" else "<="
        print(f"{r['id']:4} {r['what'][:66]:66} {r['ours_median']:10.4g} {r['peer_median']:10.4g} "
              f"{r['ratio']:6.2f} {r['ratio_min']:5.2f}-{r['ratio_max']:<6.2f} {sign}{r['goal']} "
              f"{'met' if r['met'] else 'MISSED'}")


def start_up(bench):
    """Daemon to `ready`, and what it weighs with an idle 1 GiB memory disk."""
    ready, rss = [], []
    for _ in range(3 if bench.args.quick else 7):
        server = servers.Server("hvblk", bench.work, bench.args.build, None, None)
        ready.append(server.ready_ms)
        rss.append(server.rss_mib())
        server.stop()
    return {"ready_ms": statistics.median(ready), "ready_ms_max": max(ready),
            "idle_memory_mib": statistics.median(rss), "goal_ready_ms": 200,
            "met": max(ready) <= 200}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", required=True, help="build folder with bin/hvblk-daemon")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each fio run")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 second")
    parser.add_argument("--only", help="goal ids or their beginnings, e.g. B1,B7,F")
    parser.add_argument("--file-dir", default="/var/tmp", help="where O_DIRECT works")
    parser.add_argument("--out", default="block.json")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 2, 1.0
    return args


def main():
    args = parse_args()
    for program, package in servers.missing():
        sys.exit(f"{program} is missing: install the Debian package {package} (make bench does)")
    work = tempfile.mkdtemp(prefix="hv-bench-", dir="/dev/shm")
    bench = Bench(args, work)
    try:
        bench.prepare()
        memory, files = bench.wanted(GOALS), bench.wanted(FILE_GOALS)
        for number in range(args.rounds):
            print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
            if memory:
                bench.round(memory, False)
            if files:
                bench.round(files, True)
        rows = bench.table(memory, False) + bench.table(files, True)
        result = {"goals": rows, "start": start_up(bench),
                  "samples": [{"server": k[0], "load": k[1], "placement": k[2], "file": k[3],
                               "rounds": v} for k, v in bench.samples.items()]}
    finally:
        bench.cleanup()
        shutil.rmtree(work)
    print_rows(rows)
    s = result["start"]
    print(f"ready after {s['ready_ms']:.0f} ms (most {s['ready_ms_max']:.0f}, goal 200); "
          f"idle memory {s['idle_memory_mib']:.0f} MiB")
    with open(args.out, "w") as handle:
        json.dump(result, handle, indent=1)


if __name__ == "__main__":
    main()
