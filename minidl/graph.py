"""The graph: Function, and what its `apply` records.

A `Function` instance is a node of the graph. `apply` runs its `forward` on arrays and links it
to those inputs that need a gradient. The way back is in `backward`, `no_grad` in `grad_mode`. What
tensors can do lives in `tensor`, the operations in `ops`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any, cast

import numpy as np

from .changes import tick
from .grad_mode import is_recording
from .lazy import Deferred
from .tensor import Tensor
from .tracers import tracers


class Function:
    """A differentiable operation; subclass it to write a new one.

    `forward(self, *arrays, **options)` returns an array, or a tuple of arrays, and keeps what
    `backward` needs as attributes. `backward(self, *grads)` gets the gradient of each output and
    returns a tuple of one gradient (or None) per input of `apply`, numbers and None among them,
    each of that input's shape; for a single input the gradient alone. `self.needs_grad` says which
    inputs want one; names that begin with an underscore are the engine's. Neither may write to an
    array it was given.

    >>> class Square(md.Function):
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x * x
    ...     def backward(self, dy):
    ...         return 2 * self.x * dy
    >>> Square.apply(md.tensor([3.]))
    tensor([9.])
    """

    _inputs: tuple[Tensor | None, ...] | None = None    # None: a backward has freed the node
    needs_grad: tuple[bool, ...] = ()
    _order: int = 0     # a freed node: it is found out when it is its turn
    _outputs: tuple[tuple[tuple[int, ...], np.dtype], ...]
    _retained: dict[int, weakref.ref[Tensor]]

    takes_deferred = False         # forward understands a Deferred array (one at most)
    takes_deferred_grads = False   # backward understands Deferred gradients
    returns_view = False           # the output shares memory with an input
    _ours = False                  # defined in minidl: keeps the promise not to write to inputs

    forward: Callable[..., Any]
    backward: Callable[..., Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._ours = cls.__module__.startswith("minidl.")

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Run the operation on tensors (or arrays, numbers, None) and record it.

        Returns a Tensor, or a tuple of them. Numbers and None reach `forward` as they are.
        """
        node = cls()
        recording = is_recording()
        takes_deferred = cls.takes_deferred
        taken: Tensor | None = None
        arrays: list[Any] = []
        kept: list[Tensor | None] = []      # the inputs that need a gradient
        for x in inputs:
            a: Any = x
            wanted = None
            if isinstance(x, Tensor):
                a = x._array
                if a is None:
                    if takes_deferred:      # one: others are computed, and watched as arrays
                        a, taken, takes_deferred = x._pending(), x, False
                    else:
                        a = x._compute()
                if not cls._ours:
                    x._expose()
                if recording and x._requires_grad:
                    wanted = x
            elif isinstance(x, np.ndarray):
                a = np.asarray(x, order="C")
            arrays.append(a)
            kept.append(wanted)
        node.needs_grad = needs = tuple([x is not None for x in kept])
        result = node.forward(*arrays, **options)
        if taken is not None:
            taken._adopt()
        several = isinstance(result, tuple)
        made = tuple([_output(r, cls) for r in result]) if several else (_output(result, cls),)
        if cls.returns_view:
            for x in inputs:
                if isinstance(x, Tensor):
                    x._expose()
            for t in made:
                t._exposed = True
        if True in needs:
            node._order = tick()
            node._inputs = tuple(kept)
            node._outputs = tuple([(t.shape, t.dtype) for t in made])
            for slot, t in enumerate(made):
                if t.dtype.kind == "f":
                    t._requires_grad = True
                    t._node = node
                    t._slot = slot
        for t in made:
            if t._deferred is not None and t._deferred.reads:
                _watch(t, inputs, arrays)
        if tracers and (tracer := tracers.get(get_ident())) is not None:
            tracer.operation(cls, inputs, options, made)
        return made if several else made[0]


def _output(result: Any, cls: type[Function]) -> Tensor:
    """A tensor around what forward returned."""
    t = Tensor.__new__(Tensor)
    t._node = t._watchers = t._deferred = t._array = t._grad = t._written = None
    t._requires_grad = False
    t._slot = 0
    t._exposed = not cls._ours
    if isinstance(result, np.ndarray):
        t._array = result if result.flags.c_contiguous else np.asarray(result, order="C")
    elif isinstance(result, Deferred):
        t._deferred = result
    elif isinstance(result, (np.generic, int, float)):
        t._array = np.asarray(result)
    else:
        raise TypeError(f"{cls.__name__}.forward must return an array or a tuple of arrays, "
                        f"got {type(result).__name__}")
    return t


def _watch(t: Tensor, inputs: Sequence[Any], arrays: Sequence[Any]) -> None:
    """Have the sources of a deferred tensor compute it before a user can write to them."""
    deferred = cast(Deferred, t._deferred)
    sources = list(deferred.sources)
    for x, a in zip(inputs, arrays, strict=True):
        if isinstance(x, Tensor):
            if isinstance(a, Deferred):
                sources.extend(a.sources)
                a = a.held()
            for read in deferred.reads:
                if a is read:
                    sources.append(weakref.ref(x))
                    break
    deferred.sources = tuple(sources)
    watcher = weakref.ref(t)
    for ref in sources:
        source = ref()
        if source is not None:
            if source._exposed:
                t._compute()
                return
            watchers = source._watchers = source._watchers or []
            watchers.append(watcher)
            if len(watchers) % 64 == 0:     # a tensor that is read again and again
                watchers[:] = [w for w in watchers if w() is not None]
