"""Parameter: what layers learn."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..storage import writable
from ..tensor import Tensor


class Parameter(Tensor):
    """A tensor that a layer learns: a leaf that requires a gradient.

    It wraps the array that it is given, or shares that of a tensor; of a result, whose array is
    read-only, it has a copy. Like a tensor it has no other attributes than its own, so that a
    misspelt one is an error; a subclass may have more.

    >>> nn.Parameter([1., 2.])
    Parameter([1., 2.])
    """

    __slots__ = ("constant", "learned")

    constant: bool          # read-only, of a model that nn.fold made
    learned: bool | None    # requires_grad before Layer.freeze, until Layer.unfreeze

    def __new__(cls, *args: Any, **options: Any) -> Parameter:
        p = super().__new__(cls)
        p.constant, p.learned = False, None
        return p

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)
        if isinstance(data, Tensor):
            self._array = writable(self._values())      # a result's is not

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (*given, attributes) = super().__reduce__()
        return rebuild, (*given, {**attributes, "constant": self.constant, "learned": self.learned})

    def fix(self) -> None:
        """Learn no more: no gradient, and nobody can write to the array, nor to that of a copy."""
        self.requires_grad, self.grad, self.constant = False, None, True
        self._set(self._values())

    def _set(self, array: np.ndarray) -> None:
        """Another array of the same shape, an array of the parameter's own."""
        self._replace(array)
        if self.constant:
            array.flags.writeable = False

    def __repr__(self) -> str:
        return f"Parameter({np.array2string(self.data, separator=', ', prefix='Parameter(')})"
