"""The state of a training: what a checkpoint holds, and how a trainer resumes from it."""

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
    """Describe the configuration of a training at its start, with that of its loader if it has
    one."""
    described = describe(trainer)
    return (
        described
        if trainer.loader is None
        else {**described, "loader": describe_loader(trainer.loader)}
    )


def of_loader(loader: Any) -> Any:
    """Return the state of a loader, which is its position in the epoch; None if it has none."""
    return loader.state_dict() if hasattr(loader, "state_dict") else None


def state_of(trainer: Trainer) -> dict[str, Any]:
    """See `Trainer.state_dict`."""
    model, place = trainer.model.state_dict(), trainer._place()
    random = generator().bit_generator.state
    begun = trainer._steps.state_before if trainer._steps is not None else None
    if begun is not None:  # gradients are being accumulated: save the state before this step
        model |= {name: array.copy() for name, array in begun["buffers"].items()}
        place, random = begun["place"], begun["random"]
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
    """Load a state that `state_of` returned; an error leaves the trainer as it was."""
    if not isinstance(state, dict) or "configuration" not in state:
        raise StateError(f"{where} is not the state of a training")
    own = trainer._configuration or configuration(trainer)
    saved = state["configuration"]
    if trainer.loader is None and isinstance(saved, dict):  # called outside of fit
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
            raise StateError(f"{where} is not the state of a training: {error!r}") from None
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
    # The random state comes last: if anything above fails, it has not been changed.
    generator().bit_generator.state = state["random"]


def resume(trainer: Trainer, given: Any) -> str | None:
    """Load a checkpoint into a trainer and return its path; None if "auto" finds no checkpoint.
    FileNotFoundError if the path does not exist, ValueError for "auto" without a `Checkpoint` and
    if all files are damaged."""
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
