"""Native kernels against their NumPy twins, on this machine.

    python -m benchmarks                      every kernel and the train steps
    python -m benchmarks "train step" conv    only the cases whose names contain one of these

Each side runs in its own process with the same number of threads, in turn, the waiting one
stopped; a figure is the median over the rounds of the median of single calls. Writes the table,
everything measured as JSON, and a bar chart.
"""

import argparse
import json
from pathlib import Path

import minidl as md

from . import machine, report
from .cases import all_cases
from .compare import compare


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", help="parts of the names of the cases to run")
    parser.add_argument("--threads", type=int, default=md.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each case, side and round")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    cases = {c.name: c for c in all_cases()
             if not args.only or any(part in c.name for part in args.only)}
    if not cases:
        parser.error(f"no case has {' or '.join(args.only)} in its name")

    about, can = machine.describe(), machine.peaks(args.threads)
    print(f"{about['cpu']}, {args.threads} threads, kernels {about['isa']}, "
          f"NumPy {about['numpy']}, {about['date']}")
    print(", ".join(f"{name}: {value:.0f}" for name, value in can.items()), "\n")
    print(report.HEADER, flush=True)

    def show(row: dict) -> None:
        case = cases[row["case"]]
        row["unit"], row["rate"] = case.unit, case.work / row["native"]["median"] / 1e9
        print(report.line(row), flush=True)

    rows = compare(list(cases), args.threads, args.rounds, args.seconds, show)
    print("\n" + "\n".join(report.losses_text(rows)))

    args.out.mkdir(parents=True, exist_ok=True)
    name = "numpy"
    (args.out / f"{name}.json").write_text(json.dumps(
        {"machine": about, "threads": args.threads, "can": can, "rows": rows}, indent=1))
    title = f"minidl against NumPy: {about['cpu']}, {args.threads} threads, {about['date']}"
    report.draw(rows, title, args.out / f"{name}.png")
    print(f"saved {args.out / name}.json and .png")


if __name__ == "__main__":
    main()
