"""Finds weights whose rows or columns PyTorch has in another order, because it flattens images as
(C, H, W) where minidl flattens them as (H, W, C).

They are found in a trace of the model. Each value that is computed from images gets an array of
places, which says where each number of the value stands in PyTorch's tensor. Operations that move
values move the places in the same way. Where the places reach the weights of a product, their ranks
are the order of PyTorch's rows. Features that a product makes and that then become images are
followed in the opposite direction, and give the order of PyTorch's columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..nn.layer import Layer
from ..tensor import Tensor
from ..traced import Node, Value
from .example import graph_of

# By the name of a parameter or buffer, and an axis: PyTorch's place of each of our entries on it.
Orders = dict[tuple[str, int], np.ndarray]

OF_IMAGES = ("Conv", "ConvTranspose", "MaxPool", "AvgPool")
MOVING = ("Reshape", "Transpose", "Split", "GetItem", "Flip", "BroadcastTo", "Detach")
PRODUCTS = ("Linear", "MatMul")
TRANSFORMS = ("WeightNorm", "WeightStandardization")


def orders_of(model: Layer, example: Any, where: str) -> Orders:
    """The parameters and buffers of a model that have another order in PyTorch."""
    graph = graph_of(model, example, where)
    if graph is None:
        return {}
    walk = _Walk(where)
    for value in graph.inputs:
        if len(value.shape) == 4:
            walk.places[value] = images(value.shape)
    for node in graph.nodes:
        walk.step(node)
    return {
        key: order
        for key, order in walk.orders.items()
        if not np.array_equal(order, np.arange(len(order)))
    }


def images(shape: tuple[int, ...]) -> np.ndarray:
    """The places of images (N, H, W, C), which PyTorch has as (N, C, H, W)."""
    channels_first = np.arange(np.prod(shape)).reshape(shape[0], shape[-1], *shape[1:-1])
    return np.ascontiguousarray(np.moveaxis(channels_first, 1, -1))


def _ranks(places: np.ndarray) -> np.ndarray:
    """The order of the entries on the last axis, which is the same in all rows."""
    return np.argsort(np.argsort(places.reshape(-1, places.shape[-1])[0]))


def _per_pixel(places: np.ndarray) -> bool:
    """Whether each pixel still has its own channels, in whatever order: an operation that exchanges
    channels, such as a shuffle of them, does the same in PyTorch."""
    if places.ndim != 4:
        return False
    pixels = np.arange(places.shape[1] * places.shape[2]).reshape(1, *places.shape[1:3], 1)
    return bool((places % pixels.size == pixels).all())


class _Walk:
    """A walk through a graph, with the places of values and the orders that were found."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.places: dict[Value, np.ndarray] = {}
        self.orders: Orders = {}

    def step(self, node: Node) -> None:
        xs = [x for x in node.inputs if isinstance(x, Value) and x.kind in ("input", "result")]
        placed = [x for x in xs if x in self.places]
        out = node.outputs[0]
        if node.operation in OF_IMAGES:
            if not placed and xs and len(xs[0].shape) == 4:
                self.unflattened(xs[0])
            self.places[out] = images(out.shape)
        elif node.operation in PRODUCTS and xs:
            places = self.places.get(xs[0])
            count = xs[0].shape[-1]
            self.found(node.inputs[1], 0, np.arange(count) if places is None else _ranks(places))
        elif not placed:
            return
        elif node.operation in MOVING:
            self.moved(node, self.places[placed[0]])
        elif node.operation == "Concatenate" and len(out.shape) < 4:
            self.joined(node)
        elif any(x.shape == out.shape for x in placed):  # it keeps each value at its place
            x = next(x for x in placed if x.shape == out.shape)
            self.places[out] = self.places[x]
            self.features(node, _ranks(self.places[x]))
        elif len(out.shape) == 4:
            self.places[out] = images(out.shape)

    def moved(self, node: Node, places: np.ndarray) -> None:
        inputs = [Tensor(places), *node.inputs[1:]]
        if any(isinstance(x, Value) for x in inputs):
            return
        made = node.function.apply(*inputs, **node.options)
        for value, array in zip(
            node.outputs, made if isinstance(made, tuple) else (made,), strict=True
        ):
            self.places[value] = images(array.shape) if _per_pixel(array.data) else array.data

    def joined(self, node: Node) -> None:
        """Find the places of a concatenation: of features, whose orders follow one another, or of
        rows, which keep the order of their features."""
        out, axis = node.outputs[0], node.options["axis"]
        if axis == len(out.shape) - 1:
            orders = [
                _ranks(self.places[x]) if x in self.places else np.arange(x.shape[-1])
                for x in node.inputs
            ]
            begins = np.cumsum([0, *[len(order) for order in orders]])
            row = np.concatenate(
                [begin + order for begin, order in zip(begins[:-1], orders, strict=True)]
            )
            self.places[out] = np.broadcast_to(row, out.shape)
        elif all(x in self.places for x in node.inputs):
            largest = 1 + max(int(self.places[x].max()) for x in node.inputs)
            self.places[out] = np.concatenate(
                [k * largest + self.places[x] for k, x in enumerate(node.inputs)], axis
            )

    def unflattened(self, value: Value) -> None:
        """Find the order of features that a product makes and that then become images, as in a
        decoder."""
        path: list[Node] = []
        while value.producer is not None and len(value.shape) > 2:
            path.insert(0, value.producer)
            before = _before(value.producer)
            if (
                before is None
                or before in self.places
                or (value.producer.operation not in MOVING and before.shape != value.shape)
            ):
                return
            value = before
        if len(value.shape) != 2:
            return
        places = np.arange(np.prod(value.shape)).reshape(value.shape)
        for node in path:
            if node.operation in MOVING:
                places = node.function.apply(Tensor(places), *node.inputs[1:], **node.options).data
        width = value.shape[1]
        order = np.zeros(width, np.int64)
        order[places[0].reshape(-1) % width] = images(places.shape)[0].reshape(-1)
        while value.producer is not None:
            node = value.producer
            if node.operation in PRODUCTS:
                self.found(node.inputs[1], -1, order)
                if len(node.inputs) > 2:
                    self.found(node.inputs[2], 0, order)
                return
            self.features(node, order)
            before = _before(node)
            if before is None or before.shape != value.shape:
                return
            value = before

    def features(self, node: Node, order: np.ndarray) -> None:
        """Note the order of what a node has for each feature: gamma, running statistics, a bias."""
        for x in node.inputs:
            if isinstance(x, Value) and x.shape and x.shape[-1] == len(order):
                self.found(x, len(x.shape) - 1, order)

    def found(self, value: Any, axis: int, order: np.ndarray) -> None:
        while (
            isinstance(value, Value)
            and value.producer is not None
            and value.producer.operation in TRANSFORMS
        ):
            value = value.producer.inputs[0]
        if not isinstance(value, Value) or value.kind not in ("parameter", "constant"):
            return
        key = value.name, axis % len(value.shape)
        if not np.array_equal(self.orders.setdefault(key, order), order):
            raise ValueError(
                f"{self.where}: {value.name} is used for features that stand in "
                f"different orders in PyTorch"
            )


def _before(node: Node) -> Value | None:
    """The only input of a node that is no parameter or constant; None if there are several."""
    xs = [x for x in node.inputs if isinstance(x, Value) and x.kind in ("input", "result")]
    return xs[0] if len(xs) == 1 else None
