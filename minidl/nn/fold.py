"""Folding: batch normalization becomes part of the layer before it, for inference."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..ops.common import warn
from ..traced import Call, Value
from ..tracing import trace
from .container import Identity, Sequential
from .conv import Conv, ConvTranspose
from .conv1d import Conv1d
from .layer import Layer
from .linear import Dense, Weighted
from .norm import BatchNorm
from .parameter import Parameter
from .registry import replaced

INTO = (Dense, Conv, Conv1d, ConvTranspose)


@dataclasses.dataclass
class FoldReport:
    """What `fold` did: `folded` are pairs of names (layer, normalization), and `left` has the
    BatchNorms that stayed, with the reason by name. Other normalizations always stay.

    >>> nn.fold(nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(3)).eval()).fold_report
    FoldReport(folded=[('0', '1')], left={})
    """

    folded: list[tuple[str, str]]
    left: dict[str, str]


def fold(model: Layer, example: Any = None) -> Layer:
    """A copy of a model for inference, in which every BatchNorm that follows a Dense, Conv, Conv1d
    or ConvTranspose has become part of it (Ioffe & Szegedy 2015, section 3.1):

        W' = W gamma / sqrt(running_var + eps)       along the output channels,
        b' = (b - running_mean) gamma / sqrt(running_var + eps) + beta.

    Without `example` neighbours in a `Sequential` are paired, even if an Identity is between them
    or they are in Sequentials inside one another. This is wrong for a `forward` method that calls
    the layers of a Sequential one by one: give an example then. An example, a batch as `md.trace`
    takes it or a tuple of several inputs, shows which layer is the producer of each BatchNorm's
    input, in the branches that the example takes. Layers that a `forward` method calls are folded
    too then, and a layer whose output is used elsewhere, even by NumPy, is not.

    A folded BatchNorm is replaced by an Identity. It still has the statistics and options as
    attributes, for a `forward` that reads them by NumPy, but they are read-only and no longer part
    of the state. A transform of the layer before, weight normalization or standardization, is
    folded with it. All other BatchNorms are left alone, and so are layers with a forward hook or of
    a class with a `forward` of its own; a warning names them. The copy's `fold_report` lists
    everything.

    The copy's parameters require no gradients and are read-only. So a convolution can be computed
    together with the residual and the ReLU that follow, and keeps its transformed weights (four
    times the memory of 3x3 weights). To store a folded model, save the model itself and fold it
    again, or save the copy's state and load it into another folded copy. ValueError for a model in
    training mode: call eval() first.

    >>> nn.fold(nn.Sequential(nn.Dense(4, 3), nn.BatchNorm(3), nn.ReLU()).eval())[:2]
    Sequential(
      (0): Dense(4, 3, bias=True)
      (1): Identity()
    )
    """
    if not isinstance(model, Layer):
        raise TypeError(f"fold: model must be a Layer, got {type(model).__name__}")
    for name, layer in model.named_layers():
        if layer.training:
            raise ValueError(
                f"fold: model is in training mode (layer {name or 'model'}), where "
                f"normalization depends on the batch; call model.eval() first"
            )
    folded, report = copy.deepcopy(model), FoldReport([], {})
    layers = dict(folded.named_layers())
    feeding = _by_order(layers) if example is None else _by_trace(copy.deepcopy(folded), example)
    for name, norm in [item for item in layers.items() if isinstance(item[1], BatchNorm)]:
        mismatch = _mismatch(norm, BatchNorm)
        found = f"it is {mismatch}" if mismatch else feeding(name)
        if isinstance(found, str):
            report.left[name] = found
        else:
            _fold_into([layers[into] for into in found], norm, folded)
            report.folded += [(into, name) for into in found]
    for p in folded.parameters():
        p.fix()  # lets `ops.inference` keep the transformed weights
    folded.fold_report = report
    if report.left:
        warn(
            "fold: some normalizations were left alone: "
            + "; ".join(f"{name or 'model'}: {why}" for name, why in report.left.items())
        )
    return folded


class Folded(Identity):
    """The Identity in the place of a BatchNorm. A trace does not see when a model reads statistics
    or options of the BatchNorm by NumPy, so this layer still has these attributes; the arrays are
    read-only.

    >>> folded = nn.fold(nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(3)).eval())
    >>> folded[1], folded[1].running_var
    (Identity(), array([1., 1., 1.], dtype=float32))
    """

    def __init__(self, norm: BatchNorm) -> None:
        super().__init__()
        values = {
            name: value
            for name, value in norm.__dict__.items()
            if not isinstance(value, (Parameter, Layer)) and name[0] != "_"
        }
        for array in values.values():
            if isinstance(array, np.ndarray):
                array.flags.writeable = False
        self.unregistered.norm = values

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__["unregistered"].norm if "unregistered" in self.__dict__ else {}
        if name in values:
            return values[name]
        raise AttributeError(f"an Identity in the place of a folded BatchNorm has no {name!r}")

    def __repr__(self) -> str:
        return "Identity()"


def _fold_into(layers: list[Any], norm: Any, model: Layer) -> None:
    """Give layers the weights and biases that include a normalization, and put an Identity in every
    place where the normalization was."""
    gamma = 1.0 if norm.gamma is None else norm.gamma.data
    scale = gamma / np.sqrt(norm.running_var.astype(np.float64) + norm.eps)
    mean = norm.running_mean.astype(np.float64)
    for layer in layers:
        weight = layer.effective_weight().data.astype(np.float64)
        bias = (0.0 if layer.bias is None else layer.bias.data) - mean
        bias = bias * scale + (0.0 if norm.beta is None else norm.beta.data)
        dtype = layer.weight.dtype
        layer.weight = Parameter((weight * scale).astype(dtype))
        layer.bias = Parameter(bias.astype(dtype))
        layer.__dict__.pop("transform", None)
    identity = Folded(norm).eval()
    for _, layer in list(model.named_layers()):
        for name, value in layer.__dict__.items():
            layer.__dict__[name] = replaced(value, lambda v: identity if v is norm else v)


def _by_trace(model: Layer, example: Any) -> Callable[[str], list[str] | str]:
    """A function that gives the layers that a BatchNorm folds into, or the reason why it stays,
    from a trace of the model. Everything that the BatchNorm normalizes must be the outputs of these
    layers, and nothing else may use the outputs or a parameter of any of them."""
    graph = trace(model, *(example if isinstance(example, tuple) else (example,)))
    calls: dict[str, list[Call]] = {}
    for call in graph.calls:
        calls.setdefault(call.name, []).append(call)
    maker = {
        call.output: call
        for call in graph.calls
        if isinstance(call.layer, INTO) and isinstance(call.output, Value)
    }
    held = {id(value.array): value for value in graph.held()}

    def found(name: str) -> list[str] | str:
        if name not in calls:
            return "the example does not reach it"
        nodes = [node for call in calls[name] for node in call.nodes]
        inputs = dict.fromkeys(node.inputs[0] for node in nodes)
        if not maker.keys() >= inputs.keys():
            return (
                "what it normalizes is not the output of a Dense, Conv, Conv1d or "
                "ConvTranspose as it is"
            )
        into = {maker[x].name: _mismatch(maker[x].layer, *INTO) for x in inputs}
        if any(into.values()):
            return f"it follows {' and '.join(filter(None, into.values()))}"
        if any(node.operation != "BatchNorm" or node.options["training"] for node in nodes):
            return "it is called with a mask, or in training mode"
        if any(call.output not in inputs for made in into for call in calls[made]):
            return "the layer before it is called several times, and not always before it"
        for owner in (name, *into):
            own = [
                held[id(array)]
                for _, _, array in calls[owner][0].layer._memory()
                if id(array) in held
            ]
            own += inputs if owner == name else ()
            within = {node for call in calls[owner] for node in call.nodes}
            if not all(graph.used_only_by(value, within) for value in own):
                return (
                    "the output of the layer before it, or a parameter of one of the two, is "
                    "used elsewhere too, or in a way that the graph does not show"
                )
        return list(into)

    return found


def _by_order(layers: dict[str, Layer]) -> Callable[[str], list[str] | str]:
    """A function like that of `_by_trace`, from the order of the layers in Sequentials."""
    names = {layer: name for name, layer in layers.items()}
    places = Counter(child for layer in names for child in layer.children())
    shared = {inner for layer in names if places[layer] > 1 for _, inner in layer.named_layers()}
    before: dict[Layer, Layer | None] = {}
    for sequence in names:  # outer Sequentials come before inner ones
        previous = None
        for layer in _chain(sequence):
            before.setdefault(layer, previous)
            if _mismatch(layer, Identity):
                previous = layer

    def found(name: str) -> list[str] | str:
        if layers[name] not in before:
            return "no Sequential says what feeds it (an example input would)"
        layer = before[layers[name]]
        if not shared.isdisjoint((layers[name], layer)):
            return "it, or the layer before it, stands in several places"
        mismatch = _mismatch(layer, *INTO)
        return f"it follows {mismatch}" if mismatch or layer is None else [names[layer]]

    return found


def _chain(layer: Layer) -> Iterator[Layer]:
    """The layers of a Sequential and of the Sequentials inside it, in order; nothing for any other
    layer. Layers that are its attributes are children too, but its forward does not call them."""
    if isinstance(layer, Sequential) and not _mismatch(layer, Sequential):
        for child in layer:
            yield from [child] if _mismatch(child, Sequential) else _chain(child)


def _mismatch(layer: Layer | None, *kinds: type[Layer]) -> str | None:
    """Words for a layer that does not compute exactly as one of these kinds; None if it does."""
    own: Any = type(layer)
    weight = getattr(own, "effective_weight", Weighted.effective_weight)
    if layer is None or not isinstance(layer, kinds):
        return "no layer" if layer is None else f"a layer of class {own.__name__}"
    if layer.__dict__.get("_hooks"):
        return f"a {own.__name__} with a forward hook"
    if isinstance(layer, BatchNorm) and not layer.track_stats:
        return f"a {own.__name__} that takes the statistics of each batch"
    if (
        "forward" in layer.__dict__
        or own.__call__ is not Layer.__call__
        or weight is not Weighted.effective_weight
        or all(own.forward is not kind.forward for kind in kinds)
    ):
        return f"a {own.__name__} with a forward of its own"
    return None
