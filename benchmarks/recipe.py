"""This program compares a step of the recipe cifar10-fast with the same step in PyTorch, on this
machine.

    make versus-torch ARGS="..." sets up an environment with PyTorch; there
    python -m benchmarks.recipe                     both modes of PyTorch
    python -m benchmarks.recipe --batch 500

A step is forward, summed loss, backward, Muon on the filters and Nesterov's SGD on the rest. Both
sides start from the same weights and get the same batches of CIFAR-10, which are normalized
beforehand, outside of the measured time. Their losses must agree. Each side runs in a process of
its own, in turn, as in `benchmarks.versus_torch`. The time of a whole training is that of a step
times the number of steps.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

import minidl as md
from minidl import data
from minidl.data import transforms as T
from minidl.train import recipes
from minidl.train.task import Task

from . import arguments, compare, machine, report, training_file
from .cases import Case
from .compare import alternate, distance, fastest
from .versus_torch import MODES, torch_side

BATCHES = 4
TRAINING = [name for name in MODES if "channels_last" in name]
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def write(path: Path, batch: int) -> int:
    """Write the file from which both sides start, and return the number of steps of the recipe."""
    pictures = data.CIFAR10(split="train")
    images, labels = pictures.images[: batch * BATCHES], pictures.labels[: batch * BATCHES]
    normalize = T.Normalize(MEAN, STD)
    recipe = recipes.create("cifar10-fast", batch_size=batch)
    assert recipe.epochs is not None
    task = Task("cifar10", pictures, None, None, pictures.classes, (32, 32, 3))
    md.manual_seed(0)
    model = recipe.build_model(task)
    recipe.prepare(model, task, normalize)
    normalized = normalize(images.astype(np.float32) / 255)
    training_file.write(path, model.state_dict(), normalized, labels)
    return recipe.epochs * (len(pictures) // batch)


def main() -> None:
    parser = arguments.parser("benchmarks.recipe", __doc__)
    arguments.add(parser, "threads", "rounds", "seconds", "out", seconds=6.0)
    parser.add_argument("--batch", type=arguments.at_least_one, default=1000)
    parser.add_argument(
        "--modes",
        nargs="+",
        choices=MODES,
        default=TRAINING,
        metavar="MODE",
        help=f"of PyTorch: {'; '.join(MODES)}",
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="minidl-benchmark-") as folder, ExitStack() as sides:
        path = Path(folder) / "recipe.npz"
        steps = write(path, args.batch)
        case = Case("step cifar10-fast", "recipe_step", (str(path), args.batch))
        about = machine.describe()
        print(f"{about['cpu']}, {args.threads} threads, kernels {about['isa']}, {about['date']}")
        ours = sides.enter_context(compare.native(args.threads))
        losses = {"ours": ours.prepare(case, BATCHES)}
        others = {}
        for mode in args.modes:
            others[mode] = sides.enter_context(torch_side(args.threads, mode))
            losses[mode] = others[mode].prepare(case, BATCHES)
        row = alternate(ours, others, args.rounds, args.seconds)
    row = {
        "case": case.name,
        "losses": losses,
        "torch": next(iter(others.values())).about,
        "peer": fastest(row["others"]),
        "steps": steps,
        **row,
    }
    for mode in args.modes:
        print(f"losses differ from {mode} by {distance(losses['ours'], losses[mode]):.1e}")
    print(report.table(report.TORCH_HEAD, [report.torch_cells(row)]))
    ours_takes, theirs = (
        side["median"] * steps / 60 for side in (row["ours"], row["others"][row["peer"]])
    )
    print(f"{steps} steps: {ours_takes:.1f} minutes, PyTorch {theirs:.1f}")
    report.save(
        args.out,
        "recipe",
        {
            "machine": about,
            "threads": args.threads,
            "rounds": args.rounds,
            "batch": args.batch,
            "rows": [row],
        },
    )


if __name__ == "__main__":
    main()
