"""New tensors: from values, filled, random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..random import generator
from ..tensor import Tensor, plain_array

Shape = int | Sequence[int]


def _unshared(array: np.ndarray, requires_grad: bool) -> Tensor:
    """A tensor around an array that nobody else holds."""
    t = Tensor(array, requires_grad)
    t._exposed = False
    return t


def tensor(obj: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of obj: a number, nested lists, an array or a tensor.

    Python floats become float32; NumPy arrays keep their dtype, unless `dtype` is given.
    """
    if isinstance(obj, Tensor):
        obj = obj._values()
    array = plain_array(obj) if dtype is None else obj
    return _unshared(np.array(array, dtype=dtype, order="C"), requires_grad)


def _dims(shape: tuple[Any, ...]) -> Any:
    return shape[0] if len(shape) == 1 and not isinstance(shape[0], int | np.integer) else shape


def zeros(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Zeros of a shape (a tuple or ints)."""
    return _unshared(np.zeros(_dims(shape), dtype), requires_grad)


def ones(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Ones of a shape (a tuple or ints)."""
    return _unshared(np.ones(_dims(shape), dtype), requires_grad)


def full(shape: Shape, value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A shape filled with a value; the dtype is the value's (float32 for Python floats)."""
    if dtype is None and isinstance(value, float) and not isinstance(value, np.generic):
        dtype = np.float32
    return _unshared(np.full(shape, value, dtype), requires_grad)


def arange(*bounds: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """start (0), stop, step (1), as numpy.arange; float bounds give float32."""
    if dtype is None and any(isinstance(b, float) for b in bounds):
        dtype = np.float32
    return _unshared(np.arange(*bounds, dtype=dtype), requires_grad)


def eye(n: int, m: int | None = None, dtype: Any = np.float32, requires_grad: bool = False
        ) -> Tensor:
    """Ones on the diagonal of an n x m matrix (m defaults to n)."""
    return _unshared(np.eye(n, m, dtype=dtype), requires_grad)


def rand(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Uniform numbers in [0, 1) from minidl's generator."""
    return _unshared(np.asarray(generator().random(_dims(shape), dtype=dtype)), requires_grad)


def randn(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Standard normal numbers from minidl's generator."""
    return _unshared(np.asarray(generator().standard_normal(_dims(shape), dtype=dtype)),
                     requires_grad)


def _like(x: Any, dtype: Any) -> tuple[tuple[int, ...], Any]:
    array = x if isinstance(x, Tensor) else np.asarray(x)
    return array.shape, array.dtype if dtype is None else dtype


def zeros_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of x's shape and dtype."""
    shape, dtype = _like(x, dtype)
    return zeros(shape, dtype=dtype, requires_grad=requires_grad)


def ones_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of x's shape and dtype."""
    shape, dtype = _like(x, dtype)
    return ones(shape, dtype=dtype, requires_grad=requires_grad)


def full_like(x: Any, value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """x's shape and dtype, filled with a value."""
    shape, dtype = _like(x, dtype)
    return full(shape, value, dtype, requires_grad)


def rand_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform numbers in [0, 1) of x's shape and dtype."""
    shape, dtype = _like(x, dtype)
    return rand(shape, dtype=dtype, requires_grad=requires_grad)


def randn_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Standard normal numbers of x's shape and dtype."""
    shape, dtype = _like(x, dtype)
    return randn(shape, dtype=dtype, requires_grad=requires_grad)
