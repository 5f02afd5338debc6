"""Checkpoint: the callback that saves a training, so that `fit` can resume it."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, hints, models
from ..files import save
from ..models.file import can_be_made_again
from . import files
from .callbacks import Monitor
from .progress import say

if TYPE_CHECKING:
    from .trainer import Trainer

EVERY = '"epoch" or a number of steps, an int >= 1'


class Checkpoint(hints.Explained):
    """Saves the state of a training and its best model in a folder.

    folder:  the folder, which is created if it does not exist. The newest checkpoint is
             `last.safetensors`, older ones are `last-1.safetensors`, `last-2.safetensors`
    every:   when a checkpoint is saved: "epoch", or a number of optimizer steps
    keep:    how many checkpoints are kept, the newest included; with 2 or more, a training survives
             a damaged file
    monitor: the column of the history that decides which epoch is the best; of equal values the
             earliest counts. If it names a validation figure and `fit` has no `valid`, the last
             epoch counts as the best
    mode:    "min" or "max", which values are better; None: "min" for losses and errors, else "max"
    classes, preprocess: passed to `models.save` for the best model's file

    `best.safetensors` is the model of the best epoch (with the averaged weights, if there are any),
    as `models.save` writes it: `models.load(path).predict(pictures)`. If the model has no
    `config()`, which `models.save` needs, the file holds only weights and buffers.
    `model.load_state_dict(md.load(path))` reads both kinds of file.

    Each file is written completely or not at all. If the process is killed at any moment, the
    folder holds a complete checkpoint, and `fit(..., resume="auto")` continues from it to the same
    bits as an uninterrupted training. A new training in the same folder (`resume=None`) replaces
    all checkpoints and the best model when it first saves. OSError names the disk that is full; the
    files saved before are kept.

    >>> import tempfile
    >>> model = nn.Dense(2, 2)
    >>> loader = data.DataLoader(data.ArrayDataset(np.ones((8, 2), np.float32), np.arange(8) % 2),
    ...                          batch_size=4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trainer = train.Trainer(model, optim.SGD(model.parameters(), lr=0.1), progress=False,
    ...                             callbacks=[train.Checkpoint(folder)])
    ...     history = trainer.fit(loader, epochs=1)
    ...     history = trainer.fit(loader, epochs=3, resume="auto")      # two more epochs
    >>> len(history["loss"])
    3
    """

    saves = True  # tells the trainer to call this callback after all others
    resume_hint = 'trainer.fit(..., resume="auto")'  # the call shown after an interrupt

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: str | int = "epoch",
        keep: int = 3,
        monitor: str = "valid_loss",
        mode: str | None = None,
        classes: Iterable[str | int] = (),
        preprocess: Mapping[str, Any] | None = None,
    ) -> None:
        where = "Checkpoint"
        self.folder = checks.path(folder, where, "folder")
        if not isinstance(every, (str, int, np.integer)) or isinstance(every, bool):
            raise TypeError(checks.message(where, "every", EVERY, every))
        if every != "epoch" and (isinstance(every, str) or every < 1):
            raise ValueError(checks.message(where, "every", EVERY, every))
        self.every: str | int = "epoch" if every == "epoch" else int(every)
        self.keep = checks.size(keep, where, "keep")
        self.monitor = monitor
        self.classes, self.preprocess = tuple(classes), preprocess
        self._mode = mode
        self._monitor = Monitor(monitor, mode, where)
        self._saved: tuple[int, int, int] | None = None  # the position that was saved last
        self._has_best = False  # whether the best model in the folder belongs to this training

    @property
    def last(self) -> str:
        """The path of the newest checkpoint."""
        return os.path.join(self.folder, files.LAST)

    @property
    def best(self) -> str:
        """The path of the best model."""
        return os.path.join(self.folder, files.BEST)

    def on_fit_begin(self, trainer: Trainer) -> None:
        # Files in the folder belong to this training only if it was resumed from one of them.
        folder = os.path.dirname(trainer.resumed_from) if trainer.resumed_from else None
        own = folder is not None and os.path.realpath(folder) == os.path.realpath(self.folder)
        self._saved = _position(trainer) if own else None
        self._has_best = own
        if not trainer.resumed:
            self._monitor = Monitor(self.monitor, self._mode, "Checkpoint")

    def on_batch_end(self, trainer: Trainer) -> None:
        if isinstance(self.every, int) and trainer.step % self.every == 0 and trainer.between_steps:
            self.save(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        if self.monitor in trainer.history or not self.monitor.startswith("valid_"):
            value = self._monitor.value(trainer, "Checkpoint")
            if self._monitor.better(value) or (
                len(trainer.history["loss"]) == 1 and math.isnan(value)
            ):
                self.save_best(trainer)
        if self.every == "epoch":
            self.save(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        if trainer.valid is None and self.monitor.startswith("valid_"):
            self.save_best(trainer)
        self.save(trainer)

    def on_interrupt(self, trainer: Trainer) -> None:
        self.save(trainer)
        hint = f"; to resume: {self.resume_hint}" if self.resume_hint else ""
        say(
            f"interrupted in epoch {trainer.epoch + 1}, after {trainer.batch} of its batches. "
            f"Saved as {self.last}{hint}"
        )

    def save(self, trainer: Trainer) -> None:
        """Save the current state, unless it is saved already."""
        position = _position(trainer)
        # This training has saved nothing yet: a best model in the folder is that of an earlier
        # training, whose checkpoints are removed as well.
        if self._saved is None and not self._has_best:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.best)
        if position != self._saved:
            first = self._saved is None
            files.push(self.folder, trainer.state_dict(), self.keep, remove_older=first)
            self._saved = position

    def save_best(self, trainer: Trainer) -> None:
        """Save the model as `best.safetensors`."""
        self._has_best = True
        model = trainer.result_model()
        with files.naming_a_full_disk(self.folder):
            os.makedirs(self.folder, exist_ok=True)
            if not can_be_made_again(model):
                save(self.best, model.state_dict())
                return
            info = {
                name: column[-1]
                for name, column in trainer.history.items()
                if column and name != "seconds" and math.isfinite(column[-1])
            }
            models.save(
                self.best, model, self.classes, self.preprocess, epoch=trainer.epoch, **info
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far."""
        return {"best": self._monitor.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        self._monitor.best = float(state["best"])

    def __repr__(self) -> str:
        return (
            f"Checkpoint({self.folder!r}, every={self.every!r}, keep={self.keep}, "
            f"monitor={self.monitor!r})"
        )


def _position(trainer: Trainer) -> tuple[int, int, int]:
    """Return how far a training is, by which a state is known to be saved already."""
    return trainer.epoch, trainer.batch, trainer.step
