"""Fine-tuning: build a model for new classes that starts from the weights of a trained one."""

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
    """Build a model of the class of `saved` for the given classes and shape of pictures, with its
    weights and running statistics. The head, whose shape depends on the number of classes, is
    initialized anew unless the classes are the same. With `freeze` everything but the head is
    frozen.

    ValueError if the model is not one of `minidl.models`, if the number of channels differs, or if
    the size of the pictures differs and weights depend on it.
    """
    options = options_of(saved)
    old = saved.model
    assert isinstance(old, Network)
    if shape[-1] != old.input_shape[-1]:
        raise ValueError(
            f"the initial model takes pictures of {old.input_shape[-1]} channels, and the "
            f"pictures have {shape[-1]}"
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
                f"{old.input_shape[1]} when it was trained: give that size"
            )
        state[name] = value
    new.load_state_dict(state)
    if freeze:
        freeze_but(new, head or head_of(new))
    return new


def options_of(saved: Saved) -> dict[str, Any]:
    """Return a model's options without `classes` and `input_shape`, which the new pictures decide.
    ValueError if the model is not one of `minidl.models`."""
    model = saved.model
    if not isinstance(model, Network):
        raise ValueError(
            f"the initial model must be one of minidl.models, which can be built for other "
            f"classes, got a {type(model).__name__}: train it in a program, with a Trainer"
        )
    return {
        name: value
        for name, value in model.config().items()
        if name not in ("classes", "input_shape")
    }


def head_of(model: Network) -> set[str]:
    """Return the names of the parameters whose shapes depend on the number of classes."""
    with own_generator():  # the second model is only built to compare shapes
        other = type(model)(**{**model.config(), "classes": model.classes + 1})
    shapes = {name: p.shape for name, p in other.named_parameters()}
    return {name for name, p in model.named_parameters() if p.shape != shapes[name]}


def freeze_but(model: Layer, names: set[str]) -> None:
    """Freeze all layers of a model but those that own the named parameters."""
    learning = {name.rpartition(".")[0] for name in names}
    model.freeze()
    for name, layer in model.named_layers():
        if name in learning and not isinstance(layer, nn.Sequential):
            layer.unfreeze()
