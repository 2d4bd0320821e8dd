#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Packet rates of dpdk-testpmd on our driver against DPDK's netvsc PMD on the same host, and against memif, virtio, tap.

  run.py --build BUILD [--quick] [--only N1,P] [--out FILE.json]

One core a process: the guest (or sender) on CPU 0, the host (or receiver) on CPU 1.  All ports that a goal names are
measured one after the other inside each round, rounds are repeated, and the ratio is that of the medians; its spread is
over the rounds' own ratios.  Root; 512 huge pages of 2 MiB are reserved and given back.
"""
import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ports  # noqa: E402

# id, what, ours, peer, goal
GOALS = [
    ("P1a", "transmit 64 B, 1 queue, stock netvsc PMD", "hvnet/tx/64/1", "netvsc/tx/64/1", 2.0),
    ("P1b", "transmit 64 B, 2 queues, stock netvsc PMD", "hvnet/tx/64/2", "netvsc/tx/64/2", 2.0),
    ("P2a", "transmit 1500 B, 1 queue, stock netvsc PMD", "hvnet/tx/1500/1", "netvsc/tx/1500/1", 1.3),
    ("P2b", "transmit 1500 B, 2 queues, stock netvsc PMD", "hvnet/tx/1500/2", "netvsc/tx/1500/2", 1.3),
    ("P3a", "receive 64 B, 1 queue, stock netvsc PMD", "hvnet/rx/64/1", "netvsc/rx/64/1", 2.0),
    ("P3b", "receive 64 B, 2 queues, stock netvsc PMD", "hvnet/rx/64/2", "netvsc/rx/64/2", 2.0),
    ("P4a", "receive 1500 B, 1 queue, stock netvsc PMD", "hvnet/rx/1500/1", "netvsc/rx/1500/1", 1.3),
    ("P4b", "receive 1500 B, 2 queues, stock netvsc PMD", "hvnet/rx/1500/2", "netvsc/rx/1500/2", 1.3),
    ("V1", "transmit 64 B, virtio-user to vhost", "hvnet/tx/64/1", "virtio/tx/64", 0.8),
    ("V2", "receive 64 B, vhost to virtio-user", "hvnet/rx/64/1", "virtio/rx/64", 0.8),
    ("N1", "transmit 64 B, aggregated, memif", "hvnet/tx/64/1", "memif/tx/64", 1.0),
    ("N1r", "receive 64 B, memif", "hvnet/rx/64/1", "memif/rx/64", 1.0),
    ("N2", "transmit 64 B, one descriptor a frame, memif", "hvnet-single/tx/64", "memif/tx/64", 0.55),
    ("N3a", "transmit 1500 B, copied, not aggregated, memif", "hvnet-single/tx/1500", "memif/tx/1500", 0.9),
    ("N3b", "transmit 1500 B, copied, aggregated, memif", "hvnet/tx/1500/1", "memif/tx/1500", 1.0),
    ("N3c", "transmit 1500 B, by page, memif", "hvnet-page/tx/1500", "memif/tx/1500", 0.9),
    ("N3r", "receive 1500 B, memif", "hvnet/rx/1500/1", "memif/rx/1500", 0.9),
    ("N4", "one burst of 32 bounced, 64 B, memif", "hvnet/io/64", "memif/io/64", 0.7),
    ("N5a", "transmit 64 B, tap to af_packet", "hvnet/tx/64/1", "tap/tx/64", 40.0),
    ("N5b", "transmit 64 B, af_packet over veth", "hvnet/tx/64/1", "af_packet/tx/64", 40.0),
]


def host_counters(path):
    """Sums over the NICs of the host: what its control socket says."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(b'{"command":"nic-stats"}\n')
        answer = json.loads(sock.makefile().readline())
    sums = {}
    for nic in answer.get("nics", []):
        for key, value in nic.items():
            if isinstance(value, int):
                sums[key] = sums.get(key, 0) + value
    return sums


def per_million(before, after, direction):
    packets = "from_guest_packets" if direction == "tx" else "to_guest_packets"
    moved = after.get(packets, 0) - before.get(packets, 0)
    if not moved:
        return {}
    return {key: (after[key] - before[key]) / moved * 1e6
            for key in ("signals_from_guest", "signals_to_guest", "from_guest_messages", "to_guest_messages")
            if key in after}


def measure(args, work, name):
    plan = ports.plan(args, work, name)
    look = (lambda: host_counters(plan.host)) if plan.host else None
    seconds, counters = ports.run(plan, work, args.seconds, look)
    sample = {"mpps": statistics.median(seconds) / 1e6}
    if plan.host:
        sample.update(per_million(*counters, name.split("/")[1]))
    return sample


def row(ident, what, ours, peer, metric, a, b, goal):
    ratios = [x / y for x, y in zip(a, b)]
    ratio = statistics.median(a) / statistics.median(b)
    return {"id": ident, "what": what, "ours": ours, "peer": peer, "metric": metric, "ours_median": statistics.median(a),
            "peer_median": statistics.median(b), "ratio": ratio, "ratio_min": min(ratios), "ratio_max": max(ratios),
            "sense": "min", "goal": goal, "met": ratio >= goal, "rounds": len(a)}


# What is not the rate of a testpmd port: kernel TCP, with and without the offloads of the taps.
TCP_GOAL = ("T1", "kernel TCP through two taps, offloads on against off", 2.0)


def tcp(args):
    """Bits per second of one connection each."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tcp.py")
    done = subprocess.run([sys.executable, "-B", script, str(args.seconds)], capture_output=True, text=True, timeout=180,
                          env={**os.environ, "HV_BUILD_DIR": args.build}, check=False)
    if done.returncode:
        raise ports.Failed(done.stderr[-2000:])
    return json.loads(done.stdout)


class Bench:
    def __init__(self, args, work):
        self.args, self.work, self.samples, self.failures = args, work, {}, {}
        self.tcp = []

    def wanted(self, ident):
        return not self.args.only or any(ident.startswith(word) for word in self.args.only.split(","))

    def goals(self):
        return [goal for goal in GOALS if self.wanted(goal[0])]

    def round(self):
        for name in sorted({name for goal in self.goals() for name in goal[2:4]}):
            try:
                sample = measure(self.args, self.work, name)
            except ports.Failed as error:
                self.failures[name] = str(error)
                print(f"  {name:22} failed: {error}", file=sys.stderr, flush=True)
                continue
            self.samples.setdefault(name, []).append(sample)
            print(f"  {name:22} " + " ".join(f"{key}={value:.2f}" for key, value in sample.items()),
                  file=sys.stderr, flush=True)
        if self.wanted(TCP_GOAL[0]):
            try:
                self.tcp.append(tcp(self.args))
            except ports.Failed as error:
                self.failures["tcp"] = str(error)
                print(f"  tcp failed: {error}", file=sys.stderr, flush=True)

    def rows(self):
        rows = []
        for ident, what, ours, peer, goal in self.goals():
            a = [sample["mpps"] for sample in self.samples.get(ours, [])]
            b = [sample["mpps"] for sample in self.samples.get(peer, [])]
            if not a or not b:
                continue
            rows.append(row(ident, what, ours, peer, "Mpps", a, b, goal))
        if self.tcp:
            a, b = ([sample[key] / 1e9 for sample in self.tcp] for key in ("with", "without"))
            rows.append(row(*TCP_GOAL[:2], "offloads on", "offloads off", "Gbit/s", a, b, TCP_GOAL[2]))
        return rows


def print_rows(rows):
    print(f"{'id':4} {'what':48} {'ours':>8} {'peer':>8} {'ratio':>7} {'lowest-highest':>15} goal")
    for r in rows:
        print(f"{r['id']:4} {r['what'][:48]:48} {r['ours_median']:8.3f} {r['peer_median']:8.3f} "
              f"{r['ratio']:7.2f} {r['ratio_min']:7.2f}-{r['ratio_max']:<7.2f} >={r['goal']} "
              f"{'met' if r['met'] else 'MISSED'}")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", required=True, help="build folder with bin/hv-host and lib/librte_net_hvnet.so")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of statistics that count")
    parser.add_argument("--quick", action="store_true", help="1 round of 2 seconds")
    parser.add_argument("--only", help="goal ids or their beginnings, e.g. N1,P")
    parser.add_argument("--out", default="net.json")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    if args.quick:
        args.rounds, args.seconds = 1, 2
    return args


def main():
    args = parse_args()
    why = None
    if not os.path.exists(os.path.join(args.build, "lib", "librte_net_hvnet.so")):
        why = "the driver was not built: scripts/setup dpdk, then make build"
    elif not shutil.which("dpdk-testpmd"):
        why = "dpdk-testpmd is missing: install the Debian package dpdk-dev (make bench does)"
    elif os.geteuid():
        why = "huge pages and a namespace need root"
    if why:
        print(f"bench/net skipped: {why}", file=sys.stderr)
        sys.exit(77)
    work = tempfile.mkdtemp(prefix="hv-bench-net-", dir="/dev/shm")
    bench = Bench(args, work)
    namespace = any(name.startswith(("tap", "af_packet")) for goal in bench.goals() for name in goal[2:4])
    try:
        with ports.Machine(1024, namespace):
            for number in range(args.rounds):
                print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
                bench.round()
    finally:
        shutil.rmtree(work)
    rows = bench.rows()
    print_rows(rows)
    with open(args.out, "w") as handle:
        json.dump({"goals": rows, "failures": bench.failures,
                   "samples": [{"port": name, "rounds": rounds} for name, rounds in bench.samples.items()]},
                  handle, indent=1)
    if bench.failures:
        print(f"not measured: {', '.join(sorted(bench.failures))}", file=sys.stderr)
        sys.exit(1 if any(name.startswith(("hvnet", "tcp")) for name in bench.failures) else 0)  # a peer may fail


if __name__ == "__main__":
    main()
