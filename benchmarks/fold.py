"""What folding brings: a trained ResNet-20 with its BatchNorms and folded, on CIFAR-10.

    python -m benchmarks.fold --model cifar10.safetensors --data FOLDER

The model is one that `make cifar10` wrote. First the outputs and the accuracy of both on the test
images, then the time of a forward pass at batch 1 and 128: each side in a process of its own, in
turn, the waiting one stopped; medians of rounds.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import minidl as md
from examples.cifar10 import normalize
from minidl import data, models, nn

from . import arguments, compare, machine, report
from .cases import Case

BATCHES = (1, 128)


def trained(path: str) -> nn.Layer:
    model = models.ResNet20()
    model.load_state_dict(md.load(path))
    return model.eval()


def outputs(model: nn.Layer, folder: str | None) -> dict[str, Any]:
    """How far the folded model's logits are from the model's, and the accuracy of both."""
    test = data.CIFAR10(folder, split="test")
    images = normalize(test.images.astype(np.float32) / 255)
    folded = nn.fold(model, images[:1])
    one, other = model.predict(images), folded.predict(images)
    exact = model.astype(np.float64).predict(images[:1000].astype(np.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folded64 = nn.fold(model, images[:1].astype(np.float64))
    exact_folded = folded64.predict(images[:1000].astype(np.float64))
    return {"images": len(test), "distance": _distance(one, other),
            "distance in float64": _distance(exact, exact_folded),
            "accuracy": float(md.accuracy(one, test.labels)),
            "accuracy, folded": float(md.accuracy(other, test.labels))}


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(a).max())


def time_both(path: str, batch: int, args: argparse.Namespace) -> dict[str, Any]:
    """Figures of the folded model beside the other."""
    with compare.native(args.threads) as folded, compare.native(args.threads) as plain:
        sums = [side.prepare(Case("", "inference", (path, fold, batch)))[0]
                for side, fold in ((folded, True), (plain, False))]
        if abs(sums[0] - sums[1]) > 1e-4 * abs(sums[1]):
            raise RuntimeError(f"the two models compute different things: {sums}")
        found = compare.alternate(folded, {"plain": plain}, args.rounds, args.seconds)
    return {"batch": batch, **found}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fold", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cifar10.safetensors", help="(default: %(default)s)")
    parser.add_argument("--data", help="folder with CIFAR-10; default: MINIDL_DATA, or a download")
    arguments.add(parser, "threads", "rounds", "seconds", "out", seconds=1.0)
    args = parser.parse_args()
    md.set_num_threads(args.threads)
    about = machine.describe(threads=args.threads)
    print(f"{about['cpu']}, {args.threads} threads, {about['date']}\n")
    same = outputs(trained(args.model), args.data)
    print(f"{same['images']:,} images: logits within {same['distance']:.1e} of their maximum "
          f"({same['distance in float64']:.1e} in float64, of 1,000), "
          f"accuracy {same['accuracy']:.4f}, folded {same['accuracy, folded']:.4f}\n")
    print("| batch | with BatchNorm | folded | times faster | rounds |\n|---|---|---|---|---|")
    rows = []
    for batch in BATCHES:
        row = time_both(str(Path(args.model).resolve()), batch, args)
        plain = row["others"]["plain"]
        ratio = plain["ratio"]
        print(f"| {batch} | {plain['median'] * 1e3:.2f} ms | {row['ours']['median'] * 1e3:.2f} ms "
              f"| {ratio['median']:.2f} | {ratio['min']:.2f}-{ratio['max']:.2f} |", flush=True)
        rows.append(row)
    report.save(args.out, "fold", {"machine": about, "outputs": same, "rows": rows})


if __name__ == "__main__":
    main()
