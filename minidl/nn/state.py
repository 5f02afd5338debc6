"""Checks of a state that `Layer.load_state_dict` makes before it changes the layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..tensor import Tensor
from .registry import uniquely_named

if TYPE_CHECKING:
    from .layer import Layer


class StateError(KeyError, ValueError):
    """The error for a state that does not belong to the model.

    >>> nn.Dense(4, 2).load_state_dict({"weight": np.zeros((4, 2))})
    Traceback (most recent call last):
    minidl.nn.state.StateError: load_state_dict of Dense: missing: bias
    """

    def __str__(self) -> str:  # a KeyError would show the repr of its text
        return str(self.args[0])


def fitting(layer: Layer, state: Any, strict: bool) -> dict[str, np.ndarray]:
    """The arrays of a state by the layer's own names; StateError unless all of them fit."""
    where = f"load_state_dict of {type(layer).__name__}"
    if not isinstance(state, Mapping):
        raise TypeError(f"{where}: state must be a dict of arrays, got {type(state).__name__}")
    strict = checks.flag(strict, where, "strict")
    own = dict(uniquely_named(layer, layer._walk()))
    given = {}
    for name, value in state.items():
        try:
            given[name] = np.asarray(value.data if isinstance(value, Tensor) else value)
        except ValueError as error:
            raise StateError(f"{where}: wrong: {name}: {error}") from None
    if any(name not in own for name in given):
        given = _by_first_names(layer, given, own)
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    wrong = [
        f"{name}: {own[name].shape} expected, got {value.shape}"
        for name, value in given.items()
        if name in own and value.shape != own[name].shape
    ]
    wrong += [
        f"{name}: {own[name].dtype} expected, got {value.dtype}"
        for name, value in given.items()
        if name in own and not np.can_cast(value.dtype, own[name].dtype, "same_kind")
    ]
    wrong += [
        f"{name}: the memory of the {kind} is read-only"
        for name, kind, array in layer._memory()
        if name in given and not array.flags.writeable and not getattr(own[name], "constant", False)
    ]
    problems = []
    if strict and missing:
        problems.append("missing: " + ", ".join(missing))
    if strict and unexpected:
        problems.append("unexpected: " + ", ".join(unexpected))
    if wrong:
        problems.append("wrong: " + "; ".join(wrong))
    if problems:
        foreign = any(type(value).__module__.startswith("torch") for value in state.values())
        raise StateError(
            f"{where}: "
            + " | ".join(problems)
            + (" | a state of PyTorch is taken by md.torch.load_state" if foreign else "")
        )
    return given


def _by_first_names(layer: Layer, given: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The state with each layer under its first name. A layer that is reached in several ways has a
    name for each, and a file may use any of them."""
    layers = list(layer.named_layers())
    first = {id(inner): name for name, inner in layers}
    others = {}
    for name, inner in layers:
        for attribute, child in inner._items():
            place = f"{name}.{attribute}" if name else attribute
            if first.get(id(child), place) != place:  # child is a layer, with another first name
                others[place] = first[id(child)]
    found = {name: value for name, value in given.items() if name in own}
    for name, value in given.items():
        known: str | None = name
        for _ in range(name.count(".")):  # each round replaces the beginning of the name
            if known is None or known in own:
                break
            begun = [place for place in others if known.startswith(f"{place}.")]
            known = (
                f"{others[begun[0]]}.{known[len(begun[0]) + 1 :]}".removeprefix(".")
                if begun
                else None
            )
        found.setdefault(name if known is None or known not in own else known, value)
    return found


def copied_if_own(layer: Layer, given: dict[str, Any]) -> dict[str, Any]:
    """The given values, copied where they are the layer's own arrays, which loading writes to."""
    own = {id(_owner(v._values() if isinstance(v, Tensor) else v)) for _, v in layer._walk()}
    return {
        name: np.array(v) if isinstance(v, np.ndarray) and id(_owner(v)) in own else v
        for name, v in given.items()
    }


def _owner(array: np.ndarray) -> np.ndarray:
    """The array whose memory this one is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
