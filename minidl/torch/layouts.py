"""How PyTorch names each parameter and buffer of a layer, and how it lays out the array.

The rows of a dense layer may stand in another order besides, because images are flattened before
it. That depends on the model around the layer: see `orders`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..nn.attention import MultiHeadAttention
from ..nn.conv import ConvTranspose
from ..nn.layer import Layer
from ..nn.linear import Dense, Weighted
from ..nn.recurrent import GRU, LSTM, RNN
from ..nn.weight import WeightNorm

Arrays = tuple[np.ndarray, ...]
RENAMED = {"gamma": "weight", "beta": "bias", "num_batches": "num_batches_tracked"}
COUNT = "num_batches_tracked"  # states of old versions of PyTorch lack it
# PyTorch's names for the norms and directions of weight normalization.
GAIN, DIRECTION = "parametrizations.weight.original0", "parametrizations.weight.original1"
# The entries by which an attention of PyTorch's is known: it has either, for its projections.
PROJECTIONS = ("in_proj_weight", "q_proj_weight")
# minidl's layers for the same projections, in the same order.
IN_PROJECTIONS = ("query", "key", "value")


@dataclasses.dataclass
class Entry:
    """Some arrays of a PyTorch state (`theirs`, by name) that together hold the same numbers as
    some arrays of a model of minidl (`ours`).

    `take` converts theirs to ours, `give` ours to theirs.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    take: Callable[..., Arrays]
    give: Callable[..., Arrays]


def entries(model: Layer, given: Any = None) -> Iterator[Entry]:
    """The entries of a model in the order of a PyTorch state. A layer that stands in several places
    has entries for each, as in PyTorch. The projections of an attention are packed as PyTorch's own
    layer has them (in_proj_weight), unless a `given` state has none that are packed: they are then
    dense layers."""
    first = {id(layer): name for name, layer in model.named_layers()}
    packed = not isinstance(given, Mapping) or any(
        str(name).rpartition(".")[2] in PROJECTIONS for name in given
    )
    for place, layer in _places(model, "", (), packed):
        begin = f"{place}." if place else ""
        own = f"{first[id(layer)]}." if first[id(layer)] else ""
        for entry in _attention(layer) if packed and _is_attention(layer) else _entries_of(layer):
            yield dataclasses.replace(
                entry,
                theirs=tuple([begin + name for name in entry.theirs]),
                ours=tuple([own + name for name in entry.ours]),
            )


def _places(
    layer: Layer, name: str, path: tuple[int, ...], packed: bool
) -> Iterator[tuple[str, Layer]]:
    """(dotted name, layer) of each place in which a layer stands, except inside a layer whose
    entries include those of the layers in it."""
    yield name, layer
    if _is_recurrent(layer) or (packed and _is_attention(layer)):
        return
    for inner, child in layer._items():
        if (
            isinstance(child, Layer)
            and id(child) not in (*path, id(layer))
            and not (inner == "transform" and isinstance(child, WeightNorm))
        ):
            yield from _places(
                child, f"{name}.{inner}" if name else inner, (*path, id(layer)), packed
            )


def _is_recurrent(layer: Layer) -> bool:
    """Whether PyTorch has a counterpart of a recurrent layer: its own have no normalization."""
    return isinstance(layer, (RNN, GRU, LSTM)) and layer.norm is None


def _entries_of(layer: Layer) -> Iterator[Entry]:
    """The entries of a layer without the layers in it, by names within the layer."""
    if _is_recurrent(layer):
        yield from _recurrent(layer)
    elif isinstance(layer, Weighted):
        yield from _weighted(layer)
    else:
        own = [name for name, value in layer._items() if not isinstance(value, Layer)]
        for name in own:
            other = RENAMED.get(name, name)
            yield _same(name if other in own else other, name)


def _same(theirs: str, ours: str) -> Entry:
    return Entry((theirs,), (ours,), lambda a: (a,), lambda a: (a,))


# ------------------------------------------------------------------- dense layers and convolutions


def _weighted(layer: Weighted) -> Iterator[Entry]:
    """The entries of a weight, its bias, and the transform that normalizes it."""
    groups = layer.groups if isinstance(layer, ConvTranspose) else None

    def take(a: np.ndarray) -> Arrays:
        return (inputs_last(a) if groups is None else from_transposed(a, groups),)

    def give(a: np.ndarray) -> Arrays:
        return (outputs_first(a) if groups is None else to_transposed(a, groups),)

    bias = [_same("bias", "bias")] if layer.bias is not None else []
    if not isinstance(layer.transform, WeightNorm):
        yield from [Entry(("weight",), ("weight",), take, give), *bias]
        yield from [
            _same(name, name)
            for name, value in layer._items()
            if name not in ("weight", "bias") and not isinstance(value, Layer)
        ]
        return
    rank = layer.weight.ndim
    shape = (-1, *(1,) * (rank - 1)) if groups is None else (1, -1, *(1,) * (rank - 2))
    yield from bias
    yield Entry(
        (GAIN,), ("transform.gain",), lambda a: (a.reshape(-1),), lambda a: (a.reshape(shape),)
    )
    yield Entry((DIRECTION,), ("weight",), take, give)


def outputs_first(a: np.ndarray) -> np.ndarray:
    """Weights (..., in, out) as (out, in, ...), which is HWIO as OIHW for a convolution."""
    return np.moveaxis(a, (-1, -2), (0, 1))


def inputs_last(a: np.ndarray) -> np.ndarray:
    """The inverse of `outputs_first`."""
    return np.moveaxis(a, (0, 1), (-1, -2))


def to_transposed(a: np.ndarray, groups: int) -> np.ndarray:
    """(..., in / groups, out) as a transposed convolution has it: (in, out / groups, ...)."""
    *window, inputs, outputs = a.shape
    parts = a.reshape(*window, inputs, groups, outputs // groups)
    moved = np.moveaxis(parts, (-2, -3, -1), (0, 1, 2))
    return moved.reshape(groups * inputs, outputs // groups, *window)


def from_transposed(a: np.ndarray, groups: int) -> np.ndarray:
    """The inverse of `to_transposed`."""
    inputs, outputs, *window = a.shape
    parts = a.reshape(groups, inputs // groups, outputs, *window)
    moved = np.moveaxis(parts, (0, 1, 2), (-2, -3, -1))
    return moved.reshape(*window, inputs // groups, groups * outputs)


# --------------------------------------------------------------------------------------- attention


def _is_attention(layer: Layer) -> bool:
    """Whether PyTorch has a counterpart of an attention: its projections must be four dense layers
    of its own, without transforms, all with a bias or none."""
    if not isinstance(layer, MultiHeadAttention):
        return False
    parts = [layer.query, layer.key, layer.value, layer.output]
    return (
        len({id(part) for part in parts}) == 4
        and all(type(part) is Dense and part.transform is None for part in parts)
        and len({part.bias is None for part in parts}) == 1
    )


def _attention(layer: Any) -> Iterator[Entry]:
    """The entries of an attention. PyTorch stacks the three projections in one array, or holds one
    array for each where keys or values have another number of features than queries; it stacks
    their biases in any case."""
    weights = tuple([f"{name}.weight" for name in IN_PROJECTIONS])
    if layer.key.in_features == layer.value.in_features == layer.features:
        yield Entry(
            ("in_proj_weight",),
            weights,
            lambda a: tuple([w.T for w in np.split(a, 3)]),
            lambda *ws: (np.concatenate([w.T for w in ws]),),
        )
    else:
        for name in weights:
            yield Entry((f"{name[0]}_proj_weight",), (name,), lambda a: (a.T,), lambda a: (a.T,))
    if layer.query.bias is not None:
        yield Entry(
            ("in_proj_bias",),
            tuple([f"{name}.bias" for name in IN_PROJECTIONS]),
            lambda a: tuple(np.split(a, 3)),
            lambda *bs: (np.concatenate(bs),),
        )
    yield Entry(("out_proj.weight",), ("output.weight",), lambda a: (a.T,), lambda a: (a.T,))
    if layer.output.bias is not None:
        yield _same("out_proj.bias", "output.bias")


# -------------------------------------------------------------------------------- recurrent layers


def _recurrent(layer: Any) -> Iterator[Entry]:
    """The entries of the cells of a recurrent layer. The gates stand in the same order, and weights
    are transposed; minidl's bias is the sum of PyTorch's two, except in the new gate of a GRU,
    where the state has a bias of its own."""
    directions = 2 if layer.bidirectional else 1
    for k, cell in enumerate(layer.cells):
        end = f"l{k // directions}" + ("_reverse" if k % directions else "")
        for theirs, ours in (("weight_ih", "weight_x"), ("weight_hh", "weight_h")):
            yield Entry(
                (f"{theirs}_{end}",), (f"cells.{k}.{ours}",), lambda a: (a.T,), lambda a: (a.T,)
            )
        if cell.bias is None:
            continue
        biases = (f"bias_ih_{end}", f"bias_hh_{end}")
        if cell.bias_h is None:
            yield Entry(
                biases, (f"cells.{k}.bias",), lambda x, h: (x + h,), lambda b: (b, np.zeros_like(b))
            )
        else:
            yield Entry(biases, (f"cells.{k}.bias", f"cells.{k}.bias_h"), _take_gru, _give_gru)


def _take_gru(x: np.ndarray, h: np.ndarray) -> Arrays:
    inside = 2 * (len(x) // 3)
    return np.concatenate([x[:inside] + h[:inside], x[inside:]]), h[inside:]


def _give_gru(bias: np.ndarray, bias_h: np.ndarray) -> Arrays:
    return bias, np.concatenate([np.zeros(2 * len(bias_h), bias_h.dtype), bias_h])
