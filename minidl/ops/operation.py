"""Base classes of minidl's own operations: Functions that the engine trusts, producers of a Lazy,
the post-operations that extend its epilogue, and operations without a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Function
from ..lazy import Epilogue, Lazy
from ..tensor import Tensor


class Operation(Function):
    """A Function that keeps what `trusted` promises: it writes to no array that it was given,
    returns arrays that nobody else will write to, and its backward returns gradients that fit."""

    trusted = True


class Producer(Operation):
    """An operation whose result may be a Lazy that reads its first input later."""

    _begins_chain = True
    _read_later = (0,)

    def epilogue_backward(
        self, dy: Any, dy2: np.ndarray | None, epilogue: Epilogue
    ) -> tuple[Any, ...]:
        """The gradients of the inputs, and of the residual if there is one, given the gradient
        dy + dy2 of the result after its epilogue."""
        raise NotImplementedError


class PostOperation(Operation):
    """An operation that extends the epilogue of a Lazy: `_extend` sets and returns `self.lazy`."""

    lazy: Lazy | None = None

    def chain_backward(self, dy: Any, dy2: np.ndarray | None) -> tuple[Any, ...]:
        producer, lazy = self._chain[0], self.lazy
        assert isinstance(producer, Producer) and lazy is not None
        return producer.epilogue_backward(dy, dy2, lazy.epilogue)


class NoGradient(Operation):
    """An operation with one result, which passes no gradient on even if the result is floats."""

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Tensor:
        y: Tensor = super().apply(*inputs, **options)
        if y._requires_grad:
            y._requires_grad, y._node = False, None
        return y


class Copy(NoGradient):
    """y = a copy of x in a dtype. It protects values that a backward needs again from a user who
    may write to the array before that."""

    def forward(self, x: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return np.array(x, dtype, order="C")
