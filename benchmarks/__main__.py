"""This program measures the native kernels beside their NumPy twins, on this machine.

    python -m benchmarks                      the kernels and the train steps of MNIST
    python -m benchmarks "train step" conv    only the cases whose names contain one of these

Each side runs in its own process with the same number of threads. The sides take turns, and the one
that waits is stopped. A figure is the median over the rounds of the median of single calls. The
program writes the table, everything measured as JSON, and a bar chart. Two more programs compare
with PyTorch:

    python -m benchmarks.versus_torch         train steps against PyTorch
    python -m benchmarks.kernels              more kernels, also against PyTorch and the machine
"""

import json
import tempfile
from pathlib import Path

import minidl as md

from . import arguments, compare, machine, report, workloads
from .cases import sample_cases, train_cases

NETWORKS = ["mlp-bn", "mnist-cnn"]


def main() -> None:
    parser = arguments.parser("benchmarks", __doc__)
    parser.add_argument("only", nargs="*", help="parts of the names of the cases to run")
    arguments.add(
        parser, "threads", "rounds", "seconds", "out", seconds=0.2, threads=md.get_num_threads()
    )
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="minidl-benchmark-") as folder:
        cases = [
            case
            for case in [*train_cases(NETWORKS, Path(folder)), *sample_cases()]
            if not args.only or any(part in case.name for part in args.only)
        ]
        if not cases:
            parser.error(f"no case has {' or '.join(args.only)} in its name")
        workloads.write(NETWORKS, Path(folder))

        about = machine.describe()
        can = {**machine.sgemm_peaks(args.threads), **machine.copy_peaks(args.threads)}
        print(
            f"{about['cpu']}, {args.threads} threads, kernels {about['isa']}, "
            f"NumPy {about['numpy']}, {about['date']}"
        )
        print(", ".join(f"{name}: {value:.0f}" for name, value in can.items()), "\n")
        print(report.table(report.NUMPY_HEAD), flush=True)

        rows = []
        with compare.native(args.threads) as ours, compare.numpy(args.threads) as numpy:
            for case in cases:
                losses = {"ours": ours.prepare(case), "numpy": numpy.prepare(case)}
                row = {
                    "case": case.name,
                    "work": case.work,
                    "unit": case.unit,
                    "losses": losses,
                    **compare.alternate(ours, {"numpy": numpy}, args.rounds, args.seconds),
                }
                report.rates(row, can)
                print(report.line(report.numpy_cells(row)), flush=True)
                rows.append(row)
    print("\n" + "\n".join(report.losses_text(rows)))

    args.out.mkdir(parents=True, exist_ok=True)
    name = "numpy"
    (args.out / f"{name}.json").write_text(
        json.dumps({"machine": about, "threads": args.threads, "can": can, "rows": rows}, indent=1)
    )
    title = f"minidl against NumPy: {about['cpu']}, {args.threads} threads, {about['date']}"
    report.draw(rows, title, args.out / f"{name}.png")
    print(f"saved {args.out / name}.json and .png")


if __name__ == "__main__":
    main()
