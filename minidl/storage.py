"""Storage: the array of a tensor, which may still be to be computed, and who may write to it."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from .tracers import reads, tracers

if TYPE_CHECKING:
    from .changes import Written
    from .lazy import Deferred


class Storage:
    """The part of a tensor that holds its values; see `Tensor`."""

    __slots__ = ("__weakref__", "_array", "_deferred", "_exposed", "_watchers", "_written")

    _array: np.ndarray | None
    _deferred: Deferred | None      # in place of _array until that is computed
    _exposed: bool                  # whether a user may hold the array, and write to it
    _watchers: list[weakref.ref[Any]] | None    # deferred tensors that will read _array
    _written: Written | None        # that minidl has written to _array; see `changes`

    @property
    def data(self) -> np.ndarray:
        """The values as a NumPy array (not a copy). May be assigned: same shape and dtype."""
        self._expose()
        return self._taken()

    @data.setter
    def data(self, value: Any) -> None:
        value = value.data if isinstance(value, Storage) else np.asarray(value)
        if value.shape != self.shape or value.dtype != self.dtype:
            raise ValueError(f"data: the tensor is {self.dtype} {self.shape}, "
                             f"the new value {value.dtype} {value.shape}")
        self._expose()
        self._replace(np.require(value, requirements=("C", "A")))

    def _replace(self, array: np.ndarray) -> None:
        """Another array in place of this one."""
        self._array, self._deferred, self._written = array, None, None

    def _values(self) -> np.ndarray:
        return self._compute() if self._array is None else self._array

    def _taken(self) -> np.ndarray:
        """The values for Python, outside of what operations see: a tracer is told."""
        if tracers:
            reads(self)
        return self._values()

    def _compute(self) -> np.ndarray:
        """Compute the deferred array now. (Another thread may do so meanwhile: `_array` is set
        before `_deferred` is cleared, and each is read once.)"""
        deferred = self._deferred
        if deferred is not None:
            self._array = deferred.compute()
            self._deferred = None
        assert self._array is not None
        return self._array

    def _pending(self) -> Deferred | np.ndarray:
        """The array as it is, computed or not."""
        deferred = self._deferred
        return deferred if deferred is not None else self._values()

    def _adopt(self) -> None:
        """Keep the array, if whoever took the deferred one has computed it."""
        deferred = self._deferred
        if deferred is not None and deferred.adopted:
            array = deferred.held()
            if array is not None:
                self._array, self._deferred = array, None

    def _expose(self) -> None:
        """From now on a user may write to the array: compute what was still to be read from it."""
        if not self._exposed:
            self._exposed = True
            watchers, self._watchers = self._watchers, None
            for ref in watchers or ():
                watcher = ref()
                if watcher is not None and watcher._array is None:
                    watcher._compute()

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return (self._deferred or self._array).shape  # type: ignore[union-attr]

    @property
    def dtype(self) -> np.dtype:
        """The NumPy dtype of the values."""
        return (self._deferred or self._array).dtype  # type: ignore[union-attr]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of values."""
        size = 1
        for n in self.shape:
            size *= n
        return size
