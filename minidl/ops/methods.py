"""The operators and methods of tensors, which are the operations of this package.

`Tensor` itself imports no operation: the class below is the table of its operators and methods, and
the end of this file puts them on `Tensor`. To type checkers and editors, `Tensor` inherits from the
table.
"""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from .. import backward, ops
from ..arrays import array_like
from ..hints import for_newcomers
from ..tensor import Tensor
from ..tracers import applied, tracers
from . import numpy_functions
from .numpy_functions import UFUNCS
from .shape import Detach


class Methods:
    """The operators and methods of `Tensor` that compute; each is set on `Tensor` itself."""

    __slots__ = ()

    __hash__ = object.__hash__  # `==` compares elements; tensors are told apart by identity

    # ---------------------------------------------------------------------------- the operators

    __add__ = __radd__ = ops.add
    __sub__ = ops.subtract
    __mul__ = __rmul__ = ops.multiply
    __truediv__ = ops.divide
    __floordiv__ = ops.floor_divide
    __mod__ = ops.remainder
    __pow__ = ops.power
    __matmul__ = ops.matmul
    __neg__ = ops.negative
    __abs__ = ops.abs
    __getitem__ = ops.getitem

    def __pos__(self: Any) -> Tensor:
        return self

    def __rsub__(self, other: Any) -> Tensor:
        return ops.subtract(other, self)

    def __rtruediv__(self, other: Any) -> Tensor:
        return ops.divide(other, self)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return ops.floor_divide(other, self)

    def __rmod__(self, other: Any) -> Tensor:
        return ops.remainder(other, self)

    def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return ops.floor_divide(self, other), ops.remainder(self, other)

    def __rdivmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return ops.floor_divide(other, self), ops.remainder(other, self)

    def __rpow__(self, other: Any) -> Tensor:
        return ops.power(other, self)

    def __rmatmul__(self, other: Any) -> Tensor:
        return ops.matmul(other, self)

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

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return ops.compare(np.equal, self, other) if _comparable(other) else NotImplemented

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return ops.compare(np.not_equal, self, other) if _comparable(other) else NotImplemented

    def __lt__(self, other: Any) -> Tensor:
        return ops.compare(np.less, self, other)

    def __le__(self, other: Any) -> Tensor:
        return ops.compare(np.less_equal, self, other)

    def __gt__(self, other: Any) -> Tensor:
        return ops.compare(np.greater, self, other)

    def __ge__(self, other: Any) -> Tensor:
        return ops.compare(np.greater_equal, self, other)

    def __contains__(self, value: Any) -> bool:
        return _comparable(value) and bool(ops.any(self == value))

    # ------------------------------------------------------------------------ NumPy's functions

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if not options and method == "__call__":
            ours = UFUNCS.get(ufunc)  # looked up first, because array + tensor comes here
            if ours is not None:
                return ours(*inputs)
        return numpy_functions.apply_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return numpy_functions.apply_function(function, args, options)

    # ------------------------------------------------------------------------------ the methods

    abs = ops.abs
    adaptive_avg_pool = ops.adaptive_avg_pool
    all = ops.all
    any = ops.any
    argmax = ops.argmax
    argmin = ops.argmin
    argsort = ops.argsort
    astype = ops.astype
    avg_pool = ops.avg_pool
    avg_pool1d = ops.avg_pool1d
    broadcast_to = ops.broadcast_to
    clip = ops.clip
    cos = ops.cos
    cumsum = ops.cumsum
    dropout = ops.dropout
    elu = ops.elu
    exp = ops.exp
    expand_dims = ops.expand_dims
    flatten = ops.flatten
    flip = ops.flip
    gelu = ops.gelu
    global_avg_pool = ops.global_avg_pool
    leaky_relu = ops.leaky_relu
    log = ops.log
    log_softmax = ops.log_softmax
    logsumexp = ops.logsumexp
    max = ops.max
    max_pool = ops.max_pool
    max_pool1d = ops.max_pool1d
    maximum = ops.maximum
    mean = ops.mean
    min = ops.min
    minimum = ops.minimum
    one_hot = ops.one_hot
    pad = ops.pad
    relu = ops.relu
    reshape = ops.reshape
    sigmoid = ops.sigmoid
    silu = ops.silu
    sin = ops.sin
    softmax = ops.softmax
    softplus = ops.softplus
    sort = ops.sort
    split = ops.split
    sqrt = ops.sqrt
    squeeze = ops.squeeze
    std = ops.std
    sum = ops.sum
    tanh = ops.tanh
    topk = ops.topk
    transpose = ops.transpose
    var = ops.var

    @property
    def T(self) -> Tensor:
        """The tensor with its axes in reverse order."""
        return ops.transpose(self)

    def detach(self: Any) -> Tensor:
        """A tensor outside the graph that shares the values' memory."""
        self._open()
        same = Tensor(self._values())
        if tracers:
            applied(Detach, (self,), {}, (same,))
        return same

    @for_newcomers
    def backward(self: Any, grad: Any = None, retain_graph: bool = False) -> None:
        """Compute gradients of this tensor, and add them to the `.grad` of every leaf that it
        depends on.

        `grad` is the gradient to start from, of this tensor's shape; a scalar needs none. The
        tensor's graph is freed unless `retain_graph`. RuntimeError if the tensor requires no
        gradient, if the graph has been used, or if an optimizer's step or `load_state_dict` has
        changed values that are needed; ValueError for a non-scalar without `grad`.

        Arrays that NumPy has written to since the forward (a leaf's `.data`, a large array that was
        an operand) are not noticed: the gradient is then computed with the new values. Indices,
        masks, conditions, labels, class weights and operands of up to 64 KiB are copied at the
        call, and are safe from this.
        """
        backward.backward(self, grad, retain_graph)


def _comparable(obj: Any) -> bool:
    """Whether elements can be compared with obj; None, strings and the like equal no tensor."""
    kinds = (Tensor, int, float, complex, list, tuple, numbers.Real)
    return isinstance(obj, kinds) or array_like(obj)


for name, member in vars(Methods).items():
    if callable(member) or isinstance(member, property):
        setattr(Tensor, name, member)
