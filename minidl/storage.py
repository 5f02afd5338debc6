"""Storage: the array of a tensor, which may still be to be computed, and who may write to it."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from .tracers import reads, tracers

if TYPE_CHECKING:
    from .changes import Written
    from .lazy import Lazy


# Who can write to a tensor's memory.
RESULT = 0      # nobody: one of minidl's operations made it, in memory of its own
FRESH = 1       # nobody yet: a leaf whose array no user has asked for
LENT = 2        # as FRESH, and a Lazy will read it
OPEN = 3        # a user, through this tensor or in another way


def writable(array: np.ndarray) -> np.ndarray:
    """The array, or a copy if it is read-only, as those of results are."""
    return array if array.flags.writeable else array.copy()


def read_only(array: np.ndarray) -> np.ndarray:
    """A view for those who may not write to what others read."""
    view = array.view()
    view.flags.writeable = False
    return view


class Storage:
    """The part of a tensor that holds its values; see `Tensor`.

    A leaf's array is its user's to write to, a result's array is read-only. So a Lazy may read a
    result at any time; a leaf that it is still going to read is copied when a user asks for it.
    """

    __slots__ = ("__weakref__", "_access", "_array", "_dtype", "_lazy", "_shape", "_written")

    _array: np.ndarray | None
    _lazy: Lazy | None              # in place of _array until that is computed
    _access: int                    # RESULT, FRESH, LENT or OPEN
    _written: Written | None        # that minidl has written to _array; see `changes`
    _shape: tuple[int, ...]
    _dtype: np.dtype

    if TYPE_CHECKING:
        @property
        def shape(self) -> tuple[int, ...]: ...

        @property
        def dtype(self) -> np.dtype: ...
    else:       # attrgetter is the quickest property there is
        shape = property(attrgetter("_shape"), doc="The lengths of the axes.")
        dtype = property(attrgetter("_dtype"), doc="The NumPy dtype of the values.")

    @property
    def data(self) -> np.ndarray:
        """The values as a NumPy array (not a copy), read-only unless the tensor is a leaf: what an
        operation made is not written to, `md.tensor(y)` copies it. May be assigned: same shape and
        dtype."""
        if self._access != OPEN:
            self._open()
        array = self._taken()
        return array.view() if self._access == RESULT else array    # nobody can make it writable

    @data.setter
    def data(self, value: Any) -> None:
        value = value.data if isinstance(value, Storage) else np.asarray(value)
        if value.shape != self._shape or value.dtype != self._dtype:
            raise ValueError(f"data: the tensor is {self._dtype} {self._shape}, "
                             f"the new value {value.dtype} {value.shape}")
        self._replace(writable(np.require(value, requirements=("C", "A"))))

    def _replace(self, array: np.ndarray) -> None:
        """Another array in place of this one."""
        self._array, self._lazy, self._written, self._access = array, None, None, OPEN
        self._shape, self._dtype = array.shape, array.dtype

    def _open(self) -> None:
        """From now on a user may hold the array."""
        array = self._values()
        if self._access == RESULT:
            array.flags.writeable = False
            return
        if self._access == LENT:
            self._array = array.copy()
        self._access = OPEN

    def _values(self) -> np.ndarray:
        """The array, computed now if it has not been. (Another thread may do so meanwhile: `_array`
        is set before `_lazy` is cleared, and each is read once.)"""
        array = self._array
        if array is None:
            lazy = self._lazy
            if lazy is not None:
                self._array = array = lazy.compute()
                self._lazy = None
            else:
                array = self._array
            assert array is not None
        return array

    def _taken(self) -> np.ndarray:
        """The values for Python, outside of what operations see: a tracer is told."""
        if tracers:
            reads(self)
        return self._values()

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self._shape)

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self._shape)
