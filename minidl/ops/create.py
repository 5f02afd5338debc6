"""New tensors: from values, filled, random.

`requires_grad=True` needs float32 or float64 and raises TypeError otherwise. A negative size is a
ValueError, and a shape that does not fit into memory is a MemoryError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import checks, dlpack, kernels
from ..arrays import plain_array
from ..hints import for_newcomers
from ..random import generator
from ..storage import FRESH
from ..tensor import Tensor

Shape = int | Sequence[int]


def _unshared(array: np.ndarray, requires_grad: bool) -> Tensor:
    """A tensor around an array that nobody else holds."""
    t = Tensor(array, requires_grad)
    t._access = FRESH
    return t


@checks.named
@for_newcomers
def tensor(obj: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of obj: a number, nested lists, an array or a tensor.

    Python floats become float32; NumPy arrays keep their dtype, unless `dtype` is given. TypeError
    for what is not numbers, ValueError for lists of different lengths.

    >>> md.tensor([[1., 2.], [3., 4.]])
    tensor([[1., 2.],
            [3., 4.]])
    >>> md.tensor([1, 2, 3])
    tensor([1, 2, 3], dtype=int64)
    """
    if isinstance(obj, Tensor):
        obj = obj._taken()
    array = obj
    if dtype is None:
        array = plain_array(obj)
        if array is not obj and array.dtype.kind not in "fiub":  # the dtype alone would say little
            raise TypeError(
                f"needs numbers (float, integer or bool), got {checks.shown(obj)}, "
                f"an array of {array.dtype}"
            )
    return _unshared(np.array(array, dtype=dtype, order="C"), requires_grad)


def from_dlpack(x: Any, device: str | None = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares the memory of another library's array by the DLPack protocol: PyTorch,
    JAX, CuPy (on the CPU), NumPy and others.

    Each side sees what the other writes. The array is copied if `copy` is True, or if it is not
    C-contiguous, because tensors always are; with copy=False the latter is an error. Memory that
    the other side has marked as read-only stays so. In the other direction,
    `torch.from_dlpack(tensor)` shares a leaf, and copies the result of an operation, which is
    read-only.

    TypeError for an object without the protocol, for a dtype that tensors do not have (bfloat16,
    complex numbers) and for a tensor of PyTorch that requires a gradient; BufferError for an array
    that is on another device or cannot be shared; ValueError for a device other than "cpu".

    >>> array = np.zeros(3)
    >>> x = md.from_dlpack(array)
    >>> array[0] = 1
    >>> x
    tensor([1., 0., 0.], dtype=float64)
    """
    return Tensor(dlpack.imported(x, device, copy))


def _dims(shape: tuple[Any, ...]) -> Any:
    return shape[0] if len(shape) == 1 and not isinstance(shape[0], int | np.integer) else shape


def _filled(
    make: Any, where: str, dims: Any, shape: Any, dtype: Any, requires_grad: bool
) -> Tensor:
    """Zeros or ones. A dtype may follow a tuple, as in NumPy."""
    if shape is not None:
        if dims:
            raise TypeError(f"{where}: the shape is given twice, {dims} and {shape!r}")
        dims = (shape,)
    if len(dims) == 2 and not isinstance(dims[1], int | np.integer):
        dims, dtype = dims[:1], dims[1]
    return _unshared(make(_checked(where, _dims(dims), dtype), dtype), requires_grad)


def _floating(dtype: Any) -> Any:
    """A dtype of random numbers, checked; errors get the name of the function that is `named`."""
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(checks.message("", "dtype", "float32 or float64", np.dtype(dtype).name))
    return dtype


def _checked(where: str, shape: Any, dtype: Any) -> Any:
    """The shape, checked that an array of it can exist."""
    kernels.check_shape(where, shape, dtype)
    return shape


@checks.named
@for_newcomers
def zeros(
    *dims: Any, shape: Any = None, dtype: Any = np.float32, requires_grad: bool = False
) -> Tensor:
    """Zeros of a shape: a tuple, perhaps with a dtype after it as in NumPy, or ints.

    >>> md.zeros(2, 3)
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    """
    return _filled(np.zeros, "zeros", dims, shape, dtype, requires_grad)


@checks.named
@for_newcomers
def ones(
    *dims: Any, shape: Any = None, dtype: Any = np.float32, requires_grad: bool = False
) -> Tensor:
    """Ones of a shape: a tuple, perhaps with a dtype after it as in NumPy, or ints.

    >>> md.ones((2, 2), dtype=np.float64)
    tensor([[1., 1.],
            [1., 1.]], dtype=float64)
    """
    return _filled(np.ones, "ones", dims, shape, dtype, requires_grad)


@checks.named
@for_newcomers
def full(shape: Shape, fill_value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A shape filled with a value; the dtype is the value's (float32 for Python floats).

    >>> md.full((2,), 0.5)
    tensor([0.5, 0.5])
    """
    if dtype is None and isinstance(fill_value, float) and not isinstance(fill_value, np.generic):
        dtype = np.float32
    kernels.check_shape("full", shape, np.asarray(fill_value).dtype if dtype is None else dtype)
    return _unshared(np.full(shape, fill_value, dtype), requires_grad)


@checks.named
@for_newcomers
def arange(
    *bounds: Any,
    start: Any = None,
    stop: Any = None,
    step: Any = None,
    dtype: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """The numbers from start (0) up to stop, which is left out, in steps of step (1), as
    numpy.arange. Integers give int64, float bounds float32. ValueError for a step of 0.

    >>> md.arange(3)
    tensor([0, 1, 2], dtype=int64)
    >>> md.arange(0, 1, 0.25)
    tensor([0.  , 0.25, 0.5 , 0.75])
    """
    named = {
        name: b for name, b in (("start", start), ("stop", stop), ("step", step)) if b is not None
    }
    given = bounds[2] if len(bounds) == 3 else step
    if given is not None and np.ndim(given) == 0 and given == 0:
        raise ValueError("arange: step must not be 0")
    if dtype is None and any(isinstance(b, float) for b in (*bounds, *named.values())):
        dtype = np.float32
    return _unshared(np.arange(*bounds, **named, dtype=dtype), requires_grad)


@checks.named
@for_newcomers
def eye(
    n: int, m: int | None = None, k: int = 0, dtype: Any = np.float32, requires_grad: bool = False
) -> Tensor:
    """An n x m matrix (m defaults to n) with ones on the diagonal, or on the k-th one above it.

    >>> md.eye(2, 3)
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    kernels.check_shape("eye", (n, n if m is None else m), dtype)
    return _unshared(np.eye(n, m, k, dtype=dtype), requires_grad)


@checks.named
@for_newcomers
def rand(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Uniform numbers in [0, 1) from minidl's generator, of a shape (a tuple or ints).

    TypeError unless the dtype is float32 or float64.

    >>> md.manual_seed(0)
    >>> x = md.rand(2, 3)
    >>> x.shape, bool(x.min() >= 0), bool(x.max() < 1)
    ((2, 3), True, True)
    """
    size = _checked("rand", _dims(shape), _floating(dtype))
    return _unshared(np.asarray(generator().random(size, dtype=dtype)), requires_grad)


@checks.named
@for_newcomers
def randn(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Normal numbers of mean 0 and variance 1 from minidl's generator, of a shape (a tuple or
    ints).

    TypeError unless the dtype is float32 or float64.

    >>> md.manual_seed(0)
    >>> x = md.randn(10000)
    >>> abs(x.mean().item()) < 0.05, abs(x.std().item() - 1) < 0.05
    (True, True)
    """
    size = _checked("randn", _dims(shape), _floating(dtype))
    return _unshared(np.asarray(generator().standard_normal(size, dtype=dtype)), requires_grad)


def _like(x: Any, dtype: Any) -> tuple[tuple[int, ...], Any]:
    array = x if isinstance(x, Tensor) else plain_array(x)
    return array.shape, array.dtype if dtype is None else dtype


@checks.named
@for_newcomers
def zeros_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of x's shape and dtype.

    >>> md.zeros_like(md.tensor([1., 2.]))
    tensor([0., 0.])
    """
    shape, dtype = _like(x, dtype)
    return zeros(shape, dtype=dtype, requires_grad=requires_grad)


@checks.named
@for_newcomers
def ones_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of x's shape and dtype.

    >>> md.ones_like(md.tensor([5, 6]))
    tensor([1, 1], dtype=int64)
    """
    shape, dtype = _like(x, dtype)
    return ones(shape, dtype=dtype, requires_grad=requires_grad)


@checks.named
@for_newcomers
def full_like(x: Any, value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """x's shape and dtype, filled with a value, which is converted to that dtype.

    >>> md.full_like(md.tensor([1., 2.]), 7)
    tensor([7., 7.])
    """
    shape, dtype = _like(x, dtype)
    return full(shape, value, dtype, requires_grad)


@checks.named
@for_newcomers
def rand_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform numbers in [0, 1) of x's shape and dtype; TypeError unless that is float32 or
    float64.

    >>> md.rand_like(md.zeros(2, 3)).shape
    (2, 3)
    """
    shape, dtype = _like(x, dtype)
    return rand(shape, dtype=dtype, requires_grad=requires_grad)


@checks.named
@for_newcomers
def randn_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Standard normal numbers of x's shape and dtype; TypeError unless that is float32 or float64.

    >>> md.randn_like(md.zeros(2, 3)).shape
    (2, 3)
    """
    shape, dtype = _like(x, dtype)
    return randn(shape, dtype=dtype, requires_grad=requires_grad)
