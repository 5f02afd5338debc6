"""Lazy and Epilogue: results whose computation waits for the operations that follow.

`relu(bn(x) + residual)` is three operations but one pass over memory. `batch_norm` returns not an
array but a `Lazy`, which knows how to compute the array given an `Epilogue`. `+`, `relu` and `gelu`
are post-operations: each returns another Lazy, with a larger epilogue. Whoever needs the values
calls `compute`.

Nobody can write to the arrays that a Lazy will read: results are read-only, and where an input is
a user's own array, `Function.apply` computes at once. In the backward pass one `chain_backward`
serves all operations that one pass has computed, unless a value between them is used elsewhere; see
`backward`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Activation = tuple[Any, ...]  # the name of an activation's kernel, and its options
RELU: Activation = ("relu",)


class Epilogue(NamedTuple):
    """The post-operations on each value of a result before it is written to memory, in order."""

    residual: np.ndarray | None = None  # an array of the same shape, which is added
    activation: Activation | None = None
    pool: bool = False  # 2x2 max-pooling with stride 2

    @property
    def relu(self) -> bool:
        """Whether the activation is a ReLU, which most kernels compute in their own loops."""
        return self.activation == RELU

    @property
    def curve(self) -> Activation | None:
        """The activation if it is not a ReLU, else None."""
        return None if self.activation == RELU else self.activation


NOTHING = Epilogue()


class Lazy:
    """An array that is computed on first use by `run(epilogue)`.

    Some kernels can compute the values themselves while they read their input. `source` is what
    such a kernel takes instead of the array, (x, factors) for a normalization, or None if no kernel
    can. `takes` lists the post-operations that `run` can do: "residual", "relu", "curve" (another
    activation) and "pool".
    """

    __slots__ = ("_made", "_spans", "dtype", "epilogue", "run", "shape", "source", "takes")

    _spans: tuple[Any, ...]  # set and read by the profiler alone

    def __init__(
        self,
        run: Callable[[Epilogue], np.ndarray],
        shape: tuple[int, ...],
        dtype: np.dtype,
        source: Any = None,
        takes: tuple[str, ...] = ("residual", "relu"),
        epilogue: Epilogue = NOTHING,
    ) -> None:
        self.run, self.shape, self.dtype = run, shape, dtype
        self.source, self.takes, self.epilogue = source, takes, epilogue
        self._made: weakref.ref[np.ndarray] | None = None

    def compute(self) -> np.ndarray:
        """Compute the array, or return the one computed before if anyone still holds it."""
        array = self._made() if self._made is not None else None
        if array is None:
            array = self.run(self.epilogue)
            self._made = weakref.ref(array)
        return array

    def then(
        self,
        residual: np.ndarray | None = None,
        activation: Activation | None = None,
        pool: bool = False,
    ) -> Lazy | None:
        """This result with one more post-operation. Returns None if one pass cannot do it, or if
        the array exists already; the caller then takes the array."""
        done, shape = self.epilogue, self.shape
        if done.pool or done.curve or (self._made is not None and self._made() is not None):
            return None
        if residual is not None:
            possible = (
                done is NOTHING
                and residual.shape == shape
                and residual.dtype == self.dtype
                and "residual" in self.takes
            )
        elif pool:
            possible = done.residual is None and "pool" in self.takes
            shape = (shape[0], shape[1] // 2, shape[2] // 2, shape[3])
        elif activation == RELU:
            possible = "relu" in self.takes
        else:
            possible = done is NOTHING and "curve" in self.takes
        if not possible:
            return None
        return Lazy(
            self.run,
            shape,
            self.dtype,
            self.source,
            self.takes,
            Epilogue(
                done.residual if residual is None else residual, activation or done.activation, pool
            ),
        )


def computed(x: Any) -> Any:
    """x itself, or the array of x if x is a Lazy."""
    return x.compute() if type(x) is Lazy else x
