"""The configuration of a training as text. Checkpoints hold it, so that an error can name what
differs when a checkpoint is loaded into another training."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..nn.state import StateError
from ..optim.plateau import ReduceOnPlateau

if TYPE_CHECKING:
    from .trainer import Trainer

SHOWN = 6  # differences that an error lists


def describe(trainer: Trainer) -> dict[str, Any]:
    """Describe classes, shapes and options of all parts of a training as nested dicts of text."""
    return {
        "model": {name or "model": _layer(layer) for name, layer in trainer.model.named_layers()},
        "parameters": {name: _array(p) for name, p in trainer.model.named_parameters()},
        "buffers": {name: _array(b) for name, b in trainer.model.named_buffers()},
        "optimizer": _optimizer(trainer),
        "schedule": _schedule(trainer.schedule),
        "loss": _function(trainer.loss),
        "trainer": {
            "clip": _text(trainer.clip),
            "accumulate": _text(trainer.accumulate),
            "ema": _text(trainer.ema),
            "precision": trainer.precision,
            "reduction": trainer.reduction,
            "metrics": ", ".join(trainer._measures),
        },
    }


def describe_loader(loader: Any) -> dict[str, str]:
    """Describe the attributes of a loader that decide which batches it gives."""
    found = {"class": type(loader).__name__}
    for name in ("batch_size", "shuffle", "drop_last"):
        if hasattr(loader, name):
            found[name] = _text(getattr(loader, name))
    for name in ("transform", "sampler"):
        if getattr(loader, name, None) is not None:
            found[name] = _function(getattr(loader, name))
    dataset: Any = getattr(loader, "dataset", None)
    if hasattr(dataset, "__len__"):
        found["items"] = _text(len(dataset))
    return found


def _layer(layer: Any) -> str:
    return f"{type(layer).__name__}({layer.extra_repr()})"


def _array(x: Any) -> str:
    return f"{x.dtype} {tuple(x.shape)}"


def _optimizer(trainer: Trainer) -> dict[str, Any]:
    optimizer = trainer.optimizer
    found: dict[str, Any] = {"class": type(optimizer).__name__}
    inner: Any = getattr(optimizer, "optimizer", None)  # that a wrapper such as Lookahead has
    if inner is not None:
        found["around"] = type(inner).__name__
    for i, group in enumerate(optimizer.groups):
        rate = getattr(trainer.schedule, "base", trainer._first_rates)[i]
        options = {
            name: _text(value) for name, value in group.items() if name not in ("params", "lr")
        }
        found[f"group {i}"] = {"parameters": _text(len(group["params"])), **options}
        # ReduceOnPlateau overwrites the base rate, so a resumed training may have another one.
        if not isinstance(trainer.schedule, ReduceOnPlateau):
            found[f"group {i}"]["lr"] = _text(rate)
    return found


def _schedule(schedule: Any) -> dict[str, Any]:
    if schedule is None:
        return {"class": "None"}
    found = {"class": type(schedule).__name__}
    found |= {name: _text(value) for name, value in getattr(schedule, "options", {}).items()}
    for i, inner in enumerate(getattr(schedule, "schedules", ())):
        found |= {f"{i}.{name}": text for name, text in _schedule(inner).items()}
    return found


def _function(f: Any) -> str:
    """Name a function: a `functools.partial` with its arguments, an object by its repr, or by its
    class if the repr contains an address, which changes between processes."""
    if isinstance(f, functools.partial):
        given = [*map(_text, f.args), *(f"{name}={_text(v)}" for name, v in f.keywords.items())]
        return f"{_function(f.func)}({', '.join(given)})"
    name = getattr(f, "__name__", None)
    if name is None:
        name = repr(f) if " at 0x" not in repr(f) else type(f).__name__
    return name


def _text(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if hasattr(value, "__array__"):
        return " ".join(np.array2string(np.asarray(value), threshold=50).split())
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(_text, value))})"
    return repr(value)


def check_same(saved: Any, own: Mapping[str, Any], where: str) -> None:
    """Raise a StateError that lists the differences if a saved configuration is not the trainer's
    own."""
    old, new = dict(_flat(saved)), dict(_flat(own))
    lines = [
        f"{name}: {old.get(name, 'nothing')} in the checkpoint, {new.get(name, 'nothing')} here"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]
    if lines:
        more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        raise StateError(
            f"{where} is of another model or configuration: " + "; ".join([*lines[:SHOWN], *more])
        )


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (the joined keys, value) for each entry of nested dicts."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _flat(value, f"{prefix} {name}" if prefix else str(name))
    else:
        yield prefix, str(tree)
