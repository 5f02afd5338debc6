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
from ..lazy import Deferred
from .fusion import Pending

# By the id of a weight: the weight, for whose life it is kept; the backend; what that made of it.
_transformed: dict[int, tuple[weakref.ref[np.ndarray], str, np.ndarray]] = {}


class PendingConv(Pending):
    """The output of a convolution; `run(shortcut, rectify)` computes it from x.

    Once it is computed nothing takes it over: that would convolve again.
    """

    def __init__(self, x: np.ndarray, shape: tuple[int, ...], run: Callable[..., np.ndarray],
                 shortcut: np.ndarray | None = None, relu: bool = False) -> None:
        super().__init__(x, shape, shortcut, relu)
        self.run = run

    def _computed(self) -> np.ndarray:
        return self.run(self.shortcut, self.relu)

    def ending(self, shortcut: np.ndarray | None, relu: bool) -> PendingConv:
        return PendingConv(self.x, self.shape, self.run, shortcut, relu)

    def plus(self, other: np.ndarray) -> Deferred | None:
        return None if self.held() is not None else super().plus(other)

    def with_relu(self) -> Deferred | None:
        return None if self.held() is not None else super().with_relu()


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
