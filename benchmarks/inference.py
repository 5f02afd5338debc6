"""This program compares a compiled model with ONNX Runtime, OpenVINO and PyTorch, on this machine.

    make inference                          sets up an environment with all of them, runs all
    python -m benchmarks.inference resnet20 --batch 1 --threads 2
                                            some, where they are installed

All sides have the same weights (which are random, as are the statistics of BatchNorm) and get the
same images, each in the layout that suits it best. Their logits are compared with those in float64,
from which float32 may differ by 1e-4 of the largest. Each side runs in a process of its own with
the same number of threads, and those that wait are stopped. Every side has a turn in each round;
every second round has the reverse order. A time is the median over the rounds of the median of
single calls, and a ratio is taken within a round. The peer is the fastest side in float32. The
table also shows what bfloat16 brings, and minidl's own model in evaluation mode. PyTorch runs
channels-last, once frozen and optimized by TorchScript and once by torch.compile, both with a glibc
that is told to keep its memory.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import minidl as md

from . import arguments, compare, machine, report
from .cases import Case
from .compare import Side
from .inference_worker import SIDES, outputs
from .versus_torch import KEEP
from .workloads import WORKLOADS

MODELS = ("mnist-cnn", "resnet20", "vgg8-bn", "mobile")
BATCHES, THREADS = (1, 128), (2, 1)
OURS = ("minidl", "evaluation mode")
PEERS = tuple(side for side in SIDES if side not in OURS and "bfloat16" not in side)
TOLERANCE = 1e-4


def write(folder: Path, name: str, images: int) -> np.ndarray:
    """Write weights, images and the ONNX file of a model, and return the logits in float64."""
    rng = np.random.default_rng(0)
    md.manual_seed(0)
    model = WORKLOADS[name][0]()
    state = model.state_dict()
    for key, value in state.items():
        low_high = {
            "gamma": (0.5, 1.5),
            "beta": (-0.5, 0.5),
            "running_mean": (-0.5, 0.5),
            "running_var": (0.5, 1.5),
        }.get(key.rpartition(".")[2])
        if low_high:
            state[key] = rng.uniform(*low_high, value.shape).astype(value.dtype)
    model.load_state_dict(state)
    x = rng.random((images, *model.input_shape), np.float32)
    np.savez(folder / f"{name}.npz", **state)
    np.save(folder / f"{name}-images.npy", x)
    md.onnx.export(model.eval(), folder / f"{name}.onnx", x[:1], layout="NCHW")
    return model.astype(np.float64).predict(x.astype(np.float64))


def start(side: str, threads: int) -> Side:
    # OpenVINO sends usage data from a child process and waits for it, unless the variable CI is
    # set.
    return Side(
        "inference_worker",
        side,
        str(threads),
        threads=threads,
        **{
            "PyTorch": {**KEEP, "TORCHINDUCTOR_COMPILE_THREADS": "1"},
            "OpenVINO": {"CI": "true"},
        }.get(side.split()[0], {}),
    )


def case(
    sides: dict[str, Side],
    folder: Path,
    name: str,
    batch: int,
    exact: np.ndarray,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Measure one model and batch size on all sides, which are running. A side that cannot run it
    is noted.
    """
    working, failed, distances = {}, {}, {}
    for side, process in sides.items():
        try:
            process.prepare(Case(name, "inference", (str(folder), name, batch)))
        except RuntimeError as error:
            failed[side] = str(error)
            continue
        working[side] = process
        distances[side] = distance(np.load(outputs(folder, name, batch, side)), exact[:batch])
        if side in (*OURS, *PEERS) and not distances[side] < TOLERANCE:
            raise RuntimeError(
                f"{side} computes something else: its logits of {name} differ by "
                f"{distances[side]:.1e} of the largest"
            )
    row = compare.rotate(working.pop("minidl"), working, args.rounds, args.seconds)
    peers = {side: found for side, found in row["others"].items() if side in PEERS}
    return {
        "case": name,
        "batch": batch,
        "failed": failed,
        "distances": distances,
        "peer": compare.fastest(peers),
        **row,
    }


def distance(logits: np.ndarray, exact: np.ndarray) -> float:
    return float(np.abs(logits - exact).max() / np.abs(exact).max())


def table(found: dict[str, Any]) -> str:
    """Return all rows in Markdown, with the geometric mean over the models for each batch size and
    number of threads.
    """
    groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in found["rows"]:
        groups.setdefault((row["batch"], row["threads"]), []).append(row)
    lines = []
    for (batch, threads), rows in groups.items():
        lines += [cells(row) for row in rows]
        mean = statistics.geometric_mean(ratio_of(row)["median"] for row in rows)
        lines.append(
            [
                "geometric mean",
                str(batch),
                str(threads),
                "",
                "",
                "",
                "",
                f"**{mean:.2f}**",
                "",
                "",
                "",
            ]
        )
    text = report.table(
        [
            "",
            "batch",
            "threads",
            "minidl compiled",
            "ONNX Runtime",
            "OpenVINO",
            "PyTorch",
            "times as fast as the fastest",
            "rounds",
            "OpenVINO bfloat16",
            "minidl, evaluation mode",
        ],
        lines,
    )
    farthest: dict[bool, float] = {}
    for row in found["rows"]:
        for side, far in row["distances"].items():
            narrow = "bfloat16" in side
            farthest[narrow] = max(far, farthest.get(narrow, 0.0))
    return (
        text
        + "\n\nThe logits differ from those of float64 by up to "
        + ", and ".join(
            f"{far:.0e} of the largest in {'bfloat16' if narrow else 'float32'}"
            for narrow, far in sorted(farthest.items())
        )
        + "."
    )


def ratio_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the ratio of the peer's time to ours."""
    return row["others"][row["peer"]]["ratio"]


def cells(row: dict[str, Any]) -> list[str]:
    others, ratio = row["others"], ratio_of(row)

    def time(side: str) -> str:
        if side not in others:
            return ""
        text = milliseconds(others[side])
        return f"**{text}**" if side == row["peer"] else text

    torch = [side for side in PEERS if side.startswith("PyTorch") and side in others]
    fastest_torch = min(torch, key=lambda side: others[side]["median"], default="")
    return [
        row["case"],
        str(row["batch"]),
        str(row["threads"]),
        milliseconds(row["ours"]),
        time("ONNX Runtime"),
        time("OpenVINO"),
        time(fastest_torch),
        f"**{ratio['median']:.2f}**",
        f"{ratio['min']:.2f}-{ratio['max']:.2f}",
        time("OpenVINO bfloat16"),
        time("evaluation mode"),
    ]


def milliseconds(figures: dict[str, Any]) -> str:
    """Return the text of a median with about three digits, and of half of the rounds' range."""
    median = figures["median"] * 1e3
    return (
        f"{median:.{3 if median < 1 else 2 if median < 10 else 1}f} ms "
        f"±{figures['spread'] * 100:.0f}%"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure all cases, print each row as it comes, and return what is saved."""
    rows, about = [], {}
    with tempfile.TemporaryDirectory(prefix="minidl-benchmark-") as name:
        folder = Path(name)
        exact = {model: write(folder, model, max(args.batch)) for model in args.models}
        for threads in args.threads:
            with ExitStack() as open_sides:
                sides = {
                    side: open_sides.enter_context(start(side, threads)) for side in args.sides
                }
                for process in sides.values():
                    about |= {
                        key: value for key, value in process.about.items() if key != "threads"
                    }
                for batch in args.batch:
                    for model in args.models:
                        row = {
                            **case(sides, folder, model, batch, exact[model], args),
                            "threads": threads,
                        }
                        rows.append(row)
                        print(report.line(cells(row)), flush=True)
                        for side, why in row["failed"].items():
                            print(f"{side} does not run {model}: {why}", flush=True)
    return {"versions": about, "rows": rows}


def parsed() -> argparse.Namespace:
    """Return the arguments of the command line, checked."""
    parser = arguments.parser("benchmarks.inference", __doc__)
    parser.add_argument(
        "models", nargs="*", metavar="model", help=f"of {', '.join(MODELS)}; all without any"
    )
    parser.add_argument(
        "--batch",
        nargs="+",
        type=arguments.at_least_one,
        default=BATCHES,
        help="sizes of batches (default: 1 128)",
    )
    parser.add_argument(
        "--threads",
        nargs="+",
        type=arguments.at_least_one,
        default=THREADS,
        help="of each side, one number after the other (default: 2 1)",
    )
    parser.add_argument(
        "--sides",
        nargs="+",
        choices=SIDES,
        default=list(SIDES),
        metavar="SIDE",
        help=f"minidl and at least one float32 peer of {'; '.join(SIDES)} (default: all)",
    )
    arguments.add(parser, "rounds", "seconds", "out", seconds=0.2)
    args = parser.parse_args()
    args.models = args.models or list(MODELS)
    if unknown := set(args.models) - set(MODELS):
        parser.error(f"unknown model: {', '.join(sorted(unknown))}")
    if "minidl" not in args.sides or not set(args.sides) & set(PEERS):
        parser.error(f"--sides needs minidl and one of {'; '.join(PEERS)}")
    missing = {
        package
        for side in args.sides
        if importlib.util.find_spec(package := SIDES[side][1]) is None
    }
    if missing:
        parser.error(
            f"{', '.join(sorted(missing))} not installed here; `make inference` sets up "
            f"an environment and runs this, --sides leaves something out"
        )
    return args


def main() -> None:
    args = parsed()
    about = machine.describe()
    print(f"{about['cpu']}, kernels {about['isa']}, {about['date']}", flush=True)
    found = run(args)
    print("\n" + table(found))
    report.save(
        args.out,
        "inference",
        {"machine": about, "rounds": args.rounds, "seconds": args.seconds, **found},
    )


if __name__ == "__main__":
    main()
