"""Which normalization can become part of which layer: what `fold` asks before it changes anything.

By the order of layers in Sequentials (`neighbours`), or by a run of the model (`traced`): a
normalization folds into a layer if all that it ever normalizes is that layer's output, and nothing
else uses that. Layers are told by their names, which are the same in every copy of a model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from ..backward import reachable
from ..grad_mode import recording
from ..tensor import Tensor
from .container import Identity, Sequential
from .conv import Conv, ConvTranspose
from .layer import Layer
from .linear import Dense, Weighted
from .norm import BatchNorm

Pairs = list[tuple[str, list[str]]]     # a normalization, and the layers that it folds into
INTO = (Dense, Conv, ConvTranspose)


def names_of(model: Layer) -> dict[int, str]:
    """The name of every layer, by id."""
    return {id(layer): name for name, layer in model.named_layers()}


def neighbours(model: Layer) -> tuple[Pairs, dict[str, str]]:
    """What folds by the order of layers in Sequentials, and why the others do not."""
    names = names_of(model)
    uses: dict[int, int] = {}
    inner: set[int] = set()
    for _, layer in model.named_layers():
        for child in layer.children():      # each place where it stands
            uses[id(child)] = uses.get(id(child), 0) + 1
        if _is_plain_sequence(layer):
            inner.update(id(child) for child in layer.children())
    for _, layer in model.named_layers():
        if uses.get(id(layer), 0) > 1:      # then all inside it stands in several places too
            uses.update((id(within), 2) for _, within in layer.named_layers())
    before: dict[int, Layer | None] = {}
    for _, sequence in model.named_layers():
        if not _is_plain_sequence(sequence) or id(sequence) in inner:
            continue
        previous: Layer | None = None
        for layer in _chain(sequence):
            if isinstance(layer, BatchNorm):
                before[id(layer)] = previous
            if not _computes_as(layer, Identity) or layer.__dict__.get("_hooks"):
                previous = layer
    pairs: Pairs = []
    left: dict[str, str] = {}
    for norm in _norms(model):
        feeding = before.get(id(norm))
        reason = _reason(norm)
        if reason is None and id(norm) not in before:
            reason = "no Sequential says what feeds it (an example input would)"
        if reason is None and not _computes_as(feeding, *INTO):
            reason = "it follows " + ("no layer" if feeding is None else _described(feeding))
        if reason is None and (uses.get(id(norm), 0) > 1 or uses.get(id(feeding), 0) > 1):
            reason = "it, or the layer before it, stands in several places"
        if reason is None and feeding is not None and feeding.__dict__.get("_hooks"):
            reason = "the layer before it has a forward hook"
        if reason is not None:
            left[names[id(norm)]] = reason
        else:
            pairs.append((names[id(norm)], [names[id(feeding)]]))
    return pairs, left


def traced(model: Layer, inputs: tuple[Any, ...]) -> tuple[Pairs, dict[str, str]]:
    """What folds by which layer's output is which layer's input, and why the others do not."""
    names = names_of(model)
    calls, uses, results = _run(model, inputs)
    maker = {id(call.output): call for call in calls if _computes_as(call.layer, *INTO)}
    of: dict[int, list[_Call]] = {}
    for call in calls:
        of.setdefault(id(call.layer), []).append(call)
    left: dict[str, str] = {}
    feeds: dict[int, list[Layer]] = {}      # the layers before each normalization that could fold
    norms = _norms(model)
    for norm in norms:
        reason = _reason(norm)
        if reason is None and id(norm) not in of:
            reason = "the example does not reach it"
        layers = []
        for call in of.get(id(norm), []):
            made = maker.get(id(call.inputs[0]))
            if reason is not None:
                break
            if made is None:
                reason = ("what it normalizes is not the output of a Dense, Conv or ConvTranspose "
                          "as it is")
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
    # All calls of a layer must go to one normalization.
    for norm in norms:
        mine = {id(call.inputs[0]) for call in of.get(id(norm), [])}
        if any(id(call.output) not in mine for layer in feeds.get(id(norm), [])
               for call in of[id(layer)]):
            del feeds[id(norm)]
            left[names[id(norm)]] = ("the layer before it is called several times, and not always "
                                     "before it")
    return [(names[id(norm)], [names[id(layer)] for layer in feeds[id(norm)]])
            for norm in norms if id(norm) in feeds], left


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in a model's output."""
    return (v for v in values_in(value) if isinstance(v, Tensor))


def values_in(value: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """All that is no container in a model's output: tensors, arrays, numbers and the like."""
    seen = set() if seen is None else seen
    inside: Iterable[Any] | None = None
    if isinstance(value, (list, tuple)):
        inside = value
    elif isinstance(value, dict):
        inside = value.values()
    elif dataclasses.is_dataclass(value):
        inside = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif not isinstance(value, (Tensor, Layer)) and getattr(value, "__dict__", None):
        inside = vars(value).values()
    if inside is None:
        if value is not None and not isinstance(value, Layer):
            yield value
    elif id(value) not in seen:
        seen.add(id(value))
        for item in inside:
            yield from values_in(item, seen)


# ---------------------------------------------------------------------------------- the layers

def _norms(model: Layer) -> list[BatchNorm]:
    return [layer for _, layer in model.named_layers() if isinstance(layer, BatchNorm)]


def _computes_as(layer: Layer | None, *kinds: type[Layer]) -> bool:
    """Whether it is one of these layers, or of a subclass that computes the same."""
    if layer is None or "forward" in _own(layer):
        return False
    own = type(layer)
    weight = getattr(own, "effective_weight", Weighted.effective_weight)
    return (own.__call__ is Layer.__call__ and weight is Weighted.effective_weight
            and any(own.forward is kind.forward for kind in kinds))


def _own(layer: Layer) -> dict[str, Any]:
    """Attributes of the layer itself, without what a trace puts there."""
    return {name: value for name, value in layer.__dict__.items()
            if not getattr(value, "is_watching", False)}


def _described(layer: Layer) -> str:
    name = type(layer).__name__
    return f"{name}, a class with a forward of its own" if isinstance(layer, Weighted) else name


def _reason(norm: BatchNorm) -> str | None:
    """Why it cannot be folded, whatever stands before it."""
    if not norm.track_stats:
        return "it normalizes with the statistics of each batch"
    if not _computes_as(norm, BatchNorm):
        return "its class has a forward of its own"
    return "it has a forward hook" if norm.__dict__.get("_hooks") else None


def _is_plain_sequence(layer: Layer) -> bool:
    return _computes_as(layer, Sequential) and not layer.__dict__.get("_hooks")


def _chain(layer: Layer) -> Iterator[Layer]:
    """The layers of a Sequential, and of those inside it, in order."""
    for child in layer.children():
        if _is_plain_sequence(child):
            yield from _chain(child)
        else:
            yield child


# ----------------------------------------------------------------------------------- the trace

@dataclasses.dataclass
class _Call:
    """One call of a layer while a model is traced."""

    layer: Layer
    inputs: tuple[Any, ...]
    output: Any


def _run(model: Layer, inputs: tuple[Any, ...]
         ) -> tuple[list[_Call], dict[int, int], list[Tensor]]:
    """The calls of all layers that take part in folding; how many operations use each tensor, by
    id; and the model's outputs."""
    calls: list[_Call] = []
    involved = [layer for _, layer in model.named_layers()
                if isinstance(layer, (BatchNorm, Weighted))]
    before = [{k: v for k, v in layer.__dict__.items() if k == "forward"} for layer in involved]
    wanted = [(p, p.requires_grad) for layer in involved for p in layer.parameters()]
    for p, _ in wanted:
        p.requires_grad = True      # so that the graph has every use of a layer's output
    try:
        for layer in involved:
            _watch(layer, calls)
        with recording():
            results = list(tensors_in(model(*inputs)))
    finally:
        for layer, forward in zip(involved, before, strict=True):
            layer.__dict__.pop("forward", None)
            layer.__dict__.update(forward)
        for p, wants in wanted:
            p.requires_grad = wants
    uses: dict[int, int] = {}
    for node in reachable(results):
        for t in node._inputs or ():
            uses[id(t)] = uses.get(id(t), 0) + 1
    return calls, uses, results


def _watch(layer: Layer, calls: list[_Call]) -> None:
    """Note the calls of a layer's forward, before any hook sees its output."""
    forward = layer.forward

    def noted(*inputs: Any, **options: Any) -> Any:
        output = forward(*inputs, **options)
        given = [v for v in (*inputs, *options.values()) if v is not None]
        calls.append(_Call(layer, tuple(given), output))
        return output

    noted.is_watching = "forward" not in layer.__dict__     # type: ignore[attr-defined]
    layer.__dict__["forward"] = noted
