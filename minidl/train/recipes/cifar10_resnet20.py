"""CIFAR-10 with ResNet-20 as He et al. trained it (arXiv:1512.03385, section 4.2).

The optimizer is SGD with momentum 0.9 and weight decay 1e-4 on all parameters, for 64,000 steps on
batches of 128. The learning rate is 0.1, divided by 10 after 32,000 and again after 48,000 steps.
Pictures are padded by 4 pixels of the mean colour on each side and cropped to 32 x 32 at random,
and half of them are mirrored; test pictures are not augmented. All 50,000 training pictures are
used for training, so there is no validation and the model of the last epoch is the result. The
paper reports 91.25%.

There are three differences to the paper: the mean that is subtracted is one number per channel
instead of one per pixel, pictures are divided by the standard deviation, and the shortcuts between
the stages are those of `models.ResNet20`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ... import optim
from ...nn.layer import Layer
from .recipe import Recipe


@dataclass
class CIFAR10ResNet20(Recipe):
    """The recipe of the module's docstring; an epoch has 390 steps."""

    model: str | None = "resnet20"
    epochs: int | None = 164
    batch_size: int | None = 128
    lr: float | None = 0.1
    weight_decay: float = 1e-4
    flip: bool | None = True
    crop: int | None = 4
    crop_mode: str = "constant"
    valid: float = 0.0

    def optimizer(self, model: Layer) -> optim.Optimizer:
        assert self.lr is not None
        return optim.SGD(
            model.parameters(), lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )

    def schedule(self, optimizer: optim.Optimizer, steps: int) -> Any:
        return optim.MultiStepLR(optimizer, [max(1, steps // 2), max(1, steps * 3 // 4)])
