"""Operations that select, limit and convert values: where, clip, astype."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks
from ..hints import for_newcomers
from ..tensor import Tensor
from .common import as_tensor
from .operands import Binary, check_shapes, operand, operands, overflow
from .operation import Operation
from .reduce import sum_to


class Where(Binary):
    """y = a where condition, else b;  da = dy where condition, db = dy elsewhere."""

    def forward(self, a: Any, b: Any, condition: np.ndarray) -> np.ndarray:
        self.shapes(a, b)
        self.condition = np.array(condition, bool)  # a copy, because the user may write to it
        return np.where(self.condition, a, b)

    def to_a(self, dy: Any) -> Any:
        return np.where(self.condition, dy, dy.dtype.type(0))

    def to_b(self, dy: Any) -> Any:
        return np.where(self.condition, dy.dtype.type(0), dy)

    def backward(self, dy: Any) -> Any:
        return *super().backward(dy), None


class Clip(Operation):
    """y = x limited to [low, high];  dx = dy where x is inside (bounds included), dlow = dy where x
    is below, dhigh = dy where x (or low) is above."""

    def forward(self, x: np.ndarray, low: Any, high: Any) -> np.ndarray:
        y = np.clip(x, low, high)
        self.below = np.zeros(y.shape, bool) if low is None else np.less(x, low)
        self.above = (
            np.zeros(y.shape, bool)
            if high is None
            else np.greater(x if low is None else np.where(self.below, low, x), high)
        )
        self.shapes = [np.shape(v) for v in (x, low, high)]
        return y

    def backward(self, dy: np.ndarray) -> tuple[np.ndarray | None, ...]:
        places = (~(self.below | self.above), self.below & ~self.above, self.above)
        zero = dy.dtype.type(0)
        return tuple(
            [
                sum_to(np.where(place, dy, zero), shape) if wanted else None
                for place, shape, wanted in zip(places, self.shapes, self.needs_grad, strict=True)
            ]
        )


class Cast(Operation):
    """y = x in another dtype;  dx = dy in x's."""

    def forward(self, x: np.ndarray, dtype: np.dtype) -> np.ndarray:
        self.before = x.dtype
        return x.astype(dtype)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return dy.astype(self.before)


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """a where condition is true, else b; all three broadcast.

    >>> x = md.tensor([-1., 2.])
    >>> md.where(x > 0, x, 0)
    tensor([0., 2.])
    """
    mask = as_tensor(condition, "where", "condition")
    try:
        return _where(mask, *operands("where", a, b))
    except OverflowError as error:
        raise overflow("where", error) from None


def _where(mask: Tensor, a: Any, b: Any) -> Tensor:
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        a = as_tensor(a, "where")
    check_shapes("where", mask.shape, *[v.shape if isinstance(v, Tensor) else () for v in (a, b)])
    return Where.apply(a, b, mask)


@for_newcomers
def clip(
    x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None
) -> Tensor:
    """x limited to [a_min, a_max]. Either bound may be None, or a tensor or array that broadcasts;
    bounds that are tensors get gradients too. Where a_min > a_max, the result is a_max. The bounds
    may be given as `min` and `max`, as in NumPy.

    The gradient goes to x where it is inside (bounds included), and to the bound where it is
    outside. ValueError if both bounds are None.

    >>> md.clip(md.tensor([-2., 0.5, 3.]), 0, 1)
    tensor([0. , 0.5, 1. ])
    """
    if (a_min is not None and min is not None) or (a_max is not None and max is not None):
        raise ValueError("clip: a bound is given twice, as a_min or a_max and as min or max")
    x = as_tensor(x, "clip")
    try:
        low, high = (
            None if v is None else operand(v, x, "clip")
            for v in (min if a_min is None else a_min, max if a_max is None else a_max)
        )
        if low is None and high is None:
            raise ValueError("clip: give at least one of a_min and a_max")
        check_shapes("clip", *[v.shape for v in (x, low, high) if isinstance(v, Tensor)])
        return Clip.apply(x, low, high)
    except OverflowError as error:
        raise overflow("clip", error) from None


def astype(x: Any, dtype: Any) -> Tensor:
    """x in another dtype, or x itself if it has the dtype already. Its gradient has x's dtype.

    TypeError for a dtype that is not of real numbers.

    >>> md.astype(md.arange(3), np.float32)
    tensor([0., 1., 2.])
    """
    t = as_tensor(x, "astype")
    dtype = checks.dtype(dtype, "astype")
    if dtype.kind not in "fiub":
        raise TypeError(f"astype: dtype must be of numbers, got {dtype}")
    return t if t.dtype == dtype else Cast.apply(t, dtype=dtype)
