"""Checks of the arguments of a `Probe`: the names of measures, the optimizer and the batch."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from .. import checks
from ..nn.layer import Layer
from ..optim.optimizer import Optimizer
from ..train.batches import Example, Reader


def names_of(given: str | Iterable[str], names: tuple[str, ...]) -> frozenset[str]:
    """Return the set of the given names of measures. Raises TypeError for what is no name, and
    ValueError for an unknown one or for none at all."""
    listed = (
        (given,)
        if isinstance(given, str)
        else checks.members(given, "Probe", "measures", "a list of names")
    )
    found = [checks.choice(name, "Probe", "measures", names) for name in listed]
    if not found:
        raise ValueError(
            checks.message("Probe", "measures", f"one or more of {', '.join(names)}", given)
        )
    return frozenset(found)


def optimizer_of(given: Any, model: Layer) -> Optimizer | None:
    """Return the given optimizer, or None. Raises TypeError for another object, and ValueError for
    an optimizer that has none of the model's parameters."""
    if given is None:
        return None
    checks.instance(given, "Probe", "optimizer", Optimizer, "an optimizer or None")
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for group in given.groups for p in group["params"]):
        raise ValueError(
            "Probe: optimizer must update parameters of the model, got one that has none of them"
        )
    return given


def batch_of(given: Any) -> Any:
    """Return a batch given as a list, which is what PyTorch's loaders yield, as a tuple. A list of
    batches is returned as it is: it serves as a loader."""
    if isinstance(given, list) and not all(isinstance(x, tuple | list | Mapping) for x in given):
        return tuple(given)
    return given


def example_of(batch: Any, reader: Reader) -> Example:
    """Split a batch into the inputs of the model and the labels. Raises TypeError or ValueError for
    a batch with which the model cannot be called."""
    try:
        example = reader(batch)
    except (TypeError, ValueError) as error:
        raise checks.renamed(error, "Probe: the batch does not fit") from error
    try:
        inspect.signature(reader.model.forward).bind(*example.inputs, **example.named)
    except TypeError as error:
        raise TypeError(
            f"Probe: forward of {type(reader.model).__name__} cannot be called with the "
            f"{len(list(example))} input(s) of the batch ({error}). If the first entry of a batch "
            f"is a tuple or a dict, it holds the inputs by position or by name. A single input "
            f"that is itself a tuple or a dict is not supported: let forward take its parts"
        ) from None
    except ValueError:  # inspect finds no signature of a compiled function
        pass
    return example
