"""Parameter, a tensor that a layer learns."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..storage import writable
from ..tensor import Tensor


class Parameter(Tensor):
    """A tensor that a layer learns: a leaf that requires a gradient.

    It wraps the array that it is given, or shares the array of a tensor. The array of a result is
    read-only, so it is copied. As with a tensor, setting an attribute that does not exist is an
    error, so that a misspelt name is noticed; a subclass may have more attributes.

    >>> nn.Parameter([1., 2.])
    Parameter([1., 2.])
    """

    __slots__ = ("constant", "learned")

    constant: bool  # whether it belongs to a folded model, and its array is read-only
    learned: bool | None  # its requires_grad before Layer.freeze; None unless it is frozen

    def __new__(cls, *args: Any, **options: Any) -> Parameter:
        p = super().__new__(cls)
        p.constant, p.learned = False, None
        return p

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)
        if isinstance(data, Tensor):
            self._array = writable(self._values())  # the array of a result is read-only

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (*given, attributes) = super().__reduce__()
        return rebuild, (*given, {**attributes, "constant": self.constant, "learned": self.learned})

    def fix(self) -> None:
        """Make it a constant: it requires no gradient, and nobody can write to its array, nor to
        the array of a copy."""
        self.requires_grad, self.grad, self.constant = False, None, True
        self._set(self._values())

    def _set(self, array: np.ndarray) -> None:
        """Put another array in its place, of the same shape, which nobody else holds."""
        self._replace(array)
        if self.constant:
            array.flags.writeable = False

    def __repr__(self) -> str:
        return f"Parameter({np.array2string(self.data, separator=', ', prefix='Parameter(')})"
