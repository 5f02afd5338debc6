"""This program measures what the options of BatchNorm cost in relu(bn(x) + shortcut), forward and
backward.

    python -m benchmarks.norm_options

Each option runs in a process of its own, in turn with a plain BatchNorm; the one that waits is
stopped. The figures are medians of the rounds. Masks count nine tenths of the positions, which are
chosen at random, or are all but the end of each image, as in sequences of different lengths.
"""

from __future__ import annotations

from . import arguments, compare, machine, report
from .cases import Case
from .minidl_cases import NORM_OPTIONS

SHAPE = (128, 28, 28, 32)


def main() -> None:
    parser = arguments.parser("benchmarks.norm_options", __doc__)
    arguments.add(parser, "threads", "rounds", "seconds", "out", seconds=0.5)
    args = parser.parse_args()
    about = machine.describe(threads=args.threads)
    print(f"{about['cpu']}, {args.threads} threads, {about['date']}, {SHAPE}\n")
    print("| option | times the time of plain | rounds |\n|---|---|---|")
    rows = {}
    for name in NORM_OPTIONS:
        with compare.native(args.threads) as plain, compare.native(args.threads) as other:
            plain.prepare(Case("", "norm_option", ("plain", *SHAPE)))
            other.prepare(Case("", "norm_option", (name, *SHAPE)))
            found = compare.alternate(plain, {name: other}, args.rounds, args.seconds)
        ratio = found["others"][name]["ratio"]
        print(
            f"| {name} | {ratio['median']:.2f} | {ratio['min']:.2f}-{ratio['max']:.2f} |",
            flush=True,
        )
        rows[name] = found
    report.save(args.out, "norm_options", {"machine": about, "rows": rows})


if __name__ == "__main__":
    main()
