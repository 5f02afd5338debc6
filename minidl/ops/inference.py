"""Convolutions of weights that nobody can write to, as those of a model that `nn.fold` made (and
whose read-only flags nobody takes away).

They can wait for their first use, to be computed together with what follows, the shortcut and the
ReLU of a residual block; and what their kernels make of the weights is kept.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import kernels
from ..autograd import Deferred

# By the id of a weight: the weight, for whose life it is kept; the backend; what that made of it.
_transformed: dict[int, tuple[weakref.ref[np.ndarray], str, np.ndarray]] = {}


class PendingConv(Deferred):
    """The output of a convolution, perhaps with a shortcut added and a ReLU, on first use.

    `run(shortcut, rectify)` computes it from x.
    """

    def __init__(self, x: np.ndarray, shape: tuple[int, ...], run: Callable[..., np.ndarray],
                 shortcut: np.ndarray | None = None, relu: bool = False) -> None:
        self.x, self.run, self.shortcut, self.relu = x, run, shortcut, relu
        self.shape, self.dtype = shape, x.dtype
        self.reads = (x,) if shortcut is None else (x, shortcut)
        self._made: weakref.ref[np.ndarray] | None = None

    def compute(self) -> np.ndarray:
        y = self.held()
        if y is None:
            y = self.run(self.shortcut, self.relu)
            self._made = weakref.ref(y)
        return y

    def held(self) -> np.ndarray | None:
        return self._made() if self._made is not None else None

    def plus(self, other: np.ndarray) -> PendingConv | None:
        if (self.shortcut is not None or self.relu or self.held() is not None
                or other.shape != self.shape or other.dtype != self.dtype):
            return None
        return PendingConv(self.x, self.shape, self.run, other)

    def with_relu(self) -> PendingConv | None:
        if self.held() is not None:
            return None
        return PendingConv(self.x, self.shape, self.run, self.shortcut, relu=True)


def read_only(*arrays: Any) -> bool:
    """Whether nobody can write to any of these, neither through the array nor through another one
    that it is a view of."""
    for a in arrays:
        while isinstance(a, np.ndarray):
            if a.flags.writeable:
                return False
            a = a.base
    return True


def winograd_weights(weight: np.ndarray) -> Any:
    """The transformed weights of a read-only weight; made once."""
    found = _transformed.get(id(weight))
    if found is None or found[0]() is not weight or found[1] != kernels.backend():
        key = id(weight)
        reference = weakref.ref(weight, lambda _: _transformed.pop(key, None))
        found = reference, kernels.backend(), kernels.winograd_weights(weight)
        _transformed[key] = found
    return found[2]
