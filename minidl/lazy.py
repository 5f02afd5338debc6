"""Arrays that are still to be computed."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from . import kernels

if TYPE_CHECKING:
    from .tensor import Tensor


class Deferred:
    """An array that is computed on first use, so that the next operation can take it over.

    `forward` may return one instead of an array, and `backward` may return one as a gradient.
    `compute` gives the array and may be called again. `reads` are the arrays it will be computed
    from: the tensors that hold them have it computed before anyone can write to them (what nobody
    can write to need not be among them).
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    reads: tuple[np.ndarray, ...] = ()
    adopted = True      # by the tensor that held it: computing it again would cost something
    sources: tuple[weakref.ref[Tensor], ...] = ()

    def compute(self) -> np.ndarray:
        raise NotImplementedError

    def held(self) -> np.ndarray | None:
        """The array, if it has been computed and someone still holds it."""
        return None

    def plus(self, other: np.ndarray) -> Deferred | None:
        """This array plus another in the same pass, or None where that cannot be."""
        return None

    def with_relu(self) -> Deferred | None:
        """The ReLU of this array in the same pass, or None where that cannot be."""
        return None

    def pooled(self, window: Any, stride: Any, padding: Any) -> np.ndarray | None:
        """The max-pool of this array in the same pass, or None where that cannot be."""
        return None


def computed(x: Any) -> Any:
    """x, or the array that it stands for."""
    return x.compute() if isinstance(x, Deferred) else x


class GradSum(Deferred):
    """The sum of two gradients of one tensor, for an operation that can add while it reads."""

    def __init__(self, a: np.ndarray, b: np.ndarray) -> None:
        self.a, self.b = a, b
        self.shape, self.dtype = a.shape, a.dtype

    def compute(self) -> np.ndarray:
        return np.asarray(kernels.add(self.a, self.b))
