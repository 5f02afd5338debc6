"""Fine-tuning: a new model that begins with what another one has learned."""

from __future__ import annotations

from typing import Any

from .. import nn
from ..models.network import Network
from ..models.saved import Saved
from ..nn.layer import Layer
from ..random import own_generator


def transferred(
    saved: Saved, classes: tuple[str, ...], shape: tuple[int, ...], freeze: bool
) -> Layer:
    """A model of the kind of `saved` for other classes and other sizes of pictures, with its
    weights and statistics. What depends on the classes, the head, starts anew, unless the classes
    are the same; with `freeze` all else stays as it is.

    ValueError for a model that is not of `minidl.models`, whose number of channels is another, and
    where weights depend on the size of the pictures, and that is another.
    """
    options = options_of(saved)
    old = saved.model
    assert isinstance(old, Network)
    if shape[-1] != old.input_shape[-1]:
        raise ValueError(
            f"the model to begin with takes pictures of {old.input_shape[-1]} "
            f"channels, and these have {shape[-1]}"
        )
    new = type(old)(**options, classes=len(classes), input_shape=shape)
    if [str(name) for name in saved.classes] == list(classes):
        head: set[str] = set()
    else:
        head = head_of(new)
    own = new.state_dict()
    state: dict[str, Any] = {}
    for name, value in old.state_dict().items():
        if name in head:
            value = own[name]
        elif own[name].shape != value.shape:
            raise ValueError(
                f"the weights {name} of {type(old).__name__} depend on the size of "
                f"the pictures, which was {old.input_shape[0]} x "
                f"{old.input_shape[1]} where it was trained: give that size"
            )
        state[name] = value
    new.load_state_dict(state)
    if freeze:
        freeze_but(new, head or head_of(new))
    return new


def options_of(saved: Saved) -> dict[str, Any]:
    """The options of a model, but for those that the pictures decide. ValueError for a model that
    is not of `minidl.models`."""
    model = saved.model
    if not isinstance(model, Network):
        raise ValueError(
            f"a model to begin with must be one of minidl.models, which can be made "
            f"for other classes; {type(model).__name__} is a class of its own"
        )
    return {
        name: value
        for name, value in model.config().items()
        if name not in ("classes", "input_shape")
    }


def head_of(model: Network) -> set[str]:
    """The names of the parameters whose shapes depend on the number of classes."""
    with own_generator():  # weights that are drawn for nothing
        other = type(model)(**{**model.config(), "classes": model.classes + 1})
    shapes = {name: p.shape for name, p in other.named_parameters()}
    return {name for name, p in model.named_parameters() if p.shape != shapes[name]}


def freeze_but(model: Layer, names: set[str]) -> None:
    """Freeze a model but for the layers that have parameters of these names."""
    learning = {name.rpartition(".")[0] for name in names}
    model.freeze()
    for name, layer in model.named_layers():
        if name in learning and not isinstance(layer, nn.Sequential):
            layer.unfreeze()
