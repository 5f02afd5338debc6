"""This program compares minidl's train steps with PyTorch's, on this machine.

    make versus-torch                             sets up an environment with PyTorch, runs all
    python -m benchmarks.versus_torch resnet20    some, where PyTorch is installed
    python -m benchmarks.versus_torch --threads-scaling
                                                  minidl against itself on one thread instead

Both sides start from the same weights and see the same batches of 128 images, with SGD with
momentum in float32. A step is the forward pass, the loss, zeroing the gradients, the backward pass,
the optimizer and reading the loss's value. Each side, and each mode of PyTorch, runs each workload
in a process of its own, with the same number of threads. They take turns: minidl, a mode, minidl,
the next mode; those that wait are stopped. A time is the median over the rounds of the median of
single steps, and a ratio is taken between neighbours. The fastest mode of PyTorch is the peer. A
process's memory is the most that it held since its start; that of a compiled mode includes the
compiler, which runs in the same process.

BatchNorm with ReLU is measured as well, forward and backward, with the least traffic that it needs
and its share of the measured copy bandwidth (more than 100% where caches hold part of it).
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from . import arguments, compare, machine, report, workloads
from .cases import Case, norm_cases, train_cases
from .compare import Side, alternate, distance, fastest
from .training_file import BATCHES

# Without these settings every large array is given back to the system and requested again, page by
# page.
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**32)}

# Each mode has its memory format, whether it is compiled, and settings of the environment.
MODES: dict[str, tuple[str, str, dict[str, str]]] = {
    "eager": ("contiguous_format", "eager", {}),
    "channels_last": ("channels_last", "eager", {}),
    "compile": ("contiguous_format", "compiled", {}),
    "compile channels_last": ("channels_last", "compiled", {}),
    "channels_last, memory kept": ("channels_last", "eager", KEEP),
    "compile, memory kept": ("contiguous_format", "compiled", KEEP),
    "compile channels_last, memory kept": ("channels_last", "compiled", KEEP),
}
# These are not timed: their losses are what the others' are compared with (see agreement).
REFERENCES: dict[str, tuple[str, str, dict[str, str]]] = {
    "NCHW": ("contiguous_format", "nchw", {}),
    "float64": ("contiguous_format", "float64", {}),
}
NORM = [norm_cases(128, 32, 32, 64)[0], norm_cases(128, 28, 28, 32)[0]]


def torch_side(threads: int, mode: str) -> Side:
    layout, how, environment = {**MODES, **REFERENCES}[mode]
    # Compiling in the process itself leaves no other processes running afterwards.
    return Side(
        "torch_worker",
        str(threads),
        layout,
        how,
        threads=threads,
        TORCHINDUCTOR_COMPILE_THREADS="1",
        **environment,
    )


def torch_losses(case: Case, mode: str, threads: int) -> list[float]:
    with torch_side(threads, mode) as side:
        return side.prepare(case, BATCHES)


def agreement(losses: dict[str, list[float]]) -> dict[str, Any]:
    """Return whether our losses differ from PyTorch's by rounding only.

    Training amplifies differences of rounding, so there are two measures for them: the losses of
    PyTorch itself in two layouts, and those that it computes in float64. `agrees` means that we are
    at most three times as far from its eager NCHW run as its channels_last run is. `as_exact` means
    that we are at most three times as far from its float64 run as its eager NCHW run is. That run
    keeps NCHW throughout. The timed "eager" is what users get: there a network for images of one
    channel (mnist-cnn) runs channels-last whatever one asks for, and PyTorch's BatchNorm of those
    is less exact.
    """
    from_nchw = {side: distance(losses[side], losses["NCHW"]) for side in ("ours", "channels_last")}
    from_float64 = {
        side: distance(losses[side], losses["float64"])
        for side in ("ours", "NCHW", "channels_last")
    }
    return {
        "from_nchw": from_nchw,
        "from_float64": from_float64,
        "agrees": from_nchw["ours"] <= 3 * from_nchw["channels_last"] + 1e-5,
        "as_exact": from_float64["ours"] <= 3 * from_float64["NCHW"] + 1e-5,
    }


def versus(case: Case, modes: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """Measure one case in new processes. A mode that does not work here is noted and left out."""
    steps = BATCHES if case.kind == "train_step" else compare.WARM_UP
    others: dict[str, Side] = {}
    failed: dict[str, str] = {}
    with ExitStack() as open_sides:
        ours = open_sides.enter_context(compare.native(args.threads))
        losses = {"ours": ours.prepare(case, steps)}
        if case.kind == "train_step":
            for mode in {"channels_last", *REFERENCES} - set(modes):
                losses[mode] = torch_losses(case, mode, args.threads)
        for mode in modes:
            side = open_sides.enter_context(torch_side(args.threads, mode))
            try:
                losses[mode] = side.prepare(case, steps)
                others[mode] = side
            except RuntimeError as error:
                failed[mode] = str(error)
                side.close()
        if not others:
            raise SystemExit(f"PyTorch does not run {case.name} in any mode: {failed}")
        row = alternate(ours, others, args.rounds, args.seconds)
        about = next(iter(others.values())).about
    return {
        "case": case.name,
        "work": case.work,
        "unit": case.unit,
        "torch": about,
        "failed": failed,
        "losses": losses,
        "peer": fastest(row["others"]),
        **row,
    }


def scaling(case: Case, args: argparse.Namespace) -> dict[str, Any]:
    """Compare our time with all threads with our time with one."""
    with compare.native(args.threads) as ours, compare.native(1) as one:
        losses = {"ours": ours.prepare(case, BATCHES), "1 thread": one.prepare(case, BATCHES)}
        row = alternate(ours, {"1 thread": one}, args.rounds, args.seconds)
    return {
        "case": case.name,
        "losses": losses,
        "same_losses": losses["ours"] == losses["1 thread"],
        **row,
    }


def compare_threads(cases: list[Case], args: argparse.Namespace) -> dict[str, Any]:
    """Run and print the comparison with one thread, and return what is saved."""
    print(
        report.table(
            ["", f"{args.threads} threads", "1 thread", "ratio", "rounds", "the same losses"]
        ),
        flush=True,
    )
    rows = []
    for case in cases:
        rows.append(scaling(case, args))
        print(report.line(report.scaling_cells(rows[-1])), flush=True)
    return {"rows": rows}


def compare_torch(
    cases: list[Case], sources: dict[str, str], args: argparse.Namespace
) -> dict[str, Any]:
    """Run and print the comparison with PyTorch, and return what is saved."""
    can = machine.copy_peaks(args.threads)
    print(", ".join(f"{name}: {value:.0f}" for name, value in can.items()), flush=True)
    rows = []
    for case in cases:
        row = versus(case, args.modes, args)
        rows.append(row)
        if case.kind == "train_step":
            row["images"] = sources[case.arguments[0]]
            row["agreement"] = agreement(row["losses"])
            print(report.agreement_text(row), flush=True)
        report.rates(row, can)
        for mode, why in row["failed"].items():
            print(f"{case.name}: PyTorch's {mode} does not work here: {why}")
        print(f"{case.name}: {row['others'][row['peer']]['ratio']['median']:.2f}x\n", flush=True)

    steps = [row for row in rows if row["losses"]["ours"]]
    norms = [row for row in rows if not row["losses"]["ours"]]
    print(
        report.table(
            ["every mode of PyTorch", *args.modes],
            [report.modes_cells(row, args.modes) for row in rows],
        ),
        "\n",
    )
    result: dict[str, Any] = {"can": can, "rows": rows}
    if norms:
        print(report.table(report.NORM_HEAD, [report.norm_cells(row) for row in norms]), "\n")
    if steps:
        print(report.table(report.TORCH_HEAD, [report.torch_cells(row) for row in steps]))
        result["geometric_mean"] = statistics.geometric_mean(
            [row["others"][row["peer"]]["ratio"]["median"] for row in steps]
        )
        print(f"\ngeometric mean of the train steps' ratios: {result['geometric_mean']:.2f}x")
    return result


def main() -> None:
    names = list(workloads.WORKLOADS)
    parser = arguments.parser("benchmarks.versus_torch", __doc__)
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="workload",
        help=f"of {', '.join(names)}, and batchnorm; all without any",
    )
    arguments.add(parser, "threads", "rounds", "seconds", "out", seconds=1.0)
    parser.add_argument(
        "--modes",
        nargs="+",
        choices=MODES,
        default=list(MODES),
        metavar="MODE",
        help=f"of PyTorch: {'; '.join(MODES)}",
    )
    parser.add_argument(
        "--threads-scaling",
        action="store_true",
        help="minidl on all threads against minidl on one, instead of PyTorch",
    )
    args = parser.parse_args()
    wanted = args.workloads or [*names, "batchnorm"]
    if unknown := set(wanted) - {*names, "batchnorm"}:
        parser.error(f"unknown workload: {', '.join(sorted(unknown))}")
    if args.threads_scaling and args.threads < 2:
        parser.error("--threads-scaling compares --threads with one: it needs at least 2")
    if not args.threads_scaling and importlib.util.find_spec("torch") is None:
        parser.error("PyTorch is not installed here; `make versus-torch` sets it up and runs this")

    chosen = [name for name in names if name in wanted]
    with tempfile.TemporaryDirectory(prefix="minidl-benchmark-") as folder:
        sources = workloads.write(chosen, Path(folder))
        cases = train_cases(chosen, Path(folder))
        about = machine.describe()
        print(f"{about['cpu']}, {args.threads} threads, kernels {about['isa']}, {about['date']}")
        if args.threads_scaling:
            name, result = "threads", compare_threads(cases, args)
        else:
            name = "torch"
            result = compare_torch(cases + NORM * ("batchnorm" in wanted), sources, args)

    about |= {"torch": result["rows"][0]["torch"]} if name == "torch" else {}
    report.save(
        args.out,
        name,
        {
            "machine": about,
            "threads": args.threads,
            "rounds": args.rounds,
            "seconds": args.seconds,
            **result,
        },
    )


if __name__ == "__main__":
    main()
