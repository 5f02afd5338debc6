"""Given: what a probe is given, checked: the names of measures, an optimizer, a batch."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from .. import checks
from ..nn.layer import Layer
from ..optim.optimizer import Optimizer
from ..train.batches import Example, Reader


def names_of(given: str | Iterable[str], names: tuple[str, ...]) -> frozenset[str]:
    """The names of measures; TypeError or ValueError for what is none."""
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
    """An optimizer of some of the model's parameters, or None; TypeError or ValueError if not."""
    if given is None:
        return None
    checks.instance(given, "Probe", "optimizer", Optimizer, "an optimizer or None")
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for group in given.groups for p in group["params"]):
        raise ValueError(
            "Probe: optimizer must be one of the model's parameters, and has none of them"
        )
    return given


def batch_of(given: Any) -> Any:
    """What is given as a batch: [images, labels], as loaders of PyTorch give it, as a tuple. A list
    of batches stays a loader."""
    if isinstance(given, list) and not all(isinstance(x, tuple | list | Mapping) for x in given):
        return tuple(given)
    return given


def example_of(batch: Any, reader: Reader) -> Example:
    """A batch, taken apart. ValueError or TypeError where it is none for the model."""
    try:
        example = reader(batch)
    except (TypeError, ValueError) as error:
        raise checks.renamed(error, "Probe: the batch does not fit") from error
    try:
        inspect.signature(reader.model.forward).bind(*example.inputs, **example.named)
    except TypeError as error:
        raise TypeError(
            f"Probe: forward of {type(reader.model).__name__} cannot be called with the "
            f"{len(list(example))} input(s) of the batch ({error}). A tuple or dict as the first "
            f"entry of a batch holds inputs by position or by name; a single input that is a tuple "
            f"or a dict is not supported: let forward take its parts"
        ) from None
    except ValueError:  # what is compiled has no signature
        pass
    return example
