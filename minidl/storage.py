"""Storage: the array of a tensor, which may not be computed yet, and who may write to it."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import plain_array
from .tracers import reads, tracers

if TYPE_CHECKING:
    from .changes import Written
    from .lazy import Lazy


# These constants say who can write to a tensor's memory.
RESULT = 0  # nobody can: one of minidl's operations made it, in memory of its own
FRESH = 1  # nobody can yet: it is a leaf whose array no user has asked for
LENT = 2  # nobody can yet, as with FRESH, and a Lazy will read it
OPEN = 3  # a user can, through this tensor or in another way


def writable(array: np.ndarray) -> np.ndarray:
    """The array, or a copy of it if it is read-only, as arrays of results are."""
    return array if array.flags.writeable else array.copy()


def read_only(array: np.ndarray) -> np.ndarray:
    """A read-only view of the array, for code that may not write to it."""
    view = array.view()
    view.flags.writeable = False
    return view


class Storage:
    """The part of a tensor that holds its values; see `Tensor`.

    Users may write to a leaf's array; a result's array is read-only. So a Lazy may read a result at
    any time. A leaf that a Lazy is still going to read is copied when a user asks for its array.
    """

    __slots__ = ("__weakref__", "_access", "_array", "_dtype", "_lazy", "_shape", "_written")

    _array: np.ndarray | None
    _lazy: Lazy | None  # stands in for _array until the array is computed
    _access: int  # RESULT, FRESH, LENT or OPEN
    _written: Written | None  # records minidl's own writes to _array; see `changes`
    _shape: tuple[int, ...]
    _dtype: np.dtype

    if TYPE_CHECKING:

        @property
        def shape(self) -> tuple[int, ...]: ...

        @property
        def dtype(self) -> np.dtype: ...
    else:  # attrgetter makes the quickest properties
        shape = property(attrgetter("_shape"), doc="The lengths of the axes.")
        dtype = property(attrgetter("_dtype"), doc="The NumPy dtype of the values.")

    @property
    def data(self) -> np.ndarray:
        """The values as a NumPy array (not a copy). It is read-only unless the tensor is a leaf;
        `md.tensor(y)` makes a copy that can be written to. An array of the same shape and dtype may
        be assigned."""
        if self._access != OPEN:
            self._open()
        array = self._taken()
        # A view of a read-only array cannot be made writable again.
        return array.view() if self._access == RESULT else array

    @data.setter
    def data(self, value: Any) -> None:
        value = value.data if isinstance(value, Storage) else plain_array(value)
        if value.shape != self._shape or value.dtype != self._dtype:
            raise ValueError(
                f"data: the tensor is {self._dtype} {self._shape}, "
                f"the new value {value.dtype} {value.shape}"
            )
        self._replace(writable(np.require(value, requirements=("C", "A"))))

    def _replace(self, array: np.ndarray) -> None:
        """Put another array in place of this one."""
        self._array, self._lazy, self._written, self._access = array, None, None, OPEN
        self._shape, self._dtype = array.shape, array.dtype

    def _open(self) -> None:
        """Prepare for a user who may hold the array from now on."""
        array = self._values()
        if self._access == RESULT:
            array.flags.writeable = False
            return
        if self._access == LENT:
            self._array = array.copy()
        self._access = OPEN

    def _values(self) -> np.ndarray:
        """The array, computed now if it was not before. Another thread may compute it at the same
        time: so `_array` is set before `_lazy` is cleared, and each is read once."""
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
        """The values for Python code, which a trace cannot follow: a tracer is told of the read."""
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
