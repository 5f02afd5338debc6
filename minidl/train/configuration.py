"""What a training consists of, as text: so that a checkpoint of another one is refused by name."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..nn.state import StateError
from ..optim.plateau import ReduceOnPlateau

if TYPE_CHECKING:
    from .trainer import Trainer

SHOWN = 6  # differences in a message


def describe(trainer: Trainer) -> dict[str, Any]:
    """Layers, shapes, classes and options of all parts, in nested dicts of text."""
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
    """What decides which batches a loader gives, as far as it can be seen."""
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
    inner: Any = getattr(optimizer, "optimizer", None)  # of one around another
    if inner is not None:
        found["around"] = type(inner).__name__
    for i, group in enumerate(optimizer.groups):
        rate = getattr(trainer.schedule, "base", trainer._first_rates)[i]
        options = {
            name: _text(value) for name, value in group.items() if name not in ("params", "lr")
        }
        found[f"group {i}"] = {"parameters": _text(len(group["params"])), **options}
        if not isinstance(trainer.schedule, ReduceOnPlateau):  # which changes it for good
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
    """The name of a function; of a `functools.partial` with its arguments, of an object what it
    shows of itself."""
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
    """StateError that lists where the configuration of a checkpoint is another one."""
    there, here = dict(_flat(saved)), dict(_flat(own))
    lines = [
        f"{name}: {there.get(name, 'nothing')} in the checkpoint, {here.get(name, 'nothing')} here"
        for name in {**there, **here}
        if there.get(name) != here.get(name)
    ]
    if lines:
        more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        raise StateError(
            f"{where} is of another model or configuration: " + "; ".join([*lines[:SHOWN], *more])
        )


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _flat(value, f"{prefix} {name}" if prefix else str(name))
    else:
        yield prefix, str(tree)
