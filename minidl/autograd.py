"""Automatic differentiation: Function, the backward walk, no_grad and grad.

A `Function` instance is a node of the graph. `apply` runs its `forward` on arrays and links it
to those inputs that need a gradient; the walk calls its `backward` once, in the reverse of the
order in which nodes were made, which is a topological order because inputs are older than what
is computed from them. What tensors can do lives in `tensor`, the operations in `ops`.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import numpy as np

from . import kernels
from .tensor import Tensor


class _Mode(threading.local):
    """Whether this thread records, and what it did before each no_grad that it is inside."""

    def __init__(self) -> None:
        self.recording = True
        self.before: list[bool] = []


_mode = _Mode()
_next_order = itertools.count().__next__


class no_grad(contextlib.ContextDecorator):
    """Operations inside record no graph: `with md.no_grad(): ...`, or as a decorator.

    It holds for the current thread, and nests.

    >>> x = md.tensor([1.], requires_grad=True)
    >>> with md.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    def __enter__(self) -> no_grad:
        _mode.before.append(_mode.recording)
        _mode.recording = False
        return self

    def __exit__(self, *exc: object) -> None:
        _mode.recording = _mode.before.pop()


class recording(no_grad):
    """Operations inside record a graph, within no_grad too."""

    def __enter__(self) -> recording:
        super().__enter__()
        _mode.recording = True
        return self


def is_recording() -> bool:
    """Whether operations record a graph in this thread now."""
    return _mode.recording


class Deferred:
    """An array that is computed on first use, so that the next operation can take it over.

    `forward` may return one instead of an array, and `backward` may return one as a gradient.
    `compute` gives the array and may be called again. `reads` are the arrays it will be computed
    from: the tensors that hold them have it computed before anyone can write to them (what nobody
    can write to need not be among them).
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    reads: tuple[np.ndarray, ...] = ()
    adopted = True      # by the tensor that held it: computing it again would cost something
    sources: tuple[weakref.ref[Tensor], ...] = ()

    def compute(self) -> np.ndarray:
        raise NotImplementedError

    def held(self) -> np.ndarray | None:
        """The array, if it has been computed and someone still holds it."""
        return None

    def plus(self, other: np.ndarray) -> Deferred | None:
        """This array plus another in the same pass, or None where that cannot be."""
        return None

    def with_relu(self) -> Deferred | None:
        """The ReLU of this array in the same pass, or None where that cannot be."""
        return None

    def pooled(self, window: Any, stride: Any, padding: Any) -> np.ndarray | None:
        """The max-pool of this array in the same pass, or None where that cannot be."""
        return None


def computed(x: Any) -> Any:
    """x, or the array that it stands for."""
    return x.compute() if isinstance(x, Deferred) else x


class GradSum(Deferred):
    """The sum of two gradients of one tensor, for an operation that can add while it reads."""

    def __init__(self, a: np.ndarray, b: np.ndarray) -> None:
        self.a, self.b = a, b
        self.shape, self.dtype = a.shape, a.dtype

    def compute(self) -> np.ndarray:
        return np.asarray(kernels.add(self.a, self.b))


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

    _inputs: tuple[Tensor | None, ...] | None = ()
    needs_grad: tuple[bool, ...] = ()
    _order: int
    _grads: list[Any]
    _owned: list[bool]
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
        recording = _mode.recording
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
                        a, taken, takes_deferred = x._deferred, x, False
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
            node._order = _next_order()
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
        return made if several else made[0]


def _output(result: Any, cls: type[Function]) -> Tensor:
    """A tensor around what forward returned."""
    t = Tensor.__new__(Tensor)
    t._node = t._watchers = t._deferred = t._array = t._grad = None
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


# --------------------------------------------------------------------------------- the walk

class _Leaf:
    """The gradient of a leaf while a walk is under way."""

    __slots__ = ("_grads", "_owned", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._grads: list[Any] = [None]
        self._owned = [False]


Captured = dict[tuple[int, int], Any]       # (id of a node, slot) -> gradient


def _walk(nodes: list[Function], outputs: Sequence[Tensor], output_grads: Sequence[np.ndarray],
          retain_graph: bool, wanted: Iterable[Tensor]) -> tuple[dict[int, _Leaf], Captured]:
    """Propagate gradients from outputs through the nodes behind them, oldest first; return
    those of leaves and of wanted other tensors.

    A node's gradients are complete when it is its turn, since all that use it are younger. Its
    saved arrays are freed as soon as its backward has run.
    """
    leaves: dict[int, _Leaf] = {}
    captured: Captured = {
        (id(t._node), t._slot): None for t in wanted if t._node is not None}
    try:
        for node in nodes:
            node._grads = [None] * len(node._outputs)
            node._owned = [False] * len(node._outputs)
        for t, g in zip(outputs, output_grads, strict=True):
            _accumulate(t, g, leaves)
        while nodes:
            node = nodes.pop()
            grads = _complete(node, captured)
            if grads is not None:
                _step(node, grads, leaves)
            if not retain_graph:
                node.__dict__.clear()
                node._inputs = None
    finally:
        for node in nodes:          # left over after an exception
            node.__dict__.pop("_grads", None)
    return leaves, captured


def reachable(outputs: Sequence[Tensor]) -> list[Function]:
    """The nodes behind the outputs, oldest first."""
    stack = list(dict.fromkeys(t._node for t in outputs if t._node is not None))
    seen = set(stack)
    nodes = []
    while stack:
        node = stack.pop()
        nodes.append(node)
        if node._inputs is None:
            raise RuntimeError(
                "backward: the graph behind this tensor has been used by an earlier backward, "
                "which frees it; pass retain_graph=True there to use it twice")
        for t in node._inputs:
            if t is not None and t._node is not None and t._node not in seen:
                seen.add(t._node)
                stack.append(t._node)
    nodes.sort(key=lambda node: node._order)
    return nodes


def _complete(node: Function, captured: Captured) -> list[Any] | None:
    """The gradients of a node's outputs, ready for its backward; None if there are none."""
    grads = node._grads
    del node._grads
    if captured:
        for slot in range(len(grads)):
            if (id(node), slot) in captured and grads[slot] is not None:
                grads[slot] = computed(grads[slot])
                captured[id(node), slot] = grads[slot].copy()
    if len(grads) == 1:
        if grads[0] is None:
            return None
    elif all(g is None for g in grads):
        return None
    for slot, g in enumerate(grads):
        if g is None:
            shape, dtype = node._outputs[slot]
            grads[slot] = np.zeros(shape, dtype)
        elif isinstance(g, Deferred) and not node.takes_deferred_grads:
            grads[slot] = g.compute()
    return grads


def _step(node: Function, grads: list[Any], leaves: dict[int, _Leaf]) -> None:
    """Run one node's backward and hand its results to its inputs."""
    inputs = node._inputs or ()
    results = node.backward(*grads)
    if not isinstance(results, tuple):
        several = isinstance(results, list) and len(inputs) > 1
        results = tuple(results) if several else (results,)
    if len(results) != len(inputs):
        raise RuntimeError(f"{type(node).__name__}.backward returned {len(results)} gradients "
                           f"for {len(inputs)} inputs")
    for k, (t, g) in enumerate(zip(inputs, results, strict=True)):
        if t is None or g is None:
            continue
        if not isinstance(g, (np.ndarray, Deferred)):
            g = np.asarray(g)
        if g.shape != t.shape:
            raise RuntimeError(f"{type(node).__name__}.backward returned a gradient of shape "
                               f"{g.shape} for input {k} of shape {t.shape}")
        # What a leaf keeps nobody else may hold; a user's function may keep what it returns.
        if t._node is None and (not node._ours or _shared(g, grads, results[:k])):
            g = computed(g).copy()
        _accumulate(t, g, leaves)


def _shared(g: Any, grads: list[Any], earlier: tuple[Any, ...]) -> bool:
    """Whether a gradient is, or may share memory with, an array that someone else holds."""
    for others in (grads, earlier):
        for other in others:
            if g is other:
                return True
    return not isinstance(g, Deferred) and isinstance(g.base, np.ndarray)


def _accumulate(t: Tensor, g: Any, leaves: dict[int, _Leaf]) -> None:
    """Add a gradient to what has come for t. In place only into sums made here."""
    if isinstance(g, np.ndarray) and (g.dtype is not t.dtype or not g.flags.c_contiguous):
        g = np.asarray(g, t.dtype, order="C")
    place: Any = t._node
    slot = t._slot
    if place is None:
        place = leaves.get(id(t))
        if place is None:
            place = leaves[id(t)] = _Leaf(t)
    before = place._grads[slot]
    if before is None:
        place._grads[slot] = g
    elif place._owned[slot]:
        kernels.add(before, computed(g), out=before)
    elif isinstance(before, GradSum):
        place._grads[slot] = kernels.add(before.compute(), computed(g))
        place._owned[slot] = True
    else:
        place._grads[slot] = GradSum(computed(before), computed(g))


def backward(output: Tensor, grad: Any = None, retain_graph: bool = False) -> None:
    """Gradients of output with respect to every leaf that requires one, added to its `.grad`."""
    start = _start_grad(output, grad, "backward")
    nodes = reachable([output])
    retained = [t for node in nodes if "_retained" in node.__dict__
                for ref in node._retained.values() if (t := ref()) is not None]
    leaves, captured = _walk(nodes, [output], [start], retain_graph, retained)
    for t in retained:
        g = captured[id(t._node), t._slot]
        if g is not None:
            t._store_grad(g)
    for leaf in leaves.values():
        leaf.tensor._store_grad(computed(leaf._grads[0]))


def grad(outputs: Tensor | Sequence[Tensor], inputs: Tensor | Sequence[Tensor],
         grad_outputs: Any = None, retain_graph: bool = False) -> Any:
    """Gradients of outputs with respect to inputs, as arrays; `.grad` is left alone.

    `outputs` and `inputs` are a tensor or a sequence of them; `inputs` may be tensors inside
    the graph. `grad_outputs` are the gradients to start from (1 for a scalar). An input that
    the outputs do not depend on gets zeros. Returns one array, or a tuple for a sequence. The graph
    is freed unless `retain_graph`.

    ValueError if an input requires no gradient or a start does not fit, RuntimeError if an output
    requires none or the graph has been used.

    >>> x = md.tensor([1., 2.], requires_grad=True)
    >>> md.grad((x * x).sum(), x)
    array([2., 4.], dtype=float32)
    """
    one = isinstance(inputs, Tensor)
    ins: Sequence[Tensor] = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    outs: Sequence[Tensor] = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    if grad_outputs is None:
        starts: Sequence[Any] = [None] * len(outs)
    elif isinstance(outputs, Tensor) and not isinstance(grad_outputs, list | tuple):
        starts = [grad_outputs]
    else:
        starts = list(grad_outputs)
    if len(starts) != len(outs):
        raise ValueError(f"grad: {len(outs)} outputs but {len(starts)} grad_outputs")
    for t in ins:
        if not t._requires_grad:
            raise ValueError("grad: an input does not require a gradient")
    begin = [_start_grad(t, g, "grad") for t, g in zip(outs, starts, strict=True)]
    leaves, captured = _walk(reachable(outs), outs, begin, retain_graph, ins)
    results = []
    for t in ins:
        found: Any = None
        if t._node is not None:
            found = captured.get((id(t._node), t._slot))
        elif id(t) in leaves:
            found = computed(leaves[id(t)]._grads[0])
        results.append(np.zeros(t.shape, t.dtype) if found is None else found)
    return results[0] if one else tuple(results)


def _start_grad(output: Tensor, grad: Any, where: str) -> np.ndarray:
    """The gradient a walk starts from, checked."""
    if not output._requires_grad:
        raise RuntimeError(f"{where}: the tensor does not require a gradient "
                           f"(none of its inputs does, or it was made under no_grad)")
    if grad is None:
        if output.size != 1:
            raise ValueError(f"{where}: a tensor of shape {output.shape} is not a scalar; "
                             f"pass the gradient to start from")
        return np.ones(output.shape, output.dtype)
    values = grad.data if isinstance(grad, Tensor) else grad
    # Backwards only read it; but a leaf keeps it, and keeps nothing that others hold.
    start = np.array(values, output.dtype, copy=True if output._node is None else None)
    if start.shape != output.shape:
        raise ValueError(f"{where}: the gradient has shape {start.shape}, "
                         f"the tensor {output.shape}")
    return start
