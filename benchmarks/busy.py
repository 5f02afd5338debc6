"""This program measures train steps on a machine that other processes use too, by the number of
threads.

    python -m benchmarks.busy                     beside busy processes, and two trainings at once
    python -m benchmarks.busy --torch             with PyTorch imported first, too
    python -m benchmarks.busy --before FOLDER     alone, beside the checkout in FOLDER, in turns

It prints milliseconds a step (means over a turn, medians of the rounds) with one thread, with two,
and with the default number, which may decrease where other processes use the CPUs. All runs of a
situation take turns. With "OMP_WAIT_POLICY=active" OpenMP's threads wait in a loop for as long as
it takes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from . import arguments, machine, report

MODELS = ("mlp", "cnn", "lstm")
THREADS = ("1", "2", "default")
BUSY = "while True: pass"

# Each name has the number of busy processes, the number of trainings, environment variables, and
# the module that is imported first.
SITUATIONS: dict[str, tuple[int, int, dict[str, str], str]] = {
    "alone": (0, 1, {}, ""),
    "beside one busy process": (1, 1, {}, ""),
    "beside two": (2, 1, {}, ""),
    "two trainings": (0, 2, {}, ""),
}
ACTIVE = {"OMP_WAIT_POLICY": "active"}
for _name, (_busy, _trainings, _, _) in list(SITUATIONS.items()):
    SITUATIONS[f"{_name}, waiting actively"] = (_busy, _trainings, ACTIVE, "")
    SITUATIONS[f"{_name}, PyTorch first"] = (_busy, _trainings, {}, "torch")


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Run `count` processes that compute all the time within the `with` block."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def step(
    model: str,
    threads: str,
    situation: tuple[int, int, dict[str, str], str],
    seconds: float,
    folder: Path | None = None,
) -> float:
    """Return the milliseconds a step of a training, or the mean of several trainings that run at
    once, each in its own process.
    """
    others, trainings, more, first = situation
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))
    } | more
    if threads != "default":
        environment["OMP_NUM_THREADS"] = threads
    if folder:
        environment["PYTHONPATH"] = str(folder)
    command = [sys.executable, "-m", "benchmarks.busy_worker", model, str(seconds)]
    workers = [
        subprocess.Popen(
            [*command, first] if first else command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(trainings)
    ]
    for worker in workers:
        assert worker.stdout
        if worker.stdout.readline() != "ready\n":
            raise RuntimeError(f"the training of {model} failed")
    with busy(others):
        for worker in workers:
            assert worker.stdin
            worker.stdin.write("\n")
            worker.stdin.flush()
        answers = [float(worker.communicate()[0]) for worker in workers]
    return statistics.mean(answers)


def against(folder: Path, args: argparse.Namespace) -> None:
    """Compare the default number of threads alone, in this checkout and in another one."""
    print("| alone | before | now | now / before | rounds |\n|---|---|---|---|---|")
    for model in args.models:
        pairs = [
            (
                step(model, "default", SITUATIONS["alone"], args.seconds, folder),
                step(model, "default", SITUATIONS["alone"], args.seconds),
            )
            for _ in range(args.rounds)
        ]
        ratios = [now / before for before, now in pairs]
        before, now = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(
            f"| {model} | {before:.3f} | {now:.3f} | {statistics.median(ratios):.3f} "
            f"| {min(ratios):.3f}-{max(ratios):.3f} |",
            flush=True,
        )


def main() -> None:
    parser = arguments.parser("benchmarks.busy", __doc__)
    arguments.add(parser, "rounds", "seconds", "out", seconds=1.5)
    parser.add_argument("--torch", action="store_true", help="with PyTorch imported first, too")
    parser.add_argument("--before", type=Path, help="a built checkout to compare with, alone")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    args = parser.parse_args()
    about = machine.describe()
    print(f"{about['cpu']}, {os.cpu_count()} CPUs, {about['date']}\n")
    if args.before:
        against(args.before.resolve(), args)
        return
    print("| situation | model | 1 thread | 2 | default | default / best |\n" + 6 * "|---" + "|")
    rows = []
    for name, situation in SITUATIONS.items():
        if situation[3] and not args.torch:
            continue
        for model in args.models:
            times: dict[str, list[float]] = {threads: [] for threads in THREADS}
            for _ in range(args.rounds):
                for threads in THREADS:
                    times[threads].append(step(model, threads, situation, args.seconds))
            found = {threads: statistics.median(each) for threads, each in times.items()}
            ratio = found["default"] / min(found["1"], found["2"])
            print(
                f"| {name} | {model} | {found['1']:.2f} | {found['2']:.2f} "
                f"| {found['default']:.2f} | {ratio:.2f} |",
                flush=True,
            )
            rows.append({"situation": name, "model": model, "times": times, "ratio": ratio})
    report.save(args.out, "busy", {"machine": about, "rows": rows})


if __name__ == "__main__":
    main()
