"""This program writes the tables of figures in README.md and in docs/, from
benchmarks/results/*.json.

    python -m benchmarks.tables

A table is between two comments of its page, `<!-- table NAME -->` and `<!-- end -->`. Run this
program after every new measurement; a test compares the pages with the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools import marked_tables

from . import augment, inference, report

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs" / "performance.md", ROOT / "docs" / "guide-profile.md")

STEP, NORM = "train step ", "BatchNorm+ReLU"
# The factors by which a train step was to be faster than PyTorch: the least, and the aim.
AIMS = {
    "mlp-bn": ("1.5x", "2x"),
    "mnist-cnn": ("2.2x", "3x"),
    "resnet20": ("1.7x", "2.3x"),
    "vgg8-bn": ("2.3x", "3x"),
    "mobile": ("1.5x", "2x"),
    "geometric mean of the five": ("1.9x", "2.5x"),
    NORM: ("3x", "5x"),
}


def results(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def ms(seconds: float) -> str:
    """Return milliseconds with two decimals, or without any from 100 on."""
    return f"{seconds * 1e3:.{2 if seconds < 0.1 else 0}f}"


def ranged(figures: dict[str, Any]) -> str:
    return f"{ms(figures['median'])} ms ({ms(figures['min'])} - {ms(figures['max'])})"


def steps_summary() -> str:
    """Return a few figures of the train steps beside PyTorch's fastest mode, for the README."""
    rows = []
    for row in results("torch")["rows"]:
        if row["case"].startswith(STEP):
            peer, memory = row["others"][row["peer"]], row["peak_bytes"]
            rows.append(
                [
                    row["case"].removeprefix(STEP),
                    *(f"{side['median'] * 1e3:.2f} ms" for side in (row["ours"], peer)),
                    f"{peer['ratio']['median']:.2f}",
                    f"{memory['ours'] / memory[row['peer']]:.2f}",
                ]
            )
    return report.table(["", "minidl", "PyTorch", "times faster", "of PyTorch's memory"], rows)


def inference_summary() -> str:
    """Return a few figures of compiled models on two threads beside the fastest other runtime, for
    the README.
    """
    rows = []
    for row in results("inference")["rows"]:
        if row["threads"] == 2:
            peer = row["others"][row["peer"]]
            rows.append(
                [
                    row["case"],
                    str(row["batch"]),
                    *(f"{side['median'] * 1e3:.3g} ms" for side in (row["ours"], peer)),
                    row["peer"],
                    f"{peer['ratio']['median']:.2f}",
                ]
            )
    return report.table(
        ["", "images", "minidl", "the fastest other", "which", "times faster"], rows
    )


def steps() -> str:
    """Return the table of train steps with the range of the rounds, and what was to be reached."""
    found = results("torch")
    rows = []
    for row in found["rows"]:
        name, peer = row["case"].removeprefix(STEP), row["others"][row["peer"]]
        ratio = peer["ratio"]
        aims = AIMS[NORM if name.startswith(NORM) else name]
        rows.append(
            [
                name,
                ranged(row["ours"]),
                ranged(peer),
                f"**{ratio['median']:.2f}x**",
                f"{ratio['min']:.2f}-{ratio['max']:.2f}",
                *aims,
            ]
        )
    mean = "geometric mean of the five"
    place = sum(row["case"].startswith(STEP) for row in found["rows"])
    rows.insert(place, [mean, "", "", f"**{found['geometric_mean']:.2f}x**", "", *AIMS[mean]])
    head = ["", "minidl", "PyTorch, its fastest", "ratio", "rounds", "at least", "aim"]
    return report.table(head, rows)


def memory() -> str:
    """Return the peak memory of the process of each train step."""
    rows = []
    for row in results("torch")["rows"]:
        if row["case"].startswith(STEP):
            ours, theirs = (row["peak_bytes"][side] for side in ("ours", row["peer"]))
            rows.append(
                [
                    row["case"].removeprefix(STEP),
                    f"{ours / 2**20:.0f} MiB",
                    f"{theirs / 2**20:.0f} MiB",
                    f"{ours / theirs:.2f}x",
                ]
            )
    return report.table(["", "minidl", "PyTorch", ""], rows)


def numpy() -> str:
    """Return the native kernels and train steps beside their NumPy twins."""
    return report.table(
        report.NUMPY_HEAD, [report.numpy_cells(row) for row in results("numpy")["rows"]]
    )


def recipes() -> str:
    """Return what the recipes reach on the test pictures."""
    rows = []
    for name, entry in results("recipes").items():
        runs = entry["runs"]
        accuracies = [f"{run['accuracy']:.2%}" for run in runs]
        seconds = [run["training_seconds"] for run in runs]
        rows.append(
            [
                name,
                f"**{entry['mean']:.2%}**",
                " ".join(accuracies),
                f"{entry['spread']:.2%}" if len(runs) > 1 else "",
                " ".join(f"{value / 60:.1f}" for value in seconds),
                f"{entry['threads']} threads, {entry['machine']['cpu']}",
            ]
        )
    head = [
        "recipe",
        "test accuracy, mean",
        "of each seed",
        "standard deviation",
        "minutes of training",
        "on",
    ]
    return report.table(head, rows)


def recipe() -> str:
    """Return a step of cifar10-fast beside PyTorch's."""
    found = results("recipe")
    return report.table(report.TORCH_HEAD, [report.torch_cells(row) for row in found["rows"]])


def profiled(by: str) -> str:
    """Return a profile of resnet20's train step, as `Profile.table` writes it."""
    row = next(row for row in results("profile")["rows"] if row["case"] == "resnet20")
    return f"```text\n{row['tables'][by]}\n```"


def profile_costs() -> str:
    """Return what a profile costs, and how much of the time its rows account for."""
    rows = [
        [
            row["case"],
            f"{ms(row['step'])} ms",
            f"{ms(row['profiled'])} ms",
            f"{row['overhead']:+.1%}",
            f"{row['sum']:.1%}",
            f"{row['named']:.1%}",
        ]
        for row in results("profile")["rows"]
    ]
    return report.table(
        [
            "",
            "a step",
            "while profiled",
            "overhead",
            "sum of all rows",
            'without "Python and other"',
        ],
        rows,
    )


TABLES: dict[str, Callable[[], str]] = {
    "train steps, in short": steps_summary,
    "train steps": steps,
    "memory": memory,
    "numpy": numpy,
    "recipes": recipes,
    "recipe step": recipe,
    "profile by operation": lambda: profiled("operation"),
    "profile by layer": lambda: profiled("layer"),
    "cost of a profile": profile_costs,
    "inference": lambda: inference.table(results("inference")),
    "inference, in short": inference_summary,
    "augmentation": lambda: augment.tables(results("augment"))["augmentation"],
    "loader's share": lambda: augment.tables(results("augment"))["loader's share"],
}


def main() -> None:
    for page in PAGES:
        page.write_text(
            marked_tables.filled(page.read_text(encoding="utf-8"), TABLES), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
