"""This program measures the rounding errors of the native kernels and of PyTorch, against NumPy in
float64.

    .venv-parity/bin/python -m benchmarks.accuracy                  after `make parity`
    .venv-parity/bin/python -m benchmarks.accuracy --only winograd variance --out errors.md

It measures every kernel that rounds more than once for a value, on float32 inputs of six kinds. A
cell of the table has our error and PyTorch's; each is the worst of three draws. An error is
max|y - y64| / max|y64|, the worst of a kernel's results. For variances, exp, log, tanh and sigmoid
it is max(|y - y64| / |y64|), where values below the smallest normal float32 count as that value,
and where float32 cannot hold a value the result must be infinite. These are the claims:

    direct      at most 4 times PyTorch's error, plus one rounding of float32
    winograd    at most 1e-5
    variance    at most 1e-4

The last column names the kinds of inputs for which a claim fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

import minidl as md

from . import accuracy_cases, arguments, machine, report
from .accuracy_cases import KINDS, Arrays, Case, all_cases

ROUNDING = 2.0**-24
DRAWS = 3  # the largest error of a single draw is partly luck
SMALLEST = float(np.finfo(np.float32).tiny)
HEAD = ["error of minidl / PyTorch", "claim", *KINDS, "holds"]


def error(got: Arrays, want: Arrays, pointwise: bool) -> float:
    """Return the largest error of one or several results. It is infinite where one is not a
    number.
    """
    if isinstance(got, tuple) and isinstance(want, tuple):
        return max(error(a, b, pointwise) for a, b in zip(got, want, strict=True))
    got, want = np.asarray(got), np.asarray(want)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        single = want.astype(np.float32)
        beyond = np.isinf(single) & (got.dtype == np.float32)
        if (got != single)[beyond].any():
            return np.inf
        got, want = got[~beyond].astype(np.float64), want[~beyond]
        size = np.maximum(np.abs(want), SMALLEST if pointwise else np.abs(want).max(initial=0))
        worst = float(np.where(got == want, 0, np.abs(got - want) / size).max(initial=0))
    return np.inf if np.isnan(worst) else worst


def holds(claim: str, ours: float, theirs: float) -> bool:
    limit = {"direct": 4 * theirs + ROUNDING, "winograd": 1e-5, "variance": 1e-4}[claim]
    return bool(np.isfinite(ours) and ours <= limit)


def errors(case: Case, kind: str, sides: Sequence[ModuleType]) -> list[float]:
    """Return the errors of each side, the worst of a few draws. A side is a module that has the
    cases' functions.
    """
    worst = [0.0] * len(sides)
    for number in range(DRAWS):
        arrays = case.draw(kind, number)
        with np.errstate(all="ignore"):
            with md.use_backend("numpy"):
                want = getattr(accuracy_cases, case.function)(
                    *(array.astype(np.float64) for array in arrays), **case.options
                )
            for i, side in enumerate(sides):
                got = getattr(side, case.function)(*arrays, **case.options)
                worst[i] = max(worst[i], error(got, want, case.pointwise))
    return worst


def row(case: Case, found: dict[str, list[float]]) -> list[str]:
    """Return a line of the table, in which errors beyond a claim are printed in bold."""
    cells, failed = [], []
    for kind, (ours, theirs) in found.items():
        good = holds(case.claim, ours, theirs)
        cells.append(f"{f'{ours:.1e}' if good else f'**{ours:.1e}**'} / {theirs:.1e}")
        if not good:
            failed.append(kind)
    return [case.name, case.claim, *cells, f"NO: {', '.join(failed)}" if failed else "yes"]


def main() -> None:
    parser = arguments.parser("benchmarks.accuracy", __doc__)
    arguments.add_only(parser)
    parser.add_argument("--out", type=Path, help="folder for the table, accuracy.md")
    args = parser.parse_args()
    cases = [case for case in all_cases() if any(part in case.name for part in args.only)]
    if not cases:
        parser.error(f"no case has {' or '.join(args.only)} in its name")
    try:
        import torch

        from . import torch_accuracy
    except ImportError:
        parser.error("this needs PyTorch: `make parity` installs it")

    held = 0
    lines = [
        f"minidl {md.__version__}, kernels {md.kernels.isa}; PyTorch {torch.__version__}; "
        f"{machine.describe()['cpu']}",
        "",
        report.table(HEAD),
    ]
    print("\n".join(lines), flush=True)
    for case in cases:
        found = {kind: errors(case, kind, (accuracy_cases, torch_accuracy)) for kind in KINDS}
        cells = row(case, found)
        held += cells[-1] == "yes"
        lines.append(report.line(cells))
        print(lines[-1], flush=True)
    lines += ["", f"The claim holds in {held} of {len(cases)} lines."]
    print("\n".join(lines[-2:]))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "accuracy.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
