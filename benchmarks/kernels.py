"""This program compares each kernel with what this machine can do, with PyTorch and with NumPy.

    python -m benchmarks.kernels
    python -m benchmarks.kernels --only "conv 3x3" matmul     names that contain one of these;
                                                              saved in another --out alone
    .venv-parity/bin/python -m benchmarks.kernels             with PyTorch, after `make parity`

Where PyTorch is installed, it runs the same shapes channels-last and eagerly, and keeps its memory;
a fresh array for every call would measure the system's page faults instead of the kernel. Each side
runs in its own process with the same number of threads. The sides take turns, and those that wait
are stopped.

"of peak" is the share of the multiply-adds that the CPU can do on registers (fma.c), or of the
bandwidth of copying 256 MiB. Arrays that fit into caches are faster than that. For convolutions the
operations of the textbook's formula are counted, of which Winograd does less than a third, so that
it may reach more than 100%.
"""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack

from . import arguments, compare, machine, report
from .cases import network_cases
from .versus_torch import torch_side


def main() -> None:
    parser = arguments.parser("benchmarks.kernels", __doc__)
    arguments.add_only(parser)
    parser.add_argument(
        "--without", nargs="+", choices=["torch", "numpy"], default=[], help="sides to leave out"
    )
    arguments.add(parser, "threads", "rounds", "seconds", "out", seconds=0.2)
    args = parser.parse_args()
    cases = [case for case in network_cases() if any(part in case.name for part in args.only)]
    if not cases:
        parser.error(f"no case has {' or '.join(args.only)} in its name")

    about = machine.describe()
    can = {**machine.fma_peak(args.threads), **machine.copy_peaks(args.threads)}
    rows = []
    others = {}
    with ExitStack() as open_sides:
        ours = open_sides.enter_context(compare.native(args.threads))
        if "torch" not in args.without and importlib.util.find_spec("torch"):
            others["torch"] = open_sides.enter_context(
                torch_side(args.threads, "channels_last, memory kept")
            )
            about["torch"] = others["torch"].about
        if "numpy" not in args.without:
            others["numpy"] = open_sides.enter_context(compare.numpy(args.threads))
        if not others:
            parser.error("there is no other side to compare with")
        print(f"{about['cpu']}, {args.threads} threads, kernels {about['isa']}, {about['date']}")
        print(", ".join(f"{name}: {value:.0f}" for name, value in can.items()), "\n")
        print(report.table(report.KERNEL_HEAD), flush=True)
        for case in cases:
            for side in (ours, *others.values()):
                side.prepare(case)
            row = {
                "case": case.name,
                "work": case.work,
                "unit": case.unit,
                **compare.alternate(ours, others, args.rounds, args.seconds),
            }
            report.rates(row, can)
            print(report.line(report.kernel_cells(row)), flush=True)
            rows.append(row)

    print()
    if not arguments.may_replace(args.only, args.out):
        print(f"not saved: {args.out} has the results of all cases; --out names another folder")
        return
    report.save(
        args.out,
        "kernels",
        {
            "machine": about,
            "threads": args.threads,
            "rounds": args.rounds,
            "seconds": args.seconds,
            "can": can,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
