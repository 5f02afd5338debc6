"""Elementwise operations: arithmetic with broadcasting, and functions of one tensor.

Operands of `add`, `subtract`, `multiply`, `divide`, `remainder`, `power`, `maximum` and
`minimum` may be tensors, arrays or numbers on either side. Numbers and 0-d NumPy scalars never
change a tensor's float dtype; otherwise dtypes promote as in NumPy. ValueError if shapes do not
broadcast, TypeError for operands that are not real numbers.

`exp`, `log` and `sqrt` take float32 or float64 and keep the dtype; TypeError for anything else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..graph import Function
from ..lazy import Lazy
from ..tensor import Tensor
from .common import as_tensor, float_tensor
from .operands import Binary, check_broadcast, operands, overflow
from .operation import Operation, PostOperation


def _binary(function: type[Function], a: Any, b: Any) -> Tensor:
    """Apply a function of two operands; if neither is a tensor, the first becomes one."""
    name = function.__name__.lower()
    try:
        if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
            a, b = operands(name, a, b)
            if not isinstance(a, Tensor) and not isinstance(b, Tensor):
                a = as_tensor(a, name)
        check_broadcast(name, a, b)
        return function.apply(a, b)
    except OverflowError as error:
        raise overflow(name, error) from None


class Add(Binary, PostOperation):
    """y = a + b;  da = dy, db = dy."""

    _read_later = (0, 1)

    def forward(self, a: Any, b: Any) -> Any:
        self.shapes(a, b)
        return kernels.add(a, b)

    def _extend(self, a: Any, b: Any) -> Lazy | None:
        lazy, other = (a, b) if isinstance(a, Lazy) else (b, a)
        if isinstance(other, np.ndarray):
            self.shape_a = self.shape_b = lazy.shape
            self.lazy = lazy.then(residual=other)
        return self.lazy


class Subtract(Binary):
    """y = a - b;  da = dy, db = -dy."""

    def forward(self, a: Any, b: Any) -> Any:
        self.shapes(a, b)
        return kernels.subtract(a, b)

    def to_b(self, dy: Any) -> Any:
        return kernels.negative(dy)


class Multiply(Binary):
    """y = a b;  da = b dy, db = a dy."""

    def forward(self, a: Any, b: Any) -> Any:
        self.shapes(a, b)
        self.a: Any = a if self.needs_grad[1] else None
        self.b: Any = b if self.needs_grad[0] else None
        return kernels.multiply(a, b)

    def to_a(self, dy: Any) -> Any:
        return kernels.multiply(dy, self.b)

    def to_b(self, dy: Any) -> Any:
        return kernels.multiply(dy, self.a)


class MultiplyOrZero(Multiply):
    """y = a b, but 0 where the weight b is 0, even if a is infinite, as the logarithm of an
    impossible class is. The gradients are those of Multiply."""

    def forward(self, a: Any, b: Any) -> Any:
        y = super().forward(a, b)
        if np.isfinite(kernels.sum(y.reshape(1, -1, 1))).all():
            return y
        return np.where(np.equal(b, 0), y.dtype.type(0), y)


class Divide(Binary):
    """y = a / b;  da = dy / b, db = -dy y / b."""

    def forward(self, a: Any, b: Any) -> Any:
        self.shapes(a, b)
        self.b = b
        y = kernels.divide(a, b)
        self.y: Any = y if self.needs_grad[1] else None
        return y

    def to_a(self, dy: Any) -> Any:
        return kernels.divide(dy, self.b)

    def to_b(self, dy: Any) -> Any:
        db = np.asarray(kernels.divide(dy, self.b))
        kernels.multiply(db, self.y, out=db)
        return kernels.negative(db, out=db)


class Remainder(Binary):
    """y = a - floor(a / b) b;  da = dy, db = -floor(a / b) dy."""

    def forward(self, a: Any, b: Any) -> Any:
        self.shapes(a, b)
        self.a, self.b = a, b
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.remainder(a, b)

    def to_b(self, dy: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            db = np.asarray(np.floor_divide(self.a, self.b, dtype=dy.dtype))
        kernels.multiply(dy, db, out=db)
        return kernels.negative(db, out=db)


class Power(Binary):
    """y = a^b;  da = b a^(b-1) dy, db = y log(a) dy (0 where a is 0 and b >= 0)."""

    def forward(self, a: Any, b: Any) -> Any:
        self.shapes(a, b)
        self.a, self.b = a, b
        self.y = kernels.power(a, b)
        return self.y

    def to_a(self, dy: Any) -> Any:
        # The subtraction is in dy's dtype, because for an unsigned byte 0 - 1 is 255.
        b = self.b
        less = np.subtract(b, 1, dtype=dy.dtype) if isinstance(b, np.ndarray) else b - 1
        with np.errstate(divide="ignore", invalid="ignore"):
            da = np.asarray(kernels.power(self.a, less))
            kernels.multiply(da, b, out=da)
        # 0 * 0^-1 would be NaN, yet a^0 is constant.
        np.copyto(da, 0, where=np.equal(b, 0))
        return kernels.multiply(dy, da, out=da)

    def to_b(self, dy: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            # The logarithm is in dy's dtype, because NumPy would take that of bytes in float16.
            db = np.asarray(kernels.multiply(self.y, np.log(np.asarray(self.a, dy.dtype))))
        np.copyto(db, 0, where=np.equal(self.a, 0) & np.greater_equal(self.b, 0))
        return kernels.multiply(dy, db, out=db)


class _Extremum(Binary):
    """y = the larger (smaller) of a and b, or NaN if one is NaN. dy goes to the operand that is the
    result; where they are equal, or both NaN, each gets half of it."""

    kernel = ""

    def forward(self, a: Any, b: Any) -> Any:
        self.shapes(a, b)
        self.a, self.b = a, b
        self.y = getattr(kernels, self.kernel)(a, b)
        return self.y

    def won(self, v: Any) -> Any:
        """Where the operand v is the result."""
        return np.equal(v, self.y) | np.not_equal(v, v)

    def share(self, dy: Any, own: Any, other: Any) -> Any:
        """The gradient of the operand `own`."""
        won = self.won(own)
        share = np.where(won, dy, dy.dtype.type(0))
        return np.multiply(share, dy.dtype.type(0.5), out=share, where=won & self.won(other))

    def to_a(self, dy: Any) -> Any:
        return self.share(dy, self.a, self.b)

    def to_b(self, dy: Any) -> Any:
        return self.share(dy, self.b, self.a)


class Maximum(_Extremum):
    kernel = "maximum"


class Minimum(_Extremum):
    kernel = "minimum"


class Negative(Operation):
    """y = -x;  dx = -dy."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return kernels.negative(x)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.negative(dy)


class Exp(Operation):
    """y = exp(x);  dx = y dy."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.y = kernels.exp(x)
        return self.y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.multiply(dy, self.y)


class Log(Operation):
    """y = log(x);  dx = dy / x."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return kernels.log(x)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.divide(dy, self.x)


class Sqrt(Operation):
    """y = sqrt(x);  dx = dy / (2 y)."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.y = kernels.sqrt(x)
        return self.y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.divide(kernels.multiply(dy, 0.5), self.y)


class Abs(Operation):
    """y = |x|;  dx = sign(x) dy, 0 at 0."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return kernels.absolute(x)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.multiply(dy, np.sign(self.x))


def add(a: Any, b: Any) -> Tensor:
    """a + b, broadcast as in NumPy; the operator +.

    >>> md.add(md.tensor([[1.], [2.]]), md.tensor([10., 20.]))
    tensor([[11., 21.],
            [12., 22.]])
    """
    return _binary(Add, a, b)


def subtract(a: Any, b: Any) -> Tensor:
    """a - b, broadcast as in NumPy; the operator -.

    >>> md.subtract(1, md.tensor([1., 3.]))
    tensor([ 0., -2.])
    """
    return _binary(Subtract, a, b)


def multiply(a: Any, b: Any) -> Tensor:
    """a b, element by element, broadcast as in NumPy; the operator *.

    >>> md.multiply(md.tensor([1., 2.]), 3)
    tensor([3., 6.])
    """
    return _binary(Multiply, a, b)


def divide(a: Any, b: Any) -> Tensor:
    """a / b, broadcast as in NumPy; the operator /. Division by zero gives inf or NaN; integers
    give float64.

    >>> md.divide(md.tensor([1., 2.]), 2)
    tensor([0.5, 1. ])
    """
    return _binary(Divide, a, b)


def remainder(a: Any, b: Any) -> Tensor:
    """a - floor(a / b) b, which has the sign of b, broadcast as in NumPy; the operator %. NaN where
    floats are divided by 0, 0 for integers. The gradient of b is -floor(a / b).

    >>> md.remainder(md.tensor([7., -7.]), 3)
    tensor([1., 2.])
    """
    return _binary(Remainder, a, b)


def power(a: Any, b: Any) -> Tensor:
    """a to the power of b, broadcast as in NumPy; the operator **. The gradient of b is NaN where a
    is negative, 0 where a is 0 and b is not negative. ValueError for an integer to a negative
    integer power.

    >>> md.power(md.tensor([1., 2., 3.]), 2)
    tensor([1., 4., 9.])
    """
    return _binary(Power, a, b)


def maximum(a: Any, b: Any) -> Tensor:
    """The larger of a and b, or NaN if one is NaN, broadcast as in NumPy. Where they are equal,
    each gets half of the gradient.

    >>> md.maximum(md.tensor([1., 5.]), 3)
    tensor([3., 5.])
    """
    return _binary(Maximum, a, b)


def minimum(a: Any, b: Any) -> Tensor:
    """The smaller of a and b, or NaN if one is NaN, broadcast as in NumPy. Where they are equal,
    each gets half of the gradient.

    >>> md.minimum(md.tensor([1., 5.]), 3)
    tensor([1., 3.])
    """
    return _binary(Minimum, a, b)


def negative(x: Any) -> Tensor:
    """-x; the operator -. Integers stay integers.

    >>> md.negative(md.tensor([1., -2.]))
    tensor([-1.,  2.])
    """
    return Negative.apply(as_tensor(x, "negative"))


def exp(x: Any) -> Tensor:
    """e to the power of x; inf where that overflows.

    >>> md.exp(md.tensor([0., -1000., 1000.]))
    tensor([ 1.,  0., inf])
    """
    return Exp.apply(float_tensor(x, "exp"))


def log(x: Any) -> Tensor:
    """The natural logarithm; -inf at 0, NaN below.

    >>> md.log(md.tensor([1., 0., -1.]))
    tensor([  0., -inf,  nan])
    """
    return Log.apply(float_tensor(x, "log"))


def sqrt(x: Any) -> Tensor:
    """The square root; NaN below 0. Its gradient at 0 is inf.

    >>> md.sqrt(md.tensor([4., 9., -1.]))
    tensor([ 2.,  3., nan])
    """
    return Sqrt.apply(float_tensor(x, "sqrt"))


def abs(x: Any) -> Tensor:
    """The absolute value; its gradient at 0 is 0. Integers stay integers.

    >>> md.abs(md.tensor([-2., 3.]))
    tensor([2., 3.])
    """
    return Abs.apply(as_tensor(x, "abs"))
