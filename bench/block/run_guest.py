#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Block devices on a real kernel, all inside one guest so that ratios are fair: ublk against a server that does nothing,
/dev/nbd0 of our server against that of nbdkit.

  run_guest.py --build BUILD [--quick] [--out FILE.json]

The disk forgets writes and reads zeroes (null:), at both sides.  The guest has two processors, emulated where the machine
has no KVM: its absolute figures mean nothing.
"""
import argparse
import json
import os
import statistics
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SKIPPED = 77
LOADS = ("randread-d32", "randread-d1")
SERVERS = ("ublk-floor", "ublk-hvblk", "nbd-hvblk", "nbd-nbdkit")
# id, what, load, ours, peer, metric, "min"/"max", goal
GOALS = [
    ("G1", "ublk, 4k random read, depth 32, null disk: rate / floor", "randread-d32", "ublk-hvblk", "ublk-floor",
     "iops", "min", 0.5),
    ("G2", "ublk, depth 1: rate / floor", "randread-d1", "ublk-hvblk", "ublk-floor", "iops", "min", 0.5),
    ("G3", "/dev/nbd0, 4k random read, depth 32, null disk: rate / nbdkit", "randread-d32", "nbd-hvblk", "nbd-nbdkit",
     "iops", "min", 1.0),
    ("G4", "/dev/nbd0, depth 1: rate / nbdkit", "randread-d1", "nbd-hvblk", "nbd-nbdkit", "iops", "min", 1.0),
]


def give_up(code, why):
    print(f"run_guest.py: {why}", file=sys.stderr)
    sys.exit(code)


def sample(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    job = json.loads(text[text.index("{"):])["jobs"][0]
    if job["error"]:
        raise RuntimeError(f"{os.path.basename(path)}: fio ended with {job['error']}")
    side = job["read"]
    return {"iops": side["iops"], "ios": side["total_ios"],
            "p50_us": side["clat_ns"].get("percentile", {}).get("50.000000", 0) / 1000}


def rows(samples):
    table = []
    for ident, what, load, ours, peer, metric, sense, goal in GOALS:
        a = [s[metric] for s in samples[ours, load]]
        b = [s[metric] for s in samples[peer, load]]
        ratios = [x / y for x, y in zip(a, b)]
        ratio = statistics.median(a) / statistics.median(b)
        table.append({"id": ident, "what": what, "ours": ours, "peer": peer, "metric": metric,
                      "ours_median": statistics.median(a), "peer_median": statistics.median(b), "ratio": ratio,
                      "ratio_min": min(ratios), "ratio_max": max(ratios), "sense": sense, "goal": goal,
                      "met": ratio >= goal if sense == "min" else ratio <= goal, "rounds": len(a)})
    return table


def run(args):
    """(folder with the results, None); (None, reason) when there can be no guest; (None, None) when it failed."""
    os.environ["HV_BUILD_DIR"] = os.path.abspath(args.build)
    os.environ["HV_VM_LIMIT"] = "900"
    sys.argv[:] = [sys.argv[0]]  # the harness names its folder after the file
    sys.path.insert(0, os.path.join(HERE, "../../tests/vm"))
    import guest  # after the environment is set

    class Rounds(guest.Case):
        outcome = None

        def test_rounds(self):
            Rounds.outcome = self.boot(os.path.join(HERE, "guest.sh"), programs=["hvblk-daemon", args.floor],
                                       tools=["fio", "nbd-client", "nbdkit", "/usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-null-plugin.so"],
                                       modules=["ublk_drv", "nbd"], cpus=2, memory=1024,
                                       settings={"ROUNDS": args.rounds, "RUN_SECONDS": args.seconds})

    import unittest
    result = unittest.TextTestRunner(stream=sys.stderr).run(Rounds("test_rounds"))
    if result.skipped:
        return None, result.skipped[0][1]
    if not result.wasSuccessful():
        return None, None
    return Rounds.outcome.folder, None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", required=True, help="build folder with bin/hvblk-daemon and bench/ublknull")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each fio run")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 seconds")
    parser.add_argument("--out", default="guest.json")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 2, 2
    args.floor = os.path.abspath(os.path.join(args.build, "bench/ublknull"))
    if not os.path.exists(args.floor):
        give_up(SKIPPED, "ublknull is not built (no liburing)")
    folder, why = run(args)
    if not folder:
        give_up(SKIPPED if why else 1, why or "the guest failed, see above")
    samples = {(server, load): [sample(os.path.join(folder, f"{server}.{load}.{number}.json"))
                                for number in range(1, args.rounds + 1)]
               for server in SERVERS for load in LOADS}
    table = rows(samples)
    for r in table:
        print(f"{r['id']:4} {r['what'][:66]:66} {r['ours_median']:10.4g} {r['peer_median']:10.4g} {r['ratio']:6.2f} "
              f"{r['ratio_min']:5.2f}-{r['ratio_max']:<6.2f} {'>=' if r['sense'] == 'min' else '<='}{r['goal']} "
              f"{'met' if r['met'] else 'MISSED'}")
    with open(args.out, "w", encoding="utf-8") as file:
        json.dump({"goals": table, "samples": [{"server": k[0], "load": k[1], "rounds": v}
                                               for k, v in samples.items()]}, file, indent=1)


if __name__ == "__main__":
    main()
