"""Einstein summation, composed of other operations, which also give its gradient."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import kernels
from ..tensor import Tensor
from .common import as_tensor, same_float
from .indexing import getitem
from .linalg import matmul
from .math import multiply
from .reduce import sum as sum_of
from .shape import reshape, transpose


def einsum(subscripts: str, *operands: Any) -> Tensor:
    """Sums of products of the operands' values, as NumPy's: "ij,jk->ik" is a matrix product.

    Each letter names an axis. Axes that the output does not name are summed over; a letter that an
    operand has twice takes its diagonal; "..." stands for leading axes that broadcast. Without
    "->" the output names, in alphabetical order, the letters that occur once. Operands are
    contracted from left to right, each pair by a matrix product.

    ValueError for subscripts that do not fit the operands, TypeError for operands that are not of
    one float dtype.

    >>> a, b = md.tensor([[1., 2.], [3., 4.]]), md.tensor([[0., 1.], [1., 0.]])
    >>> md.einsum("ij,jk->ik", a, b)
    tensor([[2., 1.],
            [4., 3.]])
    >>> md.einsum("ii", a)
    tensor(5.)
    """
    if not isinstance(subscripts, str):
        raise TypeError(f"einsum: subscripts must be a string, got {type(subscripts).__name__}")
    tensors = [as_tensor(x, "einsum", f"operand {k}") for k, x in enumerate(operands)]
    if not tensors:
        raise ValueError("einsum: needs at least one operand")
    for k, t in enumerate(tensors):
        if t.dtype.kind != "f":
            raise TypeError(f"einsum: operand {k} must be float32 or float64, got {t.dtype}")
    same_float("einsum", **{f"operand_{k}": t for k, t in enumerate(tensors)})
    names, output = _parse(subscripts, tensors)
    sizes = _check_sizes(subscripts, names, tensors)
    kernels.check_shape("einsum", tuple([sizes[c] for c in output]), tensors[0].dtype)
    terms = [_diagonal(t, n) for t, n in zip(tensors, names, strict=True)]
    result, have = terms[0]
    for k, (t, n) in enumerate(terms[1:], 1):
        needed = set(output).union(*(n for _, n in terms[k + 1 :]))
        result, have = _contract(result, have, t, n, needed)
    result, have = _sum_out(result, have, set(output))
    return transpose(result, [have.index(c) for c in output])


def _parse(subscripts: str, tensors: Sequence[Tensor]) -> tuple[list[str], str]:
    """The letters for the axes of each operand, and of the output; "..." becomes letters too."""
    text = subscripts.replace(" ", "")
    inputs, arrow, output = text.partition("->")
    names = inputs.split(",")
    if len(names) != len(tensors):
        raise ValueError(
            f"einsum: {subscripts!r} names {len(names)} operand(s), got {len(tensors)}"
        )
    for part in (*names, output):
        letters = part.replace("...", "", 1)
        if not all(c in string.ascii_letters for c in letters):
            raise ValueError(
                f'einsum: {subscripts!r} may have letters, commas, "..." and one "->" only'
            )
    spare = [c for c in string.ascii_letters if c not in text]
    extra = max(
        (
            t.ndim - len(n.replace("...", ""))
            for t, n in zip(tensors, names, strict=True)
            if "..." in n
        ),
        default=0,
    )
    if extra > len(spare):
        raise ValueError(f"einsum: too many axes in {subscripts!r}")
    dots = spare[: max(extra, 0)]

    def named(k: int, n: str, t: Tensor) -> str:
        count = t.ndim - len(n.replace("...", ""))
        if count < 0 or (count and "..." not in n):
            raise ValueError(
                f"einsum: {n!r} names {len(n.replace('...', ''))} axes, operand {k} "
                f"has shape {t.shape}"
            )
        return n.replace("...", "".join(dots[len(dots) - count :]))

    full = [named(k, n, t) for k, (n, t) in enumerate(zip(names, tensors, strict=True))]
    joined = "".join(names).replace(".", "")
    if not arrow:
        output = "..." + "".join(c for c in sorted(set(joined)) if joined.count(c) == 1)
    elif dots and "..." not in output:
        raise ValueError(f'einsum: the output of {subscripts!r} must have "..." too')
    if len(set(output.replace("...", ""))) < len(output.replace("...", "")):
        raise ValueError(f"einsum: the output of {subscripts!r} names an axis twice")
    for c in output.replace("...", ""):
        if c not in joined:
            raise ValueError(f"einsum: no operand of {subscripts!r} has the output's axis {c!r}")
    return full, output.replace("...", "".join(dots))


def _check_sizes(
    subscripts: str, names: Sequence[str], tensors: Sequence[Tensor]
) -> dict[str, int]:
    """The length of each axis, which must be the same in all operands or 1, which broadcasts."""
    sizes: dict[str, int] = {}
    for n, t in zip(names, tensors, strict=True):
        for c, length in zip(n, t.shape, strict=True):
            before = sizes.setdefault(c, length)
            if before == 1:
                sizes[c] = length
            elif length not in (1, before):
                raise ValueError(
                    f"einsum: axis {c!r} of {subscripts!r} has lengths {before} and "
                    f"{length}: shapes {', '.join(str(t.shape) for t in tensors)}"
                )
    return sizes


def _diagonal(t: Tensor, names: str) -> tuple[Tensor, str]:
    """The operand and its letters, with diagonals taken so that each letter occurs once."""
    for c in dict.fromkeys(names):
        places = [i for i, d in enumerate(names) if d == c]
        if len(places) > 1:
            lengths = {t.shape[i] for i in places}
            if len(lengths) > 1:
                raise ValueError(
                    f"einsum: axis {c!r} has different lengths in one operand of shape {t.shape}"
                )
            order = [*(i for i in range(t.ndim) if i not in places), *places]
            t = transpose(t, order)
            along = np.arange(lengths.pop())
            t = getitem(t, (..., *(along for _ in places)))
            names = "".join(names[i] for i in order[: -len(places)]) + c
    return t, names


def _contract(
    a: Tensor, names_a: str, b: Tensor, names_b: str, needed: set[str]
) -> tuple[Tensor, str]:
    """The product of two operands, summed over the axes that are not needed any more."""
    a, names_a = _sum_out(a, names_a, needed.union(names_b))
    b, names_b = _sum_out(b, names_b, needed.union(names_a))
    # An axis along which one operand broadcasts (length 1) cannot be an axis of a matrix product.
    shared = [c for c in names_a if c in names_b]
    same_lengths = all(a.shape[names_a.index(c)] == b.shape[names_b.index(c)] for c in shared)
    inner = [c for c in shared if c not in needed]
    if not inner or not same_lengths:
        both = [*names_a, *(c for c in names_b if c not in names_a)]
        product = multiply(_aligned(a, names_a, both), _aligned(b, names_b, both))
        return _sum_out(product, "".join(both), needed)
    stacks = [c for c in shared if c in needed]
    rows = [c for c in names_a if c not in shared]
    cols = [c for c in names_b if c not in shared]
    left = _grouped(a, names_a, (stacks, rows, inner))
    right = _grouped(b, names_b, (stacks, inner, cols))
    names = "".join([*stacks, *rows, *cols])
    shape_of = {
        **dict(zip(names_b, b.shape, strict=True)),
        **dict(zip(names_a, a.shape, strict=True)),
    }
    return reshape(matmul(left, right), tuple(shape_of[c] for c in names)), names


def _sum_out(t: Tensor, names: str, needed: set[str]) -> tuple[Tensor, str]:
    gone = tuple(i for i, c in enumerate(names) if c not in needed)
    return (sum_of(t, gone), "".join(c for c in names if c in needed)) if gone else (t, names)


def _aligned(t: Tensor, names: str, axes: Sequence[str]) -> Tensor:
    """t with its axes in the order of `axes`, and an axis of length 1 for each that it lacks."""
    t = transpose(t, [names.index(c) for c in axes if c in names])
    lengths = iter(t.shape)
    return reshape(t, tuple(next(lengths) if c in names else 1 for c in axes))


def _grouped(t: Tensor, names: str, groups: Sequence[Sequence[str]]) -> Tensor:
    """t with each group of axes as one axis."""
    shape = [math.prod(t.shape[names.index(c)] for c in group) for group in groups]
    return reshape(transpose(t, [names.index(c) for group in groups for c in group]), tuple(shape))
