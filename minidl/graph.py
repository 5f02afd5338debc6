"""The graph: `Function`, and how its `apply` records it.

A `Function` instance is a node of the graph. `apply` runs its `forward` on arrays and links it
to those inputs that need a gradient. The backward walk is in `backward`, `no_grad` in `grad_mode`,
and results that wait for the next operation in `lazy`. The operations themselves are in `ops`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .changes import tick
from .grad_mode import is_recording
from .lazy import Lazy
from .storage import FRESH, LENT, OPEN, RESULT, read_only
from .tensor import Tensor
from .tracers import applied, tracers

_new = object.__new__


class Function:
    """A differentiable operation; subclass it to write a new one.

    `forward(self, *arrays, **options)` returns an array, or a tuple of arrays, and keeps what
    `backward` needs as attributes. `backward(self, *grads)` gets the gradient of each output. It
    returns a tuple with one gradient (or None) for each input of `apply`, counting numbers and
    None too, each of that input's shape; for a single input it may return the gradient alone.
    `self.needs_grad` says which inputs need a gradient. Attributes whose names begin with an
    underscore belong to the engine. Neither method may write to an array that it was given. A class
    with `trusted = True` promises this, and that it returns new arrays that fit; it is not checked.

    >>> class Square(md.Function):
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x * x
    ...     def backward(self, dy):
    ...         return 2 * self.x * dy
    >>> Square.apply(md.tensor([3.]))
    tensor([9.])
    """

    # The engine's own attributes are slots. What the operation keeps is in __dict__, which a
    # backward can clear without touching them.
    __slots__ = ("__dict__", "__weakref__", "_chain", "_inputs", "_order", "_outputs", "needs_grad")

    needs_grad: tuple[bool, ...]
    _order: int  # when the node was made, by the clock of `changes`
    # The inputs that need a gradient, None in place of the others; None once a backward freed them.
    _inputs: tuple[Tensor | None, ...] | None
    _outputs: tuple[tuple[tuple[int, ...], np.dtype], ...]  # shape and dtype of each output
    # The nodes whose values this node's pass computes too, oldest first; the oldest made the Lazy.
    _chain: tuple[Function, ...]

    trusted = False  # whether the class keeps the promise in the docstring
    returns_view = False  # whether the output shares memory with an input
    _read_later: tuple[int, ...] = ()  # the inputs that a Lazy result will be computed from
    _takes_lazy_grads = False  # whether backward can take a Lazy as a gradient
    _begins_chain = False  # whether a chain may begin with it: it has `epilogue_backward`
    # The mean and variance of the output, if the operation has computed them too.
    _statistics: tuple[np.ndarray, np.ndarray] | None = None

    _shares = True  # whether users may hold, and write to, the outputs' memory
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    # Called in place of forward where one input is a Lazy; returns None if the Lazy must be
    # computed first.
    _extend: Callable[..., Any] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._shares = cls.returns_view or not cls.trusted

    def chain_backward(self, dy: Any, dy2: np.ndarray | None) -> tuple[Any, ...]:
        """The gradients for a chain of operations that ends with this node, given the gradient
        dy + dy2 of its output: one for each input that comes from outside of the chain, in the
        order of the operations."""
        raise NotImplementedError

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Run the operation on tensors (or arrays, numbers, None) and record it.

        Returns a Tensor, or a tuple of them. Numbers and None reach `forward` as they are.
        """
        node = cls()
        node._chain = ()
        recording = is_recording()
        arrays: list[Any] = []
        kept: list[Tensor | None] = []  # the inputs that need a gradient
        needs: list[bool] = []
        lazy: Tensor | None = None
        if cls._shares:
            for x in inputs:
                if isinstance(x, Tensor):
                    x._open()
        for x in inputs:
            if isinstance(x, Tensor):
                array: Any = x._array
                if array is None:
                    array = x._lazy
                    if array is None or lazy is not None or cls._extend is None:
                        array = x._values()
                    else:
                        lazy = x
                arrays.append(array)
                if recording and x._requires_grad:
                    kept.append(x)
                    needs.append(True)
                    continue
            else:
                arrays.append(np.asarray(x, order="C") if isinstance(x, np.ndarray) else x)
            kept.append(None)
            needs.append(False)
        node.needs_grad = tuple(needs)
        if cls._shares and not cls.trusted:
            arrays = [read_only(a) if isinstance(a, np.ndarray) else a for a in arrays]
        result = None
        if lazy is not None:
            result = node._extend(*arrays, **options)  # type: ignore[misc]
            if result is None:
                arrays = [lazy._values() if type(a) is Lazy else a for a in arrays]
            else:
                before = lazy._node
                if before is not None and (before._chain or before._begins_chain):
                    node._chain = (*before._chain, before)
        if result is None:
            result = node.forward(*arrays, **options)
        recorded = True in needs
        if recorded:
            node._order = tick()
            node._inputs = tuple(kept)
        if not isinstance(result, tuple):
            t = _output(result, node, inputs)
            if recorded:
                node._outputs = ((t._shape, t._dtype),)
                if t._dtype.kind == "f":
                    t._requires_grad = True
                    t._node = node
            if tracers:
                applied(cls, inputs, options, (t,))
            return t
        made = tuple([_output(r, node, inputs) for r in result])
        if recorded:
            node._outputs = tuple([(t._shape, t._dtype) for t in made])
            for slot, t in enumerate(made):
                if t._dtype.kind == "f":
                    t._requires_grad = True
                    t._node = node
                    t._slot = slot
        if tracers:
            applied(cls, inputs, options, made)
        return made


def _output(result: Any, node: Function, inputs: tuple[Any, ...]) -> Tensor:
    """A tensor around what forward returned."""
    t = _new(Tensor)
    t._grad = t._lazy = t._node = t._written = None
    t._requires_grad = False
    t._slot, t._access = 0, RESULT
    if type(result) is np.ndarray:
        if not result.flags.c_contiguous:
            result = np.asarray(result, order="C")
        if node._shares:
            result, t._access = _shared(result, node, inputs)
        t._array, t._shape, t._dtype = result, result.shape, result.dtype
    elif type(result) is Lazy:
        t._array, t._lazy, t._shape, t._dtype = None, result, result.shape, result.dtype
        for k in node._read_later:
            x = inputs[k]
            if not isinstance(x, Tensor) or x._access == OPEN:
                t._values()
            elif x._access == FRESH:
                x._access = LENT
    elif isinstance(result, (np.ndarray, np.generic, int, float)):
        return _output(np.asarray(result, order="C"), node, inputs)
    else:
        raise TypeError(
            f"{type(node).__name__}.forward must return an array or a tuple of arrays, "
            f"got {type(result).__name__}"
        )
    return t


def _shared(result: np.ndarray, node: Function, inputs: tuple[Any, ...]) -> tuple[np.ndarray, int]:
    """The array of an output whose memory users can write to in another way, and its access: a view
    of a leaf, or an array that a user's function has returned and may keep. The array is read-only,
    so that nobody writes to it through the tensor."""
    if node.trusted and all(isinstance(x, Tensor) and x._access == RESULT for x in inputs):
        return result, RESULT
    if not node.trusted:
        if result.dtype.kind not in "fiub" or result.dtype == np.longdouble:
            raise TypeError(
                f"{type(node).__name__}.forward must return numbers (float, integer or "
                f"bool), got {result.dtype}"
            )
        result = np.require(result, result.dtype.newbyteorder("="), ("C", "A"))
    return read_only(result), OPEN
