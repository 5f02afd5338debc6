"""This program measures what the recipes reach: it runs `minidl train DATA --recipe NAME` for
several seeds, as a user would.

    python -m benchmarks.recipes cifar10-fast --seeds 3
    python -m benchmarks.recipes mnist --seeds 5 --runs runs

Each seed is a process of its own, one after the other, with all threads. The results are the
accuracy on the test pictures, which is computed once, after the last epoch; the seconds of the
training and of the whole command; and the line of each epoch. A run in the folder `--runs` that was
begun before is resumed, and its seconds are then those of the last command alone. Other recipes in
the file of results are left as they are.
"""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import arguments, machine, report

DATA = {"mnist": "mnist", "cifar10-resnet20": "cifar10", "cifar10-fast": "cifar10"}
NAME = "recipes"


def trained(recipe: str, seed: int, threads: int, folder: Path) -> dict[str, Any]:
    """Return the figures of one seed."""
    command = [
        sys.executable,
        "-m",
        "minidl",
        "train",
        DATA[recipe],
        "--recipe",
        recipe,
        "--seed",
        str(seed),
        "--threads",
        str(threads),
        "--out",
        str(folder),
        "--resume",
    ]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    whole = time.perf_counter() - start
    with open(folder / "log.csv", newline="") as file:
        log = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return {
        "seed": seed,
        "accuracy": float(done.stdout.split()[-1]),
        "training_seconds": sum(row["seconds"] for row in log),
        "whole_seconds": whole,
        "log": log,
    }


def main() -> None:
    parser = arguments.parser("benchmarks.recipes", __doc__)
    parser.add_argument("recipe", choices=DATA)
    parser.add_argument(
        "--seeds",
        type=arguments.at_least_one,
        default=3,
        metavar="N",
        help="how many, from 0 on (default: 3)",
    )
    parser.add_argument("--runs", type=Path, help="where the runs' folders are kept; else nowhere")
    arguments.add(parser, "threads", "out", seconds=1.0)
    args = parser.parse_args()
    about = machine.describe()
    print(f"{about['cpu']}, {args.threads} threads, kernels {about['isa']}, {about['date']}")
    with tempfile.TemporaryDirectory(prefix="minidl-recipes-") as folder:
        runs = args.runs or Path(folder)
        found = []
        for seed in range(args.seeds):
            found.append(trained(args.recipe, seed, args.threads, runs / f"{args.recipe}-{seed}"))
            print(
                f"seed {seed}: {found[-1]['accuracy']:.4f}, "
                f"{found[-1]['training_seconds']:.0f} s of training",
                flush=True,
            )
    accuracies = [run["accuracy"] for run in found]
    entry = {
        "machine": about,
        "threads": args.threads,
        "mean": statistics.mean(accuracies),
        "spread": statistics.stdev(accuracies) if len(found) > 1 else 0.0,
        "runs": found,
    }
    print(f"{args.recipe}: mean {entry['mean']:.4f} of {len(found)}")
    path = args.out / f"{NAME}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    report.save(args.out, NAME, {**known, args.recipe: entry})


if __name__ == "__main__":
    main()
