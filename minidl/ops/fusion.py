"""What a normalization and its neighbours hand each other instead of arrays.

Forward, the output of `batch_norm` is a `NormOutput`: what to compute it from. A following `+`,
`relu` or `max_pool` that is its first user takes it over, so that relu(batch_norm(x) + shortcut),
or max_pool(relu(batch_norm(x))), is one pass over memory. Backward, the gradients that such users
pass back are deferred likewise, and the normalization computes them in the passes it makes anyway.
Whoever else meets one of these calls `compute` and has an array.

In depthwise-separable blocks the convolutions between two normalizations take part too: they
normalize what they read, sum the statistics of what they write (`ConvOutput`), and backward they
read the gradient through a normalization (`NormGrad`) and sum what the next one needs
(`SummedGrad`). Then every array of such a block is read and written once each way.
"""

from __future__ import annotations

import copy
import weakref
from typing import Any

import numpy as np

from .. import kernels
from ..lazy import Deferred, GradSum, computed

PAIR = (2, 2)


class Pending(Deferred):
    """What an operation makes of x, perhaps with a shortcut added and a ReLU, on first use.

    A subclass says how it is computed, and makes another one like itself in `ending`.
    """

    def __init__(self, x: np.ndarray, shape: tuple[int, ...], shortcut: np.ndarray | None,
                 relu: bool) -> None:
        self.x, self.shortcut, self.relu = x, shortcut, relu
        self.shape, self.dtype = shape, x.dtype
        self.reads = (x,) if shortcut is None else (x, shortcut)
        self._made: weakref.ref[np.ndarray] | None = None

    def compute(self) -> np.ndarray:
        """The array; the same one as long as anyone holds it."""
        y = self.held()
        if y is None:
            y = self._computed()
            self._made = weakref.ref(y)
        return y

    def _computed(self) -> np.ndarray:
        raise NotImplementedError

    def ending(self, shortcut: np.ndarray | None, relu: bool) -> Deferred:
        """The same with this shortcut and this ReLU."""
        raise NotImplementedError

    def held(self) -> np.ndarray | None:
        return self._made() if self._made is not None else None

    def plus(self, other: np.ndarray) -> Deferred | None:
        if (self.shortcut is not None or self.relu or other.shape != self.shape
                or other.dtype != self.dtype):
            return None
        return self.ending(other, False)

    def with_relu(self) -> Deferred | None:
        return self.ending(self.shortcut, True)


class NormOutput(Pending):
    """The output of a normalization.

    `factors` are those of the kernels, or what stands for them in a subclass.
    """

    in_parts = False        # otherwise one set of factors is that of all positions

    def __init__(self, x: np.ndarray, factors: Any, shortcut: np.ndarray | None = None,
                 relu: bool = False) -> None:
        super().__init__(x, x.shape, shortcut, relu)
        self.factors = factors

    def _computed(self) -> np.ndarray:
        return kernels.batch_norm_apply(self.x, self.factors, self.shortcut, self.relu)

    def ending(self, shortcut: np.ndarray | None, relu: bool) -> NormOutput:
        return type(self)(self.x, self.factors, shortcut, relu)

    def pooled(self, window: Any, stride: Any, padding: Any) -> np.ndarray | None:
        """Its max-pool, computed in the same pass: of 2x2 windows side by side, without a
        shortcut, in float32 with channels in multiples of 16. None otherwise."""
        if (self.in_parts or self.shortcut is not None
                or self.dtype != np.float32 or self.shape[-1] % 16
                or not window == stride == PAIR or padding != (0, 0)):
            return None
        return kernels.batch_norm_pool(self.x, self.factors, self.relu)


class ConvOutput(Deferred):
    """The output of a convolution with the statistics of its channels, which it has summed."""

    adopted = False     # the next normalization wants the statistics too

    def __init__(self, array: np.ndarray, mean: np.ndarray, var: np.ndarray) -> None:
        self.array = array
        self.mean, self.var = mean, var
        self.shape, self.dtype = array.shape, array.dtype

    def compute(self) -> np.ndarray:
        return self.array

    def held(self) -> np.ndarray:
        return self.array


class OutputGrad(Deferred):
    """The gradient of a normalization's output, from one that took it over.

    `masked`: of the output before its ReLU, rather than after it.
    """

    output: NormOutput
    masked = False

    def behind_relu(self) -> OutputGrad:
        """That of the output before its ReLU."""
        behind = copy.copy(self)
        behind.masked = True
        return behind


class MaskedGrad(OutputGrad):
    """The gradient behind a ReLU that was taken into a normalization: dy where y > 0. dy may be a
    sum of two gradients that is still to be computed."""

    masked = True

    def __init__(self, dy: np.ndarray | GradSum, output: NormOutput) -> None:
        self.dy = dy
        self.output = output        # with its ReLU
        self.shape, self.dtype = dy.shape, dy.dtype
        self.array: np.ndarray | None = None

    def compute(self) -> np.ndarray:
        if self.array is None:
            self.array = kernels.relu_backward(computed(self.dy), self.output.compute())
        return self.array


class PooledGrad(OutputGrad):
    """The gradient of a normalization's output behind a max-pool that was taken into it."""

    def __init__(self, dy: np.ndarray, output: NormOutput) -> None:
        self.dy, self.output = dy, output
        self.shape, self.dtype = output.shape, output.dtype

    def compute(self) -> np.ndarray:
        y = self.output.compute()
        _, argmax = kernels.max_pool(y, PAIR, PAIR)
        g = kernels.max_pool_backward(self.dy, argmax, y.shape, PAIR, PAIR)
        return kernels.relu_backward(g, y) if self.masked else g


class SummedGrad(OutputGrad):
    """The gradient of a normalization's output, with the sums that its backward needs."""

    def __init__(self, array: np.ndarray, output: NormOutput, sums: np.ndarray) -> None:
        self.array, self.output, self.sums = array, output, sums
        self.shape, self.dtype = array.shape, array.dtype

    def compute(self) -> np.ndarray:
        if not self.masked:
            return self.array
        return kernels.relu_backward(self.array, self.output.compute())


class NormGrad(Deferred):
    """The gradient of a normalization's input: dy is that of its output, after its ReLU."""

    def __init__(self, dy: np.ndarray, x: np.ndarray, factors: np.ndarray, relu: bool,
                 centre: np.ndarray | None) -> None:
        self.dy, self.x, self.factors, self.relu, self.centre = dy, x, factors, relu, centre
        self.shape, self.dtype = x.shape, x.dtype

    def compute(self) -> np.ndarray:
        return kernels.batch_norm_input_grad(self.dy, self.x, self.factors, self.relu,
                                             centre=self.centre)
