"""The way back: backward and grad.

The walk calls the `backward` of each node once, in the reverse of the order in which nodes were
made, which is a topological order because inputs are older than what is computed from them. What
it sums belongs to the walk, not to the nodes, so that threads can walk over one graph at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from . import changes, checks, kernels
from .graph import Function
from .lazy import Deferred, GradSum, computed
from .tensor import Tensor

Captured = dict[tuple[int, int], Any]       # (id of a node, slot) -> gradient

USED = ("backward: the graph behind this tensor has been used by an earlier backward, which frees "
        "it; pass retain_graph=True there to use it twice")


class _Sum:
    """What has come so far for the outputs of a node, or for a leaf."""

    __slots__ = ("grads", "owned")

    def __init__(self, outputs: int) -> None:
        self.grads: list[Any] = [None] * outputs
        self.owned: set[int] = set()        # the slots whose sums were made here


# By the node, or by the leaf (tensors are told apart by identity).
Sums = dict[Any, _Sum]


def _walk(nodes: list[Function], outputs: Sequence[Tensor], output_grads: Sequence[np.ndarray],
          retain_graph: bool, wanted: Iterable[Tensor]) -> tuple[dict[Tensor, Any], Captured]:
    """Propagate gradients from outputs through the nodes behind them, oldest first; return
    those of leaves and of wanted other tensors.

    A node's gradients are complete when it is its turn, since all that use it are younger. Its
    saved arrays are freed as soon as its backward has run.
    """
    changes.check(nodes)
    sums: Sums = {}
    captured: Captured = {
        (id(t._node), t._slot): None for t in wanted if t._node is not None}
    for t, g in zip(outputs, output_grads, strict=True):
        _accumulate(t, g, sums)
    while nodes:
        node = nodes.pop()
        # Taken away by whoever frees the node: another thread may be on the way to it too.
        inputs = node._inputs if retain_graph else node.__dict__.pop("_inputs", None)
        if inputs is None:
            raise RuntimeError(USED)
        total = sums.pop(node, None)
        if total is not None:
            try:
                _step(node, inputs, _complete(node, total, captured), sums)
            except Exception as error:
                if _freed(node, inputs):
                    raise RuntimeError(
                        "backward: another thread's backward has freed the graph meanwhile; pass "
                        "retain_graph=True there") from error
                raise
        if not retain_graph:
            node.__dict__.clear()
    return {t: computed(total.grads[0]) for t, total in sums.items()}, captured


def reachable(outputs: Sequence[Tensor]) -> list[Function]:
    """The nodes behind the outputs, oldest first."""
    stack = list(dict.fromkeys(t._node for t in outputs if t._node is not None))
    seen = set(stack)
    nodes = []
    while stack:
        node = stack.pop()
        nodes.append(node)
        inputs = node._inputs
        if inputs is None:
            raise RuntimeError(USED)
        for t in inputs:
            if t is not None and t._node is not None and t._node not in seen:
                seen.add(t._node)
                stack.append(t._node)
    nodes.sort(key=lambda node: node._order)
    return nodes


def _complete(node: Function, total: _Sum, captured: Captured) -> list[Any]:
    """The gradients of a node's outputs, ready for its backward."""
    grads = total.grads
    if captured:
        for slot in range(len(grads)):
            if (id(node), slot) in captured and grads[slot] is not None:
                grads[slot] = computed(grads[slot])
                captured[id(node), slot] = grads[slot].copy()
    for slot, g in enumerate(grads):
        if g is None:
            shape, dtype = node._outputs[slot]
            grads[slot] = np.zeros(shape, dtype)
        elif isinstance(g, Deferred) and not node.takes_deferred_grads:
            grads[slot] = g.compute()
    return grads


def _step(node: Function, inputs: tuple[Tensor | None, ...], grads: list[Any], sums: Sums) -> None:
    """Run one node's backward and hand its results to its inputs."""
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
        _accumulate(t, g, sums)


def _freed(node: Function, inputs: tuple[Tensor | None, ...]) -> bool:
    """Whether another walk has freed a node, or one that it gets its inputs from."""
    return "_order" not in node.__dict__ or any(
        t is not None and t._node is not None and t._node._inputs is None for t in inputs)


def _shared(g: Any, grads: list[Any], earlier: tuple[Any, ...]) -> bool:
    """Whether a gradient is, or may share memory with, an array that someone else holds."""
    for others in (grads, earlier):
        for other in others:
            if g is other:
                return True
    return not isinstance(g, Deferred) and isinstance(g.base, np.ndarray)


def _accumulate(t: Tensor, g: Any, sums: Sums) -> None:
    """Add a gradient to what has come for t. In place only into sums made here."""
    if isinstance(g, np.ndarray) and (g.dtype is not t.dtype or not g.flags.c_contiguous):
        g = np.asarray(g, t.dtype, order="C")
    node, slot = t._node, t._slot
    key: Any = t if node is None else node
    total = sums.get(key)
    if total is None:
        total = sums[key] = _Sum(1 if node is None else len(node._outputs))
    before = total.grads[slot]
    if before is None:
        total.grads[slot] = g
    elif slot in total.owned:
        kernels.add(before, computed(g), out=before)
    elif isinstance(before, GradSum):
        total.grads[slot] = kernels.add(before.compute(), computed(g))
        total.owned.add(slot)
    else:
        total.grads[slot] = GradSum(computed(before), computed(g))


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
    for leaf, g in leaves.items():
        leaf._store_grad(g)


def grad(outputs: Tensor | Sequence[Tensor], inputs: Tensor | Sequence[Tensor],
         grad_outputs: Any = None, retain_graph: bool = False) -> Any:
    """Gradients of outputs with respect to inputs, as arrays; `.grad` is left alone.

    `outputs` and `inputs` are a tensor or a sequence of them; `inputs` may be tensors inside
    the graph. `grad_outputs` are the gradients to start from (1 for a scalar). An input that
    the outputs do not depend on gets zeros. Returns one array, or a tuple for a sequence. The graph
    is freed unless `retain_graph`.

    TypeError for what are no tensors, ValueError if an input requires no gradient or a start does
    not fit, RuntimeError if an output requires none or the graph has been used.

    >>> x = md.tensor([1., 2.], requires_grad=True)
    >>> md.grad((x * x).sum(), x)
    array([2., 4.], dtype=float32)
    """
    one = isinstance(inputs, Tensor)
    ins, outs = _tensors(inputs, "inputs"), _tensors(outputs, "outputs")
    if grad_outputs is None:
        starts: Sequence[Any] = [None] * len(outs)
    elif isinstance(outputs, Tensor) and not isinstance(grad_outputs, list | tuple):
        starts = [grad_outputs]
    else:
        starts = checks.members(grad_outputs, "grad", "grad_outputs", "a list of gradients")
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
        else:
            found = leaves.get(t)
        results.append(np.zeros(t.shape, t.dtype) if found is None else found)
    return results[0] if one else tuple(results)


def _tensors(given: Any, name: str) -> Sequence[Tensor]:
    """A tensor, or a sequence of them, as a list."""
    members = [given] if isinstance(given, Tensor) else checks.members(
        given, "grad", name, "a tensor or a list of tensors")
    for t in members:
        if not isinstance(t, Tensor):
            raise TypeError(f"grad: {name} must be tensors, got {type(t).__name__}")
    return members


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
    try:
        start = np.array(values, output.dtype, copy=True if output._node is None else None)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where}: the gradient must be an array, got a "
                        f"{type(grad).__name__}: {error}") from None
    if start.shape != output.shape:
        raise ValueError(f"{where}: the gradient has shape {start.shape}, "
                         f"the tensor {output.shape}")
    return start
