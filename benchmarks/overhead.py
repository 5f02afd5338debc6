"""This program measures the Python share of a train step: the time that it takes when the kernels
cost nothing.

    python -m benchmarks.overhead

Each kernel call of a step gets a number, and returns what the same call returned in a previous
step. What remains is the engine: tensors, the graph, layers, and the backward walk. An operation is
a node of the graph, forward and backward together. The optimizer, zero_grad and the running
statistics are included. The entry of a kernel itself (argument checks, an output from the pool) is
not, so it is shown separately, as a sum of 4 values minus the addition itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import minidl as md
from minidl import kernels
from minidl.graph import Function

from . import arguments, machine, minidl_cases, report, workloads


class Replay:
    """The kernels of minidl, recorded in one step and answering from memory in the next."""

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.at = 0

    def restart(self) -> None:
        self.at = 0

    def answer(self, *args: Any, **options: Any) -> Any:
        self.at += 1
        return self.results[self.at - 1]

    def record(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            result = kernel(*args, **options)
            self.results.append(result)
            return result

        return call

    @contextmanager
    def in_place(self, wrap: Callable[[Any], Any]) -> Iterator[None]:
        names = [name for family in kernels.FAMILIES.values() for name in family]
        before = {name: getattr(kernels, name) for name in names}
        try:
            for name in names:
                setattr(kernels, name, wrap(before[name]))
            yield
        finally:
            for name in names:
                setattr(kernels, name, before[name])


def nodes_of(step: Callable[[], Any]) -> int:
    """Return how many operations a step records."""
    count = 0
    apply = Function.apply.__func__  # type: ignore[attr-defined]

    def counted(cls: Any, *args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        return apply(cls, *args, **options)

    Function.apply = classmethod(counted)  # type: ignore[assignment]
    try:
        step()
    finally:
        Function.apply = classmethod(apply)  # type: ignore[assignment]
    return count


def median_time(run: Callable[[], Any], seconds: float) -> float:
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measure(name: str, folder: Path, seconds: float) -> dict[str, Any]:
    feed, run = minidl_cases.train_step(name, str(folder / f"{name}.npz"))
    images, labels = feed()

    def step() -> float:
        return run(images, labels)

    for _ in range(3):
        step()
    operations = nodes_of(step)
    whole = median_time(step, seconds)
    replay = Replay()
    with replay.in_place(replay.record):
        step()

    def empty_step() -> None:
        replay.restart()
        step()

    with replay.in_place(lambda kernel: replay.answer):
        empty_step()
        empty = median_time(empty_step, seconds)
    if replay.at != len(replay.results):
        raise RuntimeError(f"{name}: {replay.at} kernel calls, {len(replay.results)} were recorded")
    return {
        "case": name,
        "operations": operations,
        "kernel_calls": replay.at,
        "step": whole,
        "python": empty,
        "per_operation": empty / operations,
    }


def kernel_entry(seconds: float) -> float:
    """Return the seconds that a call of a kernel takes before and after its work."""
    a = np.ones(4, np.float32)
    return median_time(lambda: [kernels.add(a, a) for _ in range(100)], seconds) / 100


def main() -> None:
    parser = arguments.parser("benchmarks.overhead", __doc__)
    arguments.add(parser, "seconds", "out", seconds=1.0)
    args = parser.parse_args()
    names = list(workloads.WORKLOADS)
    about = machine.describe()
    print(f"{about['cpu']}, {md.get_num_threads()} threads, {about['date']}\n")
    print("| | step | kernels empty | operations | each |\n|---|---|---|---|---|")
    rows = []
    with TemporaryDirectory(prefix="minidl-benchmark-") as folder:
        workloads.write(names, Path(folder))
        for name in names:
            row = measure(name, Path(folder), args.seconds)
            print(
                f"| {name} | {row['step'] * 1e3:.2f} ms | {row['python'] * 1e3:.2f} ms "
                f"| {row['operations']} | {row['per_operation'] * 1e6:.1f} µs |",
                flush=True,
            )
            rows.append(row)
    entry = kernel_entry(args.seconds)
    print(f"\na kernel's entry: {entry * 1e6:.2f} µs")
    report.save(args.out, "overhead", {"machine": about, "rows": rows, "kernel_entry": entry})


if __name__ == "__main__":
    main()
