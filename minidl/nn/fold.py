"""Folding: batch normalization as part of the layer before it, for inference."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..autograd import Function, no_grad, reachable
from ..ops.common import warn
from ..tensor import Tensor
from .container import Identity, Sequential
from .layer import Layer, Parameter
from .linear import Weighted
from .norm import BatchNorm

# How far the outputs for `example` may move, of their maximum. Rounding moves them much less, a
# use of a layer's output that was overlooked much more.
TOLERANCE = {np.dtype(np.float32): 1e-2, np.dtype(np.float64): 1e-6}


@dataclasses.dataclass
class FoldReport:
    """What `fold` did: `folded`, pairs of names (layer, normalization), and `left`, the names of
    the normalizations that are still there, with the reason.

    >>> nn.fold(nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(3)).eval()).fold_report
    FoldReport(folded=[('0', '1')], left={})
    """

    folded: list[tuple[str, str]]
    left: dict[str, str]


def fold(model: Layer, example: Any = None) -> Layer:
    """A copy of a model for inference, in which every BatchNorm that follows a Dense, Conv or
    ConvTranspose has become part of it (Ioffe & Szegedy 2015, section 3.1):

        W' = W gamma / sqrt(running_var + eps)       along the output channels,
        b' = (b - running_mean) gamma / sqrt(running_var + eps) + beta.

    Without `example` neighbours in `Sequential` are paired, also with an Identity between them, or
    in Sequentials inside one another. With an example input, a batch as the model takes it or a
    tuple of several inputs, the model is run once to see which layer feeds which, so that the
    layers of a `forward` method fold too. Weight normalization and standardization are folded
    along. A BatchNorm whose place is taken becomes an Identity; the others are left alone, with a
    warning that names them. What was done is in the copy's `fold_report`. The weights of the copy
    are read-only, so that convolutions can be computed together with the sum and the ReLU that
    follow, and keep what their kernels make of the weights (four times the memory of 3x3 weights).

    ValueError for a model in training mode: call eval() first; RuntimeError if `example` comes
    out differently, because `forward` uses a layer in a way that cannot be seen.

    >>> model = nn.Sequential(nn.Conv(1, 4, 3), nn.BatchNorm(4), nn.ReLU()).eval()
    >>> nn.fold(model)
    Sequential(
      (0): Conv(1, 4, kernel_size=(3, 3), bias=True)
      (1): Identity()
      (2): ReLU()
    )
    """
    if not isinstance(model, Layer):
        raise TypeError(f"fold: model must be a Layer, got {type(model).__name__}")
    training = [name or "model" for name, layer in model.named_layers() if layer.training]
    if training:
        raise ValueError(f"fold: model is in training mode (layer {training[0]}), where batch "
                         f"normalization depends on the batch; call model.eval() first")
    folded = copy.deepcopy(model)
    names = {id(layer): name or "model" for name, layer in folded.named_layers()}
    inputs: tuple[Any, ...] = ()
    if example is not None:
        inputs = tuple(folded._input(x) for x in
                       (example if isinstance(example, tuple) else (example,)))
    before = None if example is None else _outputs(folded, inputs)
    pairs, left = _traced(folded, inputs, names) if inputs else _neighbours(folded, names)
    for norm, layers in pairs:
        for layer in layers:
            _fold_into(layer, norm)
        _replace(folded, norm)
    if before is not None:
        _compare(before, _outputs(folded, inputs))
    for _, layer in folded.named_layers():
        if isinstance(layer, Weighted):
            for p in layer.parameters():
                p.data.flags.writeable = False      # see ops.inference
    report = FoldReport([(names[id(layer)], names[id(norm)]) for norm, layers in pairs
                         for layer in layers], left)
    folded.fold_report = report
    if left:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left.items())
        warn(f"fold: some normalizations were left alone: {reasons}")
    return folded


Pairs = list[tuple[BatchNorm, list[Layer]]]     # a normalization and the layers that it folds into


def _reason(norm: BatchNorm) -> str | None:
    """Why it cannot be folded, whatever stands before it."""
    if not norm.track_stats:
        return "it normalizes with the statistics of each batch"
    return "it has a forward hook" if norm.__dict__.get("_hooks") else None


def _neighbours(model: Layer, names: dict[int, str]) -> tuple[Pairs, dict[str, str]]:
    """What folds by the order of layers in Sequentials."""
    norms = [layer for _, layer in model.named_layers() if isinstance(layer, BatchNorm)]
    uses: dict[int, int] = {}
    for _, layer in model.named_layers():
        uses[id(layer)] = uses.get(id(layer), 0) + 1
    before: dict[int, Layer | None] = {}
    inner = {id(child) for _, layer in model.named_layers() if _is_plain_sequence(layer)
             for child in layer.children()}
    for _, sequence in model.named_layers():
        if not _is_plain_sequence(sequence) or id(sequence) in inner:
            continue
        previous: Layer | None = None
        for layer in _chain(sequence):
            if isinstance(layer, BatchNorm):
                before[id(layer)] = previous
            if not isinstance(layer, Identity) or layer.__dict__.get("_hooks"):
                previous = layer
    pairs: Pairs = []
    left: dict[str, str] = {}
    for norm in dict.fromkeys(norms):
        feeding = before.get(id(norm))
        reason = _reason(norm)
        if reason is None and id(norm) not in before:
            reason = "it is not in a Sequential (an example input would show what feeds it)"
        if reason is None and not isinstance(feeding, Weighted):
            reason = "it follows " + ("no layer" if feeding is None else type(feeding).__name__)
        if reason is None and (uses[id(norm)] > 1 or uses[id(feeding)] > 1):
            reason = "it, or the layer before it, stands in several places"
        if reason is None and feeding is not None and feeding.__dict__.get("_hooks"):
            reason = "the layer before it has a forward hook"
        if reason is not None:
            left[names[id(norm)]] = reason
        elif feeding is not None:
            pairs.append((norm, [feeding]))
    return pairs, left


def _is_plain_sequence(layer: Layer) -> bool:
    return (isinstance(layer, Sequential) and type(layer).forward is Sequential.forward
            and not layer.__dict__.get("_hooks"))


def _chain(layer: Layer) -> Iterator[Layer]:
    """The layers of a Sequential, and of those inside it, in order."""
    for child in layer.children():
        if _is_plain_sequence(child):
            yield from _chain(child)
        else:
            yield child


class _Call:
    """One call of a layer while a model is traced."""

    def __init__(self, layer: Layer, inputs: tuple[Any, ...], output: Any) -> None:
        self.layer, self.inputs, self.output = layer, inputs, output


def _traced(model: Layer, inputs: tuple[Any, ...], names: dict[int, str]
            ) -> tuple[Pairs, dict[str, str]]:
    """What folds by which layer's output is which layer's input, and nothing else's."""
    calls, uses, results = _run(model, inputs)
    maker = {id(call.output): call for call in calls if isinstance(call.layer, Weighted)}
    of_norm: dict[int, list[_Call]] = {}
    of_layer: dict[int, list[_Call]] = {}
    for call in calls:
        kind = of_norm if isinstance(call.layer, BatchNorm) else of_layer
        kind.setdefault(id(call.layer), []).append(call)
    left: dict[str, str] = {}
    feeds: dict[int, list[Layer]] = {}      # the layers before each normalization that could fold
    norms = list(dict.fromkeys(layer for _, layer in model.named_layers()
                               if isinstance(layer, BatchNorm)))
    for norm in norms:
        reason = _reason(norm)
        if reason is None and id(norm) not in of_norm:
            reason = "the example does not reach it"
        layers = []
        for call in of_norm.get(id(norm), []):
            made = maker.get(id(call.inputs[0]))
            if reason is not None:
                break
            if made is None:
                reason = "what it normalizes is not the output of a Dense, Conv or ConvTranspose"
            elif len(call.inputs) > 1:
                reason = "it is called with a mask"
            elif made.layer.__dict__.get("_hooks"):
                reason = "the layer before it has a forward hook"
            elif uses.get(id(made.output), 0) > 1 or any(made.output is r for r in results):
                reason = "the output of the layer before it is used elsewhere too"
            else:
                layers.append(made.layer)
        if reason is None:
            feeds[id(norm)] = list(dict.fromkeys(layers))
        else:
            left[names[id(norm)]] = reason
    # All calls of a layer must go to one normalization. One that drops out frees no other.
    for norm in norms:
        mine = {id(call.inputs[0]) for call in of_norm.get(id(norm), [])}
        for layer in feeds.get(id(norm), []):
            if any(id(call.output) not in mine for call in of_layer[id(layer)]):
                del feeds[id(norm)]
                left[names[id(norm)]] = ("the layer before it is called several times, and not "
                                         "always before it")
                break
    return [(norm, feeds[id(norm)]) for norm in norms if id(norm) in feeds], left


def _run(model: Layer, inputs: tuple[Any, ...]
         ) -> tuple[list[_Call], dict[int, int], list[Tensor]]:
    """The calls of all layers that take part in folding; how many operations use each tensor, by
    id; and the model's outputs."""
    calls: list[_Call] = []
    involved = {id(layer): layer for _, layer in model.named_layers()
                if isinstance(layer, (BatchNorm, Weighted))}
    wanted = [(p, p.requires_grad) for layer in involved.values() for p in layer.parameters()]
    for p, _ in wanted:
        p.requires_grad = True      # so that the graph has every use of a layer's output
    own = [(layer, {k: v for k, v in layer.__dict__.items() if k == "forward"})
           for layer in involved.values()]
    for layer in involved.values():
        _watch(layer, calls)
    try:
        results = list(_tensors(model(*inputs)))
    finally:
        for layer, forward in own:
            layer.__dict__.pop("forward")
            layer.__dict__.update(forward)
        for p, before in wanted:
            p.requires_grad = before
    uses: dict[int, int] = {}
    nodes: list[Function] = reachable(results)
    for node in nodes:
        for t in node._inputs or ():
            uses[id(t)] = uses.get(id(t), 0) + 1
    return calls, uses, results


def _watch(layer: Layer, calls: list[_Call]) -> None:
    """Note the calls of a layer's forward, before any hook sees its output."""
    forward = layer.forward

    def noted(*inputs: Any, **options: Any) -> Any:
        output = forward(*inputs, **options)
        calls.append(_Call(layer, (*inputs, *(v for v in options.values() if v is not None)),
                           output))
        return output

    layer.__dict__["forward"] = noted


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in a model's output."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _outputs(model: Layer, inputs: tuple[Any, ...]) -> list[np.ndarray]:
    with no_grad():
        return [np.array(t.data) for t in _tensors(model(*inputs))]


def _compare(before: list[np.ndarray], after: list[np.ndarray]) -> None:
    for one, other in zip(before, after, strict=True):
        if one.dtype.kind == "f" and one.size:
            error = np.abs(one - other).max() / (np.abs(one).max() or 1)
            if error > TOLERANCE[one.dtype]:
                raise RuntimeError(
                    f"fold: for the example the folded model's output is {error:.1e} of its "
                    f"maximum away: forward uses the output of a layer before a BatchNorm in a "
                    f"way that the graph does not show")


# --------------------------------------------------------------------------------- the change

def _fold_into(layer: Any, norm: BatchNorm) -> None:
    """Give a layer the weight and the bias that include the normalization."""
    with no_grad():
        weight = np.asarray(layer.effective_weight().data, np.float64)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = 1 / np.sqrt(norm.running_var.astype(np.float64) + norm.eps)
    if norm.gamma is not None:
        scale = norm.gamma.data * scale
    bias = (0.0 if layer.bias is None else layer.bias.data) - norm.running_mean.astype(np.float64)
    bias = bias * scale + (0.0 if norm.beta is None else norm.beta.data)
    dtype = layer.weight.dtype
    layer.weight = Parameter((weight * scale).astype(dtype))
    layer.bias = Parameter(bias.astype(dtype))
    layer.__dict__.pop("transform", None)


def _replace(model: Layer, norm: BatchNorm) -> None:
    """Put an Identity in every place of a normalization."""
    identity = Identity().eval()
    for _, layer in list(model.named_layers()):
        for name, value in layer.__dict__.items():
            layer.__dict__[name] = _replaced(value, norm, identity)


def _replaced(value: Any, norm: BatchNorm, identity: Identity) -> Any:
    if value is norm:
        return identity
    if type(value) is list:
        value[:] = [_replaced(item, norm, identity) for item in value]
    elif type(value) is dict:
        for key in value:
            value[key] = _replaced(value[key], norm, identity)
    elif type(value) is tuple:
        return tuple([_replaced(item, norm, identity) for item in value])
    return value
