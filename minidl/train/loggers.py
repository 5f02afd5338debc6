"""Callbacks that write the history to files: CSV, JSON and TensorBoard."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from .. import checks, hints
from ..atomic import replace_file

if TYPE_CHECKING:
    from .trainer import Trainer


class _Logger(hints.Explained):
    """Writes the whole history after each epoch. So a resumed training need not remove the lines
    that the interrupted one had written after its last checkpoint."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = checks.path(path, type(self).__name__)

    def on_epoch_end(self, trainer: Trainer) -> None:
        os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
        replace_file(self.path, self._text(trainer.history))

    def _text(self, history: dict[str, list[float]]) -> str:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"


class CSVLogger(_Logger):
    """Writes the history as a table: a header line, then a line for each epoch. The whole file is
    replaced after every epoch; its folder is created if it does not exist.

    >>> train.CSVLogger("log.csv")
    CSVLogger('log.csv')
    """

    def _text(self, history: dict[str, list[float]]) -> str:
        import csv  # imported here to keep `import minidl` fast
        import io

        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["epoch", *history])
        for epoch, row in enumerate(zip(*history.values(), strict=True), 1):
            writer.writerow([epoch, *row])
        return file.getvalue()


class JSONLogger(_Logger):
    """Writes the history as one JSON object of lists, as `fit` returns it; NaN and infinity become
    null. The whole file is replaced after every epoch.

    >>> train.JSONLogger("log.json")
    JSONLogger('log.json')
    """

    def _text(self, history: dict[str, list[float]]) -> str:
        import json

        known = {
            name: [value if math.isfinite(value) else None for value in column]
            for name, column in history.items()
        }
        return json.dumps(known, indent=1) + "\n"


class TensorBoard(hints.Explained):
    """Writes the history for TensorBoard (`tensorboard --logdir folder`), one point for each epoch.

    It needs tensorboardX, which the extra `tensorboard` installs: `fit` raises ImportError at its
    start if it is missing. A resumed training discards the points after its checkpoint.

    >>> train.TensorBoard("runs/a")
    TensorBoard('runs/a')
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = checks.path(folder, "TensorBoard", "folder")
        self._writer: Any = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ImportError(
                "TensorBoard: needs tensorboardX: pip install 'minidl[tensorboard]'"
            ) from None
        purge = {"purge_step": trainer.epoch + 1} if trainer.resumed else {}
        self._writer = SummaryWriter(self.folder, **purge)

    def on_epoch_end(self, trainer: Trainer) -> None:
        for name, column in trainer.history.items():
            group = "valid" if name.startswith("valid_") else "train"
            self._writer.add_scalar(
                f"{name.removeprefix('valid_')}/{group}", column[-1], trainer.epoch
            )
        self._writer.flush()

    def on_fit_end(self, trainer: Trainer) -> None:
        self._writer.close()

    def on_interrupt(self, trainer: Trainer) -> None:
        self._writer.close()

    def __repr__(self) -> str:
        return f"TensorBoard({self.folder!r})"
