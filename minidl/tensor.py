"""Tensor: an array, and how it came to be.

A tensor holds a C-contiguous NumPy array (or one that is still to be computed, see
`lazy.Lazy`) and a link to the `Function` that made it. Its operators and methods are
the functions of `ops`; nothing is computed here.
"""

from __future__ import annotations

import numbers
import operator
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, hints
from .arrays import array_like, plain_array
from .locks import lock
from .storage import OPEN, Storage

if TYPE_CHECKING:
    from .graph import Function


_storing = lock()     # held for the moment in which a `.grad` is exchanged


class Tensor(Storage):
    """An array that remembers how it was computed.

    `Tensor(array)` wraps a NumPy array without copying it; `md.tensor(obj)` copies. Arrays that
    are not C-contiguous, aligned and in native byte order are copied into that form. Operators
    broadcast as in NumPy; indexing copies. Operations of one tensor are methods too: `x.exp()` is
    `md.exp(x)`; NumPy's functions of the same name and arguments are minidl's (np.exp(x)), others
    compute with the values. TypeError for what is not numbers, or a gradient of what is not float.

    >>> x = md.tensor([1., 2.], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    array([2., 4.], dtype=float32)
    """

    __slots__ = ("_grad", "_node", "_requires_grad", "_slot")

    __hash__ = object.__hash__  # `==` compares elements; tensors are told apart by identity

    _grad: np.ndarray | None
    _node: Function | None          # what computed it; None for a leaf
    _slot: int                      # which of the node's outputs it is
    _requires_grad: bool

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            data = data.data
        try:
            array = np.require(plain_array(data), requirements=("C", "A"))
        except ValueError as error:     # lists of different lengths
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
        """The values as a NumPy array, shared with the tensor."""
        return self.data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.data, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if not options and method == "__call__":
            ours = UFUNCS.get(ufunc)        # first of all: array + tensor is one of these
            if ours is not None:
                return ours(*inputs)
        return numpy_functions.apply_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return numpy_functions.apply_function(function, args, options)

    def item(self) -> float | int | bool:
        """The value of a tensor with one element, as a Python number. ValueError for more elements,
        or none.
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
            raise TypeError(f"format: {spec!r} needs a tensor with one element, got shape "
                            f"{self.shape}")
        return format(self.item(), spec)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"the truth of a tensor of shape {self.shape} is ambiguous: "
                             f"it needs one element")
        return bool(self.item())

    def __index__(self) -> int:
        if self.size != 1:
            raise TypeError(f"only a tensor with one element is an index, got shape {self.shape}")
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
            raise TypeError("a tensor inside a graph cannot be copied or pickled; "
                            "detach() it first")
        self._open()        # a shallow copy shares the array
        return _rebuild, (type(self), self._taken(), self._requires_grad,
                          self.__dict__ if hasattr(self, "__dict__") else {})

    # ---------------------------------------------------------------------------- the gradient

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are computed for it. May be set on a leaf."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        value = checks.flag(value, "Tensor", "requires_grad")
        if self._node is not None and not value:
            raise RuntimeError("requires_grad: only a leaf's can be switched off; use detach()")
        if value and self.dtype not in (np.float32, np.float64):
            raise TypeError(f"requires_grad: only float32 and float64 tensors can have "
                            f"gradients, this one is {self.dtype}")
        self._requires_grad = value

    @property
    def grad(self) -> np.ndarray | None:
        """The gradient as a NumPy array, None before backward. Assign None to clear it."""
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            value = value.data if isinstance(value, Tensor) else np.asarray(value)
            if value.shape != self.shape or value.dtype != self.dtype:
                raise ValueError(f"grad: the tensor is {self.dtype} {self.shape}, "
                                 f"the gradient {value.dtype} {value.shape}")
        self._grad = value

    def _store_grad(self, g: np.ndarray) -> None:
        """Add a gradient. The sum is a new array: one taken from `.grad` never changes."""
        while True:
            before = self._grad
            total = g if before is None else np.add(before, g)
            with _storing:      # where another thread has added one meanwhile, add to the new sum
                if self._grad is before:
                    self._grad = total
                    return

    def backward(self, grad: Any = None, retain_graph: bool = False) -> None:
        """Compute gradients of this tensor, and add them to the `.grad` of every leaf behind it.

        `grad` is the gradient to start from, of this tensor's shape; a scalar needs none. The
        graph behind the tensor is freed unless `retain_graph`. RuntimeError if nothing behind
        it requires a gradient, the graph has been used, or an optimizer's step or
        `load_state_dict` has changed values that are needed; ValueError for a non-scalar without
        `grad`. What NumPy writes meanwhile into an array of the graph (a leaf's `.data`, a large
        array that was an operand) is not seen: the gradient is then that of the new values.
        Indices, masks, conditions, labels, class weights and operands of up to 64 KiB are copied
        at the call.
        """
        backward.backward(self, grad, retain_graph)

    def retain_grad(self) -> None:
        """Keep this tensor's gradient in `.grad` too, though it is not a leaf. RuntimeError if it
        does not require one, or backward has used its graph.
        """
        if not self._requires_grad:
            raise RuntimeError("retain_grad: the tensor does not require a gradient")
        if self._node is not None:
            if self._node._inputs is None:
                raise RuntimeError("retain_grad: backward has already used this graph")
            self._node._retained = {**(self._node._retained or {}), self._slot: weakref.ref(self)}

    def detach(self) -> Tensor:
        """A tensor of the same values (shared memory), outside the graph."""
        return ops.shape.detach(self)

    # ------------------------------------------------------------------- operators and methods

    def __add__(self, other: Any) -> Tensor:
        return ops.add(self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Tensor:
        return ops.subtract(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return ops.subtract(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return ops.multiply(self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tensor:
        return ops.divide(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return ops.divide(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return ops.power(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return ops.power(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return ops.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return ops.matmul(other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return ops.floor_divide(self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return ops.floor_divide(other, self)

    def __mod__(self, other: Any) -> Tensor:
        return ops.remainder(self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return ops.remainder(other, self)

    def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return ops.floor_divide(self, other), ops.remainder(self, other)

    def __rdivmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return ops.floor_divide(other, self), ops.remainder(other, self)

    def __and__(self, other: Any) -> Tensor:
        return ops.bitwise(np.bitwise_and, self, other)

    def __or__(self, other: Any) -> Tensor:
        return ops.bitwise(np.bitwise_or, self, other)

    def __xor__(self, other: Any) -> Tensor:
        return ops.bitwise(np.bitwise_xor, self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __lshift__(self, other: Any) -> Tensor:
        return ops.bitwise(np.left_shift, self, other)

    def __rlshift__(self, other: Any) -> Tensor:
        return ops.bitwise(np.left_shift, other, self)

    def __rshift__(self, other: Any) -> Tensor:
        return ops.bitwise(np.right_shift, self, other)

    def __rrshift__(self, other: Any) -> Tensor:
        return ops.bitwise(np.right_shift, other, self)

    def __invert__(self) -> Tensor:
        return ops.bitwise(np.invert, self)

    def __neg__(self) -> Tensor:
        return ops.negative(self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return ops.abs(self)

    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("a tensor is not assigned by index: write to its .data array, "
                        "or use where()")

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return ops.compare(np.equal, self, other) if _comparable(other) else NotImplemented

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return ops.compare(np.not_equal, self, other) if _comparable(other) else NotImplemented

    def __contains__(self, value: Any) -> bool:
        return _comparable(value) and bool(ops.any(self == value))

    def __lt__(self, other: Any) -> Tensor:
        return ops.compare(np.less, self, other)

    def __le__(self, other: Any) -> Tensor:
        return ops.compare(np.less_equal, self, other)

    def __gt__(self, other: Any) -> Tensor:
        return ops.compare(np.greater, self, other)

    def __ge__(self, other: Any) -> Tensor:
        return ops.compare(np.greater_equal, self, other)

    @property
    def T(self) -> Tensor:
        """The tensor with its axes in reverse order."""
        return ops.transpose(self)

    def astype(self, dtype: Any) -> Tensor:
        """The tensor in another dtype; see `md.astype`."""
        return ops.astype(self, dtype)

    def reshape(self, *shape: Any) -> Tensor:
        """The tensor in another shape, on the same memory; see `md.reshape`."""
        return ops.reshape(self, *shape)

    def transpose(self, *order: Any, axes: Any = None) -> Tensor:
        """The tensor with its axes in another order, copied; see `md.transpose`."""
        return ops.transpose(self, *order, axes=axes)

    def __getattr__(self, name: str) -> Any:
        """Every operation of one tensor is a method too: `x.exp()` is `md.exp(x)`."""
        if name in ops.METHODS:
            return getattr(ops, name).__get__(self)
        raise hints.no_attribute(name)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *ops.METHODS})


def _comparable(obj: Any) -> bool:
    """Whether elements can be compared with it. None, strings and other things equal no tensor."""
    return (isinstance(obj, (Tensor, int, float, complex, list, tuple, numbers.Real))
            or array_like(obj))


def _rebuild(cls: type[Tensor], array: np.ndarray, requires_grad: bool,
             attributes: dict[str, Any]) -> Tensor:
    t = cls.__new__(cls)
    Tensor.__init__(t, array, requires_grad)
    if attributes:
        for name, value in attributes.items():
            setattr(t, name, value)
        if attributes.get("constant"):      # see Parameter.fix: copies of arrays forget it
            t._values().flags.writeable = False
    return t


# Last, since both build on Tensor: a tensor's methods only name what they do.
from . import backward, ops  # noqa: E402
from .ops import numpy_functions  # noqa: E402
from .ops.numpy_functions import UFUNCS  # noqa: E402
