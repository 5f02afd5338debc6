"""This program measures augmentation: images a second beside NumPy and torchvision, and the
loader's share of a train step.

    python -m benchmarks.augment                    all of it; writes augment.json
    python -m benchmarks.augment crop rotation      some pipelines
    python -m benchmarks.augment --rounds 1 --seconds 0.1       a look, without worth

Each pipeline takes a batch of bytes, converts it to floats and draws for each image separately. It
runs on one thread, because a loader works on one thread beside the model. NumPy's side runs the
twins of minidl's kernels; what minidl itself does with NumPy is the same on both sides.
torchvision's side is `transforms.v2` on tensors, called image by image, since its transforms draw
once for everything they are given. A whole batch with one draw is shown beside it. Without
torchvision its columns are left out; `pip install --no-deps torchvision`, with the version that
belongs to the installed PyTorch, installs it.

The share of a train step is measured in two ways. A step of resnet20 with batches from a loader
(crop, flip, normalize, cutout) is timed beside the same step with batches that were made before.
And the time for making one batch, with nothing else running, is divided by the time of a step.

The sides are processes of their own and take turns (see compare.py).
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from contextlib import ExitStack
from typing import Any

from . import arguments, augment_cases, compare, machine, report
from .cases import Case
from .compare import Side

EACH, BATCH = "torchvision, each image", "torchvision, one draw a batch"
AT_MOST = 0.03  # the largest share of a step that the loader may take

HEAD = ["", "images a second", "NumPy", "ratio", EACH, "ratio", BATCH, "ratio"]
SHARE_HEAD = [
    "resnet20",
    "step, batches ready",
    "step with the loader",
    "more, by rounds",
    "making a batch, alone",
    "of a step",
]


def have_torchvision() -> bool:
    return all(importlib.util.find_spec(name) for name in ("torch", "torchvision"))


def pipeline(name: str, torch: bool, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one pipeline in new processes."""
    with ExitStack() as opened:

        def prepared(side: Side, *more: Any) -> Side:
            opened.enter_context(side)
            side.prepare(Case(name, "augment", (name, *more)))
            return side

        ours = prepared(compare.native(1))
        others = {"NumPy": prepared(compare.numpy(1))}
        if torch:
            for title, each in ((EACH, True), (BATCH, False)):
                side = Side("torch_worker", "1", "contiguous_format", "eager", threads=1)
                others[title] = prepared(side, each)
        row = compare.alternate(ours, others, args.rounds, args.seconds)
    return {"case": name, "images": augment_cases.PIPELINES[name][0][0], **row}


def share(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the loader's share of a step of resnet20."""
    with (
        compare.native(args.threads) as ready,
        compare.native(args.threads) as loading,
        compare.native(1) as alone,
    ):
        ready.prepare(Case("ready", "loader_step", ("ready",)))
        loading.prepare(Case("loader", "loader_step", ("loader",)))
        alone.prepare(Case("batch", "loader_batch", ()))
        row = compare.alternate(
            ready, {"loader": loading, "batch": alone}, args.rounds, args.step_seconds
        )
    return {"threads": args.threads, **row}


def cells(row: dict[str, Any]) -> list[str]:
    """Return a row's cells: the images a second of each side, and the ratio of the others' time to
    ours.
    """
    found = [row["case"], f"{row['images'] / row['ours']['median']:,.0f}"]
    for title in ("NumPy", EACH, BATCH):
        other = row["others"].get(title)
        found += (
            ["", ""]
            if other is None
            else [
                f"{row['images'] / other['median']:,.0f}",
                f"**{other['ratio']['median']:.1f}x** ({other['ratio']['min']:.1f}-"
                f"{other['ratio']['max']:.1f})",
            ]
        )
    return found


def share_cells(row: dict[str, Any]) -> list[str]:
    step, batch = row["others"]["loader"], row["others"]["batch"]
    more = [100 * (ratio - 1) for ratio in step["ratio"]["rounds"]]
    return [
        f"{row['threads']} threads",
        report.range_text(row["ours"]),
        report.range_text(step),
        f"**{statistics.median(more):.1f}%** ({min(more):.1f} - {max(more):.1f})",
        report.range_text(batch),
        f"{100 * batch['ratio']['median']:.1f}%",
    ]


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Return the tables of the results by name, as pages show them."""
    found = {"augmentation": report.table(HEAD, [cells(row) for row in results["pipelines"]])}
    if results["share"]:
        found["loader's share"] = report.table(SHARE_HEAD, [share_cells(results["share"])])
    return found


def main() -> None:
    names = list(augment_cases.PIPELINES)
    parser = arguments.parser("benchmarks.augment", __doc__)
    parser.add_argument(
        "pipelines",
        nargs="*",
        metavar="pipeline",
        help=f"of {'; '.join(names)}; all, and the share, without any",
    )
    arguments.add(parser, "threads", "rounds", "seconds", "out", seconds=0.5)
    parser.add_argument(
        "--step-seconds",
        type=arguments.positive,
        default=2.0,
        help="of each turn of train steps (default: 2.0)",
    )
    args = parser.parse_args()
    if unknown := set(args.pipelines) - set(names):
        parser.error(f"unknown pipeline: {', '.join(sorted(unknown))}")
    torch = have_torchvision()
    if not torch:
        print("there is no torchvision here: without it")
    rows = [pipeline(name, torch, args) for name in args.pipelines or names]
    results = {
        "machine": machine.describe(),
        "rounds": args.rounds,
        "seconds": args.seconds,
        "pipelines": rows,
        "share": None if args.pipelines else share(args),
    }
    for name, table in tables(results).items():
        print(f"\n{name}\n\n{table}")
    report.save(args.out, "augment", results)


if __name__ == "__main__":
    main()
