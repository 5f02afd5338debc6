"""Checkpoint: the callback that saves a training, so that it goes on after whatever ended it."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .. import checks, hints, models
from ..files import save
from ..models.file import can_be_made_again
from . import files
from .callbacks import Monitor
from .progress import say

if TYPE_CHECKING:
    from .trainer import Trainer


class Checkpoint(hints.Explained):
    """Saves a training in a folder, and its best model.

    folder:  made where there is none. The newest checkpoint is `last.safetensors`, the ones before
             it `last-1.safetensors`, `last-2.safetensors`
    every:   "epoch", or a number of optimizer steps
    keep:    how many checkpoints stay, the newest included; from 2 on a damaged one can be done
             without
    monitor: the column of the history whose best value makes an epoch the best; the earliest of
             equal ones. Without a validation the best is the last, unless this is a name like
             "loss"
    mode:    "min" or "max"; None: "min" for losses and errors, else "max"
    classes, preprocess: what `models.save` writes into the best model's file

    `best.safetensors` is the model of the best epoch (with the averaged weights, if there are any),
    as `models.save` writes it: `models.load(path).predict(pictures)`. Of a model that it cannot
    save, one without `config()`, the file has the weights and buffers alone:
    `model.load_state_dict(md.load(path))`, which works for both.

    A file is written whole or not at all. Whoever kills the process at any instant finds a good one
    and `fit(..., resume="auto")` goes on from it, with the same bits as if nothing had happened.
    Another training in the same folder, begun with `resume=None`, replaces its files with the first
    one that it saves. An OSError says which disk is full; what was saved before is still there.

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

    saves = True  # called after all other callbacks
    again = 'trainer.fit(..., resume="auto")'  # what goes on after an interrupt

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
        if isinstance(every, str):
            self.every: str | int = checks.choice(every, where, "every", ("epoch",))
        else:
            self.every = checks.count(every, where, "every", 1)
        self.keep = checks.size(keep, where, "keep")
        self.monitor = monitor
        self.classes, self.preprocess = tuple(classes), preprocess
        self._mode = mode
        self._monitor = Monitor(monitor, mode, where)
        self._saved: tuple[int, int, int] | None = None  # the place of what was saved last
        self._has_best = False  # whether the best model in the folder is this training's

    @property
    def last(self) -> str:
        """The path of the newest checkpoint."""
        return os.path.join(self.folder, files.LAST)

    @property
    def best(self) -> str:
        """The path of the best model."""
        return os.path.join(self.folder, files.BEST)

    def on_fit_begin(self, trainer: Trainer) -> None:
        # What is in the folder belongs to this training only if that is where it comes from.
        folder = os.path.dirname(trainer.resumed_from) if trainer.resumed_from else None
        own = folder is not None and os.path.realpath(folder) == os.path.realpath(self.folder)
        self._saved = _place(trainer) if own else None
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
        hint = f"; to go on: {self.again}" if self.again else ""
        say(
            f"interrupted in epoch {trainer.epoch + 1}, after {trainer.batch} of its batches. "
            f"Saved as {self.last}{hint}"
        )

    def save(self, trainer: Trainer) -> None:
        """Save the training as it stands, unless that has been done."""
        place = _place(trainer)
        # Nothing here is this training's yet: a best model in the folder is that of the one before,
        # and goes with its checkpoints.
        if self._saved is None and not self._has_best:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.best)
        if place != self._saved:
            files.push(self.folder, trainer.state_dict(), self.keep, alone=self._saved is None)
            self._saved = place

    def save_best(self, trainer: Trainer) -> None:
        """Save the model as the best so far."""
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
        """The best value so far."""
        return {"best": self._monitor.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gives."""
        self._monitor.best = float(state["best"])

    def __repr__(self) -> str:
        return (
            f"Checkpoint({self.folder!r}, every={self.every!r}, keep={self.keep}, "
            f"monitor={self.monitor!r})"
        )


def _place(trainer: Trainer) -> tuple[int, int, int]:
    return trainer.epoch, trainer.batch, trainer.step
