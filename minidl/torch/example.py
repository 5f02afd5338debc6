"""A trace of a model for an example, or for an input that is found by trying.

Any input that the model accepts will do: only the graph is read, and the order in which features
stand in it does not depend on the size of the input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..nn.embedding import Embedding
from ..nn.layer import Layer
from ..nn.linear import Dense, Weighted
from ..nn.recurrent import GRU, LSTM, RNN
from ..traced import Graph
from ..tracing import trace

# Heights and widths of images, and lengths of sequences, the likeliest first.
SIZES = (
    32,
    28,
    64,
    224,
    *[n for n in range(1, 65) if n not in (28, 32, 64)],
    96,
    112,
    128,
    160,
    192,
    240,
    256,
    288,
    299,
    320,
    384,
    512,
)
ITEMS = 2  # statistics of a batch need more than one


def graph_of(model: Layer, example: Any, where: str) -> Graph | None:
    """A trace of the model; None if the model flattens nothing. ValueError, which asks for an
    example, where no input is found."""
    if example is not None:
        return trace(model, *(example if isinstance(example, tuple) else (example,)))
    dtype = model._dtype()
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, tuple):  # a model of the registry says what it takes
        return trace(model, np.zeros((ITEMS, *shape), dtype))
    layers = [layer for _, layer in model.named_layers()]
    dense = [layer.in_features for layer in layers if isinstance(layer, Dense)]
    if not dense or not any(_axes(layer) for layer in layers):
        return None
    first = next(
        layer for layer in layers if isinstance(layer, (Weighted, Embedding, RNN, GRU, LSTM))
    )
    errors: list[Exception] = []
    for batch in (
        _images(model, first, dense, dtype) if _axes(first) == 2 else _sequences(first, dtype)
    ):
        try:
            return trace(model, batch)
        except Exception as error:  # the model takes images of another size, or other inputs
            errors.append(error)
    raise ValueError(
        f"{where}: {type(model).__name__} has convolutions and dense layers, and "
        f"whether images are flattened between them could not be seen with any input "
        f"that was tried: give example=, a batch as the model takes it, or a tuple of "
        f"several inputs ({errors[0]})"
    )


def _axes(layer: Any) -> int:
    """The number of axes along which a layer convolves; 0 for other layers."""
    return layer.weight.ndim - 2 if isinstance(layer, Weighted) else 0


def _sequences(first: Any, dtype: np.dtype) -> Iterator[np.ndarray]:
    """Inputs that the first layer takes: sequences of ids, or rows of features, alone, in sequences
    and in images."""
    if isinstance(first, Embedding):
        yield from (np.zeros((ITEMS, n), np.int64) for n in SIZES)
        return
    features = first.in_channels if _axes(first) else first.in_features
    if isinstance(first, Dense):
        yield np.zeros((ITEMS, features), dtype)
    for n in SIZES:
        yield np.zeros((ITEMS, n, features), dtype)
        if isinstance(first, Dense):
            yield np.zeros((ITEMS, n, n, features), dtype)


def _images(model: Layer, first: Any, dense: list[int], dtype: np.dtype) -> Iterator[np.ndarray]:
    """Square images, then images of two different sides, where these give as many values as a dense
    layer has features."""

    def square(n: int) -> np.ndarray:
        return np.zeros((ITEMS, n, n, first.in_channels), dtype)

    sides: dict[int, int] = {}  # by the side of images that are flattened, that of the input
    channels, too_large = 0, math.inf
    for n in SIZES:
        if n < too_large:
            yield square(n)
            reached = _reached(model, square(n))
            if reached is not None:
                channels, side = reached
                sides[side] = min(n, sides.get(side, n))
                if channels * side > max(dense):  # even images of width 1 have too many values
                    too_large = n
    for count in dense:
        for height in sorted(sides):
            width, rest = divmod(count, max(channels * height, 1))
            if not rest and width in sides and width != height:
                yield np.zeros((ITEMS, sides[height], sides[width], first.in_channels), dtype)


def _reached(model: Callable[..., Any], batch: np.ndarray) -> tuple[int, int] | None:
    """(channels, side) of the last square images that the model makes of a batch before it fails;
    None if there are none."""

    def stopped(x: Any) -> Any:
        try:
            return model(x)
        except Exception:  # the trace has what the model did before
            return x

    shapes = [value.shape for node in trace(stopped, batch).nodes for value in node.outputs]
    images = [shape for shape in shapes if len(shape) == 4 and shape[1] == shape[2]]
    return (images[-1][3], images[-1][1]) if images else None
