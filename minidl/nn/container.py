"""Layers that hold layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .layer import Layer


class LayerList(Layer):
    """A list of layers, named by their places: "0", "1", ... It has no forward of its own.

    TypeError for what is not a layer.

    >>> layers = nn.LayerList(nn.Dense(4, 4) for _ in range(3))
    >>> layers.append(nn.Dense(4, 2))
    >>> len(layers), layers[3]
    (4, Dense(4, 2, bias=True))
    """

    def __init__(self, layers: Iterable[Layer] = ()) -> None:
        super().__init__()
        self._layers: list[Layer] = []
        for layer in layers:
            self.append(layer)

    def append(self, layer: Layer) -> None:
        """Add a layer at the end."""
        if not isinstance(layer, Layer):
            raise TypeError(f"{type(self).__name__}: needs layers, got {type(layer).__name__}")
        self._layers.append(layer)

    def _items(self) -> Iterator[tuple[str, Any]]:
        yield from ((str(i), layer) for i, layer in enumerate(self._layers))
        yield from super()._items()

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(*self._layers[index]) if isinstance(self, Sequential) \
                else type(self)(self._layers[index])
        return self._layers[index]


class Sequential(LayerList):
    """Layers applied one after another.

    An error of a layer says which: "layer 2, Dense: ...".
    Functions of one tensor may stand among the layers only as layers; wrap them in a class.

    >>> model = nn.Sequential(nn.Dense(4, 3), nn.ReLU(), nn.Dense(3, 2))
    >>> model(md.zeros(8, 4)).shape
    (8, 2)
    >>> model[1]
    ReLU()
    """

    def __init__(self, *layers: Layer) -> None:
        super().__init__(layers)

    def forward(self, x: Any) -> Any:
        for i, layer in enumerate(self._layers):
            try:
                x = layer(x)
            except (TypeError, ValueError) as error:
                _name_layer(error, f"layer {i}, {type(layer).__name__}")
                raise
        return x


def _name_layer(error: Exception, name: str) -> None:
    """Put the place of a layer before the message of its error."""
    if len(error.args) == 1 and isinstance(error.args[0], str):
        error.args = (f"{name}: {error.args[0]}",)


class Identity(Layer):
    """y = x, for a place where a layer is expected; a normalization's mask is ignored.

    >>> nn.Identity()(md.tensor([1., 2.]))
    tensor([1., 2.])
    """

    def forward(self, x: Any, mask: Any = None) -> Any:
        return x
