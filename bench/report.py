#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Put the results of a full bench run into docs/performance.md and draw its plots.

  report.py --in BUILD/measured --docs docs

The text between the two markers of each part that was measured is replaced; the others stay as they were, and all other
words are written by people.
"""
import argparse
import json
import os
import platform
import re

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "libvmbus"  # the same data gives the same file
import matplotlib.pyplot as plt  # noqa: E402

PARTS = (("Ring", "ring.json", "bench/run --ring-only"),
         ("Block", "block.json", "bench/run --block-only"),
         ("Net", "net.json", "bench/run --net-only"),
         ("Guest", "guest.json", "bench/run --guest-only"))
OURS, PEER, LIMIT = "#2a6fdb", "#9aa4b2", "#333333"


def load(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return None
    with open(path) as handle:
        return json.load(handle)


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo") as handle:
        for line in handle:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{model}, {os.cpu_count()} CPUs (virtual machine), Linux {platform.release().split('-')[0]}"


def goal_text(row):
    return ("≥ " if row["sense"] == "min" else "≤ ") + f"{row['goal']:g}"


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(rows):
    lines = ["| id | measure | ours | peer | ratio (lowest-highest round) | goal | |",
             "|---|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['id']} | {row['what']} | {row['ours']}: {number(row['ours_median'])} {unit(row)} | "
            f"{row['peer']}: {number(row['peer_median'])} | **{row['ratio']:.2f}** "
            f"({row['ratio_min']:.2f}-{row['ratio_max']:.2f}) | {goal_text(row)} | "
            f"{'met' if row['met'] else '**' + row.get('verdict', 'missed') + '**'} |")
    return "\n".join(lines)


def unit(row):
    return {"iops": "IOPS", "cpu": "CPU s per million", "p50_us": "µs", "mib_s": "MiB/s"}.get(
        row.get("metric"), row.get("metric", ""))


def plot(rows, path, title):
    """One bar a goal: how far the ratio is beyond (right) or short of (left) the goal.  Counts, which may be 0, have none."""
    rows = [row for row in rows if row["peer"]]
    fig, axes = plt.subplots(figsize=(10, 0.36 * len(rows) + 1.2))
    for i, row in enumerate(reversed(rows)):
        better = row["sense"] == "min"
        def norm(value):
            return value / row["goal"] if better else row["goal"] / value
        low, mid, high = sorted((norm(row["ratio_min"]), norm(row["ratio"]), norm(row["ratio_max"])))
        axes.barh(i, mid, color=OURS if row["met"] else "#d1495b", height=0.62)
        axes.plot([low, high], [i, i], color=LIMIT, linewidth=1)
    axes.axvline(1, color=LIMIT, linestyle="--", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f"{row['what']}  {row['id']}" for row in reversed(rows)], fontsize=6.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("ratio to the peer ÷ goal (1 = goal; the line is the spread of the rounds)")
    axes.set_title(title, fontsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    fig.tight_layout()
    fig.savefig(path, metadata={"Date": None})
    plt.close(fig)
    with open(path) as handle:  # the writer leaves blanks at the ends of lines
        lines = [line.rstrip() for line in handle]
    with open(path, "w") as handle:
        handle.write("\n".join(lines) + "\n")


def section(name, result, command, picture):
    rows = result["goals"]
    met = sum(1 for row in rows if row["met"])
    return (f"### {name}\n\n`{command}`: {met} of {len(rows)} goals met, {rows[0]['rounds']} rounds; {machine()}.\n\n"
            f"![{name}]({picture})\n\n{table(rows)}\n")


def net_counts(result):
    """What a million packets cost in messages and signals, by the host's own counts."""
    lines = ["Per million packets, as hv-host counts them (a message carries frames and is answered by one completion; the "
             "guests poll):\n", "| port / direction / bytes / queues | messages | signals of the guest | signals to it |",
             "|---|---|---|---|"]
    for sample in result["samples"]:
        rounds = [r for r in sample["rounds"] if "signals_to_guest" in r]
        if not rounds:
            continue
        def median(key):
            return sorted(r.get(key, 0) for r in rounds)[len(rounds) // 2]
        messages = median("from_guest_messages") + median("to_guest_messages")
        lines.append(f"| {sample['port']} | {messages:,.0f} | {median('signals_from_guest'):,.0f} | "
                     f"{median('signals_to_guest'):,.0f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--in", dest="folder", required=True)
    parser.add_argument("--docs", required=True)
    args = parser.parse_args()
    page = os.path.join(args.docs, "performance.md")
    with open(page) as handle:
        text = handle.read()
    for name, file, command in PARTS:
        result = load(args.folder, file)
        if result:
            text = replace(page, text, name.lower(), part(args.docs, name, command, result))
    with open(page, "w") as handle:
        handle.write(text)


def part(docs, name, command, result):
    picture = f"performance-{name.lower()}.svg"
    plot(result["goals"], os.path.join(docs, picture), f"{name}: ours against the peers")
    text = section(name, result, command, picture)
    if name == "Net":
        text += "\n" + net_counts(result)
    start = result.get("start")
    if start:
        text += (f"\nStart to the `ready` line: {start['ready_ms']:.0f} ms "
                 f"(slowest {start['ready_ms_max']:.0f}, goal 200); memory of an idle daemon with "
                 f"embedded host: {start['idle_memory_mib']:.0f} MiB.\n")
    return text


def replace(page, text, name, new):
    begin, end = (f"<!-- measured {name}: {word} -->" for word in ("begin", "end"))
    text, count = re.subn(re.escape(begin) + ".*?" + re.escape(end), lambda _: f"{begin}\n{new}{end}", text, flags=re.S)
    if count != 1:
        raise SystemExit(f"{page}: the markers {begin} and {end} are missing")
    return text


if __name__ == "__main__":
    main()
