"""Layers that hold other layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .. import checks
from ..arrays import array_like, plain_array
from ..tensor import Tensor
from .layer import Layer


class LayerList(Layer):
    """A list of layers, which are named by their places: "0", "1", ... It has no forward.

    Assigning to a place replaces the layer there, and `del` removes it. TypeError for an item that
    is not a layer, IndexError for a place that there is not.

    >>> layers = nn.LayerList(nn.Dense(4, 4) for _ in range(3))
    >>> layers.append(nn.Dense(4, 2))
    >>> layers[-1] = nn.Dense(4, 3)
    >>> len(layers), layers[3]
    (4, Dense(4, 3, bias=True))
    """

    def __init__(self, layers: Iterable[Layer] = ()) -> None:
        super().__init__()
        self._layers: list[Layer] = []
        for layer in checks.members(layers, type(self).__name__, "layers", "a list of layers"):
            self.append(layer)

    def append(self, layer: Layer) -> None:
        """Add a layer at the end."""
        self._layers.append(self._member(layer))

    def _member(self, layer: Any) -> Layer:
        """What is given as a layer, checked."""
        if not isinstance(layer, Layer):
            raise TypeError(f"{type(self).__name__}: needs layers, got {_named(layer)}")
        return layer

    def _items(self) -> Iterator[tuple[str, Any]]:
        yield from ((str(i), layer) for i, layer in enumerate(self._layers))
        yield from super()._items()

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return (
                type(self)(*self._layers[index])
                if isinstance(self, Sequential)
                else type(self)(self._layers[index])
            )
        return self._layers[self._place(index)]

    def __setitem__(self, index: Any, layer: Layer) -> None:
        self._layers[self._place(index)] = self._member(layer)

    def __delitem__(self, index: Any) -> None:
        del self._layers[self._place(index)]

    def _place(self, index: Any) -> int:
        """An index, checked."""
        where, count = type(self).__name__, len(self)
        place = checks.integer(index, where, "index")
        if not -count <= place < count:
            raise IndexError(f"{where}: there is no layer {place} of {count}")
        return place


class Sequential(LayerList):
    """Apply layers one after another; they are given one by one, or as one list.

    A function of one tensor may be among them, and becomes a `Lambda`. An array of numbers becomes
    a tensor first. `model[-1] = nn.Dense(...)` replaces a layer, a head for one. An error in a
    layer names its place: "layer 2, Dense: ...". TypeError for an item that is neither a layer nor
    a function.

    >>> model = nn.Sequential(nn.Dense(4, 3), md.relu, nn.Dense(3, 2))
    >>> model(md.zeros(8, 4)).shape
    (8, 2)
    >>> model[1]
    Lambda(relu)
    """

    def __init__(self, *layers: Layer | Callable[[Any], Any] | Iterable[Any]) -> None:
        if len(layers) == 1 and type(layers[0]) in (list, tuple, LayerList):
            layers = tuple(layers[0])  # type: ignore[arg-type]
        super().__init__(layers)  # type: ignore[arg-type]

    def append(self, layer: Layer | Callable[[Any], Any]) -> None:
        """Add a layer, or a function of one tensor, at the end."""
        super().append(layer)  # type: ignore[arg-type]

    def _member(self, layer: Any) -> Layer:
        if (
            not isinstance(layer, Layer)
            and callable(layer)
            and not isinstance(layer, (type, np.ufunc))
        ):
            layer = Lambda(layer)
        return super()._member(layer)

    def forward(self, x: Any) -> Any:
        if not isinstance(x, Tensor):
            x = _wrapped(x)
        for i, layer in enumerate(self._layers):
            try:
                x = layer(x)
            except (TypeError, ValueError) as error:
                _name_layer(error, f"layer {i}, {type(layer).__name__}")
                raise
        return x


def _wrapped(x: Any) -> Any:
    """An array of numbers as a tensor; anything else as it is: a layer may take any object."""
    if isinstance(x, Tensor) or not array_like(x):
        return x
    array = plain_array(x)
    return Tensor(array) if array.dtype.kind in "fiub" else x


def _name_layer(error: Exception, name: str) -> None:
    """Put the place of a layer before the message of its error."""
    if len(error.args) == 1 and isinstance(error.args[0], str):
        error.args = (f"{name}: {error.args[0]}",)


def _named(value: Any) -> str:
    """Words for an error: what was given in place of a layer, and what to write if known."""
    if isinstance(value, type):
        return f"the class {value.__name__}" + (
            f": write {value.__name__}(...)" if issubclass(value, Layer) else ""
        )
    if isinstance(value, (dict, Iterator)):
        what = "values of a dict" if isinstance(value, dict) else "items"
        return f"{type(value).__name__}: write the {what} one by one, or as one list of them"
    if isinstance(value, np.ufunc):
        return f"the ufunc {value.__name__}, which takes no tensors: see md.{value.__name__}"
    return type(value).__name__


class Lambda(Layer):
    """y = function(x), a function of tensors as a layer. It can be pickled if the function can.

    A function learns nothing: layers that it calls are not part of this layer. Arrays of numbers
    that it is called with become tensors first. TypeError for an argument that is no function, and
    for a method of a layer or a functools.partial of one, whose parameters would get lost.

    >>> nn.Lambda(md.exp)(md.tensor([0.]))
    tensor([1.])
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        if not callable(function) or isinstance(function, (type, Layer)):
            raise TypeError(f"Lambda: needs a function, got {_named(function)}")
        inner = function
        while isinstance(inner, partial):
            inner = inner.func
        owner = inner if isinstance(inner, Layer) else getattr(inner, "__self__", None)
        if isinstance(owner, Layer):
            what = "a functools.partial of" if inner is owner else f"{inner.__name__}, a method of"
            raise TypeError(
                f"Lambda: got {what} the layer {type(owner).__name__}, whose "
                f"parameters would not be found: give the layer itself"
                + (
                    ", or write a Layer whose forward calls it with the arguments"
                    if inner is not function
                    else ""
                )
            )
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*[x if isinstance(x, Tensor) else _wrapped(x) for x in inputs])

    def extra_repr(self) -> str:
        function = getattr(self.function, "func", self.function)  # unwraps a functools.partial
        return getattr(function, "__name__", type(function).__name__)


class Identity(Layer):
    """y = x, for a place where a layer is expected. It takes a mask as normalizations do, and
    ignores it.

    >>> nn.Identity()(md.tensor([1., 2.]))
    tensor([1., 2.])
    """

    def forward(self, x: Any, mask: Any = None) -> Any:
        return x if isinstance(x, Tensor) else _wrapped(x)
