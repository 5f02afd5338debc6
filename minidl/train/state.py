"""The state of a training: what a checkpoint holds, and how a trainer goes on from it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .. import checks
from ..nn.state import StateError
from ..random import generator
from . import callbacks as hooks
from . import files
from .averaged import Averaged
from .checkpoint import Checkpoint
from .configuration import check_same, describe, describe_loader

if TYPE_CHECKING:
    from .trainer import Trainer


def configuration(trainer: Trainer) -> dict[str, Any]:
    """The description of a training, as it is when it begins."""
    described = describe(trainer)
    return (
        described
        if trainer.loader is None
        else {**described, "loader": describe_loader(trainer.loader)}
    )


def of_loader(loader: Any) -> Any:
    """The place of a loader, if it can tell."""
    return loader.state_dict() if hasattr(loader, "state_dict") else None


def state_of(trainer: Trainer) -> dict[str, Any]:
    """See `Trainer.state_dict`."""
    model, place = trainer.model.state_dict(), trainer._place()
    random = generator().bit_generator.state
    marked = trainer._steps.marked if trainer._steps is not None else None
    if marked is not None:  # in the middle of a step: the state before it
        model |= {name: array.copy() for name, array in marked["buffers"].items()}
        place, random = marked["place"], marked["random"]
    return {
        "configuration": trainer._configuration or configuration(trainer),
        "model": model,
        "optimizer": trainer.optimizer.state_dict(),
        "schedule": _schedule_state(trainer.schedule),
        "averaged": None if trainer._averaged is None else trainer._averaged.state_dict(),
        "random": random,
        "place": place,
        "epoch": trainer.epoch,
        "step": trainer.step,
        "stop": trainer.stop,
        "rate": trainer._rate,
        "history": {name: list(column) for name, column in trainer.history.items()},
        "callbacks": hooks.states(trainer.callbacks),
    }


def _schedule_state(schedule: Any) -> Any:
    if schedule is None:
        return None
    if not hasattr(schedule, "state_dict") or not hasattr(schedule, "load_state_dict"):
        raise TypeError(
            f"Trainer: the schedule, a {type(schedule).__name__}, has no state_dict "
            f"and load_state_dict, so that the training cannot be saved"
        )
    return schedule.state_dict()


def load_state(trainer: Trainer, state: Any, where: str) -> None:
    """Make a trainer the one that `state` was taken of; as it was before after an error."""
    if not isinstance(state, dict) or "configuration" not in state:
        raise StateError(f"{where} is none of a training")
    own = trainer._configuration or configuration(trainer)
    saved = state["configuration"]
    if trainer.loader is None and isinstance(saved, dict):  # not in fit
        saved = {name: value for name, value in saved.items() if name != "loader"}
    check_same(saved, own, where)
    if trainer.ema is not None and trainer._averaged is None:
        trainer._averaged = Averaged(trainer.model, trainer.ema)
    before = state_of(trainer)
    try:
        _take(trainer, state)
    except BaseException as error:
        _take(trainer, before)
        if isinstance(error, (AttributeError, KeyError, TypeError)) and not isinstance(
            error, StateError
        ):
            raise StateError(f"{where} is none of a training: {error!r}") from None
        raise


def _take(trainer: Trainer, state: dict[str, Any]) -> None:
    trainer.model.load_state_dict(state["model"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    if trainer.schedule is not None:
        trainer.schedule.load_state_dict(state["schedule"])
    if trainer._averaged is not None:
        trainer._averaged.load_state_dict(state["averaged"])
    loader = state["place"]["loader"]
    if loader is not None and hasattr(trainer.loader, "load_state_dict"):
        trainer.loader.load_state_dict(loader)
    trainer.epoch, trainer.step = int(state["epoch"]), int(state["step"])
    trainer.stop, trainer._rate = bool(state["stop"]), float(state["rate"])
    trainer.history = {name: list(column) for name, column in state["history"].items()}
    trainer._take_place(state["place"])
    hooks.load_states(trainer.callbacks, state["callbacks"])
    generator().bit_generator.state = state["random"]  # the last: it cannot fail halfway


def resume(trainer: Trainer, given: Any) -> str | None:
    """Go on from a checkpoint; its path, None if "auto" finds none. FileNotFoundError for a path
    that does not exist, ValueError for "auto" without a `Checkpoint` and for files that are all
    damaged."""
    if given == "auto":
        folder = next(
            (callback.folder for callback in trainer.callbacks if isinstance(callback, Checkpoint)),
            None,
        )
        if folder is None:
            raise ValueError(
                'fit: resume="auto" needs a train.Checkpoint(folder) in callbacks, '
                "whose folder it looks into"
            )
        found = files.newest(folder)
        if found is None:
            return None
    else:
        path = checks.path(given, "fit", "resume")
        found = files.newest(path) if os.path.isdir(path) else (path, files.read(path))
        if found is None:
            raise FileNotFoundError(f"fit: there is no checkpoint in {path}")
    path, state = found
    load_state(trainer, state, f"fit: {path}")
    return path
