"""This program measures what a profile costs while it is on, and whether its rows add up to the
time of a step.

    python -m benchmarks.profile

Turns of steps without and with `md.profile` alternate in one process. The first steps of each turn
are left out, since the interpreter has to adapt to functions that have been replaced. The median of
single steps is shown for each side; the overhead is the median, over the turns, of the ratio of
neighbouring turns. The rows are compared with the steps' wall time, which is taken around each
step: once all rows, and once those of operations, layers, the backward walk and the optimizer
alone, without the row "Python and other". The tables of the fastest profile are saved too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import minidl as md

from . import arguments, machine, minidl_cases, report, workloads

TURN = 0.3  # seconds that a turn takes, about
LEAST = 5  # the smallest number of steps in a turn
ADAPTS = 0.2  # the share of them that is left out
SHOWN = 16  # the number of rows that are kept of each table


def turn(step: Callable[[], Any], steps: int) -> list[float]:
    """Return the seconds of each of so many steps."""
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def median(times: list[float]) -> float:
    """Return the median of all but the first steps of a turn."""
    return float(np.median(times[math.ceil(ADAPTS * len(times)) :]))


def measure(name: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Measure one workload for so many seconds."""
    feed, run = minidl_cases.train_step(name, str(folder / f"{name}.npz"))
    images, labels = feed()

    def step() -> float:
        return run(images, labels)

    steps = max(LEAST, round(TURN / median(turn(step, LEAST))))
    turns: list[tuple[float, float]] = []  # the medians of each pair of turns
    sums: list[float] = []
    named: list[float] = []
    best: md.Profile | None = None
    end = time.perf_counter() + seconds
    while len(turns) < 3 or time.perf_counter() < end:
        plain = turn(step, steps)
        with md.profile() as p:
            profiled = turn(step, steps)
        turns.append((median(plain), median(profiled)))
        wall, rows = sum(profiled), p.summary.operations
        sums.append(sum(row.seconds for row in rows) / wall)
        named.append(sum(row.seconds for row in rows if row.phase) / wall)
        if best is None or p.summary.seconds < best.summary.seconds:
            best = p
    assert best is not None
    return {
        "case": name,
        "steps": steps,
        "turns": len(turns),
        "step": float(np.median([without for without, _ in turns])),
        "profiled": float(np.median([within for _, within in turns])),
        "overhead": float(np.median([within / without for without, within in turns])) - 1,
        "sum": float(np.median(sums)),
        "named": float(np.median(named)),
        "tables": {by: best.table(by=by, limit=SHOWN) for by in ("operation", "layer")},
    }


def main() -> None:
    parser = arguments.parser("benchmarks.profile", __doc__)
    parser.add_argument(
        "only",
        nargs="*",
        help="workloads (default: mlp-bn mnist-cnn resnet20)",
        default=["mlp-bn", "mnist-cnn", "resnet20"],
    )
    arguments.add(parser, "threads", "seconds", "out", seconds=5.0, threads=md.get_num_threads())
    args = parser.parse_args()
    if unknown := set(args.only) - set(workloads.WORKLOADS):
        parser.error(f"no workload {', '.join(unknown)}: {', '.join(workloads.WORKLOADS)}")
    md.set_num_threads(args.threads)
    about = machine.describe()
    print(f"{about['cpu']}, {args.threads} threads, {about['date']}\n")
    print(
        "| | step | with a profile | overhead | sum of rows | without other |\n"
        "|---|---|---|---|---|---|"
    )
    rows = []
    with TemporaryDirectory(prefix="minidl-benchmark-") as folder:
        workloads.write(args.only, Path(folder))
        for name in args.only:
            row = measure(name, Path(folder), args.seconds)
            print(
                f"| {name} | {row['step'] * 1e3:.2f} ms | {row['profiled'] * 1e3:.2f} ms "
                f"| {row['overhead']:+.1%} | {row['sum']:.1%} | {row['named']:.1%} |",
                flush=True,
            )
            rows.append(row)
    report.save(args.out, "profile", {"machine": about, "threads": args.threads, "rows": rows})


if __name__ == "__main__":
    main()
