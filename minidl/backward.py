"""The backward walk over the graph: `backward` and `grad`.

The walk calls the `backward` of each node once, in the reverse of the order in which nodes were
made. That is a topological order, because inputs are older than what is computed from them. The
sums of gradients belong to the walk and not to the nodes, so that several threads can walk over one
graph at once.

Where one pass over memory has done the work of several operations (see `lazy`), one call computes
their gradients too, `chain_backward`. This needs that each tensor between the operations has one
consumer, and that nobody has asked for its gradient: only then are the gradients of these tensors
never needed themselves. Otherwise each operation's own `backward` is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from threading import get_ident
from typing import Any

import numpy as np

from . import changes, checks, kernels
from .graph import Function
from .hints import for_newcomers
from .lazy import Lazy, computed
from .locks import lock
from .storage import read_only
from .tensor import Tensor, retained
from .tracers import profilers

Captured = dict[tuple[int, int], Any]  # (id of a node, slot) -> gradient
Uses = dict[Function, int]  # how many operations read the outputs of a node

_age = attrgetter("_order")
_storing = lock()  # held while a `.grad` is replaced

USED = (
    "backward: the graph behind this tensor has been used by an earlier backward, which frees "
    "it, also if it fails; pass retain_graph=True there to use it twice"
)


def reachable(outputs: Sequence[Tensor]) -> Uses:
    """The nodes that the outputs depend on, and how often the outputs of each node are read, by
    another node or as one of `outputs`."""
    uses: Uses = {}
    stack: list[Function] = []
    found: Sequence[Tensor | None] = outputs
    while True:
        for t in found:
            if t is not None:
                node = t._node
                if node is not None:
                    if node in uses:
                        uses[node] += 1
                    else:
                        uses[node] = 1
                        stack.append(node)
        if not stack:
            return uses
        inputs = stack.pop()._inputs
        if inputs is None:
            raise RuntimeError(USED)
        found = inputs


def _walk(
    outputs: Sequence[Tensor],
    starts: Sequence[np.ndarray],
    retain_graph: bool,
    wanted: Iterable[Tensor] | None = None,
) -> tuple[dict[Tensor, np.ndarray], list[tuple[Tensor, np.ndarray]]]:
    """Propagate gradients from the outputs through the nodes that they depend on.

    Returns the gradients of leaves, and of the other tensors in `wanted`; without `wanted`, of the
    tensors that `retain_grad` was called on. A node's gradients are complete when its turn comes,
    because all nodes that use its outputs are younger. What it has kept is freed as soon as its
    backward has run.
    """
    uses = reachable(outputs)
    nodes = sorted(uses, key=_age)
    changes.check(nodes)
    if wanted is None:
        wanted = _retained(nodes) if retained else []
    captured: Captured = {(id(t._node), t._slot): None for t in wanted if t._node is not None}
    slots: dict[Function, list[Any]] = {}
    leaves: dict[Tensor, Any] = {}
    profiler = profilers.get(get_ident()) if profilers else None
    _hand_on(outputs, starts, (), slots, leaves)
    while nodes:
        node = nodes.pop()
        grads = slots.pop(node, None)
        if grads is not None:
            if captured:
                _capture(node, grads, captured)
            inputs: Sequence[Tensor | None] = _inputs(node)
            chain = node._chain
            if chain and not _alone(chain, uses, captured):
                chain = ()
            if profiler is not None:
                profiler.gradient(node, chain, grads[0])
            try:
                if chain:
                    inputs = _outside(chain, node)
                    if type(grads[0]) is Lazy and not node._takes_lazy_grads:
                        grads[0] = computed(grads[0])
                    given: Sequence[Any] = grads[0] if type(grads[0]) is tuple else (grads[0], None)
                    results = node.chain_backward(*given)
                else:
                    given = grads
                    if type(grads[0]) is not np.ndarray or len(grads) > 1:
                        given = _complete(node, grads)
                    if node.trusted:
                        results = node.backward(*given)
                    else:
                        # Read-only: other nodes may have been given the same arrays.
                        results = _checked(node, inputs, node.backward(*map(read_only, given)))
                if type(results) is not tuple:
                    results = (results,)
                _hand_on(inputs, results, given, slots, leaves)
                if profiler is not None:
                    profiler.handed_on(results)
            except Exception as error:
                if node._inputs is None:
                    raise RuntimeError(
                        "backward: another thread's backward has freed the graph meanwhile; pass "
                        "retain_graph=True there"
                    ) from error
                raise
        if not retain_graph:
            node._inputs = None
            node.__dict__.clear()
    for t, g in leaves.items():
        if type(g) is tuple:
            leaves[t] = _total(g)
    return leaves, [
        (t, g)
        for t in wanted
        if t._node is not None and (g := captured[id(t._node), t._slot]) is not None
    ]


def _retained(nodes: Iterable[Function]) -> list[Tensor]:
    """The outputs of nodes that `retain_grad` was called on."""
    refs = [ref for node in nodes for ref in list(retained.get(node, {}).values())]
    return [t for ref in refs if (t := ref()) is not None]


def _alone(chain: tuple[Function, ...], uses: Uses, captured: Captured) -> bool:
    """Whether the chain alone reads the results inside it, and nobody wants their gradients."""
    for node in chain:
        if uses.get(node) != 1 or (captured and (id(node), 0) in captured):
            return False
    return True


def _outside(chain: tuple[Function, ...], last: Function) -> list[Tensor | None]:
    """The inputs of a chain's operations that come from outside of the chain."""
    inside = chain[0]
    found = list(_inputs(inside))
    for node in (*chain[1:], last):
        inputs = _inputs(node)
        if len(inputs) > 1:
            found += [t for t in inputs if t is None or t._node is not inside]
        inside = node
    return found


def _inputs(node: Function) -> tuple[Tensor | None, ...]:
    if node._inputs is None:
        raise RuntimeError(USED)
    return node._inputs


def _capture(node: Function, grads: list[Any], captured: Captured) -> None:
    """Keep copies of those gradients of a node's outputs that were asked for."""
    for slot, g in enumerate(grads):
        if g is not None and (id(node), slot) in captured:
            grads[slot] = _total(g)
            captured[id(node), slot] = grads[slot].copy()


def _complete(node: Function, grads: list[Any]) -> list[Any]:
    """The gradients of a node's outputs as its backward takes them: zeros for an output that nobody
    used, and arrays in place of sums and Lazys that it does not take."""
    for slot, g in enumerate(grads):
        if type(g) is not np.ndarray:
            if g is None:
                shape, dtype = node._outputs[slot]
                grads[slot] = np.zeros(shape, dtype)
            elif type(g) is tuple or not node._takes_lazy_grads:
                grads[slot] = _total(g)
    return grads


def _total(g: Any) -> np.ndarray:
    """A gradient, or the sum of a pair of gradients, as an array."""
    if type(g) is tuple:
        return kernels.add(*g)
    return computed(g)


def _checked(node: Function, inputs: Sequence[Tensor | None], results: Any) -> tuple[Any, ...]:
    """What a user's backward has returned, as arrays that fit its inputs. They are copies, because
    the user's class may keep what it returns and write to it later."""
    if not isinstance(results, tuple):
        several = isinstance(results, list) and len(inputs) > 1
        results = tuple(results) if several else (results,)
    where = f"{type(node).__name__}.backward"
    if len(results) != len(inputs):
        raise RuntimeError(f"{where} returned {len(results)} gradients for {len(inputs)} inputs")
    arrays: list[np.ndarray | None] = []
    for k, (t, g) in enumerate(zip(inputs, results, strict=True)):
        if t is None or g is None:
            arrays.append(None)
            continue
        array = np.asarray(g)
        if array.shape != t._shape:
            raise RuntimeError(
                f"{where} returned a gradient of shape {array.shape} for input {k} of shape "
                f"{t._shape}"
            )
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{where} must return numbers, got {array.dtype} for input {k}")
        arrays.append(np.array(array, t._dtype, order="C"))
    return tuple(arrays)


def _hand_on(
    inputs: Sequence[Tensor | None],
    results: Sequence[Any],
    given: Sequence[Any],
    slots: dict[Function, list[Any]],
    leaves: dict[Tensor, Any],
) -> None:
    """Add gradients to those that inputs have so far, whether a leaf or an output of a node.

    Two gradients are kept as a pair, because some backwards can add them while they read; a third
    is paired with their sum.
    """
    for t, g in zip(inputs, results, strict=True):
        if t is None or g is None:
            continue
        if type(g) is np.ndarray:
            if g.dtype is not t._dtype or not g.flags.c_contiguous:
                g = np.asarray(g, t._dtype, order="C")
        elif type(g) is not Lazy:
            g = np.asarray(g, t._dtype, order="C")
        node = t._node
        if node is None:
            g, before = computed(g), leaves.get(t)
            if before is None:
                leaves[t] = g.copy() if _held(g, given, results) else g
            else:
                leaves[t] = _pair(before, g)
            continue
        found = slots.get(node)
        if found is None:
            slots[node] = found = [None] * len(node._outputs)
        before = found[t._slot]
        found[t._slot] = g if before is None else _pair(before, g)


def _held(g: np.ndarray, given: Sequence[Any], results: Sequence[Any]) -> bool:
    """Whether somebody else may hold the memory of a gradient that a leaf is going to keep."""
    if isinstance(g.base, np.ndarray):
        return True
    for other in given:
        if other is g:
            return True
    times = 0
    for other in results:
        if other is g:
            times += 1
    return times > 1


def _pair(before: Any, g: Any) -> tuple[np.ndarray, np.ndarray]:
    return _total(before) if type(before) is tuple else computed(before), computed(g)


def _store(found: Iterable[tuple[Tensor, np.ndarray]]) -> None:
    """Add gradients to `.grad`. The sum is a new array, so that an array that was taken from
    `.grad` never changes."""
    more = []
    with _storing:
        for t, g in found:
            if t._grad is None:
                t._grad = g
            else:
                more.append((t, g))
    for t, g in more:
        while True:
            before = t._grad
            total = g if before is None else np.asarray(np.add(before, g))
            with _storing:  # if another thread has added a gradient meanwhile, add again
                if t._grad is before:
                    t._grad = total
                    break


def backward(output: Tensor, grad: Any = None, retain_graph: bool = False) -> None:
    """Add to the `.grad` of every leaf that requires a gradient the gradient of output."""
    checks.flag(retain_graph, "backward", "retain_graph")
    leaves, others = _walk([output], [_start_grad(output, grad, "backward")], retain_graph)
    _store([*others, *leaves.items()])


@for_newcomers
def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool = False,
) -> Any:
    """Compute gradients of outputs with respect to inputs, as arrays; `.grad` is left alone.

    `outputs` and `inputs` are a tensor or a sequence of tensors; `inputs` may be tensors inside
    the graph. `grad_outputs` are the gradients to start from (1 for a scalar). An input that
    the outputs do not depend on gets zeros. Returns one array, or a tuple for a sequence. The graph
    is freed unless `retain_graph`.

    TypeError if an argument is not a tensor, ValueError if an input requires no gradient or a
    gradient to start from does not fit, RuntimeError if an output requires no gradient or the graph
    has been used.

    >>> x = md.tensor([1., 2.], requires_grad=True)
    >>> md.grad((x * x).sum(), x)
    array([2., 4.], dtype=float32)
    """
    checks.flag(retain_graph, "grad", "retain_graph")
    one = isinstance(inputs, Tensor)
    ins, outs = _tensors(inputs, "inputs"), _tensors(outputs, "outputs")
    if grad_outputs is None:
        starts: Sequence[Any] = [None] * len(outs)
    elif isinstance(outputs, Tensor) and not isinstance(grad_outputs, list | tuple):
        starts = [grad_outputs]
    else:
        starts = list(checks.members(grad_outputs, "grad", "grad_outputs", "a list of gradients"))
    if len(starts) != len(outs):
        raise ValueError(f"grad: {len(outs)} outputs but {len(starts)} grad_outputs")
    for t in ins:
        if not t._requires_grad:
            raise ValueError("grad: an input does not require a gradient")
    begin = [_start_grad(t, g, "grad") for t, g in zip(outs, starts, strict=True)]
    leaves, captured = _walk(outs, begin, retain_graph, ins)
    found = {**leaves, **dict(captured)}
    results: list[np.ndarray] = []
    given: set[int] = set()
    for t in ins:
        g = found[t] if t in found else np.zeros(t.shape, t.dtype)
        results.append(g.copy() if id(t) in given else g)
        given.add(id(t))
    return results[0] if one else tuple(results)


def _tensors(given: Any, name: str) -> Sequence[Tensor]:
    """A tensor, or a sequence of them, as a list."""
    if isinstance(given, Tensor):
        return [given]
    members = list(checks.members(given, "grad", name, "a tensor or a list of tensors"))
    for t in members:
        if not isinstance(t, Tensor):
            raise TypeError(f"grad: {name} must be tensors, got {type(t).__name__}")
    return members


def _start_grad(output: Tensor, grad: Any, where: str) -> np.ndarray:
    """The gradient a walk starts from, checked."""
    if not output._requires_grad:
        raise RuntimeError(
            f"{where}: the tensor does not require a gradient "
            f"(none of its inputs does, or it was made under no_grad)"
        )
    if grad is None:
        if output.size != 1:
            raise ValueError(
                f"{where}: a tensor of shape {output.shape} is not a scalar; "
                f"pass the gradient to start from"
            )
        return np.ones(output.shape, output.dtype)
    values = grad.data if isinstance(grad, Tensor) else grad
    # A backward only reads this array, but a leaf keeps it, and must not keep what others hold.
    try:
        kind = np.asarray(values).dtype
        if kind.kind not in "fiub":
            raise TypeError(f"real numbers are needed, got {kind}")
        start = np.array(values, output.dtype, copy=True if output._node is None else None)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{where}: the gradient must be an array, got a {type(grad).__name__}: {error}"
        ) from None
    if start.shape != output.shape:
        raise ValueError(
            f"{where}: the gradient has shape {start.shape}, the tensor {output.shape}"
        )
    return start
