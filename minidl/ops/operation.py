"""The kinds of minidl's own operations: Functions that the engine trusts, producers of a Lazy, the
post-operations that extend its epilogue, and what has no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Function
from ..lazy import Epilogue, Lazy
from ..tensor import Tensor


class Operation(Function):
    """A Function that writes to nothing it was given, and keeps no result for itself; what its
    backward returns fits the inputs."""

    trusted = True


class Producer(Operation):
    """An operation whose result may be a Lazy that reads its first input later."""

    _begins_chain = True
    _read_later = (0,)

    def epilogue_backward(self, dy: Any, dy2: np.ndarray | None, epilogue: Epilogue
                          ) -> tuple[Any, ...]:
        """The gradients of the inputs, and of the residual if there is one, for the gradient
        dy + dy2 of the result behind its epilogue."""
        raise NotImplementedError


class PostOperation(Operation):
    """An operation that extends the epilogue of a Lazy: `_extend` sets and returns `self.lazy`."""

    lazy: Lazy | None = None

    def chain_backward(self, dy: Any, dy2: np.ndarray | None) -> tuple[Any, ...]:
        producer, lazy = self._chain[0], self.lazy
        assert isinstance(producer, Producer) and lazy is not None
        return producer.epilogue_backward(dy, dy2, lazy.epilogue)


class NoGradient(Operation):
    """An operation of one result through which no gradient goes, also where that is of floats."""

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Tensor:
        y: Tensor = super().apply(*inputs, **options)
        if y._requires_grad:
            y._requires_grad, y._node = False, None
        return y


class Copy(NoGradient):
    """y = x in memory of its own and in a dtype: for values that a backward needs again, and that
    the user who gave them may change before."""

    def forward(self, x: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return np.array(x, dtype, order="C")
