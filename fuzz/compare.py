"""This module decides whether two results are the same up to rounding."""

from typing import Any

import numpy as np

from .values import arrays_in
from .watch import Fault


def check_shapes(got: Any, want: Any) -> None:
    """Raise Fault unless both results hold the same arrays, by number, shapes and kinds of
    dtype.
    """
    a, b = arrays_in(got), arrays_in(want)
    if [x.shape for x in a] != [x.shape for x in b]:
        raise Fault("shape", f"shapes {[x.shape for x in a]}, right {[x.shape for x in b]}")


def outside(got: np.ndarray, want: np.ndarray, tolerance: Any) -> np.ndarray:
    """Return where `got` differs from `want` by more than the tolerance. NaN equals NaN, and
    infinity equals itself.
    """
    if got.dtype.kind not in "biufc" or want.dtype.kind not in "biufc":
        return got != want  # texts, for NumPy can add these too
    with np.errstate(all="ignore"):
        wide, right = got.astype(np.longdouble), want.astype(np.longdouble)
        near = np.abs(wide - right) <= tolerance
        return ~(near | (wide == right) | (np.isnan(wide) & np.isnan(right)))


def report(name: str, got: np.ndarray, want: np.ndarray, bad: np.ndarray) -> Fault:
    """Return a fault of the kind "difference" that shows the first of the wrong values."""
    at = tuple(map(int, np.argwhere(bad)[0]))
    return Fault(
        "difference",
        f"{name}: {int(bad.sum())} of {bad.size} values; at {at} "
        f"{got[at]!r}, right {want[at]!r}; shape {got.shape}",
    )
