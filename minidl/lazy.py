"""Lazy and Epilogue: results that the next operation may finish.

`relu(bn(x) + residual)` is three operations and one pass over memory. `batch_norm` does not return
an array but a `Lazy`: how to compute it, given an `Epilogue`. `+`, `relu` and `gelu` are
post-operations: each returns another Lazy, with a larger epilogue. Whoever needs the values calls
`compute`.

What a Lazy reads nobody can write to: results are read-only, and where an input is a user's own
array, `Function.apply` computes at once. Backward, the walk calls one `chain_backward` for all
operations that one pass has computed, unless someone wants a value in between: see `backward`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Activation = tuple[Any, ...]        # the name of a kernel, and its options
RELU: Activation = ("relu",)


class Epilogue(NamedTuple):
    """What happens to each value of a result before it is written to memory, in this order."""

    residual: np.ndarray | None = None      # an array of the same shape, which is added
    activation: Activation | None = None
    pool: bool = False                      # the largest value of 2x2 windows side by side

    @property
    def relu(self) -> bool:
        """Whether the activation is a ReLU, which the loops of most kernels have in them."""
        return self.activation == RELU

    @property
    def curve(self) -> Activation | None:
        """The activation if it is another one than a ReLU."""
        return None if self.activation == RELU else self.activation


NOTHING = Epilogue()


class Lazy:
    """An array that is computed on first use by `run(epilogue)`.

    `source` is what kernels take that compute the values themselves while they read: (x, factors)
    of a normalization, None if no kernel can. `takes` says which post-operations `run` can do:
    "residual", "relu", "curve" (another activation), "pool".
    """

    __slots__ = ("_made", "_spans", "dtype", "epilogue", "run", "shape", "source", "takes")

    _spans: tuple[Any, ...]     # of the profiler, which alone sets and reads it

    def __init__(self, run: Callable[[Epilogue], np.ndarray], shape: tuple[int, ...],
                 dtype: np.dtype, source: Any = None,
                 takes: tuple[str, ...] = ("residual", "relu"), epilogue: Epilogue = NOTHING
                 ) -> None:
        self.run, self.shape, self.dtype = run, shape, dtype
        self.source, self.takes, self.epilogue = source, takes, epilogue
        self._made: weakref.ref[np.ndarray] | None = None

    def compute(self) -> np.ndarray:
        """The array; the same one as long as anyone holds it."""
        array = self._made() if self._made is not None else None
        if array is None:
            array = self.run(self.epilogue)
            self._made = weakref.ref(array)
        return array

    def then(self, residual: np.ndarray | None = None, activation: Activation | None = None,
             pool: bool = False) -> Lazy | None:
        """This result with one more post-operation; None if one pass cannot do it, or if the array
        exists already: the caller then takes the array."""
        done, shape = self.epilogue, self.shape
        if done.pool or done.curve or (self._made is not None and self._made() is not None):
            return None
        if residual is not None:
            possible = (done is NOTHING and residual.shape == shape
                        and residual.dtype == self.dtype and "residual" in self.takes)
        elif pool:
            possible = done.residual is None and "pool" in self.takes
            shape = (shape[0], shape[1] // 2, shape[2] // 2, shape[3])
        elif activation == RELU:
            possible = "relu" in self.takes
        else:
            possible = done is NOTHING and "curve" in self.takes
        if not possible:
            return None
        return Lazy(self.run, shape, self.dtype, self.source, self.takes, Epilogue(
            done.residual if residual is None else residual, activation or done.activation, pool))


def computed(x: Any) -> Any:
    """x, or the array that it stands for."""
    return x.compute() if type(x) is Lazy else x
