"""What a profile costs while it is on, and how much of a step its rows account for.

    python -m benchmarks.profile

Steps without and with `md.profile` take turns in one process, a few at a time; the first of each
turn is left out, since it fills caches anew. Of each side the median of single steps; the overhead
is the median over the turns of the ratio of their medians. The rows of a profile add up to the
time of its block; what is compared is their sum a step, with the median step without a profile,
and the share of it that no operation, layer, kernel or optimizer has.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import minidl as md

from . import arguments, machine, minidl_cases, report, workloads

STEPS = 6       # of a turn


def turn(step: Callable[[], Any]) -> list[float]:
    """The seconds of each step of a turn but the first."""
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times[1:]


def measure(name: str, folder: Path, seconds: float) -> dict[str, Any]:
    """One workload for so many seconds."""
    feed, run = minidl_cases.train_step(name, str(folder / f"{name}.npz"))
    images, labels = feed()

    def step() -> float:
        return run(images, labels)

    turn(step)
    plain: list[float] = []
    profiled: list[float] = []
    ratios, sums, others, spans = [], [], [], 0
    end = time.perf_counter() + seconds
    while len(ratios) < 3 or time.perf_counter() < end:
        without = turn(step)
        with md.profile() as p:
            within = turn(step)
        plain += without
        profiled += within
        ratios.append(np.median(within) / np.median(without))
        sums.append(sum(row.seconds for row in p.summary.operations) / STEPS)
        others += [row.seconds / p.summary.seconds for row in p.summary.operations
                   if row.name == "Python and other"]
        spans = len(p._records) // STEPS
    step_time = float(np.median(plain))
    return {"case": name, "step": step_time, "profiled": float(np.median(profiled)),
            "overhead": float(np.median(ratios)) - 1, "sum": float(np.median(sums)) / step_time,
            "other": float(np.median(others)), "spans": spans, "turns": len(ratios)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", help="workloads (default: mlp-bn mnist-cnn resnet20)",
                        default=["mlp-bn", "mnist-cnn", "resnet20"])
    arguments.add(parser, "threads", "seconds", "out", seconds=5.0, threads=md.get_num_threads())
    args = parser.parse_args()
    if unknown := set(args.only) - set(workloads.WORKLOADS):
        parser.error(f"no workload {', '.join(unknown)}: {', '.join(workloads.WORKLOADS)}")
    md.set_num_threads(args.threads)
    about = machine.describe()
    print(f"{about['cpu']}, {args.threads} threads, {about['date']}\n")
    print("| | step | with a profile | overhead | sum of rows | Python and other | spans |\n"
          "|---|---|---|---|---|---|---|")
    rows = []
    with TemporaryDirectory(prefix="minidl-benchmark-") as folder:
        workloads.write(args.only, Path(folder))
        for name in args.only:
            row = measure(name, Path(folder), args.seconds)
            print(f"| {name} | {row['step'] * 1e3:.2f} ms | {row['profiled'] * 1e3:.2f} ms "
                  f"| {row['overhead']:+.1%} | {row['sum']:.1%} of the step | {row['other']:.1%} "
                  f"| {row['spans']} |", flush=True)
            rows.append(row)
    report.save(args.out, "profile", {"machine": about, "threads": args.threads, "rows": rows})


if __name__ == "__main__":
    main()
