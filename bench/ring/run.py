#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The ring beside its peers: goals R1 to R7 (docs/performance.md) as ratios inside one round.

  run.py --build BUILD_DIR [--out FILE.json] [--quick | --limit SECONDS] [--seconds 0.2] [--rounds N] [--strict]

In each round every ring is measured once, in random order; of each sample the first quartile of its 1 ms slices counts.
That holds still while others use less than 0.8 of a CPU, and no longer when they use more than 1.2.  So a ratio counts
when both of its samples had less than 0.8 beside them and one placement of the cores; where that never happens the row
shows all rounds, and the verdict is "disturbed": nothing is claimed.
Exit: 0; 1 something failed, or with --strict a goal was missed or not decided; 2 usage.
"""
import argparse
import json
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import common  # noqa: E402

K = 1024
OTHERS = 0.8  # CPUs that others may use during a sample


def entry(plugin, mode, length=64, burst=32, size=256 * K, more=()):
    return plugin, mode, length, burst, size, tuple(more)


def ns(sample):
    return sample["ns_q1"]


def goal(name, what, sense, bound, over, under=None, value=ns):
    """value(over) / value(under), or value(over) alone, must be >= or <= bound; bound may depend on the placement."""
    return {"id": name, "what": what, "sense": sense, "bound": bound, "over": over, "under": under, "value": value}


def signals(sample):
    return sample["signals_per_msg"]


TWO = ("-P",)
GOALS = [
    goal("R1", "64 B, bursts of 32, two processes: rate / DPDK", ">=", 8.0, entry("dpdkpkg", "tput", more=TWO),
         entry("hv", "tput", more=TWO)),
    goal("R2", "64 B, one publish a message: rate / DPDK", ">=", {"far": 1.3, "": 1.1},
         entry("dpdkpkg", "tput", burst=1), entry("hv", "tput", burst=1)),
    goal("R3a", "1500 B copied, 256 KiB ring: rate / DPDK", ">=", 1.5, entry("dpdkpkg", "tput", 1500),
         entry("hv", "tput", 1500)),
    goal("R3b", "1500 B copied, 4 MiB ring: rate / DPDK", ">=", 2.3, entry("dpdkpkg", "tput", 1500, size=4096 * K),
         entry("hv", "tput", 1500, size=4096 * K)),
    goal("R3c", "1500 B read in place, 256 KiB ring: rate / DPDK", ">=", 2.8, entry("dpdkpkg", "tput", 1500),
         entry("hv-inplace", "tput", 1500)),
    goal("R4", "64 B round trip, polling: time / DPDK", "<=", 0.75, entry("hv", "rtt", burst=1),
         entry("dpdkpkg", "rtt", burst=1)),
    goal("R5a", "64 B, bursts of 32: cycles a send / DPDK", "<=", 0.2, entry("hv", "cycles"),
         entry("dpdkpkg", "cycles"), lambda s: s["tsc_per_send"]),
    goal("R5b", "64 B, bursts of 32: cycles a receive / DPDK", "<=", 0.4, entry("hv", "cycles"),
         entry("dpdkpkg", "cycles"), lambda s: s["tsc_per_recv"]),
    goal("R6a", "64 B, bursts of 32: rate / free-form ring", ">=", 0.5, entry("spsc64", "tput"), entry("hv", "tput")),
    *[goal(f"R6{letter}", f"{length} B, bursts of 32: rate / limit of the layout", ">=", 0.85,
           entry("vmbusref", "tput", length), entry("hv", "tput", length))
      for letter, length in zip("bcde", (64, 256, 1500, 4096))],
    goal("R7a", "signals a message, reader sleeps when idle, bursts of 32", "<=", 0.02, entry("hv", "wake"),
         value=signals),
    goal("R7b", "the same, one publish a message", "<=", 0.02, entry("hv", "wake", burst=1), value=signals),
    goal("R7c", "signals a message while the reader is awake", "<=", 0.0, entry("hv", "tput"), value=signals),
]


class Bench:
    def __init__(self, build, seconds):
        self.folder = os.path.join(build, "bench", "ring")
        self.seconds = seconds
        self.sampler = common.Sampler(os.path.join(self.folder, "corelimits"))

    def plugin(self, name):
        return os.path.join(self.folder, name + ".so")

    def has(self, wanted):
        return os.path.exists(self.plugin(wanted[0]))

    def sample(self, wanted):
        plugin, mode, length, burst, size, more = wanted
        return self.sampler.sample([os.path.join(self.folder, "ringbench"), "-m", mode, "-l", str(length), "-b",
                                    str(burst), "-s", str(size), "-T", str(self.seconds), *more, self.plugin(plugin)])


def measure(bench, wanted, rounds, limit):
    """Rounds of samples, {entry: sample} each, until the time is up; at least one."""
    done, end = [], time.monotonic() + limit
    while len(done) < rounds and (not done or time.monotonic() < end):
        order, result = list(wanted), {}
        random.shuffle(order)
        for one in order:
            result[one] = bench.sample(one)
            if "fail" in result[one]:
                print(f"run.py: {'/'.join(map(str, one[:5]))}: {result[one]['fail']}", file=sys.stderr)
                del result[one]
            if done and time.monotonic() > end:
                break
        done.append(result)
        if sys.stderr.isatty():
            print(f"\rround {len(done)}, {max(0, end - time.monotonic()):.0f} s left ", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    return done


def ratio_of(one, samples):
    """(ratio, placement, placement is certain) of a goal in one round, or None."""
    parts = [samples.get(e) for e in (one["over"], one["under"]) if e]
    if not all(parts):
        return None
    value = one["value"](parts[0])
    if one["under"]:
        value /= one["value"](parts[1])
    places = {p["place"] for p in parts}
    one_core = one["over"][1] == "cycles"
    clean = all(p["others"] < OTHERS for p in parts) and (one_core or (len(places) == 1 and "torn" not in places))
    return value, "one core" if one_core else (places.pop() if len(places) == 1 else "torn"), clean


def judge(one, rounds, built):
    """The row of the table for one goal."""
    row = {k: one[k] for k in ("id", "what", "sense")}
    ratios = [r for r in (ratio_of(one, samples) for samples in rounds) if r]
    if not ratios:
        return {**row, "verdict": "skipped", "why": "no such peer was built" if not built else "every sample failed"}
    clean = [r for r in ratios if r[2]]
    if clean:  # of these the placement that occurred most: placements are not to be mixed
        places = [r[1] for r in clean]
        row["place"] = max(set(places), key=places.count)
        used = [r[0] for r in clean if r[1] == row["place"]]
    else:
        row["place"] = "disturbed"
        used = [r[0] for r in ratios]
    bound = one["bound"] if not isinstance(one["bound"], dict) else one["bound"].get(row["place"], one["bound"][""])
    row.update(common.spread(used), bound=bound)
    met = row["median"] >= bound if one["sense"] == ">=" else row["median"] <= bound
    row["verdict"] = "disturbed" if not clean else "met" if met else "missed"
    return row


def published(row, one, rounds):
    """The row as bench/report.py reads it: ratio, both sides in their own unit, sense as min or max."""
    metric = "signals a message" if one["value"] is signals else "cycles" if one["over"][1] == "cycles" else "ns a message"
    sides = [e for e in (one["over"], one["under"]) if e]
    ours = next(e for e in sides if e[0].startswith("hv"))
    peer = next((e for e in sides if not e[0].startswith("hv")), None)

    def median(wanted):
        return common.spread([one["value"](r[wanted]) for r in rounds if wanted in r])["median"] if wanted else 0.0

    return {"id": row["id"], "what": row["what"], "sense": "min" if row["sense"] == ">=" else "max", "goal": row["bound"],
            "ratio": row["median"], "ratio_min": row["min"], "ratio_max": row["max"], "rounds": row["n"],
            "met": row["verdict"] == "met", "verdict": row["verdict"], "place": row["place"], "metric": metric,
            "ours": ours[0], "ours_median": median(ours), "peer": peer[0] if peer else "", "peer_median": median(peer)}


def show(rows):
    print(f"{'goal':4} {'what':58} {'wanted':>8} {'measured':>9} {'min':>8} {'max':>8} {'n':>3} {'placement':10} verdict")
    for row in rows:
        if row["verdict"] == "skipped":
            print(f"{row['id']:4} {row['what']:58} skipped: {row['why']}")
            continue
        digits = 5 if row["id"].startswith("R7") else 2
        figures = "".join(f" {row[k]:{w}.{digits}f}" for k, w in (("median", 9), ("min", 8), ("max", 8)))
        print(f"{row['id']:4} {row['what']:58} {row['sense'] + ' ' + str(row['bound']):>8}{figures} {row['n']:3} "
              f"{row['place']:10} {row['verdict']}")


def label(wanted):
    plugin, mode, length, burst, size, more = wanted
    return {"ring": plugin, "mode": mode, "len": length, "burst": burst, "ring_bytes": size, "options": list(more)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", required=True, help="build folder, configured with -DHV_BUILD_BENCH=ON")
    parser.add_argument("--out", help="write goals and all samples as JSON")
    parser.add_argument("--quick", action="store_true", help="about a minute")
    parser.add_argument("--limit", type=float, help="seconds altogether, about; 240 unless given")
    parser.add_argument("--rounds", type=int, default=25, help="at most")
    parser.add_argument("--seconds", type=float, help="of each sample")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed or not decided")
    args = parser.parse_args()
    limit = args.limit or (55 if args.quick else 240)
    bench = Bench(args.build, args.seconds or (0.08 if args.quick else 0.2))
    if not os.path.exists(os.path.join(bench.folder, "ringbench")):
        parser.error(f"--build {args.build}: no bench/ring/ringbench in it; configure with -DHV_BUILD_BENCH=ON and build")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("run.py: needs two cores")
    goals = [g for g in GOALS if all(bench.has(e) for e in (g["over"], g["under"]) if e)]
    wanted = sorted({e for g in goals for e in (g["over"], g["under"]) if e})
    rounds = measure(bench, wanted, args.rounds, limit)
    rows = [judge(g, rounds, g in goals) for g in GOALS]
    show(rows)
    if args.out:
        samples = [{**label(e), **s, "round": n} for n, r in enumerate(rounds) for e, s in r.items()]
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump({"machine": common.machine(), "samples": samples,
                       "goals": [published(row, g, rounds) for row, g in zip(rows, GOALS) if row["verdict"] != "skipped"],
                       "skipped": [row for row in rows if row["verdict"] == "skipped"]}, file, indent=1)
            file.write("\n")
    return 1 if args.strict and any(r["verdict"] in ("missed", "disturbed") for r in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
