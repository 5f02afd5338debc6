"""Comparisons, and operations on booleans and integers. None of them has a gradient.

The operands of `compare` and `bitwise` are those of `ops.math`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks
from ..hints import for_newcomers
from ..tensor import Tensor
from .common import as_tensor
from .operands import check_broadcast, operands, overflow
from .operation import NoGradient, Operation


class Compare(NoGradient):
    """y = relation(a, b) for a comparison of NumPy's."""

    def forward(self, a: Any, b: Any, relation: np.ufunc) -> np.ndarray:
        return np.asarray(relation(a, b))


class Bitwise(NoGradient):
    """y = operation(a) or operation(a, b) for a NumPy function of booleans or bits."""

    def forward(self, *operands: Any, operation: np.ufunc) -> np.ndarray:
        return np.asarray(operation(*operands))


class FloorDivide(NoGradient):
    """y = floor(a / b), constant between its steps."""

    def forward(self, a: Any, b: Any) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.floor_divide(a, b))


class AnyOf(Operation):
    """y = whether any value over axes is not 0."""

    def forward(self, x: np.ndarray, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
        return np.asarray(np.any(x, axis=axes, keepdims=keepdims))


class AllOf(Operation):
    """y = whether all values over axes are not 0."""

    def forward(self, x: np.ndarray, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
        return np.asarray(np.all(x, axis=axes, keepdims=keepdims))


def compare(relation: np.ufunc, a: Any, b: Any) -> Tensor:
    """Compare element by element with a comparison of NumPy's, broadcast; the result is a bool
    tensor without a gradient. The operators == != < <= > >= call this.

    >>> md.compare(np.less, md.tensor([1., 2.]), 1.5)
    tensor([ True, False], dtype=bool)
    """
    return _binary(Compare, relation.__name__, a, b, relation=relation)


def bitwise(operation: np.ufunc, a: Any, b: Any = None) -> Tensor:
    """Apply a NumPy operation on booleans, or on the bits of integers, element by element,
    broadcast: np.bitwise_and, bitwise_or, bitwise_xor, left_shift, right_shift, or np.invert of `a`
    alone. The operators & | ^ << >> ~ call this; it has no gradient. TypeError for floats.

    >>> x = md.tensor([1., 2., 3.])
    >>> md.bitwise(np.bitwise_and, x > 1, x < 3)
    tensor([False,  True, False], dtype=bool)
    """
    name = operation.__name__
    given = (a,) if operation.nin == 1 else (a, b)
    for x in given:
        dtype = as_tensor(x, name, "operand").dtype
        if dtype.kind not in "iub":
            raise TypeError(
                f"{name}: operands must be booleans or integers, got {dtype}; "
                f"comparisons make booleans: (x > 0) & (x < 1)"
            )
    if operation.nin == 1:
        return Bitwise.apply(as_tensor(a, name), operation=operation)
    return _binary(Bitwise, name, a, b, operation=operation)


def floor_divide(a: Any, b: Any) -> Tensor:
    """The largest integer that is not above a / b, broadcast as in NumPy; the operator //. It has
    no gradient, because it is constant between its steps. Integers stay integers, and give 0 where
    they are divided by 0.

    >>> md.floor_divide(md.tensor([7., -7.]), 2)
    tensor([ 3., -4.])
    """
    return _binary(FloorDivide, "floor_divide", a, b)


def _binary(function: type[Operation], where: str, a: Any, b: Any, **options: Any) -> Tensor:
    """Apply a function of two operands that broadcast."""
    try:
        a, b = operands(where, a, b)
        check_broadcast(where, a, b)
        return function.apply(a, b, **options)
    except OverflowError as error:
        raise overflow(where, error) from None


@for_newcomers
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether any value over axis (None: all axes; an int or a tuple of ints) is not 0; NaN counts
    as not 0.

    >>> md.any(md.tensor([[0., 1.], [0., 0.]]), axis=1)
    tensor([ True, False], dtype=bool)
    """
    return _reduced(AnyOf, "any", x, axis, keepdims)


@for_newcomers
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether all values over axis (None: all axes; an int or a tuple of ints) are not 0; NaN
    counts as not 0.

    >>> md.all(md.tensor([[0., 1.], [2., 1.]]), axis=1)
    tensor([False,  True], dtype=bool)
    """
    return _reduced(AllOf, "all", x, axis, keepdims)


def _reduced(function: type[Operation], where: str, x: Any, axis: Any, keepdims: bool) -> Tensor:
    t = as_tensor(x, where)
    axes = checks.axes(axis, where, "axis", t.ndim)
    keepdims = checks.flag(keepdims, where, "keepdims")
    return function.apply(t, axes=axes, keepdims=keepdims)
