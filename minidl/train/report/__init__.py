"""The report of a run."""

from typing import Any

import numpy as np


class LayerStatistics:
    history: dict[str, Any] = {}

    def on_epoch_end(self, trainer: Any) -> None:
        pass


class Report:
    accuracy = 0.0

    def save(self, path: str) -> None:
        with open(path, "w") as file:
            file.write("report")


def curves(history: Any, path: str) -> None:
    Report().save(path)


def report(saved: Any, dataset: Any, **options: Any) -> Report:
    found = Report()
    outputs = saved.model.predict(saved._normalized(np.asarray(dataset.images)), 256)
    found.accuracy = float((outputs.argmax(1) == dataset.labels).mean())
    return found
