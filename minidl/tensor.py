"""Tensor: an array, and a link to the operation that computed it.

A tensor holds a C-contiguous NumPy array (or a `lazy.Lazy`, which has not been computed yet) and a
link to the `Function` that made it. Nothing is computed here: operators and methods that compute
come from `ops.methods`, which puts them on the class.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, dlpack, foreign_names, hints
from .arrays import plain_array
from .storage import OPEN, RESULT, Storage, writable

if TYPE_CHECKING:
    from .graph import Function
    from .ops.methods import Methods  # at run time that module puts them on the class
else:
    Methods = object


# The results whose gradient `retain_grad` has asked for, by their node and slot.
retained: weakref.WeakKeyDictionary[Function, dict[int, weakref.ref[Tensor]]] = (
    weakref.WeakKeyDictionary()
)


@hints.with_names(foreign_names.TENSOR)
class Tensor(Storage, Methods):
    """An array that remembers how it was computed.

    `Tensor(array)` wraps a NumPy array without copying it; `md.tensor(obj)` copies. Arrays that
    are not C-contiguous, aligned and in native byte order are copied into that form. Operators
    broadcast as in NumPy; indexing copies. Operations of one tensor are methods too: `x.exp()` is
    `md.exp(x)`. NumPy's functions work on tensors: where minidl has one of the same name and
    arguments, as np.exp(x), minidl computes it; others compute with the values. TypeError if the
    data are not numbers, or if `requires_grad` is asked for numbers that are not floats.

    >>> x = md.tensor([1., 2.], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    array([2., 4.], dtype=float32)
    """

    __slots__ = ("_grad", "_node", "_requires_grad", "_slot")

    _grad: np.ndarray | None
    _node: Function | None  # the operation that computed it; None for a leaf
    _slot: int  # which of the node's outputs it is
    _requires_grad: bool

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            data = data.data
        array = data
        if not (type(array) is np.ndarray and array.flags.c_contiguous and array.flags.aligned):
            try:
                array = np.require(plain_array(data), requirements=("C", "A"))
            except ValueError as error:  # lists of different lengths
                raise ValueError(f"Tensor: {error}") from None
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        if array.dtype.kind not in "fiub" or array.dtype == np.longdouble:
            raise TypeError(f"Tensor: needs numbers (float, integer or bool), got {array.dtype}")
        self._array, self._shape, self._dtype = array, array.shape, array.dtype
        self._lazy = self._grad = self._node = self._written = None
        self._slot, self._access = 0, OPEN
        self._requires_grad = False
        if requires_grad is not False:
            self.requires_grad = requires_grad

    # ------------------------------------------------------------------------------- the array

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array that shares the tensor's memory, as `x.data` does. It is
        read-only unless the tensor is a leaf."""
        return self.data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.data, dtype=dtype, copy=copy)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Pass the values to another library by DLPack (`torch.from_dlpack(x)`). A leaf shares its
        memory. The result of an operation is copied, because its array is read-only here; with
        copy=False it is shared too, and marked as read-only (max_version (1, 0) and later).
        """
        return dlpack.exported(self.data, stream, max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        """(1, 0), which stands for the CPU in DLPack."""
        return dlpack.CPU

    def item(self) -> float | int | bool:
        """The value of a tensor with one element, as a Python number. ValueError for a tensor with
        more elements or none.
        """
        if self.size != 1:
            raise ValueError(f"item: needs a tensor with one element, got shape {self.shape}")
        return self._taken().item()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __trunc__(self) -> int:
        return int(self.item())

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.item(), digits)

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        if self.size != 1:
            raise TypeError(
                f"format: {spec!r} needs a tensor with one element, got shape {self.shape}"
            )
        return format(self.item(), spec)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"the truth of a tensor of shape {self.shape} is ambiguous: it needs one element"
            )
        return bool(self.item())

    def __index__(self) -> int:
        if self.size != 1:
            raise TypeError(f"only a tensor with one element is an index, got shape {self.shape}")
        if self.dtype.kind == "b":  # item() gives a bool, which Python takes as 0 or 1
            raise TypeError("a bool tensor is no index")
        return operator.index(self.item())  # type: ignore[arg-type]

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.shape:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(self.shape[0]))

    def __repr__(self) -> str:
        text = np.array2string(self._values(), separator=", ", prefix="tensor(")
        dtype = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        grad = ", requires_grad=True" if self._requires_grad else ""
        return f"tensor({text}{dtype}{grad})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._node is not None:
            raise TypeError(
                "a tensor inside a graph cannot be copied or pickled; detach() it first"
            )
        self._open()  # a shallow copy shares the array
        return _rebuild, (
            type(self),
            self._taken(),
            self._requires_grad,
            self.__dict__ if hasattr(self, "__dict__") else {},
        )

    # ---------------------------------------------------------------------------- the gradient

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are computed for this tensor. It may be set on a leaf."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        value = checks.flag(value, "Tensor", "requires_grad")
        if self._node is not None and not value:
            raise RuntimeError("requires_grad: only a leaf's can be switched off; use detach()")
        if value and self.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"requires_grad: only float32 and float64 tensors can have "
                f"gradients, this one is {self.dtype}"
            )
        if value and self._node is None and self._access == RESULT:  # made under no_grad
            self._replace(writable(self.data))
        self._requires_grad = value

    @property
    def grad(self) -> np.ndarray | None:
        """The gradient as a NumPy array, None before backward. Assign None to clear it."""
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            value = writable(value.data) if isinstance(value, Tensor) else plain_array(value)
            if value.shape != self.shape or value.dtype != self.dtype:
                raise ValueError(
                    f"grad: the tensor is {self.dtype} {self.shape}, "
                    f"the gradient {value.dtype} {value.shape}"
                )
        self._grad = value

    def retain_grad(self) -> None:
        """Keep this tensor's gradient in `.grad` although it is not a leaf. RuntimeError if it does
        not require a gradient, or if a backward has already used its graph.
        """
        if not self._requires_grad:
            raise RuntimeError("retain_grad: the tensor does not require a gradient")
        if self._node is not None:
            if self._node._inputs is None:
                raise RuntimeError("retain_grad: backward has already used this graph")
            retained.setdefault(self._node, {})[self._slot] = weakref.ref(self)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "a tensor is not assigned by index: use where(), or write to the .data array of a leaf"
        )


def _rebuild(
    cls: type[Tensor], array: np.ndarray, requires_grad: bool, attributes: dict[str, Any]
) -> Tensor:
    t = cls.__new__(cls)
    Tensor.__init__(t, array, requires_grad)
    if attributes:
        for name, value in attributes.items():
            setattr(t, name, value)
        if attributes.get("constant"):  # a copied array is writable again; see Parameter.fix
            t._values().flags.writeable = False
    return t
