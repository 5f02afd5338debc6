"""MNIST to 99.6% and more in 10 epochs.

`vgg8` at half its width, 32 to 128 channels with BatchNorm. Nesterov's SGD, whose rate grows in a
fifth of the steps and falls on a cosine; labels smoothed by 0.1; pictures turned by up to 10
degrees and shifted by up to 2 pixels; an average of the weights over the steps, whose BatchNorm
statistics are measured anew. All 60,000 training pictures are trained on, so nothing is validated,
and the averaged model of the last epoch is the result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ... import checks
from ...data import transforms as T
from ..task import Task
from .default import Default


@dataclass
class MNIST(Default):
    """See the head of the file. `rotation` is the largest one, in degrees, `shift` in pixels."""

    model: str | None = "vgg8"
    model_options: dict[str, Any] = field(default_factory=lambda: {"width": 32})
    epochs: int | None = 10
    batch_size: int | None = 128
    lr: float | None = 0.1
    label_smoothing: float = 0.1
    flip: bool | None = False
    crop: int | None = 0
    rotation: float = 10.0
    shift: int = 2
    ema: float | None = 0.998
    valid: float = 0.0

    checks = {**Default.checks, "rotation": checks.not_negative, "shift": checks.count}

    def transform(self, task: Task, normalize: T.Normalize) -> Any:
        return T.Compose(
            T.RandomRotation(self.rotation),
            T.RandomTranslate(self.shift),
            super().transform(task, normalize),
        )
